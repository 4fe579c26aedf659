"""Long sequences in bounded memory."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods.base import Call, scan_steps


@dataclasses.dataclass(frozen=True)
class Chunked:
    """Run the sequence in segments, and compute each once more in the backward pass.

    Only the carry between segments is kept, so the memory of a gradient is about that of one
    segment and of T / size carries, for about one more forward pass. Numbers are those of
    `Scan`. A size near the square root of T asks the least memory.

    Attributes:
        size: steps in a segment; it need not divide T, but one that does spares a copy of the
            inputs and outputs.

    Raises:
        ValueError: if `size` is below 1.

    Reference: Chen, Xu, Zhang & Guestrin, *Training deep nets with sublinear memory cost*
    (2016).
    """

    size: int

    def __post_init__(self) -> None:
        _checks.size("Chunked", "size", self.size)

    def why_not(self, call: Call) -> str | None:
        """Nothing keeps it from serving."""
        return None

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Scan over segments, each of them a plain scan."""
        return in_segments(scan_steps, call, self.size)


def in_segments(
    run: Callable[[Call], tuple[PyTree, PyTree]], call: Call, size: int
) -> tuple[PyTree, PyTree]:
    """Scan `run` over segments, then over what is left when `size` does not divide T.

    What is no longer than one segment is run as it is.
    """
    if call.num_steps <= size:
        return run(call)
    count = call.num_steps // size
    whole = count * size
    tree = (call.xs, call.mask, call.resets)
    head = jax.tree.map(lambda a: a[:whole].reshape(count, size, *a.shape[1:]), tree)
    tail = jax.tree.map(lambda a: a[whole:], tree)

    @jax.checkpoint
    def segment(carry: PyTree, inputs: Any) -> tuple[PyTree, PyTree]:
        xs, mask, resets = inputs
        here = call._replace(carry=carry, xs=xs, mask=mask, resets=resets, lengths=None)
        return run(here)

    def segments(carry: PyTree) -> tuple[PyTree, PyTree]:
        carry, ys = jax.lax.scan(segment, carry, head, reverse=call.reverse)
        return carry, jax.tree.map(lambda a: a.reshape(whole, *a.shape[2:]), ys)

    if whole == call.num_steps:
        return segments(call.carry)
    # In reading order: what is left stands at the end of time, so a reversed run begins there.
    if call.reverse:
        carry, last = segment(call.carry, tail)
        carry, first = segments(carry)
    else:
        carry, first = segments(call.carry)
        carry, last = segment(carry, tail)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, last)

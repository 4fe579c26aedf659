"""Parallel in time."""

import dataclasses
import functools

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods.base import Call
from rnnjax.methods.linear.solvers import by_doubling, in_chunks
from rnnjax.methods.linear.steps import run_linear, why_not_linear


@dataclasses.dataclass(frozen=True)
class Associative:
    """Run all steps of a linear cell in parallel.

    For cells that are linear in their carry, such as `min_gru` and `rg_lru`, on machines with
    many cores; on CPU `Linear` is faster. Numbers are those of `Scan`, up to rounding: products of
    factors are formed first, and a `carry_dtype` below float32 is rounded to at the end alone.
    First derivatives in reverse mode only.

    Attributes:
        chunk: None combines all steps by doubling, in about 2 log2(T) passes over memory; a
            number runs that many steps one after the other, in all chunks side by side, and
            combines the chunks by doubling.

    Raises:
        ValueError: if `chunk` is below 1.

    Reference: Blelloch, *Prefix sums and their applications* (1990); Martin & Cundy (2018).
    """

    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None:
            _checks.size("Associative", "chunk", self.chunk)

    def why_not(self, call: Call) -> str | None:
        """Linear cells only."""
        return why_not_linear(call)

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run at once."""
        return run_linear(call, chunked(self.chunk) if self.chunk else by_doubling)


@functools.cache
def chunked(size: int):
    """One solver a size, so that a jit cache meets it again."""
    return functools.partial(in_chunks, size=size)

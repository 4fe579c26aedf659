"""From calls to what cuDNN takes, and back.

It wants the batch first, a length of 1 at least of every row, one direction or both of every layer
with the forward one first, and all weights in one vector. That is done once, outside of what has a
gradient of its own, so that the way back finds it done.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float, Int, PyTree
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.methods.base import Call, keep, zeros_like
from rnnjax.methods.cudnn.library import Network
from rnnjax.methods.cudnn.primitives import forward
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.reverse_only import reverse_mode

Levels = tuple[tuple[Call, ...], ...]
"""Of every layer, from the lowest one, a call for each direction, forwards first."""


class Operands(NamedTuple):
    """What is given to cuDNN, but for what it does not bear.

    Attributes:
        w: all weights.
        xs: zero in the padding.
        h: of every layer and direction, L of them.
        c: the same.
        lengths: 0 to T; None means T.
    """

    w: Float[Array, " W"]
    xs: Float[Array, "B T D"]
    h: Float[Array, "L B H"]
    c: Float[Array, "L B H"]
    lengths: Int[Array, " B"] | None


def run_levels(levels: Levels, *, full: bool) -> tuple[tuple[tuple[PyTree, ...], ...], Array]:
    """The final carries in the form of `levels`, and the outputs of the top side by side."""
    calls = [call for level in levels for call in level]
    first, both_ways = calls[0], len(levels[0]) == 2
    features, hidden = first.xs.shape[-1], first.params.w_hh.shape[0]
    network = Network(features, hidden, len(levels), both_ways, full)
    operands = reverse_mode(operands_of(calls))
    operands = vary(operands, varying_axes(operands))
    turned = first.reverse and not both_ways
    ys, *carry = run(network, operands, turned)
    batch = first.xs.shape[1:-1]
    unfold = lambda x: x.reshape(*x.shape[:1], *batch, *x.shape[2:])
    h, c = map(unfold, carry)
    ends = iter([LSTMCarry(h[i], c[i]) for i in range(len(calls))])
    ys = without_padding(first, unfold(jnp.swapaxes(ys, 0, 1)))
    return tuple(tuple(next(ends) for _ in level) for level in levels), ys


def operands_of(calls: list[Call]) -> Operands:
    """Batch axes become one axis of rows."""
    first = calls[0]
    batch = first.xs.shape[1:-1]
    rows = math.prod(batch)
    fold = lambda x: x.reshape(*x.shape[:1], rows, *x.shape[1 + len(batch) :])
    h, c = (
        fold(jnp.stack([getattr(call.carry, name) for call in calls])) for name in LSTMCarry._fields
    )
    xs = jnp.swapaxes(fold(without_padding(first, first.xs)), 0, 1)
    lengths = None if first.lengths is None else first.lengths.reshape(rows)
    return Operands(vector([call.params for call in calls]), xs, h, c, lengths)


def vector(every: list[Any]) -> Float[Array, " W"]:
    """All matrices of every layer and direction, then all biases, of which cuDNN has two."""
    matrices = [w.T.reshape(-1) for params in every for w in (params.w_ih, params.w_hh)]
    none = lambda params: jnp.zeros_like(params.w_hh[0])
    biases = [
        b
        for params in every
        for b in (none(params) if params.b is None else params.b, none(params))
    ]
    return jnp.concatenate([*matrices, *biases])


def run(network: Network, operands: Operands, turned: bool) -> tuple[Array, Array, Array]:
    """Outputs, and final `h` and `c`; rows of length 0 make one step that nobody sees."""
    w, xs, h, c, lengths = operands
    if lengths is None:
        # As many as there are rows, and varying as they do.
        counts = jnp.zeros_like(xs[:, 0, 0], dtype=jnp.int32) + jnp.int32(xs.shape[1])
        begin = h, c
    else:
        some, counts = (lengths > 0)[None, :, None], jnp.maximum(lengths, 1)
        begin = jax.tree.map(lambda x: jnp.where(some, x, jnp.zeros_like(x)), (h, c))
    if turned:
        xs = turn(xs, counts)
    ys, *end = forward(network, w, xs, *begin, counts)[:3]
    if turned:
        ys = turn(ys, counts)
    if lengths is not None:
        end = jax.tree.map(lambda new, old: jnp.where(some, new, old), end, [h, c])
    return ys, end[0], end[1]


@jax.custom_vjp
def turn(xs: Float[Array, "B T D"], counts: Int[Array, " B"]) -> Float[Array, "B T D"]:
    """Turn what counts of each row around; its own inverse, and so its own gradient."""
    steps = jnp.arange(xs.shape[1], dtype=jnp.int32)[None]
    counts = counts[:, None]
    source = jnp.where(steps < counts, counts - 1 - steps, steps)
    return jnp.take_along_axis(xs, source[..., None], axis=1, mode="clip")


turn.defvjp(
    lambda xs, counts: (turn(xs, counts), counts), lambda counts, dys: (turn(dys, counts), None)
)


def without_padding(call: Call, tree: PyTree) -> PyTree:
    """Zero there, whatever cuDNN reads and writes of it, and so are gradients."""
    return tree if call.mask is None else keep(call.mask, tree, zeros_like(tree))

"""The loops over time: inference, the forward pass that keeps what gradients need, and back.

Batch axes are folded into one: rows. Buffers are `(T, B, ...)` and change in place. XLA copies
the whole buffer in every step if anything reads it that might come after a write; so each step
reads ahead, from the buffer that it has just written, what the next one will write over.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float, PyTree
from rnnjax.cells.dtypes import matmul, promote
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.fused.equations import Columns, Equations
from rnnjax.methods.fused.schedule import Plan, levels, sweep
from rnnjax.methods.manual import varying_zeros


class Timed(NamedTuple):
    """What differs from step to step: `(T, B, ...)`; None where there is none."""

    xs: Array
    mask: Bool[Array, "T B"] | None
    restarts: Bool[Array, "T B"] | None


class Kept(NamedTuple):
    """What the forward pass leaves for the backward pass.

    Attributes:
        columns: the buffers of `Equations`, `(T, B, ...)`.
        starts: the carry that each step began from, `(T, B, H)`.
    """

    columns: tuple[Array, ...]
    starts: PyTree


def row(tree: PyTree, step: Any, rows: int) -> PyTree:
    """What stands at one step in the first `rows` rows."""

    def leaf(x: Array) -> Array:
        begin = (step,) + (0,) * (x.ndim - 1)
        return jax.lax.dynamic_slice(x, begin, (1, rows, *x.shape[2:]))[0]

    return jax.tree.map(leaf, tree)


def put(buffer: Array, step: Any, value: Array, column: int = 0) -> Array:
    """Write one step's value, from row 0 and from `column` on."""
    value = value.astype(buffer.dtype)[None]
    return jax.lax.dynamic_update_slice(buffer, value, (step, 0, column))


def put_tree(buffers: PyTree, step: Any, values: PyTree) -> PyTree:
    """Write one step of every leaf."""
    return jax.tree.map(lambda buffer, value: put(buffer, step, value), buffers, values)


def put_columns(
    buffers: tuple[Array, ...], step: Any, columns: tuple[Columns, ...]
) -> tuple[Array, ...]:
    """Write one step's columns; a buffer without any stays as it is."""
    out = []
    for buffer, values in zip(buffers, columns, strict=True):
        column = 0
        for value in values:
            buffer = put(buffer, step, value, column)
            column += value.shape[-1]
        out.append(buffer)
    return tuple(out)


def blank(steps: tuple[int, int], like: Array, dtype: Any) -> Array:
    """A buffer for what is as wide as `like`; zero, since padding may never be visited."""
    return varying_zeros((*steps, like.shape[-1]), dtype, like=like)


def blank_starts(steps: tuple[int, int], carry: PyTree) -> PyTree:
    """Buffers for the carries that steps begin from."""
    return jax.tree.map(lambda c: blank(steps, c, c.dtype), carry)


def typed(tree: PyTree, like: PyTree) -> PyTree:
    """Every leaf in the dtype of its counterpart."""
    return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, like)


def advance(
    equations: Equations, weights: Any, carry: PyTree, z: Array, fresh: PyTree, now: Timed
) -> tuple[PyTree, Array, PyTree, tuple[Columns, ...]]:
    """One masked step: the new carry, the output, where it began and what it keeps."""
    start = carry if now.restarts is None else keep(now.restarts, fresh, carry)
    new, kept = equations.forward(weights, start, z)
    y, new = new.h, typed(new, carry)
    if now.mask is not None:
        y = keep(now.mask, y, zeros_like(y))
        new = keep(now.mask, new, carry)
    return new, y, start, kept


def infer(
    equations: Equations,
    plan: Plan,
    dtype: Any,
    weights: Any,
    timed: Timed,
    begin: Any,
    *,
    keep_starts: bool,
) -> tuple[Float[Array, "T B H"], PyTree, PyTree]:
    """Run without keeping gates, the inputs projected chunk by chunk."""
    w_ih, weights = weights
    carry, fresh = begin
    xs = timed.xs
    flags = timed._replace(xs=None)
    gate_dtype = promote(dtype, carry.h.dtype)

    def visit(chunk, state, buffers):
        carry, fresh = state
        rows, start = chunk.rows, chunk.start
        window = (plan.chunk, rows, xs.shape[2])
        zs = matmul(jax.lax.dynamic_slice(xs, (start, 0, 0), window), w_ih, dtype, gate_dtype)

        def body(step, state):
            (carry, z), (ys, starts) = state
            now = row(flags, start + step, rows)
            carry, y, begun, _ = advance(equations, weights, carry, z, fresh, now)
            if starts is not None:
                starts = put_tree(starts, start + step, begun)
            ahead = row(zs, plan.ahead(step), rows)
            return (carry, ahead), (put(ys, start + step, y), starts)

        begin = (carry, row(zs, chunk.first, rows))
        (carry, _), buffers = chunk.loop(body, (begin, buffers))
        return (carry, fresh), buffers

    ys = blank(xs.shape[:2], carry.h, dtype)
    starts = blank_starts(xs.shape[:2], carry) if keep_starts else None
    buffers = (ys, starts)
    state, (ys, starts) = sweep(plan, levels(plan, timed.mask), visit, (carry, fresh), buffers)
    return ys, starts, state[0]


def forward(
    equations: Equations, plan: Plan, dtype: Any, weights: Any, timed: Timed, begin: Any
) -> tuple[Float[Array, "T B H"], Kept, PyTree]:
    """Run and keep; `timed.xs` are projected inputs, whose place the kept columns take."""
    carry, fresh = begin
    zs, flags = timed.xs, timed._replace(xs=None)
    steps = zs.shape[:2]

    def visit(chunk, state, buffers):
        carry, fresh = state
        rows, start = chunk.rows, chunk.start

        def body(step, state):
            (carry, z), (columns, starts, ys) = state
            now = row(flags, start + step, rows)
            carry, y, begun, kept = advance(equations, weights, carry, z, fresh, now)
            columns = put_columns(columns, start + step, kept)
            starts, ys = put_tree((starts, ys), start + step, (begun, y))
            ahead = row(columns[0], start + plan.ahead(step), rows)
            return (carry, ahead), (columns, starts, ys)

        begin = (carry, row(buffers[0][0], start + chunk.first, rows))
        (carry, _), buffers = chunk.loop(body, (begin, buffers))
        return (carry, fresh), buffers

    _, kept = jax.eval_shape(equations.forward, weights, carry, zs[0])
    columns = (zs, *(blank(steps, carry.h, zs.dtype) for _ in kept[1:]))  # all as wide as h
    buffers = (columns, blank_starts(steps, carry), blank(steps, carry.h, dtype))
    state, buffers = sweep(plan, levels(plan, timed.mask), visit, (carry, fresh), buffers)
    columns, starts, ys = buffers
    return ys, Kept(columns, starts), state[0]


def backward(
    equations: Equations, plan: Plan, dtype: Any, weights: Any, timed: tuple, dcarry: PyTree
) -> tuple[tuple[Array, ...], tuple[PyTree, PyTree]]:
    """Turn kept columns into cotangents; also those of the first carry and of `fresh`."""
    kept, dys, flags = timed
    gate_dtype = kept.columns[0].dtype
    recurrent = equations.recurrent(weights)

    def visit(chunk, state, columns):
        rows, start = chunk.rows, chunk.start

        def body(step, state):
            (dcarry, dfresh, old), columns = state
            now = row(flags, start + step, rows)
            begun, dy = row((kept.starts, dys), start + step, rows)
            dnew = dcarry._replace(h=dcarry.h + dy.astype(gate_dtype))
            if now.mask is not None:
                dnew = keep(now.mask, dnew, zeros_like(dnew))
            dstart, deltas = equations.backward(weights, old, begun, dnew)
            columns = put_columns(columns, start + step, deltas)
            operand = equations.operand(row(columns, start + step, rows))
            product = matmul(operand, recurrent, dtype, gate_dtype)
            dstart = dstart._replace(h=dstart.h + product)
            if now.restarts is not None:
                nothing = zeros_like(dstart)
                restarted = keep(now.restarts, dstart, nothing)
                dfresh = jax.tree.map(jnp.add, dfresh, restarted)
                dstart = keep(now.restarts, nothing, dstart)
            if now.mask is not None:
                dstart = keep(now.mask, dstart, dcarry)
            ahead = row(columns, start + plan.ahead(step), rows)
            return (dstart, dfresh, ahead), columns

        dcarry, dfresh = state
        begin = (dcarry, dfresh, row(columns, start + chunk.first, rows))
        (dcarry, dfresh, _), columns = chunk.loop(body, (begin, columns))
        return (dcarry, dfresh), columns

    dcarry = jax.tree.map(lambda d: d.astype(gate_dtype), dcarry)
    dfresh = None if flags.restarts is None else zeros_like(dcarry)
    chunk_levels = levels(plan, flags.mask)
    state, deltas = sweep(plan, chunk_levels, visit, (dcarry, dfresh), kept.columns)
    return deltas, state

"""The loops over time: inference, the forward pass that keeps what gradients need, and back.

Batch axes are folded into one: rows. A single row has no such axis, and its steps run on vectors.
Buffers are `(T, B, ...)` and change in place. XLA copies the whole buffer in every step if anything
reads it that might come after a write; so each step reads ahead, from the buffer that it has just
written, what the next one will write over.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.fused.batching import as_rows
from rnnjax.methods.fused.equations import Columns, Equations
from rnnjax.methods.fused.gradient import weight_gradients
from rnnjax.methods.fused.problem import (
    Directions,
    Flags,
    Kept,
    Loops,
    Problem,
    Run,
    typed,
)
from rnnjax.methods.fused.schedule import Part, gradient_plan, inference_plan, on_cpu, sweep
from rnnjax.methods.manual import varying_zeros


def window(x: Array, step: Any, count: int, part: Part | None) -> Array:
    """What stands at `count` steps in some of the rows."""
    begin, size = ((), ()) if part is None else ((part.begin,), (part.count,))
    rest = x.shape[1 + len(size) :]
    begin, size = (step, *begin, *(0 for _ in rest)), (count, *size, *rest)
    return jax.lax.dynamic_slice(x, begin, size, allow_negative_indices=False)


def row(tree: PyTree, step: Any, part: Part | None) -> PyTree:
    """What stands at one step in some of the rows."""
    return jax.tree.map(lambda x: window(x, step, 1, part)[0], tree)


def put(buffer: Array, step: Any, part: Part | None, value: Array, column: int = 0) -> Array:
    """Write one step's value into some of the rows, from `column` on."""
    value = value.astype(buffer.dtype)[None]
    begin = (step, column) if part is None else (step, part.begin, column)
    return jax.lax.dynamic_update_slice(buffer, value, begin, allow_negative_indices=False)


def put_tree(buffers: PyTree, step: Any, part: Part | None, values: PyTree) -> PyTree:
    """Write one step of every leaf."""
    return jax.tree.map(lambda buffer, value: put(buffer, step, part, value), buffers, values)


def put_columns(
    buffers: tuple[Array, ...], step: Any, part: Part | None, columns: tuple[Columns, ...]
) -> tuple[Array, ...]:
    """Write one step's columns; a buffer without any stays as it is."""
    out = []
    for buffer, values in zip(buffers, columns, strict=True):
        column = 0
        for value in values:
            buffer = put(buffer, step, part, value, column)
            column += value.shape[-1]
        out.append(buffer)
    return tuple(out)


def blank(steps: tuple[int, ...], like: Array, dtype: Any) -> Array:
    """A buffer for what is as wide as `like`; zero, since padding may never be visited."""
    return varying_zeros((*steps, like.shape[-1]), dtype, like=like)


def blank_starts(steps: tuple[int, ...], carry: PyTree) -> PyTree:
    """Buffers for the carries that steps begin from."""
    return jax.tree.map(lambda c: blank(steps, c, c.dtype), carry)


def advance(
    equations: Equations, weights: Any, carry: PyTree, z: Array, fresh: PyTree, now: Flags
) -> tuple[PyTree, Array, PyTree, tuple[Columns, ...]]:
    """One masked step: the new carry, the output, where it began and what it keeps."""
    start = carry if now.restarts is None else keep(now.restarts, fresh, carry)
    new, kept = equations.forward(weights, start, z)
    y, new = new.h, typed(new, carry)
    if now.mask is not None:
        # Zero also what is kept: the backward pass may visit fewer invalid steps than this one.
        y, kept = keep(now.mask, (y, kept), zeros_like((y, kept)))
        new = keep(now.mask, new, carry)
    return new, y, start, kept


def infer(
    problem: Problem,
    reverse: bool,
    params: PyTree,
    timed: tuple[Array, Flags],
    begin: Any,
    *,
    keep_starts: bool,
) -> tuple[Float[Array, "T *rows H"], PyTree, PyTree]:
    """Run without keeping gates, the inputs projected chunk by chunk."""
    carry, fresh = begin
    xs, flags = timed
    equations, dtype, gate_dtype = problem.equations, problem.dtype, problem.gate_dtype
    w_ih, weights = params.w_ih, equations.weights(params, dtype)
    row_bytes = w_ih.shape[1] * jnp.dtype(gate_dtype).itemsize
    plan = gradient_plan(xs, weights.w_hh, flags.mask, reverse=reverse)
    plan = inference_plan(plan, row_bytes, weights.w_hh.size)

    def visit(chunk, state, buffers):
        start, rows = chunk.start, chunk.rows
        zs = matmul(window(xs, start, plan.chunk, rows), w_ih, dtype, gate_dtype)

        def body(step, part, state, buffers):
            (carry, fresh, ahead), (ys, starts) = state, buffers
            now = row(flags, start + step, part)
            inside = part and part.within(rows)  # zs has the rows of the block alone
            z = row(zs, step, inside) if ahead is None else ahead
            carry, y, begun, _ = advance(equations, weights, carry, z, fresh, now)
            if starts is not None:
                starts = put_tree(starts, start + step, part, begun)
            if ahead is not None:
                ahead = row(zs, plan.ahead(step), inside)
            return (carry, fresh, ahead), (put(ys, start + step, part, y), starts)

        first = None
        if equations.reads_ahead:
            first = row(zs, chunk.first, rows and rows.within(rows))
        (carry, fresh, _), buffers = chunk.loop(body, (*state, first), buffers)
        return (carry, fresh), buffers

    ys = blank(xs.shape[:-1], carry.h, dtype)
    starts = blank_starts(xs.shape[:-1], carry) if keep_starts else None
    buffers = (ys, starts)
    state, (ys, starts) = sweep(plan, flags.mask, visit, (carry, fresh), buffers)
    return ys, starts, state[0]


def forward(
    problem: Problem, reverse: bool, params: PyTree, timed: tuple[Array, Flags], begin: Any
) -> tuple[Float[Array, "T *rows H"], Kept, PyTree]:
    """Run and keep; the kept columns take the place of the projected inputs."""
    carry, fresh = begin
    xs, flags = timed
    equations, steps = problem.equations, xs.shape[:-1]
    weights = equations.weights(params, problem.dtype)
    zs = matmul(xs, params.w_ih, problem.dtype, problem.gate_dtype)
    plan = gradient_plan(zs, weights.w_hh, flags.mask, reverse=reverse)

    def visit(chunk, state, buffers):
        start = chunk.start

        def body(step, part, state, buffers):
            (carry, fresh, ahead), (columns, starts, ys) = state, buffers
            now = row(flags, start + step, part)
            z = row(columns[0], start + step, part) if ahead is None else ahead
            carry, y, begun, kept = advance(equations, weights, carry, z, fresh, now)
            columns = put_columns(columns, start + step, part, kept)
            starts, ys = put_tree((starts, ys), start + step, part, (begun, y))
            if ahead is not None:
                ahead = row(columns[0], start + plan.ahead(step), part)
            return (carry, fresh, ahead), (columns, starts, ys)

        first = None
        if equations.reads_ahead:
            first = row(buffers[0][0], start + chunk.first, chunk.rows)
        (carry, fresh, _), buffers = chunk.loop(body, (*state, first), buffers)
        return (carry, fresh), buffers

    _, kept = jax.eval_shape(equations.forward, weights, carry, zs[0])
    columns = (zs, *(blank(steps, carry.h, zs.dtype) for _ in kept[1:]))  # all as wide as h
    buffers = (columns, blank_starts(steps, carry), blank(steps, carry.h, problem.dtype))
    state, buffers = sweep(plan, flags.mask, visit, (carry, fresh), buffers)
    columns, starts, ys = buffers
    return ys, Kept(columns, starts), state[0]


def backward(
    problem: Problem,
    reverse: bool,
    params: PyTree,
    timed: tuple[Kept, Array, Flags],
    dcarry: PyTree,
) -> tuple[tuple[Array, ...], tuple[PyTree, PyTree]]:
    """Turn kept columns into cotangents; also those of the first carry and of `fresh`."""
    kept, dys, flags = timed
    equations, dtype, gate_dtype = problem.equations, problem.dtype, problem.gate_dtype
    weights = equations.weights(params, dtype)
    plan = gradient_plan(dys, weights.w_hh, flags.mask, reverse=reverse).backwards()
    recurrent = equations.recurrent(weights)

    def visit(chunk, state, columns):
        start = chunk.start

        def body(step, part, state, columns):
            dcarry, dfresh, old = state
            now = row(flags, start + step, part)
            begun, dy = row((kept.starts, dys), start + step, part)
            dnew = dcarry._replace(h=dcarry.h + dy.astype(gate_dtype))
            if now.mask is not None:
                dnew = keep(now.mask, dnew, zeros_like(dnew))
            dstart, deltas = equations.backward(weights, old, begun, dnew)
            columns = put_columns(columns, start + step, part, deltas)
            operand = equations.operand(row(columns, start + step, part))
            product = equations.product(operand, recurrent, dtype, gate_dtype)
            dstart = dstart._replace(h=dstart.h + product)
            if now.restarts is not None:
                nothing = zeros_like(dstart)
                restarted = keep(now.restarts, dstart, nothing)
                dfresh = jax.tree.map(jnp.add, dfresh, restarted)
                dstart = keep(now.restarts, nothing, dstart)
            if now.mask is not None:
                dstart = keep(now.mask, dstart, dcarry)
            ahead = row(columns, start + plan.ahead(step), part)
            return (dstart, dfresh, ahead), columns

        begin = (*state, row(columns, start + chunk.first, chunk.rows))
        (dcarry, dfresh, _), columns = chunk.loop(body, begin, columns)
        return (dcarry, dfresh), columns

    dcarry = jax.tree.map(lambda d: d.astype(gate_dtype), dcarry)
    dfresh = None if flags.restarts is None else zeros_like(dcarry)
    state, deltas = sweep(plan, flags.mask, visit, (dcarry, dfresh), kept.columns)
    return deltas, state


def each(loop: Any) -> Any:
    """Run a loop for one network after the other."""

    def run(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
        results = []
        for (_, reverse), ((params, _), timed, begin) in zip(directions, runs, strict=True):
            one = functools.partial(loop, problem, reverse)
            one = as_rows(one) if on_cpu() else one
            results.append(one(params, timed, begin))
        return results

    return run


def infer_each(
    problem: Problem, directions: Directions, runs: list[Run], *, keep_starts: bool
) -> list[Any]:
    """Infer with one network after the other."""
    return each(functools.partial(infer, keep_starts=keep_starts))(problem, directions, runs)


LOOPS = Loops(infer_each, each(forward), each(backward), weight_gradients, skip_padding=False)

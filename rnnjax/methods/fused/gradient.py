"""The whole sequence as one function with its own gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float, Int, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.fused import loops
from rnnjax.methods.fused.batching import as_rows, one_by_one
from rnnjax.methods.fused.loops import Problem
from rnnjax.methods.fused.schedule import row_order
from rnnjax.methods.reverse_only import first_order


class Operands(NamedTuple):
    """What the function takes; its cotangents have this form too.

    Batch axes are folded into one axis of rows, B, or into none where there is a single row.

    Attributes:
        params: of the cell, without a learned start.
        xs: `(T, B, D)` or `(T, D)`.
        carry: where to begin, `(B, H)` or `(H,)`.
        fresh: what a restart restores; None without restarts.
        mask: True on valid steps, `(T, B)` or `(T,)`.
        restarts: True where `fresh` replaces the carry, on valid steps alone.
    """

    params: PyTree
    xs: Float[Array, "T *rows D"]
    carry: PyTree
    fresh: PyTree
    mask: Bool[Array, "T *rows"] | None
    restarts: Bool[Array, "T *rows"] | None

    def take_rows(self, order: Array | None) -> "Operands":
        """The same with rows in another order; None leaves them."""
        return Operands(
            self.params,
            take(self.xs, order, 1),
            take(self.carry, order, 0),
            take(self.fresh, order, 0),
            take(self.mask, order, 1),
            take(self.restarts, order, 1),
        )


class Residuals(NamedTuple):
    """What the forward pass hands to the backward pass; rows stand in `order`."""

    operands: Operands
    order: Int[Array, " B"] | None
    kept: loops.Kept


def take(tree: PyTree, order: Int[Array, " B"] | None, axis: int) -> PyTree:
    """Put rows into another order; None leaves them."""
    if order is None:
        return tree
    return jax.tree.map(lambda x: x.take(order, axis, unique_indices=True, mode="clip"), tree)


def inverse(order: Int[Array, " B"] | None) -> Int[Array, " B"] | None:
    """The order that undoes another."""
    return None if order is None else jnp.argsort(order)


def arrange(problem: Problem, operands: Operands) -> tuple[Operands, Array | None]:
    """Sort the rows where the schedule skips padding."""
    mask = operands.mask
    if mask is None or problem.plan(operands.xs, operands.params.w_hh, mask).blocks == 1:
        return operands, None
    order = row_order(mask)
    return operands.take_rows(order), order


def read_only(problem: Problem, operands: Operands, *, keep_starts: bool) -> Any:
    """Outputs, the starts of steps if wanted, and the final carry, the gates thrown away."""
    params, xs, carry, fresh, mask, restarts = operands
    loop = as_rows(functools.partial(loops.infer, problem, keep_starts))
    weights = (params.w_ih, problem.equations.weights(params, problem.dtype))
    return loop(weights, (xs, loops.Flags(mask, restarts)), (carry, fresh))


def infer(problem: Problem, params: PyTree, operands: Operands) -> tuple[PyTree, Array]:
    """The final carry and the outputs, with nothing kept."""
    operands, order = arrange(problem, operands._replace(params=params))
    ys, _, carry = read_only(problem, operands, keep_starts=False)
    back = inverse(order)
    return take(carry, back, 0), take(ys, back, 1)


def forward(problem: Problem, params: PyTree, operands: Operands) -> Any:
    """The same, with what the gradient needs."""
    operands, order = arrange(problem, operands._replace(params=params))
    if problem.keep_gates:
        _, xs, carry, fresh, mask, restarts = operands
        zs = matmul(xs, params.w_ih, problem.dtype, problem.gate_dtype)
        loop = as_rows(functools.partial(loops.forward, problem))
        weights = problem.equations.weights(params, problem.dtype)
        ys, kept, carry = loop(weights, (zs, loops.Flags(mask, restarts)), (carry, fresh))
    else:
        ys, starts, carry = read_only(problem, operands, keep_starts=True)
        kept = loops.Kept(None, starts)
    back = inverse(order)
    residuals = Residuals(operands._replace(params=None), order, kept)
    return (take(carry, back, 0), take(ys, back, 1)), residuals


def backward(problem: Problem, params: PyTree, rest: tuple[Residuals, Any]) -> Operands:
    """Cotangents of all operands; what nobody asked for is dropped by the compiler."""
    (operands, order, kept), (dcarry, dys) = rest
    xs, mask = operands.xs, operands.mask
    dcarry, dys = take(dcarry, order, 0), take(dys, order, 1)
    weights = problem.equations.weights(params, problem.dtype)
    if kept.columns is None:
        columns = recompute(problem, params, weights, operands, kept.starts)
        kept = kept._replace(columns=columns)
    timed = (kept, dys, loops.Flags(mask, operands.restarts))
    loop = as_rows(functools.partial(loops.backward, problem))
    deltas, (dcarry, dfresh) = loop(weights, timed, dcarry)

    dparams = problem.equations.gradients(xs, deltas, kept.starts, params, problem.dtype)
    dxs = matmul(deltas[0], params.w_ih.T, problem.dtype, problem.gate_dtype)
    gradients = Operands(dparams, dxs, dcarry, dfresh, None, None)
    gradients = gradients.take_rows(inverse(order))
    return loops.typed(gradients, operands._replace(params=params, mask=None, restarts=None))


def apart(function: Any, problem: Problem) -> Any:
    """One of the three above, taking networks apart under `vmap`."""
    return one_by_one(functools.partial(function, problem))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def whole_sequence(
    problem: Problem, operands: Operands
) -> tuple[PyTree, Float[Array, "T *rows H"]]:
    """The final carry and the outputs."""
    return apart(infer, problem)(operands.params, operands._replace(params=None))


def whole_sequence_forward(problem: Problem, operands: Operands) -> Any:
    """The same, and what the gradient needs."""
    operands = first_order(operands)
    out, kept = apart(forward, problem)(operands.params, operands._replace(params=None))
    return out, (operands.params, kept)


def whole_sequence_backward(problem: Problem, residuals: Any, cotangents: Any) -> tuple[Operands]:
    """Cotangents of the operands."""
    params, kept = residuals
    return (apart(backward, problem)(params, (kept, first_order(cotangents))),)


whole_sequence.defvjp(whole_sequence_forward, whole_sequence_backward)


def recompute(
    problem: Problem, params: PyTree, weights: Any, operands: Operands, starts: PyTree
) -> tuple[Array, ...]:
    """The columns of all steps at once, one product for the inputs and one for the carries."""
    zs = matmul(operands.xs, params.w_ih, problem.dtype, problem.gate_dtype)
    _, columns = problem.equations.forward(weights, starts, zs)
    buffers = tuple(jnp.concatenate(parts, axis=-1) for parts in columns)
    if operands.mask is None:
        return buffers
    return keep(operands.mask, buffers, zeros_like(buffers))  # rows that the loop never visits

"""The whole sequence as one function with its own gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float, Int, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.fused import loops
from rnnjax.methods.fused.batching import one_by_one
from rnnjax.methods.fused.equations import Equations, outer
from rnnjax.methods.fused.schedule import Plan, gradient_plan, inference_plan, row_order


class Problem(NamedTuple):
    """The static part.

    Attributes:
        equations: of the cell.
        dtype: of the products' inputs and of the outputs.
        gate_dtype: in which gates are computed and kept.
        reverse: whether time runs backwards.
        keep_gates: whether gates are kept for the backward pass, or computed again.
    """

    equations: Equations
    dtype: Any
    gate_dtype: Any
    reverse: bool
    keep_gates: bool

    def plan(self, steps: Array, mask: Array | None) -> Plan:
        """The schedule for arrays like `steps`, `(T, B, ...)`."""
        return gradient_plan(*steps.shape[:2], mask is not None, self.reverse)


class Operands(NamedTuple):
    """What the function takes, batch axes folded into rows; its cotangents have this form too.

    Attributes:
        params: of the cell, without a learned start.
        xs: `(T, B, D)`.
        carry: where to begin, `(B, H)`.
        fresh: what a restart restores; None without restarts.
        mask: True on valid steps, `(T, B)`.
        restarts: True where `fresh` replaces the carry, on valid steps alone.
    """

    params: PyTree
    xs: Float[Array, "T B D"]
    carry: PyTree
    fresh: PyTree
    mask: Bool[Array, "T B"] | None
    restarts: Bool[Array, "T B"] | None

    def take_rows(self, order: Array) -> "Operands":
        """The same with rows in another order."""
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
    if mask is None or len(problem.plan(operands.xs, mask).rows) == 1:
        return operands, None
    order = row_order(mask)
    return operands.take_rows(order), order


def read_only(problem: Problem, operands: Operands, *, keep_starts: bool) -> Any:
    """Outputs, the starts of steps if wanted, and the final carry, the gates thrown away."""
    params, xs, carry, fresh, mask, restarts = operands
    step_bytes = xs.shape[1] * params.w_ih.shape[1] * jnp.dtype(problem.gate_dtype).itemsize
    plan = inference_plan(problem.plan(xs, mask), step_bytes, params.w_hh.size)
    loop = functools.partial(
        loops.infer, problem.equations, plan, problem.dtype, keep_starts=keep_starts
    )
    weights = (params.w_ih, problem.equations.weights(params, problem.dtype))
    return one_by_one(loop)(weights, loops.Timed(xs, mask, restarts), (carry, fresh))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def whole_sequence(problem: Problem, operands: Operands) -> tuple[PyTree, Float[Array, "T B H"]]:
    """The final carry and the outputs, with nothing kept."""
    operands, order = arrange(problem, operands)
    ys, _, carry = read_only(problem, operands, keep_starts=False)
    back = inverse(order)
    return take(carry, back, 0), take(ys, back, 1)


def run_forward(problem: Problem, operands: Operands) -> Any:
    """The same, with what the gradient needs."""
    operands, order = arrange(problem, operands)
    params, xs, carry, fresh, mask, restarts = operands
    if problem.keep_gates:
        zs = matmul(xs, params.w_ih, problem.dtype, problem.gate_dtype)
        plan = problem.plan(zs, mask)
        loop = functools.partial(loops.forward, problem.equations, plan, problem.dtype)
        weights = problem.equations.weights(params, problem.dtype)
        timed = loops.Timed(zs, mask, restarts)
        ys, kept, carry = one_by_one(loop)(weights, timed, (carry, fresh))
    else:
        ys, starts, carry = read_only(problem, operands, keep_starts=True)
        kept = loops.Kept(None, starts)
    back = inverse(order)
    return (take(carry, back, 0), take(ys, back, 1)), Residuals(operands, order, kept)


def run_backward(problem: Problem, residuals: Residuals, cotangents: Any) -> tuple[Operands]:
    """Cotangents of all operands; what nobody asked for is dropped by the compiler."""
    operands, order, kept = residuals
    params, xs, _, _, mask, restarts = operands
    dcarry, dys = first_order(cotangents)
    dcarry, dys = take(dcarry, order, 0), take(dys, order, 1)
    weights = problem.equations.weights(params, problem.dtype)
    if kept.columns is None:
        kept = kept._replace(columns=recompute(problem, operands, weights, kept.starts))
    plan = problem.plan(kept.columns[0], mask).backwards()
    loop = functools.partial(loops.backward, problem.equations, plan, problem.dtype)
    timed = (kept, dys, loops.Timed(None, mask, restarts))
    deltas, (dcarry, dfresh) = one_by_one(loop)(weights, timed, dcarry)

    dparams = problem.equations.gradients(deltas, kept.starts, params, problem.dtype)
    dparams = dparams._replace(w_ih=outer(xs, deltas[0], problem.dtype))
    dxs = matmul(deltas[0], params.w_ih.T, problem.dtype, problem.gate_dtype)
    gradients = Operands(dparams, dxs, dcarry, dfresh, None, None)
    if order is not None:
        gradients = gradients.take_rows(inverse(order))
    wanted = operands._replace(mask=None, restarts=None)
    return (loops.typed(gradients, wanted),)


whole_sequence.defvjp(run_forward, run_backward)


def recompute(problem: Problem, operands: Operands, weights: Any, starts: PyTree) -> Any:
    """The columns of all steps at once, one product for the inputs and one for the carries."""
    zs = matmul(operands.xs, operands.params.w_ih, problem.dtype, problem.gate_dtype)
    _, columns = problem.equations.forward(weights, starts, zs)
    buffers = tuple(jnp.concatenate(parts, axis=-1) for parts in columns)
    if operands.mask is None:
        return buffers
    return keep(operands.mask, buffers, zeros_like(buffers))  # rows that the loop never visits


@jax.custom_jvp
def first_order(cotangents: PyTree) -> PyTree:
    """The same, but whoever differentiates the backward pass is told what to do."""
    return cotangents


@first_order.defjvp
def refuse_second_order(primals: Any, tangents: Any) -> Any:
    """Raise in the words of a user."""
    raise TypeError(
        "unroll: the method Fused has first derivatives in reverse mode only; "
        "give method=rnnjax.Scan() for second derivatives and for forward mode."
    )

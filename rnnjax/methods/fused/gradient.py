"""The whole sequence as one function with its own gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float, Int, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.fused.batching import apart
from rnnjax.methods.fused.problem import Flags, Kept, Problem, Products, Run, typed
from rnnjax.methods.fused.schedule import gradient_plan, on_cpu, row_order
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
        stack: `w_ih` and `w_hh` of all networks of a call, in whose place loops may read them:
            to cut them out of a stack is to copy them. Without cotangents.
    """

    params: PyTree
    xs: Float[Array, "T *rows D"]
    carry: PyTree
    fresh: PyTree
    mask: Bool[Array, "T *rows"] | None
    restarts: Bool[Array, "T *rows"] | None
    stack: tuple[Float[Array, "N D G"], Float[Array, "N H G"]] | None = None

    def take_rows(self, order: Array | None) -> "Operands":
        """The same with rows in another order; None leaves them."""
        return Operands(
            self.params,
            take(self.xs, order, 1),
            take(self.carry, order, 0),
            take(self.fresh, order, 0),
            take(self.mask, order, 1),
            take(self.restarts, order, 1),
            self.stack,
        )


class Residuals(NamedTuple):
    """What the forward pass hands to the backward pass; rows stand in `order`."""

    operands: Operands
    order: Int[Array, " B"] | None
    kept: Kept


Networks = tuple[tuple[PyTree, Any], ...]
"""Params, and what else a function reads, of every network."""


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
    if mask is None or problem.loops.skip_padding:
        return operands, None
    if gradient_plan(operands.xs, operands.params.w_hh, mask).blocks == 1:
        return operands, None
    order = row_order(mask)
    return operands.take_rows(order), order


def runs_of(networks: list[Operands]) -> list[Run]:
    """What the loops forwards take."""
    return [
        Run((params, stack), (xs, Flags(mask, restarts)), (carry, fresh))
        for params, xs, carry, fresh, mask, restarts, stack in networks
    ]


def infer(problem: Problem, networks: Networks) -> tuple[Any, ...]:
    """The final carry and the outputs of every network, with nothing kept."""
    arranged = [arrange(problem, rest._replace(params=params)) for params, rest in networks]
    directions = problem.directions(len(networks))
    runs = runs_of([operands for operands, _ in arranged])
    results = problem.loops.infer(problem, directions, runs, keep_starts=False)
    backs = [inverse(order) for _, order in arranged]
    return tuple(
        (take(carry, back, 0), take(ys, back, 1))
        for (ys, _, carry), back in zip(results, backs, strict=True)
    )


def forward(problem: Problem, networks: Networks) -> tuple[Any, ...]:
    """The same, with what the gradient needs."""
    arranged = [arrange(problem, rest._replace(params=params)) for params, rest in networks]
    directions = problem.directions(len(networks))
    runs = runs_of([operands for operands, _ in arranged])
    if problem.keep_gates:
        results = problem.loops.forward(problem, directions, runs)
    else:
        results = problem.loops.infer(problem, directions, runs, keep_starts=True)
        results = [(ys, Kept(None, starts), carry) for ys, starts, carry in results]
    out = []
    for (operands, order), (ys, kept, carry) in zip(arranged, results, strict=True):
        back = inverse(order)
        residuals = Residuals(operands._replace(params=None), order, kept)
        out.append(((take(carry, back, 0), take(ys, back, 1)), residuals))
    return tuple(out)


def backward(problem: Problem, networks: Networks) -> tuple[Operands, ...]:
    """Cotangents of all operands; what nobody asked for is dropped by the compiler."""
    runs = []
    for params, ((operands, order, kept), (dcarry, dys)) in networks:
        dcarry, dys = take(dcarry, order, 0), take(dys, order, 1)
        if kept.columns is None:
            kept = kept._replace(columns=recompute(problem, params, operands, kept.starts))
        timed = (kept, dys, Flags(operands.mask, operands.restarts))
        runs.append(Run((params, operands.stack), timed, dcarry))
    results = problem.loops.backward(problem, problem.directions(len(networks)), runs)
    products = [
        Products(params, operands.xs, deltas, run.timed[0].starts, operands.mask)
        for (params, ((operands, _, _), _)), run, (deltas, _) in zip(
            networks, runs, results, strict=True
        )
    ]
    gradients = problem.loops.gradients(problem, products)
    cases = zip(networks, results, gradients, strict=True)
    return tuple(after_loop(problem, *case) for case in cases)


def after_loop(problem: Problem, network: Any, result: Any, dparams: PyTree) -> Operands:
    """The cotangents of one network's operands, from what its backward loop returns."""
    params, ((operands, order, _), _) = network
    deltas, (dcarry, dfresh) = result
    dxs = matmul(deltas[0], params.w_ih.T, problem.dtype, problem.gate_dtype)
    gradients = Operands(dparams, dxs, dcarry, dfresh, None, None)
    gradients = gradients.take_rows(inverse(order))
    return typed(gradients, operands._replace(params=params, mask=None, restarts=None, stack=None))


def weight_gradients(problem: Problem, networks: list[Products]) -> list[PyTree]:
    """The gradients of params, one network after the other."""
    results = []
    for params, xs, deltas, starts, mask in networks:
        if problem.loops.skip_padding:  # else it is zero already
            xs = without_padding(xs, mask)
        results.append(problem.equations.gradients(xs, deltas, starts, params, problem.dtype))
    return results


def without_padding(xs: Array, mask: Array | None) -> Array:
    """Zero what stands there before it comes to a product: 0 times NaN is NaN."""
    return xs if mask is None else keep(mask, xs, zeros_like(xs))


def each(function: Any, problem: Problem, networks: tuple[tuple[PyTree, Any], ...]) -> Any:
    """One of the three above; under `vmap` it is called with more networks."""
    run = functools.partial(function, problem)
    return (apart(run) if problem.loops.one_call or on_cpu() else run)(networks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def whole_sequence(problem: Problem, networks: tuple[Operands, ...]) -> tuple[Any, ...]:
    """The final carry and the outputs, `(T, *rows, H)`, of each network."""
    return each(infer, problem, tuple((n.params, n._replace(params=None)) for n in networks))


def whole_sequence_forward(problem: Problem, networks: tuple[Operands, ...]) -> Any:
    """The same, and what the gradient needs."""
    networks = first_order(networks)
    pairs = tuple((n.params, n._replace(params=None)) for n in networks)
    out, kept = zip(*each(forward, problem, pairs), strict=True)
    return out, (tuple(n.params for n in networks), kept)


def whole_sequence_backward(problem: Problem, residuals: Any, cotangents: Any) -> tuple[Any, ...]:
    """Cotangents of the operands."""
    rests = zip(*residuals, first_order(cotangents), strict=True)
    return (each(backward, problem, tuple((params, (kept, d)) for params, kept, d in rests)),)


whole_sequence.defvjp(whole_sequence_forward, whole_sequence_backward)


def recompute(
    problem: Problem, params: PyTree, operands: Operands, starts: PyTree
) -> tuple[Array, ...]:
    """The columns of all steps at once, one product for the inputs and one for the carries."""
    zs = matmul(operands.xs, params.w_ih, problem.dtype, problem.gate_dtype)
    weights = problem.equations.weights(params, problem.dtype)
    _, columns = problem.equations.forward(weights, starts, zs)
    buffers = tuple(jnp.concatenate(parts, axis=-1) for parts in columns)
    if operands.mask is None:
        return buffers
    return keep(operands.mask, buffers, zeros_like(buffers))  # rows that the loop never visits

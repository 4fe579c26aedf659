"""The iteration, and the whole sequence as one function with its own gradient."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float, Int, PyTree
from rnnjax.cells.base import Cell
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.newton.linear import solve, transpose
from rnnjax.methods.newton.steps import (
    Operands,
    advance,
    last_valid,
    linearise,
    one_by_one,
    one_by_one_back,
    project,
    shift,
)
from rnnjax.methods.newton.units import is_exact
from rnnjax.methods.reverse_only import first_order


class Problem(NamedTuple):
    """What is static about a run; `poison` is whether NaN answers where nothing converged."""

    cell: Cell
    reverse: bool
    max_iterations: int
    tolerance: float | None
    poison: bool


class Progress(NamedTuple):
    """Where the iteration stands: the carries after all steps, and how they were come by.

    `last` and `first` are the sizes of the last update and of the first.
    """

    states: PyTree
    iterations: Int[Array, ""]
    last: Float[Array, ""]
    first: Float[Array, ""]
    converged: Bool[Array, ""]


def iterate(problem: Problem, operands: Operands) -> Progress:
    r"""Solve $h_t = f(h_{t-1}, x_t)$ for all t at once.

    What every step misses by, $r_t = f(h_{t-1}, x_t) - h_t$, is made good by the solution of
    $\delta_t = J_t \delta_{t-1} + r_t$. So rounding in J does not matter, and where r is zero the
    states are those of the steps themselves. A number that overflows on the way takes the value
    of the step instead.
    """
    cell, params, reverse = problem.cell, operands.params, problem.reverse
    zs = project(cell, params, operands.xs, operands.mask)
    inputs = zs, operands.flags
    num_steps = jax.tree.leaves(operands.xs)[0].shape[0]

    def start(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf, (num_steps, *leaf.shape))

    states, _ = cell.step(params, jax.tree.map(start, operands.carry), zs)
    structure, dtype = jax.tree.structure(states), jax.tree.leaves(states)[0].dtype

    def improve(progress: Progress) -> Progress:
        old = tuple(jax.tree.leaves(progress.states))
        before = shift(progress.states, operands.carry, reverse=reverse)
        after, blocks = linearise(cell, params, before, operands.fresh, inputs)
        steps = tuple(jax.tree.leaves(after))
        deltas = solve(blocks, tuple(map(operator.sub, steps, old)), None, reverse=reverse)
        new = tuple(map(operator.add, old, deltas))
        sizes = [jnp.abs(d) / (1 + jnp.abs(h)) for d, h in zip(deltas, new, strict=True)]
        last = functools.reduce(jnp.maximum, [size.max(initial=0) for size in sizes])
        first = jnp.where(progress.iterations == 0, last, progress.first)
        now = Progress(progress.states, progress.iterations + 1, last, first, progress.converged)
        new = [jnp.where(jnp.isfinite(h), h, step) for h, step in zip(new, steps, strict=True)]
        converged = has_converged(problem, now, progress.last)
        return now._replace(states=jax.tree.unflatten(structure, new), converged=converged)

    def goes_on(progress: Progress) -> Array:
        return ~progress.converged & (progress.iterations < problem.max_iterations)

    nothing = jnp.zeros((), dtype)
    begin = (jnp.zeros((), jnp.int32), nothing, nothing, jnp.zeros((), bool))
    begin = Progress(states, *vary(begin, varying_axes(states)))
    return jax.lax.while_loop(goes_on, improve, begin)


def has_converged(problem: Problem, now: Progress, before: Float[Array, ""]) -> Bool[Array, ""]:
    r"""Whether what is still missing is within the tolerance; never where it is not a number.

    With the whole Jacobian an update is the error that was left, to first order. With its diagonal
    errors shrink by a rate $\theta$, so that after the update $\delta$ there remain
    $\delta (\theta + \theta^2 + ...) = \delta \theta / (1 - \theta)$. The rate is that of this
    iteration, or of all together where that is worse or where updates are mere rounding.
    """
    dtype, tolerance = now.last.dtype, problem.tolerance
    rounding = float(jnp.finfo(dtype).eps)
    tolerance = 64 * rounding if tolerance is None else tolerance
    within = now.last <= tolerance
    if is_exact(problem.cell):
        return within
    count = jnp.maximum(now.iterations - 1, 1).astype(dtype)
    overall = jnp.power(now.last / now.first, 1 / count)
    rate = jnp.where(now.last > 8 * rounding, jnp.maximum(overall, now.last / before), overall)
    remaining = now.last * rate <= tolerance * (1 - rate)
    return within & jnp.where(now.iterations > 1, remaining, now.last == 0)


def residual(problem: Problem, operands: Operands, states: PyTree) -> Float[Array, ""]:
    """The largest number by which a step misses the carry after it."""
    before = shift(states, operands.carry, reverse=problem.reverse)
    after, _ = evaluate_steps(
        problem, operands, operands.params, operands.xs, before, operands.fresh
    )
    gaps = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b), after, states))
    return functools.reduce(jnp.maximum, [gap.max(initial=0) for gap in gaps])


def unless(done: Bool[Array, ""], tree: PyTree, compute: Callable[[], PyTree]) -> PyTree:
    """`tree` where `done`, else what `compute` returns.

    A loop of one turn at most: under `vmap` a `cond` would always run both branches, and this
    computes only where a member of the batch needs it.
    """

    def turn(state: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        return ~state[0], compute()

    return jax.lax.while_loop(lambda state: ~state[0], turn, (done, tree))[1]


def evaluate_steps(
    problem: Problem,
    operands: Operands,
    params: PyTree,
    xs: PyTree,
    before: PyTree,
    fresh: PyTree,
) -> tuple[PyTree, PyTree]:
    """All steps side by side from the carries before them: the carries after, and the outputs."""
    zs = project(problem.cell, params, xs, operands.mask)
    return advance(problem.cell, params, before, fresh, (zs, operands.flags))


def infer(problem: Problem, operands: Operands) -> tuple[Any, Any]:
    """The final carry and the outputs; and the states and whether they converged."""
    progress = iterate(problem, operands)
    states, converged = progress.states, progress.converged
    if not problem.poison:
        alone = functools.partial(one_by_one, problem.cell, operands, reverse=problem.reverse)
        states = unless(converged, states, alone)
    before = shift(states, operands.carry, reverse=problem.reverse)
    after, ys = evaluate_steps(
        problem, operands, operands.params, operands.xs, before, operands.fresh
    )
    last = last_valid(after, operands.carry, operands.mask, reverse=problem.reverse)
    return poisoned(problem, converged, (last, ys)), (states, converged)


def poisoned(problem: Problem, converged: Bool[Array, ""], tree: PyTree) -> PyTree:
    """NaN in the place of every number of a run that did not converge, where that was chosen."""
    if not problem.poison:
        return tree

    def leaf(a: Array) -> Array:
        is_floating = jnp.issubdtype(a.dtype, jnp.floating)
        return jnp.where(converged, a, jnp.full_like(a, jnp.nan)) if is_floating else a

    return jax.tree.map(leaf, tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def whole_sequence(problem: Problem, operands: Operands) -> tuple[PyTree, PyTree]:
    """The final carry and the outputs."""
    return infer(problem, operands)[0]


def whole_sequence_forward(problem: Problem, operands: Operands) -> Any:
    """The same, and what the gradient needs: of the iteration, the last states alone."""
    operands = first_order(operands)
    out, kept = infer(problem, operands)
    return out, (operands, *kept)


def whole_sequence_backward(problem: Problem, residuals: Any, cotangents: Any) -> tuple[Operands]:
    r"""Cotangents of the operands, by the implicit function theorem at the last states.

    $\lambda_t = \bar y_t + J_{t+1}^T \lambda_{t+1}$ is one linear recurrence, whatever the number
    of iterations; then all steps are differentiated side by side.
    """
    operands, states, converged = residuals
    dlast, dys = first_order(cotangents)
    cell, reverse = problem.cell, problem.reverse
    before = shift(states, operands.carry, reverse=reverse)
    run = functools.partial(evaluate_steps, problem, operands)
    point = operands.params, operands.xs, before, operands.fresh
    _, pull = jax.vjp(run, *point)
    alone = functools.partial(
        one_by_one_back, cell, operands, before, (dlast, dys), reverse=reverse
    )
    if is_exact(cell):
        sources = pull((jax.tree.map(jnp.zeros_like, states), dys))[2]
        zs = project(cell, operands.params, operands.xs, operands.mask)
        fresh, inputs = operands.fresh, (zs, operands.flags)
        _, blocks = linearise(cell, operands.params, before, fresh, inputs)
        leaves, structure = jax.tree.flatten(sources)
        begin = tuple(jax.tree.leaves(dlast))
        totals = solve(transpose(blocks), tuple(leaves), begin, reverse=not reverse)
        finite = functools.reduce(operator.and_, [jnp.isfinite(a).all() for a in totals])
        bars = unless(converged & finite, jax.tree.unflatten(structure, totals), alone)
    else:
        bars = alone()
    after_bars = shift(bars, dlast, reverse=not reverse)
    dparams, dxs, _, dfresh = pull((after_bars, dys))
    dcarry = jax.tree.map(lambda a: a[-1 if reverse else 0], bars)
    gradients = Operands(dparams, dxs, dcarry, dfresh, None, None)
    return (poisoned(problem, converged, gradients),)


whole_sequence.defvjp(whole_sequence_forward, whole_sequence_backward)

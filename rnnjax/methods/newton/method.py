"""The method that evaluates all steps at once."""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Float, Int, PyTree
from rnnjax.cells.base import Cell
from rnnjax.methods.base import Call
from rnnjax.methods.manual import vary, varying_axes, why_not_explicit
from rnnjax.methods.newton.sequence import Problem, iterate, residual, whole_sequence
from rnnjax.methods.newton.steps import Operands
from rnnjax.methods.newton.units import units_of
from rnnjax.methods.reverse_only import reverse_mode


class NewtonReport(NamedTuple):
    """How the iteration of `Newton` went, before any fallback; see `newton_report`.

    Attributes:
        converged: whether the last update was within the tolerance, everywhere.
        iterations: how many updates were made.
        residual: the largest $|f(h_{t-1}, x_t) - h_t|$ of any step, row and unit at the end.
    """

    converged: Bool[Array, ""]
    iterations: Int[Array, ""]
    residual: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Newton:
    r"""Evaluate all steps at once: guess every carry, and mend all of them by Newton's iteration.

    $$ h_t \leftarrow h_t + \delta_t, \qquad
       \delta_t = J_t \delta_{t-1} + f(h_{t-1}, x_t) - h_t $$

    The recurrence of $\delta$ is linear, so a parallel scan solves it in about log T rounds.
    The first guess takes every step from the carry at which the sequence begins. It has
    converged when, for every step, row, unit and state, $|\delta| \le$ `tolerance` $(1 + |h|)$,
    and, with a part of the Jacobian alone, so is what later updates would add if they went on
    shrinking at the rate seen.

    For cells whose units do not read one another (`para_gru`, `para_lstm`, and cells of yours
    with `form=rnnjax.cells.DiagonalForm(H)`), J is the whole Jacobian, and convergence is
    quadratic. For the plain LSTM, GRU and Elman cell it is the diagonal, exactly, and the rest
    is left out: convergence is linear, and asks more iterations.

    It is for contracting dynamics, which forget where they began. Where that fails the iteration
    mends about one step a time, and `max_iterations` ends it. What happens then is chosen by
    `fallback`, so the numbers are never those of an iteration that did not converge.

    The gradient is taken at the last carries, at the cost of one more linear recurrence, however
    many iterations there were. For cells with a diagonal Jacobian that is a parallel scan as
    well; for the plain LSTM, GRU and Elman cell it is a scan over time with the whole Jacobian
    of each step, so there only the forward pass is parallel. First derivatives in reverse mode
    only: forward mode and second derivatives raise a TypeError, and `Scan` serves them.

    Attributes:
        max_iterations: updates after which the iteration gives up.
        tolerance: see above; None is 64 roundings of the carry's dtype, 7.6e-6 in float32.
        fallback: what answers where the iteration gave up, for the whole call. `"scan"`: the
            steps are run one after the other, in the same compiled program, and numbers and
            gradients are those of `Scan`. `"nan"`: every floating output, the final carry and
            every gradient is NaN; nothing is raised, since compiled code cannot. Under `vmap`
            each member of the batch answers for itself.

    Raises:
        TypeError: if `max_iterations` is no whole number, or `tolerance` no float.
        ValueError: if `max_iterations` is below 1, `tolerance` not above 0, or `fallback` unknown.

    Reference: Lim et al., *Parallelizing non-linear sequential models over the sequence length*
    (2024); the diagonal, Gonzalez et al., *Towards scalable and stable parallelization of
    nonlinear RNNs* (2024); Danieli et al., *ParaRNN* (2025).
    """

    max_iterations: int = 50
    tolerance: float | None = None
    fallback: Literal["scan", "nan"] = "scan"

    def __post_init__(self) -> None:
        _checks.size("Newton", "max_iterations", self.max_iterations)
        if self.tolerance is not None and _checks.real("Newton", "tolerance", self.tolerance) <= 0:
            way_out = "None is 64 roundings"
            _checks.refuse("Newton", "tolerance", "be above 0", self.tolerance, way_out)
        _checks.choice("Newton", "fallback", self.fallback, ("scan", "nan"))

    def why_not(self, call: Call) -> str | None:
        """Other cells, narrow carries and meshes with explicit axes are for `Scan`."""
        if units_of(call.cell) is None:
            return (
                "it knows cells whose form is a DiagonalForm and the plain LSTM, GRU and Elman "
                "cell, and this cell is none of them"
            )
        leaves, structure = jax.tree.flatten((call.params, call.xs))
        kinds = tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        return why_not_explicit() or _why_not_carry(call.cell, structure, kinds)

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run all steps at once."""
        return whole_sequence(self.problem(call), reverse_mode(operands_of(call)))

    def runs_together(self, call: Call) -> bool:
        """Each direction stops as soon as it has converged."""
        return True

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls one after the other; `stack` has params of them all."""
        del stack  # each network reads its own
        return [self.run(call) for call in calls]

    def report(self, call: Call) -> NewtonReport:
        """Iterate, and say how it went; `rnnjax.newton_report` is this at the public door."""
        if not call.num_steps:
            nothing = jnp.zeros((), jax.tree.leaves(call.carry)[0].dtype)
            return NewtonReport(jnp.asarray(True), jnp.zeros((), jnp.int32), nothing)
        problem, operands = self.problem(call), operands_of(call)
        end = iterate(problem, operands)
        missing = residual(problem, operands, end.states)
        return NewtonReport(end.converged, end.iterations, missing)

    def problem(self, call: Call) -> Problem:
        """What is static about a call."""
        poison = self.fallback == "nan"
        return Problem(call.cell, call.reverse, self.max_iterations, self.tolerance, poison)


def operands_of(call: Call) -> Operands:
    """What a call is a function of, varying over the same axes of a manual mesh."""
    operands = Operands(call.params, call.xs, call.carry, call.fresh, call.mask, call.resets)
    return vary(operands, varying_axes(operands))


@functools.lru_cache(maxsize=1024)  # eager calls ask again and again
def _why_not_carry(cell: Cell, structure: Any, kinds: tuple[Any, ...]) -> str | None:
    """Units need one array a state, in a dtype that bears an iteration."""
    like = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
    params, xs = jax.tree.unflatten(structure, like)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    carry = jax.eval_shape(cell.init_carry, params, first)
    found = sorted({f"{a.dtype} of shape {a.shape}" for a in jax.tree.leaves(carry)})
    dtypes = {a.dtype for a in jax.tree.leaves(carry)}
    if len(found) != 1:
        return f"it knows carries whose arrays are alike, and here are {', '.join(found) or 'none'}"
    if not dtypes <= {jnp.dtype("float32"), jnp.dtype("float64")}:
        return f"it iterates on carries in float32 or float64, and here is {found[0]}"
    return None

"""What the loops are told and return; whoever runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rnnjax._typing import Array, Bool, PyTree
from rnnjax.methods.fused.equations import Equations
from rnnjax.methods.fused.forms import equations_of
from rnnjax.methods.fused.schedule import Plan, gradient_plan


class Run(NamedTuple):
    """What a loop takes of one network: weights, arrays over time, and the carry to begin with."""

    weights: Any
    timed: Any
    begin: Any


class Loops(NamedTuple):
    """The loops over time; each takes a list of runs, and returns a list of results.

    Attributes:
        infer: `problem, keep_starts, runs -> [(ys, starts, carry)]`; `timed` is `(xs, flags)`,
            `begin` `(carry, fresh)`, weights `(w_ih, those of Equations)`.
        forward: `problem, runs -> [(ys, kept, carry)]`; `timed` is `(projected inputs, flags)`.
        backward: `problem, runs -> [(deltas, (dcarry, dfresh))]`; `timed` is
            `(kept, dys, flags)`, `begin` the cotangent of the final carry.
        sort_rows: whether padding is skipped by sorting rows before the loops.
    """

    infer: Callable[..., list[Any]]
    forward: Callable[..., list[Any]]
    backward: Callable[..., list[Any]]
    sort_rows: bool


class Problem(NamedTuple):
    """The static part.

    Attributes:
        form: of the cell, one that is known here.
        dtype: of the products' inputs and of the outputs.
        gate_dtype: in which gates are computed and kept.
        reverse: whether time runs backwards.
        keep_gates: whether gates are kept for the backward pass, or computed again.
        loops: who runs the steps.
    """

    form: Any
    dtype: Any
    gate_dtype: Any
    reverse: bool
    keep_gates: bool
    loops: Loops

    @property
    def equations(self) -> Equations:
        """Those of the cell."""
        equations = equations_of(self.form)
        assert equations is not None
        return equations

    def plan(self, steps: Array, w_hh: Array, mask: Array | None) -> Plan:
        """The schedule for arrays like `steps`, `(T, B, ...)`."""
        masked = mask is not None
        return gradient_plan(steps.shape[:-1], w_hh.size, masked=masked, reverse=self.reverse)


class Flags(NamedTuple):
    """What every step is told, `(T, B)` or `(T,)`; None where there is none."""

    mask: Bool[Array, "T *rows"] | None
    restarts: Bool[Array, "T *rows"] | None


class Kept(NamedTuple):
    """What the forward pass leaves for the backward pass.

    Attributes:
        columns: the buffers of `Equations`, `(T, B, ...)`; None where they are computed again.
        starts: the carry that each step began from, `(T, B, H)`.
    """

    columns: tuple[Array, ...] | None
    starts: PyTree


def typed(tree: PyTree, like: PyTree) -> PyTree:
    """Every leaf in the dtype of its counterpart."""
    return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, like)

"""The fused method."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.dtypes import promote
from rnnjax.cells.elman import ElmanForm
from rnnjax.cells.gru import GRUForm
from rnnjax.cells.lstm import LSTMForm
from rnnjax.methods.base import Call, keep, scan_steps, zeros_like
from rnnjax.methods.chunked import in_segments
from rnnjax.methods.fused import elman, gru, lstm
from rnnjax.methods.fused.equations import Equations
from rnnjax.methods.fused.gradient import Operands, whole_sequence
from rnnjax.methods.fused.loops import Problem
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.reverse_only import reverse_mode


@dataclasses.dataclass(frozen=True)
class Fused:
    """Run the whole sequence as one function with a gradient of its own.

    For the plain LSTM, GRU (both resets) and Elman cell. Inputs are projected outside the loop,
    a step has one product (two in a GRU that resets before it), activated gates are kept in the
    place of the projected inputs, and the gradients of weights and inputs are single products
    after the backward loop. On CPU, with `lengths` or a mask, rows are sorted inside, so that
    most of the padding is skipped. Numbers are those of `Scan`, up to the order of summation.

    First derivatives in reverse mode only: forward mode and second derivatives raise a
    TypeError, and `Scan` serves them.

    Attributes:
        keep_gates: whether the forward pass keeps the activated gates. Without them it keeps
            just the carries, so that of a stack one layer's gates are alive at a time; a
            gradient then asks one more product over all steps, and for that layer more memory.
        segment: steps between two carries that are kept; each segment is computed once more in
            the backward pass, so that memory is that of one segment and of T / segment carries.
            None keeps what all steps need.

    Raises:
        TypeError: if `keep_gates` is no bool.
        ValueError: if `segment` is below 1.

    Reference: Appleyard, Kocisky & Blunsom, *Optimizing performance of recurrent neural
    networks on GPUs* (2016); the segments, Chen et al. (2016).
    """

    keep_gates: bool = True
    segment: int | None = None

    def __post_init__(self) -> None:
        _checks.flag("Fused", "keep_gates", self.keep_gates)
        if self.segment is not None:
            _checks.size("Fused", "segment", self.segment)

    def why_not(self, call: Call) -> str | None:
        """Cells without a standard form, and meshes with explicit axes, are for `Scan`."""
        if equations_of(call.cell.form) is None:
            return "it knows the plain LSTM, GRU and Elman cell, and this cell is none of them"
        if jax.sharding.get_abstract_mesh().explicit_axes:
            return "it does not run on a mesh with explicit axes"
        return None

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run at once, or segment by segment."""
        if not call.num_steps:
            return scan_steps(call)  # nothing runs
        if self.segment is None:
            return self._run(call)
        return in_segments(self._run, call, self.segment)

    def _run(self, call: Call) -> tuple[PyTree, PyTree]:
        problem = self._problem(call)
        batch = call.xs.shape[1:-1]
        rows = () if math.prod(batch) == 1 else (math.prod(batch),)

        def timed(x: Any) -> Any:
            return None if x is None else x.reshape(x.shape[0], *rows, *x.shape[1 + len(batch) :])

        def folded(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda x: x.reshape(*rows, x.shape[-1]), tree)

        mask, resets = call.mask, call.resets
        # What stands in the padding must not reach a product: 0 times NaN is NaN.
        xs = call.xs if mask is None else keep(mask, call.xs, zeros_like(call.xs))
        restarts = resets if mask is None or resets is None else resets & mask
        params = call.params._replace(initial=None)
        begin, fresh = folded(call.carry), folded(call.fresh)
        operands = Operands(params, timed(xs), begin, fresh, timed(mask), timed(restarts))
        operands = reverse_mode(vary(operands, varying_axes(operands)))
        out: Any = whole_sequence(problem, operands)
        carry, ys = out
        carry = jax.tree.map(lambda c: c.reshape(*batch, c.shape[-1]), carry)
        return carry, ys.reshape(*ys.shape[:1], *batch, ys.shape[-1])

    def _problem(self, call: Call) -> Problem:
        """What is static about a call."""
        dtype = jax.eval_shape(call.cell.project, call.params, call.xs).dtype
        gate_dtype = promote(dtype, jnp.result_type(call.carry.h))
        equations = equations_of(call.cell.form)
        assert equations is not None
        return Problem(equations, dtype, gate_dtype, call.reverse, self.keep_gates)


def equations_of(form: Any) -> Equations | None:
    """The equations of a cell's form; None for those that are not known here."""
    match form:
        case LSTMForm():
            return lstm.EQUATIONS
        case GRUForm(reset="after"):
            return gru.AFTER
        case GRUForm(reset="before"):
            return gru.BEFORE
        case ElmanForm(activation=activation):
            return elman.equations(activation)
    return None

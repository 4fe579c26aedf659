"""The method for TPUs."""

import dataclasses

from rnnjax._typing import PyTree
from rnnjax.cells.linear import LinearForm
from rnnjax.methods.base import Call, TogetherMethod
from rnnjax.methods.dtypes import dtypes_of
from rnnjax.methods.fused.sequence import run_at_once
from rnnjax.methods.linear.steps import run_linear
from rnnjax.methods.pallas.reasons import why_not_placed, why_not_typed
from rnnjax.methods.pallas.steps import has_heads, kernel_cell
from rnnjax.methods.tpu.layout import why_not_fit

ABOVE_FLOAT32 = {"float64", "complex128"}


@dataclasses.dataclass(frozen=True)
class PallasTPU(TogetherMethod):
    """Run the whole sequence in one kernel on a TPU, forward and back.

    For the LSTM and the GRU that resets after the product. The recurrent weights are brought to
    the chip once and stay there, as does the carry; projected inputs, outputs and what gradients
    need come and go, some steps at a time, while others are computed. Tiles of rows are
    independent of each other; all networks of a call, as both directions of a bidirectional layer,
    run in the same kernel. Inputs are projected before it, and the gradients of weights and inputs
    are single products after it. Any sizes: what is no multiple of the chip's tiles is filled up.

    Weights and outputs in float32 or bfloat16; gates and carry in float32. Products take the
    precision of JAX's default, as those of `Scan` do.

    And for cells that are linear in their carry. All their coefficients and outputs are computed at
    once, around a kernel that goes through the steps with the state on the chip; both directions
    of a bidirectional layer are two kernels, which turn nothing around. Parameters and outputs
    in any dtype up to float32, the recurrence in float32, complex where the state is: a
    `carry_dtype` below float32 is rounded to at the end alone.

    First derivatives in reverse mode only: forward mode and second derivatives raise a
    TypeError, and `Scan` serves them.

    It pays on TPU alone; elsewhere an interpreter runs it, slowly, so that it can be tested. Which
    of the two is known when a program is lowered: one that is compiled or exported for TPU on
    another machine has the kernel.

    Reference: Diamos et al., *Persistent RNNs: stashing recurrent weights on-chip* (2016); De et
    al., *Griffin: mixing gated linear recurrences with local attention* (2024), section 4.
    """

    def why_not(self, call: Call) -> str | None:
        """Another cell or dtype, or weights that the chip does not hold."""
        linear = isinstance(call.cell.form, LinearForm)
        cell = None if has_heads(call.cell.form) else kernel_cell(call.cell.form)
        if cell is None and not linear:
            return (
                "it knows the plain LSTM and the GRU that resets after the product, and cells that "
                "are linear in their carry"
            )
        reason = why_not_placed("tpu")
        if reason is not None:
            return reason
        found = dtypes_of(call)
        if cell is None:
            wide = {str(dtype) for dtype in found.projected | found.carry} & ABOVE_FLOAT32
            return f"its recurrence is float32, and here is {min(wide)}" if wide else None
        reason = why_not_typed(found)
        if reason is not None:
            return reason
        (dtype,) = found.projected
        return why_not_fit(cell, call.params.w_hh.shape[0], dtype)

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        del stack  # each network reads its own
        # Here, since both bring Pallas, which takes a while.
        if isinstance(calls[0].cell.form, LinearForm):
            from rnnjax.methods.tpu.linear import by_kernel

            return [run_linear(call, by_kernel) for call in calls]
        from rnnjax.methods.tpu.loops import LOOPS

        return run_at_once(calls, LOOPS)

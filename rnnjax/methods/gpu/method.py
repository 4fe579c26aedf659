"""The method for GPUs."""

import dataclasses

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods.base import Call, TogetherMethod
from rnnjax.methods.dtypes import dtypes_of
from rnnjax.methods.fused.sequence import run_at_once
from rnnjax.methods.gpu.layout import why_not_fit, why_not_here
from rnnjax.methods.pallas.reasons import why_not_placed, why_not_typed
from rnnjax.methods.pallas.steps import has_heads, kernel_cell


@dataclasses.dataclass(frozen=True)
class PallasGPU(TogetherMethod):
    """Run the whole sequence in one kernel on a GPU, forward and back.

    For the LSTM, the GRU that resets after the product, and both with heads. A program of the
    kernel has some rows and a head, whose recurrent weights it fetches once; they stay on the
    multiprocessor while it runs all steps, as does the carry. Tiles of rows, heads, and all
    networks of a call, as both directions of a bidirectional layer, are programs of the same
    kernel. Inputs are projected before it, and the gradients of weights and inputs are single
    products after it. Any sizes: nothing is filled up but in registers.

    Heads of up to 128 units (a cell without heads has one) run so, as far as their weights take
    128 KiB: an LSTM of 64 units in float32 or of 128 in bfloat16, filled up to a power of 2. With
    `multiprocessors` larger heads are cut into slices of units, each on a multiprocessor of its
    own. These hand over what they computed in memory, and wait for each other once a step.

    Weights and outputs in float32 or bfloat16; gates and carry in float32. Products take the
    precision of JAX's default, which for float32 is TF32 on a GPU; "highest" and "float32" are
    three products of TF32.

    First derivatives in reverse mode only: forward mode and second derivatives raise a
    TypeError, and `Scan` serves them.

    It goes through Pallas to Triton, of which JAX 0.12 announces, when a program is lowered, that
    a future version will remove it; that JAX also wants to be told for which GPU it lowers where
    none is, by `jax.sharding.use_abstract_mesh`.

    It is for CUDA from compute capability 8.0 on; elsewhere an interpreter runs it, slowly, so
    that it can be tested. Which of the two is known when a program is lowered: one that is
    compiled or exported for CUDA on another machine has the kernel. It was proved by the
    interpreter, and compiled for A100, H100 and RTX 4090; it has never run on a GPU. The
    interpreter runs no two programs that wait for each other: of that, the compiler's output alone
    was read.

    Attributes:
        multiprocessors: how many may share a head's units. More than the GPU has would wait for
            each other without end, as may slices beside another program that keeps
            multiprocessors busy until they are done; so it is 1 unless it is asked for, and then
            nothing waits.

    Raises:
        ValueError: if `multiprocessors` is below 1.

    Reference: Diamos et al., *Persistent RNNs: stashing recurrent weights on-chip* (2016).
    """

    multiprocessors: int = 1

    def __post_init__(self) -> None:
        _checks.size("PallasGPU", "multiprocessors", self.multiprocessors)

    def why_not(self, call: Call) -> str | None:
        """Another cell, dtype or GPU, or weights that the chip does not hold."""
        cell = kernel_cell(call.cell.form)
        if cell is None:
            return "it knows the LSTM and the GRU that resets after the product, plain or of heads"
        found = dtypes_of(call)
        reason = why_not_placed("gpu") or why_not_here(self.multiprocessors) or why_not_typed(found)
        if reason is not None:
            return reason
        (dtype,) = found.projected
        w_hh = call.params.w_hh
        heads, units = w_hh.shape[:2] if has_heads(call.cell.form) else (1, w_hh.shape[0])
        return why_not_fit(cell, heads, units, dtype, self.multiprocessors)

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        del stack  # each network reads its own
        from rnnjax.methods.gpu.loops import loops  # brings Pallas, which takes a while

        return run_at_once(calls, loops(self.multiprocessors))

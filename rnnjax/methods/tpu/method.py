"""The method for TPUs."""

import dataclasses

import jax

from rnnjax._typing import PyTree
from rnnjax.methods.base import Call
from rnnjax.methods.dtypes import dtypes_of
from rnnjax.methods.fused.sequence import run_at_once
from rnnjax.methods.pallas.steps import has_heads, kernel_cell
from rnnjax.methods.tpu.layout import why_not_fit


@dataclasses.dataclass(frozen=True)
class PallasTPU:
    """Run the whole sequence in one kernel on a TPU, forward and back.

    For the LSTM and the GRU that resets after the product. The recurrent weights are brought to
    the chip once and stay there, as does the carry; projected inputs, outputs and what gradients
    need come and go, some steps at a time, while others are computed. Tiles of rows are
    independent of each other; all networks of a call, as both directions of a bidirectional layer,
    run in the same kernel. Inputs are projected before it, and the gradients of weights and inputs
    are single products after it. Any sizes: what is no multiple of the chip's tiles is filled up.

    Weights and outputs in float32 or bfloat16; gates and carry in float32. Products take the
    precision of JAX's default, as those of `Scan` do.

    First derivatives in reverse mode only: forward mode and second derivatives raise a
    TypeError, and `Scan` serves them.

    It pays on TPU alone; elsewhere an interpreter runs it, slowly, so that it can be tested. Which
    of the two is known when a program is lowered: one that is compiled or exported for TPU on
    another machine has the kernel.

    Reference: Diamos et al., *Persistent RNNs: stashing recurrent weights on-chip* (2016).
    """

    def why_not(self, call: Call) -> str | None:
        """Another cell or dtype, or weights that the chip does not hold."""
        cell = kernel_cell(call.cell.form)
        if cell is None or has_heads(call.cell.form):
            return "it knows the plain LSTM and the GRU that resets after the product"
        if jax.sharding.get_abstract_mesh().explicit_axes:
            return "it does not run on a mesh with explicit axes"
        if jax.sharding.get_abstract_mesh().manual_axes and jax.default_backend() != "tpu":
            return "inside shard_map it runs on TPU alone"
        found = dtypes_of(call)
        others = {str(dtype) for dtype in found.projected} - {"float32", "bfloat16"}
        others |= {str(dtype) for dtype in found.carry} - {"float32"}
        if others:
            return f"its gates and carry are float32, and here is {min(others)}"
        (dtype,) = found.projected
        return why_not_fit(cell, call.params.w_hh.shape[0], dtype)

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run at once."""
        return self.run_together((call,))[0]

    def runs_together(self, call: Call) -> bool:
        """Always: no product waits for another network's gates."""
        return True

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        del stack  # each network reads its own
        from rnnjax.methods.tpu.loops import LOOPS  # brings Pallas, which takes a while

        return run_at_once(calls, LOOPS)

"""The method for GPUs."""

import dataclasses

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods.base import Call
from rnnjax.methods.dtypes import dtypes_of
from rnnjax.methods.fused.sequence import run_at_once
from rnnjax.methods.gpu.layout import capability, why_not_fit
from rnnjax.methods.pallas.steps import kernel_cell


@dataclasses.dataclass(frozen=True)
class PallasGPU:
    """Run."""

    multiprocessors: int = 1

    def __post_init__(self) -> None:
        _checks.size("PallasGPU", "multiprocessors", self.multiprocessors)

    def why_not(self, call: Call) -> str | None:
        """Another cell or dtype, or weights that the chip does not hold."""
        cell = kernel_cell(call.cell.form)
        if cell is None:
            return "it knows the plain LSTM and the GRU that resets after the product"
        if jax.sharding.get_abstract_mesh().explicit_axes:
            return "it does not run on a mesh with explicit axes"
        found = dtypes_of(call)
        others = {str(dtype) for dtype in found.projected} - {"float32", "bfloat16"}
        others |= {str(dtype) for dtype in found.carry} - {"float32"}
        if others:
            return f"its gates and carry are float32, and here is {min(others)}"
        (dtype,) = found.projected
        w_hh = call.params.w_hh
        heads, units = (1, w_hh.shape[0]) if w_hh.ndim == 2 else w_hh.shape[:2]
        return why_not_fit(cell, heads, units, dtype, self.multiprocessors)

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run at once."""
        return self.run_together((call,))[0]

    def runs_together(self, call: Call) -> bool:
        """Always: networks run side by side."""
        return True

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        del stack  # each network reads its own
        from rnnjax.methods.gpu.loops import loops  # brings Pallas, which takes a while

        return run_at_once(calls, loops(self.multiprocessors))

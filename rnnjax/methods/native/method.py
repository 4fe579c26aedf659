"""The native method."""

import dataclasses

import jax

from rnnjax._typing import PyTree
from rnnjax.cells.elman import ElmanForm
from rnnjax.methods.base import Call, TogetherMethod
from rnnjax.methods.dtypes import dtypes_of
from rnnjax.methods.fused import Fused
from rnnjax.methods.fused.sequence import run_at_once
from rnnjax.methods.native.kinds import kind_of
from rnnjax.methods.native.library import why_not_loaded
from rnnjax.methods.native.loops import LOOPS


@dataclasses.dataclass(frozen=True)
class Native(TogetherMethod):
    """Run the whole sequence with loops of compiled C++, on CPU.

    `Fused` with its loops over time in a library of its own: inputs are projected some steps
    ahead, a step's product, gates and state are one pass over the nearest cache, weights that are
    read often are packed once, the cores share rows or units, and steps that do not count cost
    nothing. The gradients of weights are products of its own on one device; those of inputs are
    XLA's.
    Numbers are those of `Scan`, up to the order of summation.

    For the plain LSTM, GRU (both resets) and Elman cell (tanh, relu), in float32. The library
    comes with the installation where a C++ compiler is there; else `explain` says why not.

    First derivatives in reverse mode only: forward mode and second derivatives raise a
    TypeError, and `Scan` serves them.
    """

    def why_not(self, call: Call) -> str | None:
        """No library, no CPU, another cell or dtype."""
        if jax.default_backend() != "cpu":
            return "it runs on CPU alone"
        reason = why_not_loaded() or Fused().why_not(call)
        if reason is not None:
            return reason
        if kind_of(call.cell.form) is None:
            if not isinstance(call.cell.form, ElmanForm):
                return "it knows no cells with heads"
            return "of Elman cells it knows those with jnp.tanh and jax.nn.relu"
        others = sorted({str(dtype) for dtype in frozenset().union(*dtypes_of(call))} - {"float32"})
        return f"it computes in float32, and here is {others[0]}" if others else None

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        return run_at_once(calls, LOOPS, stack=stack)

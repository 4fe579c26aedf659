"""The fused method."""

import dataclasses

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods import manual
from rnnjax.methods.base import Call
from rnnjax.methods.chunked import in_segments
from rnnjax.methods.fused.forms import equations_of
from rnnjax.methods.fused.loops import LOOPS
from rnnjax.methods.fused.schedule import on_cpu
from rnnjax.methods.fused.sequence import run_at_once


@dataclasses.dataclass(frozen=True)
class Fused:
    """Run the whole sequence as one function with a gradient of its own.

    For the plain LSTM, GRU (both resets) and Elman cell, and for the LSTM and GRU of heads. Inputs
    are projected outside the loop, a step has one product (two in a GRU that resets before it),
    activated gates are kept in the place of the projected inputs, and the gradients of weights and
    inputs are single products after the backward loop. On CPU, with `lengths` or a mask, rows are
    sorted inside, so that most of the padding is skipped. Numbers are those of `Scan`, up to the
    order of summation.

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
            return "it knows the LSTM and GRU, plain or of heads, and the plain Elman cell"
        return manual.why_not_explicit()

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run at once, or segment by segment."""
        if self.segment is None:
            return self.run_together((call,))[0]
        whole = dataclasses.replace(self, segment=None)
        return in_segments(whole.run, call, self.segment)

    def runs_together(self, call: Call) -> bool:
        """On CPU; elsewhere one batched product a step is better than two."""
        return on_cpu() and self.segment is None and call.num_steps > 0

    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        del stack  # each network reads its own
        return run_at_once(calls, LOOPS, keep_gates=self.keep_gates)

"""One step after the other, in little memory."""

import dataclasses
import functools

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods.base import Call
from rnnjax.methods.chunked import in_segments
from rnnjax.methods.linear.solvers import one_by_one
from rnnjax.methods.linear.steps import run_linear, why_not_linear


@dataclasses.dataclass(frozen=True)
class Linear:
    """Run a linear cell segment by segment, with what a segment needs in the cache.

    Inputs of a segment are projected together, then its steps taken one after the other. A
    gradient computes each segment once more, so that little beside the outputs is kept. Numbers
    are those of `Scan`, but that a `carry_dtype` below float32 is rounded to between segments
    alone. First derivatives in reverse mode only.

    Attributes:
        segment: steps of a segment.

    Raises:
        ValueError: if `segment` is below 1.
    """

    segment: int = 256

    def __post_init__(self) -> None:
        _checks.size("Linear", "segment", self.segment)

    def why_not(self, call: Call) -> str | None:
        """Linear cells only."""
        return why_not_linear(call)

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Segment by segment."""
        return in_segments(functools.partial(run_linear, solver=one_by_one), call, self.segment)

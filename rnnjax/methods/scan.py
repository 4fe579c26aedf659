"""The definition: one step after the other."""

import dataclasses

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.methods.base import Call, scan_steps


@dataclasses.dataclass(frozen=True)
class Scan:
    """Run the steps in one `lax.scan`; every other method must equal this one.

    Serves every cell, forward mode and derivatives of any order. Its gradient keeps what
    every step computed, so memory grows with T.

    Attributes:
        unroll: how many steps stand in one iteration of the compiled loop; more can be faster
            for small cells, and take longer to compile.

    Raises:
        ValueError: if `unroll` is below 1.
    """

    unroll: int = 1

    def __post_init__(self) -> None:
        _checks.size("Scan", "unroll", self.unroll)

    def why_not(self, call: Call) -> str | None:
        """Nothing keeps the definition from serving."""
        return None

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Scan over time."""
        return scan_steps(call, unroll=self.unroll)

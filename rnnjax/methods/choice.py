"""Which method runs a sequence, and why."""

from typing import NamedTuple

from rnnjax import _checks
from rnnjax.methods.base import Call, Method
from rnnjax.methods.chunked import Chunked
from rnnjax.methods.chunkwise import Chunkwise
from rnnjax.methods.fused import Fused
from rnnjax.methods.native import Native
from rnnjax.methods.scan import Scan

NAMED = "another method was asked for by name"
SLOWER = "Native has the same gradient, and compiled loops"
LEAST_CHUNKWISE = 16  # steps; for fewer there is little to compute at once


class Explanation(NamedTuple):
    """What would run, why, and why each other method was passed over.

    Attributes:
        method: the method that runs.
        reason: why it was taken.
        passed_over: name and reason of every other method.
    """

    method: Method
    reason: str
    passed_over: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{self.method}: {self.reason}"]
        lines += [f"  not {name}: {reason}" for name, reason in self.passed_over]
        return "\n".join(lines)


def choose(function: str, method: Method | None, call: Call) -> Explanation:
    """Take the method asked for, or pick one; what was asked for runs or raises.

    The rule for None: `Native()` where it can serve, else `Fused()` where that can, else
    `Chunkwise()` where that can and pays, else `Scan()`.

    Raises:
        TypeError: if `method` is no method.
        ValueError: if the method asked for cannot serve, with its reason.
    """
    why_not_native, why_not_fused = Native().why_not(call), Fused().why_not(call)
    why_not_chunkwise = Chunkwise().why_not(call)
    if method is None and why_not_chunkwise is None and call.num_steps < LEAST_CHUNKWISE:
        why_not_chunkwise = f"it pays from {LEAST_CHUNKWISE} steps on"
    reasons = {
        "Native": why_not_native or NAMED,
        "Fused": why_not_fused or (SLOWER if method is None else NAMED),
        "Chunkwise": why_not_chunkwise or NAMED,
        "Scan": "ask for it by name for forward mode or second derivatives",
        "Chunked": "it pays one more forward pass for memory; ask for it on long sequences",
    }
    if method is not None:
        check_able(function, method, call)
        chosen, reason = method, "asked for by name"
        reasons["Scan"] = NAMED
    elif why_not_native is None:
        chosen, reason = Native(), "a cell whose loops over time are compiled"
    elif why_not_fused is None:
        chosen, reason = Fused(), "a cell whose whole sequence has a gradient of its own"
    elif why_not_chunkwise is None:
        chosen, reason = Chunkwise(), "a cell of which many steps are computed at once"
        reasons["Scan"] = "it takes one step at a time, and its gradient keeps a matrix a step"
    else:
        chosen, reason = Scan(), "the plain scan over time, the definition"
    passed_over = {name: why for name, why in reasons.items() if name != type(chosen).__name__}
    return Explanation(chosen, reason, tuple(passed_over.items()))


def check_able(function: str, method: Method, call: Call) -> None:
    """Refuse what is no method, or cannot serve."""
    check_method(function, method)
    why_not = method.why_not(call)
    if why_not is not None:
        way_out = "use another method, or None to have one picked"
        wanted = f"serve this call, but {method} cannot"
        _checks.refuse(function, "method", wanted, why_not, way_out)


def check_method(function: str, method: object) -> None:
    """Refuse names, classes and whatever else is no method."""
    if isinstance(method, type) or not (hasattr(method, "why_not") and hasattr(method, "run")):
        way_out = f"give a value such as {Scan()} or {Chunked(128)}"
        _checks.refuse(function, "method", "be a method", repr(method), way_out, error=TypeError)

"""Which method runs a sequence, and why."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import jax

from rnnjax import _checks
from rnnjax.methods.base import Call, Method
from rnnjax.methods.chunked import Chunked
from rnnjax.methods.chunkwise import Chunkwise
from rnnjax.methods.fused import Fused
from rnnjax.methods.linear import Associative, Linear
from rnnjax.methods.native import Native
from rnnjax.methods.newton import Newton
from rnnjax.methods.scan import Scan
from rnnjax.methods.tpu import PallasTPU

# The first that can serve is picked, for this reason.
PICKED: tuple[tuple[Method, str], ...] = (
    (Native(), "a cell whose loops over time are compiled"),
    (PallasTPU(), "a cell whose recurrent weights stay on the chip, on a TPU"),
    (Fused(), "a cell whose whole sequence has a gradient of its own"),
    (Linear(), "a cell that is linear in its carry"),
    (Chunkwise(), "a cell of which many steps are computed at once"),
    (Scan(), "the plain scan over time, the definition"),
)
LEAST_CHUNKWISE = 4  # steps; for fewer there is little to compute at once
# What the user has called, while it runs; empty outside of `named`.
_called: contextvars.ContextVar[str] = contextvars.ContextVar("called", default="")
NAMED = "another method was asked for by name"
# Why one that could serve was not picked, and which are never picked.
SECOND = {
    "Fused": "the one that was picked has the same gradient, and loops of its own",
    "Scan": "ask for it by name for forward mode or second derivatives",
}
NEVER: tuple[tuple[Method, str], ...] = (
    (Chunked(1), "it pays one more forward pass for memory; ask for it on long sequences"),
    (Associative(), "it is parallel in time; ask for it where there are many cores"),
    (Newton(), "it pays for contracting dynamics on parallel hardware; ask for it by name"),
)


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

    The rule for None: the first of `Native()`, `PallasTPU()`, `Fused()`, `Linear()`, `Chunkwise()`
    and `Scan()` that can serve and pays: `PallasTPU()` on TPU alone, `Chunkwise()` for 4 steps and
    more.

    Raises:
        TypeError: if `method` is no method.
        ValueError: if the method asked for cannot serve, with its reason.
    """
    why_not = {name_of(other): other.why_not(call) for other, _ in (*PICKED, *NEVER)}
    if method is None:
        why_not |= {name: why for name, why in not_worth(call).items() if why_not[name] is None}
        chosen, reason = next(pair for pair in PICKED if why_not[name_of(pair[0])] is None)
    else:
        check_able(function, method, call)
        chosen, reason = method, "asked for by name"
    able = dict.fromkeys(why_not, NAMED) if method is not None else SECOND
    able = able | {name_of(other): why for other, why in NEVER}
    passed_over = {
        name: why or able[name] for name, why in why_not.items() if name != name_of(chosen)
    }
    return Explanation(chosen, reason, tuple(passed_over.items()))


def not_worth(call: Call) -> dict[str, str]:
    """What could serve, but does not pay here, and why."""
    reasons = {}
    if jax.default_backend() != "tpu":
        reasons["PallasTPU"] = "it pays on TPU alone"
    if call.num_steps < LEAST_CHUNKWISE:
        reasons["Chunkwise"] = f"it pays from {LEAST_CHUNKWISE} steps on"
    return reasons


def name_of(method: Method) -> str:
    """What a method is called where its options do not matter."""
    return type(method).__name__


def check_able(function: str, method: Method, call: Call) -> None:
    """Refuse what is no method, or cannot serve."""
    check_method(function, method)
    why_not = method.why_not(call)
    if why_not is not None:
        way_out = "use another method, or None to have one picked"
        got = f"{method}, which cannot: {why_not}"
        _checks.refuse(_called.get() or function, "method", "serve this call", got, way_out)


@contextlib.contextmanager
def named(function: str) -> Iterator[None]:
    """Refuse a method that cannot serve in the name of what the user called, not of a layer."""
    token = _called.set(_called.get() or function)
    try:
        yield
    finally:
        _called.reset(token)


def check_method(function: str, method: object) -> None:
    """Refuse names, classes and whatever else is no method."""
    if isinstance(method, type) or not (hasattr(method, "why_not") and hasattr(method, "run")):
        way_out = f"give a value such as {Scan()} or {Chunked(128)}"
        _checks.refuse(function, "method", "be a method", repr(method), way_out, error=TypeError)

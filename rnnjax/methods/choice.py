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
from rnnjax.methods.cudnn import Cudnn
from rnnjax.methods.fused import Fused
from rnnjax.methods.gpu import PallasGPU
from rnnjax.methods.gpu.layout import lowers_without_gpu
from rnnjax.methods.linear import Associative, Linear
from rnnjax.methods.lowering import PLATFORMS
from rnnjax.methods.native import Native
from rnnjax.methods.newton import Newton
from rnnjax.methods.per_platform import PerPlatform
from rnnjax.methods.scan import Scan
from rnnjax.methods.tpu import PallasTPU

# The first that can serve is picked, for this reason.
PICKED: tuple[tuple[Method, str], ...] = (
    (Native(), "a cell whose loops over time are compiled"),
    (PallasTPU(), "a cell whose steps are one kernel, on a TPU"),
    (Cudnn(), "an LSTM of which cuDNN runs the whole sequence"),
    (PallasGPU(), "a cell whose steps are one kernel, on a GPU"),
    (Fused(), "a cell whose whole sequence has a gradient of its own"),
    (Linear(), "a cell that is linear in its carry"),
    (Chunkwise(), "a cell of which many steps are computed at once"),
    (Scan(), "the plain scan over time, the definition"),
)
# Those that pay on one platform, by the name that programs are lowered for.
BOUND = {"Native": "cpu", "PallasTPU": "tpu", "PallasGPU": "cuda"}
LEAST_CHUNKWISE = 4  # steps; for fewer there is little to compute at once
# What the user has called, while it runs; empty outside of `named`.
_called: contextvars.ContextVar[str] = contextvars.ContextVar("called", default="")
NAMED = "another method was asked for by name"
# Why one that could serve was not picked, and which are never picked.
SECOND = {
    "Fused": "the one that was picked has the same gradient, and loops of its own",
    "Scan": "ask for it by name for forward mode or second derivatives",
    "Linear": "the one that was picked has the same recurrence in a kernel",
}
BEFORE = "the one that was picked comes before it"
NEVER: tuple[tuple[Method, str], ...] = (
    (Chunked(1), "it pays one more forward pass for memory; ask for it on long sequences"),
    (Associative(), "it is parallel in time; ask for it where there are many cores"),
    (Newton(), "it pays for contracting dynamics on parallel hardware; ask for it by name"),
)


class Explanation(NamedTuple):
    """What would run, why, and why each other method was passed over.

    Attributes:
        method: the method that runs on this machine's backend.
        reason: why it was taken.
        passed_over: name and reason of every other method.
        runs: the same method; or, where None was given and another platform has a better one, a
            method of which the platform is known when a program is lowered.
    """

    method: Method
    reason: str
    passed_over: tuple[tuple[str, str], ...]
    runs: Method

    def __str__(self) -> str:
        lines = [f"{self.method}: {self.reason}"]
        lines += [f"  not {name}: {reason}" for name, reason in self.passed_over]
        return "\n".join(lines)


def choose(function: str, method: Method | None, call: Call) -> Explanation:
    """Take the method asked for, or pick one; what was asked for runs or raises.

    The rule for None: the first of `Native()`, `PallasTPU()`, `Cudnn()`, `PallasGPU()`, `Fused()`,
    `Linear()`, `Chunkwise()` and `Scan()` that can serve and pays: `PallasTPU()` on TPU alone,
    `PallasGPU()` on CUDA alone, `Chunkwise()` for 4 steps and more. A program that is lowered for
    a platform that this machine's backend is not has what would be picked there.

    Raises:
        TypeError: if `method` is no method.
        ValueError: if the method asked for cannot serve, with its reason.
    """
    why_not = {name_of(other): other.why_not(call) for other, _ in (*PICKED, *NEVER)}
    if method is None:
        able = [other for other, _ in PICKED if why_not[name_of(other)] is None]
        why_not |= {name: why for name, why in not_worth(call).items() if why_not[name] is None}
        chosen, reason = next(pair for pair in PICKED if why_not[name_of(pair[0])] is None)
        runs = per_platform(chosen, able)
        reasons = SECOND
    else:
        check_able(function, method, call)
        chosen, reason, runs = method, "asked for by name", method
        reasons = dict.fromkeys(why_not, NAMED)
    reasons = reasons | {name_of(other): why for other, why in NEVER}
    passed_over = {
        name: why or reasons.get(name, BEFORE)
        for name, why in why_not.items()
        if name != name_of(chosen)
    }
    return Explanation(chosen, reason, tuple(passed_over.items()), runs)


def not_worth(call: Call) -> dict[str, str]:
    """What could serve, but does not pay here, and why."""
    here = PLATFORMS.get(jax.default_backend(), ())
    reasons = {
        name: f"it is for programs that are lowered for {platform.upper()}"
        for name, platform in BOUND.items()
        if platform not in here
    }
    if call.num_steps < LEAST_CHUNKWISE:
        reasons["Chunkwise"] = f"it pays from {LEAST_CHUNKWISE} steps on"
    return reasons


def per_platform(chosen: Method, able: list[Method]) -> Method:
    """The method for this machine, and those for platforms that a program may be lowered for."""
    if isinstance(chosen, Cudnn):
        return chosen  # it has a plain scan for other platforms, and bears `vmap` better alone
    here = PLATFORMS.get(jax.default_backend(), ())
    elsewhere = {}
    for method in able:
        platform = BOUND.get(name_of(method))
        unknown = isinstance(method, PallasGPU) and not lowers_without_gpu()
        if platform is not None and platform not in here and not unknown:
            elsewhere.setdefault(platform, method)
    if not elsewhere and name_of(chosen) not in BOUND:
        return chosen
    otherwise = next(method for method in able if name_of(method) not in BOUND)
    return PerPlatform(chosen, tuple(elsewhere.items()), otherwise)


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

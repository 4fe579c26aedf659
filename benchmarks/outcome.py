"""A record of a run, and the figures that tables and pictures are made of.

Ratios are the peer's over rnnjax's: above 1, rnnjax is faster or smaller.
"""

import json
import math
import pathlib
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import peers
from cases import Case

OURS, FLAX = "rnnjax", "nnx"


class Outcome(NamedTuple):
    """One case as it was measured."""

    case: Case
    flops: int
    results: dict[str, dict[str, Any]]
    speeds: list[float]  # of a large matmul, in each round

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Outcome":
        speeds = entry["matmul_flop_per_second"]
        return cls(Case(**entry["case"]), entry["flops"], entry["results"], speeds)

    def figure(self, peer: str, name: str) -> float | None:
        """Such as `median`, `first_of_turn` or `temporary_bytes`; None unless it was timed."""
        result = self.results.get(peer, {})
        return result.get(name) if result.get("state") == "timed" else None

    def ratio(self, peer: str, name: str = "median") -> float | None:
        """Theirs over ours; of times the median of all rounds, in which the machine is the same."""
        if name == "median":
            return self._in_rounds(self._turns(peer))
        ours, theirs = self.figure(OURS, name), self.figure(peer, name)
        return theirs / ours if ours and theirs is not None else None

    def fastest(self, name: str = "median", *, in_jax: bool = False) -> float | None:
        """The lowest of the ratios against others, or those written in JAX."""
        others = [p for p in self.results if not p.startswith(OURS)]
        kept = [p for p in others if peers.entry(p).in_jax or not in_jax]
        return min(
            (ratio for p in kept if (ratio := self.ratio(p, name)) is not None), default=None
        )

    def share(self) -> float | None:
        """Of the speed that matmuls alone would allow."""
        return self._in_rounds([self.flops / speed for speed in self.speeds])

    def _turns(self, peer: str) -> list[float]:
        result = self.results.get(peer, {})
        return result["turns"] if result.get("state") == "timed" else []

    def _in_rounds(self, seconds: list[float]) -> float | None:
        """The median, over rounds, of these seconds over ours."""
        ours = self._turns(OURS)
        if not ours or not seconds:
            return None
        return statistics.median(theirs / own for theirs, own in zip(seconds, ours, strict=True))


class Record(NamedTuple):
    """A run."""

    machine: dict[str, Any]
    left_out: dict[str, str]
    tolerance: float
    peers: list[str]
    flop_per_second: float
    outcomes: list[Outcome]


def read(path: pathlib.Path) -> Record:
    raw = json.loads(path.read_text())
    outcomes = [Outcome.of(entry) for entry in raw["cases"]]
    return Record(
        raw["machine"],
        raw["left_out"],
        raw["tolerance"]["float32"],
        raw["peers"],
        statistics.median([s for outcome in outcomes for s in outcome.speeds] or [math.nan]),
        outcomes,
    )


class Spread(NamedTuple):
    """How a ratio is spread over the cases that have it."""

    count: int
    mean: float  # the geometric one
    lowest: tuple[float, str]  # with the name of the case
    highest: tuple[float, str]


def spread(outcomes: list[Outcome], ratio: Callable[[Outcome], float | None]) -> Spread | None:
    """None where no case has that ratio."""
    pairs = sorted((r, outcome.case.name) for outcome in outcomes if (r := ratio(outcome)))
    if not pairs:
        return None
    return Spread(len(pairs), statistics.geometric_mean(r for r, _ in pairs), pairs[0], pairs[-1])

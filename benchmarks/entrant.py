"""One peer in one case: compiled, checked, timed, or out with a reason."""

import contextlib
import math
import pathlib
import statistics
from typing import Any

import numpy as np

import check
from cases import Case
from client import Worker, WorkerError

TURN = 0.02  # seconds that a turn lasts at least; faster calls are repeated
# Seconds of calls that do not count, at the beginning of a turn of training: see `NOTES.md`.
READY = 2.0
LONG = 0.1  # seconds of a second call after which a third would warm nothing up


class Entrant:
    """What is known of a peer so far; `result` ends with a `state`.

    That is "timed", with figures, or with a `reason` "not offered", "wrong" or "failed".
    """

    def __init__(self, worker: Worker):
        self.worker = worker
        self.result: dict[str, Any] = {}
        self.turns: list[list[float]] = []  # seconds of the calls that count
        self.firsts: list[float] = []  # the first call of each turn
        # Of each turn: calls that count, those before them that do not, and seconds, about.
        self.calls, self.ready, self.turn = 1, 1, 0.0
        self.large = False  # whether memory must be made ready

    @property
    def racing(self) -> bool:
        return "state" not in self.result

    @property
    def outputs(self) -> pathlib.Path:
        return self.worker.results()

    def prepare(self, case: Case) -> None:
        """Compile and run once, in a process whose own start-up is behind it."""
        if self.worker.process is None:
            self._ask({"do": "hello"})
        if not self.racing:
            return
        answer = self._ask({"do": "prepare", "case": case._asdict(), "outputs": str(self.outputs)})
        if "why_not" in answer:
            self.out("not offered", answer["why_not"])
        elif self.racing:
            self.result |= answer

    def check(self, reference: "Entrant", valid: np.ndarray) -> None:
        """Leave the race with a wrong result; `valid` says which outputs count."""
        if not reference.racing:
            self.out("failed", f"nothing to check against: {reference.result['reason']}")
            return
        try:
            error = check.largest_error(self.outputs, reference.outputs, valid)
        except ValueError as mismatch:
            self.out("wrong", str(mismatch))
            return
        self.result["error"] = error
        if not error <= check.TOLERANCE:
            self.out("wrong", f"differs from the reference by {error:.1e}")

    def warm_up(self, least: int, *, training: bool) -> None:
        """Calls that do not count; the last one says how many make a turn, `least` or more."""
        seconds = [self.result.pop("second_call")]
        if seconds[-1] < LONG:
            seconds += self._time(2)
        self.calls = min(1000, max(least, math.ceil(TURN / seconds[-1])))
        self.large = training and seconds[-1] > TURN
        self.ready = max(self.calls, math.ceil(READY / seconds[-1])) if self.large else self.calls
        self.turn = (self.ready + self.calls) * seconds[-1]

    def take_turn(self) -> None:
        """Calls in a row, of which the last ones count."""
        if self.racing:
            seconds = self._time(self.ready + self.calls)
            self.firsts += seconds[:1]
            self.turns.append(seconds[self.ready :])

    def finish(self) -> None:
        if self.racing:
            seconds = [second for turn in self.turns for second in turn]
            self.result |= {
                "state": "timed",
                "median": statistics.median(seconds),
                "min": min(seconds),
                "first_of_turn": statistics.median(self.firsts),
                "calls": len(seconds),
                "turns": [statistics.median(turn) for turn in self.turns],
            }

    def drop(self) -> None:
        """Free what the case holds, and keep the result as it is."""
        if self.worker.process is not None:
            with contextlib.suppress(WorkerError):
                self.worker.ask({"do": "drop"})

    def out(self, state: str, reason: str) -> None:
        self.result |= {"state": state, "reason": reason}

    def _time(self, calls: int) -> list[float]:
        seconds = self._ask({"do": "time", "calls": calls}).get("seconds", [])
        self.worker.rest()
        return seconds

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.worker.ask(request)
        except WorkerError as error:
            self.out("failed", str(error))
            return {}

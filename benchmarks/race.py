"""A case from start to finish: all peers compile, are checked, and are timed in turns."""

import pathlib
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import peers
from cases import Case, make_lengths, valid_steps
from client import Worker, WorkerError
from entrant import Entrant

MOST_ROUNDS = 100
NO_CASE = Case("lstm", "inference", 1, 1, 1, 1, "plain")


class Budget(NamedTuple):
    """How long to measure."""

    seconds: float  # of each peer and case, about
    rounds: int  # at least; half as many where memory must be made ready
    calls: int = 3  # of each turn, at least, that count


class Race:
    """The workers of a run, kept from case to case."""

    def __init__(self, names: list[str], folder: pathlib.Path, budget: Budget):
        self.workers = {name: Worker(name, folder) for name in names}
        resets = ("after", "before")
        self.references = {reset: Worker(f"reference:{reset}", folder) for reset in resets}
        self.matmul = Worker("matmul", folder)
        self.budget, self.random = budget, random.Random(0)

    def __enter__(self) -> "Race":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in (*self.workers.values(), *self.references.values(), self.matmul):
            worker.close()

    def greet(self, say: Callable[[str], None]) -> dict[str, dict[str, str]]:
        """What each peer runs on, `kind` and `device`; or the `error` with which it fell."""
        answers = {}
        for name, worker in self.workers.items():
            say(f"starting {name}")
            try:
                answers[name] = worker.ask({"do": "hello"})
            except WorkerError as error:
                answers[name] = {"error": str(error)}
        return answers

    def leave_out(self, name: str) -> None:
        self.workers.pop(name).close()

    def run(self, case: Case, say: Callable[[str], None]) -> dict[str, Any]:
        """The result of every peer, as `Entrant` describes it, and how fast the machine was."""
        entrants = {name: Entrant(worker) for name, worker in self.workers.items()}
        for name, entrant in entrants.items():
            say(f"{case.name}: {name} compiles")
            entrant.prepare(case)
        say(f"{case.name}: check")
        self._check(case, entrants)
        say(f"{case.name}: turns")
        speeds = self._time(case, list(entrants.values()))
        for entrant in entrants.values():
            entrant.finish()
            entrant.drop()
        results = {name: entrant.result for name, entrant in entrants.items()}
        return {"results": results, "matmul_flop_per_second": speeds}

    def matmul_speed(self) -> float:
        """FLOP a second of a large matmul, at this moment of the run."""
        if self.matmul.process is None:
            where = str(self.matmul.results())
            self.matmul.ask({"do": "prepare", "case": NO_CASE._asdict(), "outputs": where})
        seconds = self.matmul.ask({"do": "time", "calls": 2})["seconds"]
        self.matmul.rest()
        with np.load(self.matmul.results()) as results:
            return float(results["flops"]) / seconds[-1]

    def _check(self, case: Case, entrants: dict[str, Entrant]) -> None:
        valid = valid_steps(case, make_lengths(case))
        references: dict[str, Entrant] = {}
        for name, entrant in entrants.items():
            if not entrant.racing:
                continue
            reset = peers.entry(name).reset if case.cell == "gru" else "after"
            if reset not in references:
                references[reset] = Entrant(self.references[reset])
                references[reset].prepare(case)
            entrant.check(references[reset], valid)
        for reference in references.values():
            reference.drop()

    def _time(self, case: Case, entrants: list[Entrant]) -> list[float]:
        """Let them take turns; the speed of a large matmul in each round."""
        for entrant in entrants:
            if entrant.racing:
                entrant.warm_up(self.budget.calls, training=case.mode == "training")
        racing = [entrant for entrant in entrants if entrant.racing]
        if not racing:
            return []
        longest = max(entrant.turn for entrant in racing)
        large = any(entrant.large for entrant in racing)
        least = -(-self.budget.rounds // 2) if large else self.budget.rounds
        rounds = min(MOST_ROUNDS, max(least, round(self.budget.seconds / longest)))
        speeds = []
        for _ in range(rounds):
            speeds.append(self.matmul_speed())
            self.random.shuffle(racing)  # or each would always follow the same one
            for entrant in racing:
                entrant.take_turn()
        return speeds

"""What the applications share: seeds, runs that resume, a table beside baselines, a verdict."""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import reporting

import rnnjax
from rnnjax import train

SEEDS = 3


class Judged(NamedTuple):
    """One application: what is measured, and what is to be reached."""

    name: str  # of its files
    title: str
    measure: str  # what the score is, as the table says it
    form: str  # of a score, such as ".3f"
    baselines: dict[str, float]
    trivial: str  # the baseline that a quick run beats, too
    goal: float  # what the mean over seeds of the best entrant reaches in a whole run
    higher: bool = True  # whether higher scores are better


class Entrant(NamedTuple):
    """A model that is trained and judged."""

    learn: Callable[[int, pathlib.Path], train.Trained]  # seed, folder of checkpoints
    score: Callable[[train.Trained], float]
    # Other scores that the table tells below it, by name; None means none.
    apart: Callable[[train.Trained], dict[str, float]] | None = None


class Verdict(NamedTuple):
    """What came of one entrant: a trained model and a score for each seed."""

    trained: list[train.Trained]
    scores: list[float]
    apart: list[dict[str, float]]


def arguments(text: str, flags: dict[str, str] | None = None) -> argparse.Namespace:
    """The command line of an application; `flags` are more of them, with their help."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a run of seconds that must learn")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many; the default is 3")
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    for flag, help_text in (flags or {}).items():
        parser.add_argument(f"--{flag}", action="store_true", help=help_text)
    told = parser.parse_args()
    told.whole = not told.quick and told.seeds == SEEDS
    told.seeds = 1 if told.quick else told.seeds
    return told


def judge(
    task: Judged, entrants: dict[str, Entrant], told: argparse.Namespace
) -> dict[str, Verdict]:
    """Train every entrant from every seed, and tell how they did; `check` says if it is enough.

    A run that was interrupted goes on where it stopped when it is called the same way again.
    """
    load = reporting.load()
    runs = reporting.HERE / "output" / "runs" / (task.name + "-quick" * told.quick)
    if told.fresh:
        shutil.rmtree(runs, ignore_errors=True)
    verdicts = {}
    for name, entrant in entrants.items():
        verdicts[name] = Verdict([], [], [])
        for seed in range(told.seeds):
            trained = entrant.learn(seed, runs / f"{name}-{seed}".replace(" ", "-"))
            if trained.reason in ("SIGINT", "SIGTERM"):
                sys.exit(f"{task.name}: interrupted; the same command goes on from here.")
            verdicts[name].trained.append(trained)
            verdicts[name].scores.append(float(entrant.score(trained)))
            if entrant.apart is not None:
                verdicts[name].apart.append(entrant.apart(trained))
            said = format(verdicts[name].scores[-1], task.form)
            print(f"{name}, seed {seed}: {task.measure} {said}", flush=True)
    rows = table(task, verdicts)
    reporting.show(task.title, rows)
    tables, _ = reporting.folders(told.whole)
    path = tables / f"{task.name}.md"
    reporting.write(path, task.title, rows, load=load, timed="compilation included")
    shutil.rmtree(runs, ignore_errors=True)
    return verdicts


def picture(task: Judged, told: argparse.Namespace, kind: str = "") -> pathlib.Path:
    """Where a picture goes; `kind` tells several apart."""
    _, images = reporting.folders(told.whole)
    images.mkdir(parents=True, exist_ok=True)
    return images / f"{task.name}{kind and '_'}{kind}.png"


def table(task: Judged, verdicts: dict[str, Verdict]) -> list[list[str]]:
    ours = []
    for name, verdict in verdicts.items():
        count = rnnjax.count_parameters(verdict.trained[0].params)
        taken = float(np.mean([seconds(trained) for trained in verdict.trained]))
        ours.append(reporting.Row(f"**{name}**", count, verdict.scores, taken))
        for other in verdict.apart[0] if verdict.apart else ():
            scores = [each[other] for each in verdict.apart]
            ours.append(reporting.Row(f"{name}, {other}", count, scores, taken))
    return reporting.compared(task.measure, task.form, task.baselines, ours)


def seconds(trained: train.Trained) -> float:
    """How long training took, over all its epochs."""
    return sum(taken or 0.0 for taken in trained.history["seconds"])


def check(task: Judged, verdicts: dict[str, Verdict], told: argparse.Namespace):
    """End with an error if a loss did not fall, or the goal was missed; the last that is done."""
    for name, verdict in verdicts.items():
        for trained in verdict.trained:
            losses = trained.history["loss"]
            # A log-density may be on either side of 0.
            if not losses[-1] < losses[0] - 0.05 * abs(losses[0]):
                sys.exit(f"{task.name}: the loss of {name} went from {losses[0]} to {losses[-1]}.")
    means = [float(np.mean(verdict.scores)) for verdict in verdicts.values()]
    best, goal = (max if task.higher else min)(means), task.goal
    if told.quick:
        goal = task.baselines[task.trivial]
    if not (best > goal if task.higher else best < goal):
        wanted = f"{task.trivial}, {goal:{task.form}}" if told.quick else f"{goal:{task.form}}"
        sys.exit(f"{task.name}: {task.measure} is {best:{task.form}}; it should beat {wanted}.")

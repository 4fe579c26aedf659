"""What the learning examples share: rounds of training, and what is printed, written and drawn."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pictures
import reporting
from rich.progress import Progress

SEEDS = 3


class Model(NamedTuple):
    """A network and its task."""

    init: Callable[[Any], Any]  # key -> params
    loss: Callable[[Any, Any], Any]  # params, key -> loss on a batch that the key draws
    score: Callable[[Any, Any], Any]  # params, key -> what the table shows, on data not trained on
    rate: float  # of learning, at the beginning
    scored_on_the_way: bool = False  # whether the curve is the score, or the loss of each round


class Run(NamedTuple):
    """What came of one cell and one seed."""

    cell: str
    seed: int
    curve: np.ndarray  # (rounds,)
    score: float
    seconds: float  # of training, compilation excluded
    parameters: int


class Report(NamedTuple):
    """How the runs of a script are shown."""

    name: str  # of the files
    title: str
    measure: str  # what the score is
    form: str  # of a score, such as ".4f"
    baselines: dict[str, float]  # in the table and, dashed, in the picture
    curve: str  # what the curve is
    published: dict[str, float] = {}  # in the table alone
    log: bool = False  # whether the axis of the picture is logarithmic
    top: float | None = None  # where that axis ends


def arguments(text: str, cells: dict, flags: dict[str, str] | None = None) -> argparse.Namespace:
    """The command line that the scripts share; `flags` are more of them, with their help."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cell", choices=cells, action="append", help="may be given several times")
    for flag, text in (flags or {}).items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    told = parser.parse_args()
    told.whole = len(sys.argv) == 1  # what is committed comes from whole runs alone
    told.cells = {name: cells[name] for name in told.cell or cells}
    told.seeds = 1 if told.quick else told.seeds
    return told


def adam(rate: float, total: int) -> optax.GradientTransformation:
    """Adam whose rate falls to zero over `total` steps, gradients clipped to a norm of 1."""
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, total))
    )


def compiled(model: Model, optimizer: optax.GradientTransformation, every: int):
    """`every` steps of training as one call, `state, keys -> state, mean loss`; and the score."""

    def step(state, key):
        params, moments = state
        value, gradient = jax.value_and_grad(model.loss)(params, key)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    def rounds(state, keys):
        state, values = jax.lax.scan(step, state, keys)
        return state, values.mean()

    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key)
    state = params, jax.eval_shape(optimizer.init, params)
    keys = jax.eval_shape(lambda key: jax.random.split(key, every), key)
    return (
        jax.jit(rounds, donate_argnums=0).lower(state, keys).compile(),
        jax.jit(model.score).lower(params, key).compile(),
    )


def train(models: dict[str, Model], seeds: int, *, total: int, every: int):
    """Train each model from each seed for `total` steps, `every` of them in one call."""
    for name, model in models.items():
        optimizer = adam(model.rate, total)
        rounds, score = compiled(model, optimizer, every)
        for seed in range(seeds):
            key_init, key_train, key_score = jax.random.split(jax.random.key(seed), 3)
            params = model.init(key_init)
            state = params, optimizer.init(params)
            begin, curve = time.perf_counter(), []
            with Progress(transient=True) as progress:
                task = progress.add_task(f"{name}, seed {seed}", total=total)
                for keys in jax.random.split(key_train, (total // every, every)):
                    state, value = rounds(state, keys)
                    value = score(state[0], key_score) if model.scored_on_the_way else value
                    curve.append(float(value))
                    text = f"{name}, seed {seed}: {curve[-1]:.3g}"
                    progress.update(task, advance=every, description=text)
            seconds = time.perf_counter() - begin
            count = sum(leaf.size for leaf in jax.tree.leaves(state[0]))
            result = float(score(state[0], key_score))
            print(f"{name}, seed {seed}: {result:.3g} after {seconds:.0f} s", flush=True)
            yield Run(name, seed, np.array(curve), result, seconds, count)


def tell(
    report: Report, models: dict[str, Model], told: argparse.Namespace, *, total: int, every: int
):
    """Train, print the table, and write it and the picture of the curves."""
    load = reporting.load()
    runs = list(train(models, told.seeds, total=total, every=every))
    tables, images = reporting.folders(told.whole)
    rows = table(report, runs)
    reporting.show(report.title, rows)
    text_at, picture_at = tables / f"{report.name}.md", images / f"{report.name}.png"
    reporting.write(text_at, report.title, rows, load=load, timed="compilation excluded")
    curves = {}
    for run in runs:
        curves.setdefault(run.cell, []).append(run.curve)
    print("wrote", pictures.learning(picture_at, curves, every, report))


def table(report: Report, runs: list[Run]) -> list[list[str]]:
    """Titles, the baselines, then each cell from each seed."""
    by_cell = {}
    for run in runs:
        by_cell.setdefault(run.cell, []).append(run)
    ours = [
        reporting.Row(
            f"`{cell}`",
            mine[0].parameters,
            [run.score for run in mine],
            float(np.mean([run.seconds for run in mine])),
        )
        for cell, mine in by_cell.items()
    ]
    references = report.baselines | report.published
    return reporting.compared(report.measure, report.form, references, ours)

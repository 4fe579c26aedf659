"""What a step of `fit` takes over the bare jitted step, at the demo's model, with progress on.

Run: python benchmarks/fit_overhead.py [--quick] [--rounds N] [--out DIR]
"""

import contextlib
import io
import os
import pathlib
import sys
import time

import jax

import turns

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))

import datasets  # noqa: E402
import speaker_identification as demo  # noqa: E402

from rnnjax import data, train  # noqa: E402

BATCH, EPOCHS, SEED = demo.BATCH, 4, 0


class Clock(train.Callback):
    """From before the first step to after the last, all that is done between epochs included."""

    def on_start(self, run):
        self.begin = time.perf_counter()

    def on_end(self, run):
        self.seconds = time.perf_counter() - self.begin


def bare(batches, optimizer, key, count):
    """Seconds of so many calls of the jitted step, one after another."""
    metrics = (train.accuracy,)
    step = train.make_train_step(demo.model, train.cross_entropy, optimizer, metrics=metrics)
    state = train.init_state(demo.model, optimizer, batches[0], key=key)
    jax.block_until_ready(state)
    begin = time.perf_counter()
    for number in range(count):
        state, sums = step(state, batches[number % len(batches)])
    jax.block_until_ready((state, sums))
    return time.perf_counter() - begin


def fit(rows, optimizer, key, epochs, steps_per_epoch, *, progress):
    """Seconds of `fit` from its first step to its last."""
    clock = Clock()
    train.fit(
        demo.model,
        rows,
        loss=train.cross_entropy,
        metrics=(train.accuracy,),
        optimizer=optimizer,
        key=key,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        callbacks=[clock],
        progress=progress,
    )
    return clock.seconds


def on_a_terminal(*arguments):
    """The same with progress on what rich takes for a terminal."""
    os.environ["TTY_COMPATIBLE"] = os.environ["TTY_INTERACTIVE"] = "1"
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        seconds = fit(*arguments, progress=True)
    assert "tokens/s" in shown.getvalue()
    return seconds


def main():
    options = turns.options_of(__doc__)
    steps = 20 if options.quick else 200
    total = steps * EPOCHS
    recordings = datasets.japanese_vowels("TRAIN")
    xs = demo.with_deltas(recordings.xs, recordings.lengths)
    rows = data.rows((xs, recordings.labels, recordings.lengths), batch_size=BATCH, seed=SEED)
    short = len(rows)
    task = train.adamw(3e-3), jax.random.key(SEED)
    runs = {
        "the bare step": lambda: bare(list(rows), *task, total),
        f"`fit`, {steps} steps an epoch": lambda: fit(rows, *task, EPOCHS, steps, progress=False),
        f"`fit`, {steps} steps an epoch, progress on": lambda: on_a_terminal(
            rows, *task, EPOCHS, steps
        ),
        f"`fit`, {short} steps an epoch, progress on": lambda: on_a_terminal(
            rows, *task, total // short, short
        ),
    }
    # The last epochs are whole: what is left of a total that is no multiple is not run.
    counts = dict.fromkeys(runs, total) | {list(runs)[-1]: total // short * short}

    def table(say):
        taken = turns.in_turns(runs, options.rounds)
        each = {name: seconds / counts[name] for name, seconds in taken.items()}
        lines = []
        for name, seconds in each.items():
            lines.append(
                f"| {name} | {1e3 * seconds:.3f} | {seconds / each['the bare step']:.3f} |"
            )
            say(lines[-1])
        return lines

    line = f"Bidirectional LSTM, B = {BATCH}, T = {xs.shape[1]}, about {total} steps a run."
    head = ["What a step of `fit` takes", line, "| | ms a step | ratio |", "| --- | ---: | ---: |"]
    turns.write(options, "fit_overhead", head, table)


if __name__ == "__main__":
    main()

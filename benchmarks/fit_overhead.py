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


def main():
    options = turns.options_of(__doc__)
    steps = 20 if options.quick else 200
    recordings = datasets.japanese_vowels("TRAIN")
    xs = demo.with_deltas(recordings.xs, recordings.lengths)
    rows = data.rows((xs, recordings.labels, recordings.lengths), batch_size=BATCH, seed=SEED)
    batches = [rows[i] for i in range(len(rows))]
    optimizer, key = train.adamw(3e-3), jax.random.key(SEED)
    step = train.make_train_step(
        demo.model, train.cross_entropy, optimizer, metrics=(train.accuracy,)
    )
    start = lambda: train.init_state(demo.model, optimizer, batches[0], key=key)

    def bare():
        state = start()
        jax.block_until_ready(state)
        begin = time.perf_counter()
        for number in range(steps * EPOCHS):
            state, sums = step(state, batches[number % len(batches)])
        jax.block_until_ready((state, sums))
        return time.perf_counter() - begin

    def fit(steps_per_epoch, progress):
        clock = Clock()
        train.fit(
            demo.model,
            rows,
            loss=train.cross_entropy,
            metrics=(train.accuracy,),
            optimizer=optimizer,
            key=key,
            epochs=steps * EPOCHS // steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            callbacks=[clock],
            progress=progress,
        )
        return clock.seconds

    def on_a_terminal(steps_per_epoch):
        os.environ["TTY_COMPATIBLE"] = os.environ["TTY_INTERACTIVE"] = "1"  # rich takes it for one
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            seconds = fit(steps_per_epoch, True)
        assert "tokens/s" in shown.getvalue()
        return seconds

    runs = {
        "the bare step": bare,
        f"`fit`, {steps} steps an epoch": lambda: fit(steps, False),
        f"`fit`, {steps} steps an epoch, progress on": lambda: on_a_terminal(steps),
        f"`fit`, {len(rows)} steps an epoch, progress on": lambda: on_a_terminal(len(rows)),
    }

    def table(say):
        taken = turns.in_turns(runs, options.rounds)
        unit = taken["the bare step"]
        lines = []
        for name, seconds in taken.items():
            each = seconds / (steps * EPOCHS)
            lines.append(f"| {name} | {1e3 * each:.3f} | {seconds / unit:.3f} |")
            say(lines[-1])
        return lines

    line = f"Bidirectional LSTM, B = {BATCH}, T = {xs.shape[1]}, {steps * EPOCHS} steps a run."
    head = ["What a step of `fit` takes", line, "| | ms a step | ratio |", "| --- | ---: | ---: |"]
    turns.write(options, "fit_overhead", head, table)


if __name__ == "__main__":
    main()

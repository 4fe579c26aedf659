"""A run of `fit`: epochs of steps, with a host that looks on a few times a second."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax.data.batch import Batch
from rnnjax.train.averaging import Averaging, triggered
from rnnjax.train.callbacks import Callback
from rnnjax.train.checkpoints import Checkpoints, check_can_save, fill, find, newest, save
from rnnjax.train.history import History
from rnnjax.train.measures import Measure
from rnnjax.train.models import Weights
from rnnjax.train.progress import Quiet
from rnnjax.train.signals import Interruption
from rnnjax.train.sources import Source
from rnnjax.train.state import Average, Bad, TrainState, copied
from rnnjax.train.totals import Totals

TICK = 0.25
"""Seconds between two looks at what the device has added up."""


class NonFiniteError(RuntimeError):
    """Too many batches in a row had a loss or gradient that was not finite.

    Attributes:
        state: as the last good batch left it.
    """

    def __init__(self, message: str, state: TrainState):
        super().__init__(message)
        self.state = state


class Job(NamedTuple):
    """What a run does; all of it checked.

    Attributes:
        advance: `state, totals, batch -> state, totals`, jitted.
        values: `totals -> values by name`, jitted.
        place: brings a batch to where the step runs, and checks it.
        source: where batches come from.
        validate: `weights, epoch -> values by name`; None without validation data.
        measures: by the names that they have in the history.
        names: those of the history that have one number in each epoch.
        monitor: the name in the history that says which epoch was best.
        epochs: how many in all, those before a resumption included.
        callbacks: in the order in which they are called.
        checkpoints: where and when; None for none.
        averaging: of the params, or None.
        max_bad: how many bad batches in a row are too many.
        settings: what must be the same after a resumption beside callbacks, by name.
    """

    advance: Callable[[TrainState, Totals, Batch], tuple[TrainState, Totals]]
    values: Callable[[Totals], dict[str, Any]]
    place: Callable[[Batch], Batch]
    source: Source
    validate: Callable[[Weights, int], dict[str, Any]] | None
    measures: dict[str, Measure]
    names: tuple[str, ...]
    monitor: str
    epochs: int
    callbacks: tuple[Callback, ...]
    checkpoints: Checkpoints | None
    averaging: Averaging | None
    max_bad: int
    settings: dict[str, Any]


class Saved(NamedTuple):
    """The arrays of a checkpoint."""

    state: TrainState
    totals: Totals
    best: Weights


class Run:
    """A run of `fit`, as its callbacks see it.

    Attributes:
        state: the training state; it is used up by the next step.
        history: of the epochs that are over.
        epoch: the epoch that runs, from 0.
        index: its batches that are done.
        step: batches done in all.
        monitor: the name in the history that says which epoch was best.
        best: the weights of the best epoch, and where `best_epoch` is None, those of the start.
        best_epoch: from 1; None before the first.
        reason: why the run was stopped; None while it goes on.
        chosen: the weights that `fit` returns.
    """

    def __init__(self, job: Job, start: tuple[TrainState, Totals]):
        self.job = job
        self.state, self.totals = start
        self.fresh_totals = copied(self.totals)
        self.history = History()
        self.epoch = self.index = self.step = 0
        self.monitor = job.monitor
        self.best, self.best_epoch = copied(self.weights), None
        self.best_value: float | None = None
        self.reason: str | None = None
        self.scale = 1.0
        self.saved_at = time.monotonic()
        self.saved: tuple[int, int, int] | None = None  # the moment of the last checkpoint
        self.path: Any = None
        self.seconds = 0.0  # of this epoch before a resumption
        # When this epoch began, and when it would have, had it not been interrupted; the last look.
        self.started = self.began = self.looked = time.perf_counter()
        self.first = 0  # batch since then
        self.skipped = 0  # batches, at the last look

    def stop(self, reason: str) -> None:
        """End the run after this moment; the reason is returned by `fit`."""
        self.reason = self.reason or reason

    def scale_updates(self, factor: float) -> None:
        """Multiply the updates of all further steps."""
        self.scale *= factor
        self.state = self.state._replace(scale=self.state.scale * factor)

    def take_best(self) -> None:
        """Let `fit` return the weights of the best epoch, if one is over."""
        if self.best_epoch is not None:
            self.chosen = self.best

    def higher_is_better(self, name: str) -> bool:
        """How values of this name in the history are compared."""
        measure = self.job.measures.get(name.removeprefix("val_"))
        return measure is not None and bool(measure.higher_is_better)

    @property
    def weights(self) -> Weights:
        """The last weights, averaged where the run averages."""
        return self.state.weights

    @property
    def goes_on(self) -> bool:
        """Whether there is an epoch to come, and nothing has stopped the run."""
        return self.epoch < self.job.epochs and self.reason is None

    @property
    def moment(self) -> tuple[int, int, int]:
        """Where the run is; the last batch of an epoch is done before the epoch is over."""
        return self.step, self.epoch, self.index

    def go(self, signals: Interruption, progress: Quiet) -> None:
        """Run to the end, to a signal, or to a callback that stops."""
        self.each(lambda callback: callback.on_start(self))
        if self.job.checkpoints is not None and self.goes_on:
            check_can_save("fit", self.job.checkpoints.folder)
        while self.goes_on:
            self.one_epoch(signals, progress)
            if signals.name is not None:
                self.stop(signals.name)
        self.save()
        self.chosen = self.weights
        self.each(lambda callback: callback.on_end(self))
        self.chosen = Weights(*copied(self.chosen))  # a further step would use up the state's

    def each(self, call: Callable[[Callback], None]) -> None:
        """Call every callback."""
        for callback in self.job.callbacks:
            call(callback)

    def one_epoch(self, signals: Interruption, progress: Quiet) -> None:
        """Train on what is left of an epoch, and end it if nothing stops it before."""
        self.first, self.started = self.index, time.perf_counter()
        self.began = self.started - self.seconds
        progress.begin(self.epoch + 1, self.job.source.steps, self.index)
        for batch in self.job.source.batches(self.epoch, self.index):
            batch = self.job.place(batch)
            self.state, self.totals = self.job.advance(self.state, self.totals, batch)
            self.index += 1
            self.step += 1
            if time.perf_counter() - self.looked > TICK:
                values = self.look(progress)
                self.each(lambda callback, values=values: callback.on_tick(self, values))
            if signals.name is not None or self.reason is not None:
                return
            self.save_on_the_way()
        self.end_epoch(progress)

    def look(self, progress: Quiet) -> dict[str, Any]:
        """Fetch what was added up so far, and show it."""
        values, bad = jax.device_get((self.job.values(self.totals), self.state.bad))
        self.refuse_many(bad)
        self.looked, self.skipped = time.perf_counter(), int(bad.total)
        tokens = values.pop("tokens") * (self.index - self.first) / self.index
        values = {name: values[name].tolist() for name in self.job.measures}
        before = self.history.entries[-1]["skipped"] if self.history.entries else 0
        if self.skipped - before == self.index:  # a mean of nothing would be 0, the best of all
            values |= {name: math.nan for name in self.job.measures if name in self.job.names}
        progress.show(self.index, values, tokens / (self.looked - self.started))
        return values

    def refuse_many(self, bad: Bad) -> None:
        """Where too many batches were bad, say which, and where the last good checkpoint is."""
        if bad.in_row < self.job.max_bad:
            return
        since = int(bad.since)
        index = since - (self.step - self.index)
        where = f"batch {index + 1} of epoch {self.epoch + 1}"
        if index < 0:
            where = "a batch of an earlier epoch"
        origin = self.job.source.origin(self.epoch, index) if index >= 0 else ""
        if origin:
            where += f" ({origin})"
        last = "there is no checkpoint" if self.path is None else f"last checkpoint: {self.path}"
        raise NonFiniteError(
            f"fit: loss and gradients must be finite, got {self.job.max_bad} batches in a row from "
            f"step {since} on, {where}, that are not; they changed nothing, and {last}. Lower the "
            "learning rate, or look at these batches.",
            self.state,
        )

    def end_epoch(self, progress: Quiet) -> None:
        """Measure, note, and go on to the next epoch."""
        values = self.look(progress)
        if self.job.validate is not None:
            values |= {
                f"val_{k}": v for k, v in self.job.validate(self.weights, self.epoch).items()
            }
        self.epoch += 1
        self.index = 0
        entry = {"epoch": self.epoch, "step": self.step, **values}
        entry |= {"scale": self.scale, "skipped": self.skipped}
        entry["seconds"] = time.perf_counter() - self.began
        self.totals, self.seconds = copied(self.fresh_totals), 0.0
        self.history.entries.append(entry)
        self.keep_best(entry)
        self.begin_average()
        progress.end(entry)
        self.each(lambda callback: callback.on_epoch(self, entry))
        due = self.job.checkpoints and self.job.checkpoints.every_epochs
        if due and self.epoch % due == 0:
            self.save()

    def keep_best(self, entry: dict[str, Any]) -> None:
        """Copy the weights if no epoch before was as good."""
        value = entry[self.monitor]
        value = -value if self.higher_is_better(self.monitor) else value
        if not math.isnan(value) and (self.best_value is None or value < self.best_value):
            self.best_value, self.best_epoch = value, self.epoch
            self.best = copied(self.weights)

    def begin_average(self) -> None:
        """Begin a triggered average once validation says so."""
        averaging, average = self.job.averaging, self.state.average
        if averaging is None or averaging.patience is None or average is None:
            return
        begun = int(jax.device_get(average.count)) >= 0
        if not begun and triggered(self.history["val_loss"], averaging.patience):
            begun = Average(average.params, jnp.zeros_like(average.count))
            self.state = self.state._replace(average=begun)

    def save_on_the_way(self) -> None:
        """Save in the middle of an epoch where it is time to."""
        due = self.job.checkpoints
        if due is None:
            return
        by_steps = due.every_steps is not None and self.step % due.every_steps == 0
        passed = time.monotonic() - self.saved_at
        if by_steps or (due.every_seconds is not None and passed >= due.every_seconds):
            self.save()

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same after a resumption, by name; callbacks remember in their order."""
        names = [type(callback).__name__ for callback in self.job.callbacks]
        return self.job.settings | {"callbacks": names}

    def save(self) -> None:
        """Write a checkpoint, unless this moment has one."""
        due = self.job.checkpoints
        if due is None or self.saved == self.moment:
            return
        self.refuse_many(jax.device_get(self.state.bad))  # what does not move is not gone on from
        record = {
            "epoch": self.epoch,
            "index": self.index,
            "position": self.job.source.position(),
            "history": self.history.entries,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "scale": self.scale,
            "seconds": time.perf_counter() - self.began if self.index else 0.0,
            "callbacks": [callback.remember() for callback in self.job.callbacks],
            "settings": self.settings,
        }
        tree = Saved(self.state, self.totals, self.best)
        self.path = save(due.folder, self.step, tree, record, keep=due.keep)
        self.saved, self.saved_at = self.moment, time.monotonic()

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        due = self.job.checkpoints
        if due is None or newest("fit", due.folder) is None:
            return
        found = find("fit", Path(due.folder))
        record = found.record
        if "settings" not in record:
            wanted, way_out = "be of runs of fit", "give another folder"
            _checks.refuse("fit", "checkpoints", wanted, f"{found.path} of another", way_out)
        for name, wanted in self.settings.items():
            got = record["settings"].get(name)
            if got != wanted:
                way_out = "resume with what the run began with, or give another folder"
                _checks.refuse("fit", name, f"be {got} as in {found.path}", wanted, way_out)
        like = Saved(self.state, self.totals, self.best)
        self.state, self.totals, self.best = fill("fit", found, like)
        self.step, self.epoch, self.index = found.step, record["epoch"], record["index"]
        self.history = History(record["history"])
        self.best_epoch, self.best_value = record["best_epoch"], record["best_value"]
        self.scale, self.seconds = record["scale"], record["seconds"]
        self.path, self.saved = found.path, self.moment
        if record["position"] is not None:
            self.job.source.seek(record["position"])
        for callback, memory in zip(self.job.callbacks, record["callbacks"], strict=True):
            callback.recall(memory)

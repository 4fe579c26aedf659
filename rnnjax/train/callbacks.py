"""Callbacks: small objects that a run calls at four moments."""

import math
from pathlib import Path
from typing import Any

from rnnjax import _checks

Run = Any
"""The `Run` that calls; its module imports this one."""


class Callback:
    """What a run calls at four moments; a subclass defines those it needs.

    In each, `run` is the `Run`: it can be read, stopped (`run.stop(reason)`), and its updates can
    be scaled (`run.scale_updates(factor)`). What a callback must remember over a resumption it
    returns from `remember`.
    """

    def on_start(self, run: Run) -> None:
        """Before the first step of this call of `fit`, after a resumption too."""

    def on_tick(self, run: Run, values: dict[str, float]) -> None:
        """A few times a second, with the means of the epoch so far."""

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """After each epoch, with its new entry of the history."""

    def on_end(self, run: Run) -> None:
        """When the run is over, interrupted or not, but for an error."""

    def remember(self) -> dict[str, Any]:
        """What belongs into a checkpoint, as JSON can hold it."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what `remember` returned."""


class EarlyStopping(Callback):
    """Stop when a value has not become better for some epochs, and take the best weights.

    Args:
        patience: epochs without a better value.
        monitor: a name of the history; None means the run's own, "val_loss" where there is
            validation data and "loss" otherwise.
        min_delta: by how much a value must be better to count.
        restore_best: whether `fit` returns the weights of the run's best epoch.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a number out of range; when the run starts, for a name that its history
            will not have, or with `restore_best` another one than the run's own.
    """

    def __init__(
        self,
        patience: int,
        *,
        monitor: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ):
        self.patience = _checks.size("EarlyStopping", "patience", patience)
        self.watched = Watched("EarlyStopping", monitor, min_delta)
        self.restore_best = _checks.flag("EarlyStopping", "restore_best", restore_best)

    def on_start(self, run: Run) -> None:
        """Begin to count, or stop again what was stopped before a resumption."""
        self.watched.begin(run)
        if self.restore_best and self.watched.name(run) != run.monitor:
            way_out = "give fit the same monitor, or restore_best=False"
            wanted = f"be {run.monitor!r}, which decides what fit's best weights are"
            got = repr(self.watched.monitor)
            _checks.refuse("EarlyStopping", "monitor", wanted, got, way_out)
        self.stop_if_due(run)

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """Count the epochs without a better value."""
        self.watched.look(run, entry)
        self.stop_if_due(run)

    def stop_if_due(self, run: Run) -> None:
        """Stop the run after so many epochs without a better value."""
        waited = self.watched.waited
        if waited >= self.patience:
            run.stop(f"{self.watched.name(run)} was not better for {waited} epochs")

    def on_end(self, run: Run) -> None:
        """Take the best weights."""
        if self.restore_best:
            run.take_best()

    def remember(self) -> dict[str, Any]:
        """The best value and the epochs since."""
        return self.watched.remember()

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what `remember` returned."""
        self.watched.recall(memory)


class ReduceOnPlateau(Callback):
    """Multiply updates by a factor when a value has not become better for some epochs.

    The optimizer's own schedule goes on below it. `entry["scale"]` is the product so far.

    Args:
        factor: what updates are multiplied by, between 0 and 1.
        patience: epochs without a better value.
        monitor: as for `EarlyStopping`.
        min_delta: as for `EarlyStopping`.
        least: what the product of all factors does not fall below.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a number out of range.
    """

    def __init__(
        self,
        *,
        factor: float = 0.1,
        patience: int = 3,
        monitor: str | None = None,
        min_delta: float = 0.0,
        least: float = 0.0,
    ):
        function = "ReduceOnPlateau"
        self.factor = _checks.real(function, "factor", factor)
        if not 0.0 < self.factor < 1.0:
            way_out = "0.1 makes steps ten times smaller"
            _checks.refuse(function, "factor", "lie in 0 < factor < 1", factor, way_out)
        self.patience = _checks.size(function, "patience", patience)
        self.least = _checks.real(function, "least", least)
        if not 0.0 <= self.least < 1.0:
            way_out = "0.0 sets no bound"
            _checks.refuse(function, "least", "lie in 0 <= least < 1", least, way_out)
        self.watched = Watched(function, monitor, min_delta)

    def on_start(self, run: Run) -> None:
        """Begin to count."""
        self.watched.begin(run)

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """Count the epochs without a better value."""
        if self.watched.look(run, entry) >= self.patience:
            run.scale_updates(max(self.factor, self.least / run.scale))
            self.watched.waited = 0

    def remember(self) -> dict[str, Any]:
        """The best value and the epochs since."""
        return self.watched.remember()

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what `remember` returned."""
        self.watched.recall(memory)


class Watched:
    """A value of the history, its best so far, and the epochs since."""

    def __init__(self, function: str, monitor: str | None, min_delta: float):
        self.function, self.monitor = function, monitor
        if monitor is not None:
            check_name(function, "monitor", monitor)
        self.min_delta = _checks.real(function, "min_delta", min_delta)
        if self.min_delta < 0:
            way_out = "0.0 takes every improvement"
            _checks.refuse(function, "min_delta", "be at least 0", min_delta, way_out)
        self.best: float | None = None
        self.waited = 0

    def name(self, run: Run) -> str:
        """What is watched."""
        return self.monitor or run.monitor

    def begin(self, run: Run) -> None:
        """Refuse a name that the history will not have, and forget an earlier run."""
        check_name(self.function, "monitor", self.name(run), run.job.names)
        if run.step == 0:
            self.best, self.waited = None, 0

    def look(self, run: Run, entry: dict[str, Any]) -> int:
        """The epochs since the value was better than ever before, this one included."""
        name = self.name(run)
        sign = -1.0 if run.higher_is_better(name) else 1.0
        value = sign * entry[name]
        better = not math.isnan(value) and (self.best is None or value < self.best - self.min_delta)
        if better:
            self.best = value
        self.waited = 0 if better else self.waited + 1
        return self.waited

    def remember(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"best": self.best, "waited": self.waited}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what `remember` returned."""
        self.best, self.waited = memory["best"], memory["waited"]


def check_name(
    function: str, argument: str, name: Any, names: tuple[str, ...] | None = None
) -> None:
    """Refuse what is no name of the history, or none that will have one number an epoch."""
    if not isinstance(name, str):
        way_out, wanted = 'give one such as "val_loss"', "be a name of the history"
        got = _checks.kind(name)
        _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)
    if names is not None and name not in names:
        way_out = "give validation data, or the metric that is meant"
        _checks.refuse(function, argument, f"be one of {sorted(names)}", repr(name), way_out)


def as_file(function: str, path: Any, *, such_as: str) -> Path:
    """Where a file is written."""
    path = _checks.path(function, "path", path, such_as=such_as)
    if path.is_dir():
        way_out = f'name a file in it, such as "{such_as}"'
        _checks.refuse(function, "path", "be that of a file", f"the folder {path}", way_out)
    return path


class CSVLog(Callback):
    """Keep the history in a table, whole after each epoch and after a resumption.

    Args:
        path: of the file.

    Raises:
        TypeError: if `path` is none.
        ValueError: if it is a folder.
    """

    def __init__(self, path: str | Path):
        self.path = as_file("CSVLog", path, such_as="history.csv")

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """Write the whole table."""
        run.history.to_csv(self.path)


class JSONLog(Callback):
    """Keep the history as lines of JSON, whole after each epoch and after a resumption.

    Args:
        path: of the file.

    Raises:
        TypeError: if `path` is none.
        ValueError: if it is a folder.
    """

    def __init__(self, path: str | Path):
        self.path = as_file("JSONLog", path, such_as="history.jsonl")

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """Write all lines."""
        run.history.to_json(self.path)


class Tracker(Callback):
    """Hand each epoch's values to an experiment tracker, such as a run of Weights & Biases.

    Args:
        tracker: anything with `log(values, step=...)`, such as what `wandb.init()` returns.

    Raises:
        TypeError: if `tracker` has no `log`.
    """

    def __init__(self, tracker: Any):
        if not callable(getattr(tracker, "log", None)):
            way_out = "give what wandb.init() returns"
            wanted = "have a log(values, step=...)"
            got = _checks.kind(tracker)
            _checks.refuse("Tracker", "tracker", wanted, got, way_out, error=TypeError)
        self.tracker = tracker

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """Log the entry at its step."""
        self.tracker.log(dict(entry), step=entry["step"])


class TensorBoard(Callback):
    """Write each epoch's values for TensorBoard; needs `pip install rnnjax[tensorboard]`.

    Args:
        folder: for the event files.

    Raises:
        ImportError: if tensorboardX is not there.
        TypeError: if `folder` is no path.
    """

    def __init__(self, folder: str | Path):
        folder = _checks.path("TensorBoard", "folder", folder, such_as="runs/first")
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            message = "TensorBoard: tensorboardX is not installed; pip install rnnjax[tensorboard]."
            raise ImportError(message) from error
        self.writer = SummaryWriter(str(folder))

    def on_epoch(self, run: Run, entry: dict[str, Any]) -> None:
        """Write the numbers of the entry at its step."""
        for name, value in entry.items():
            if isinstance(value, float):
                self.writer.add_scalar(name, value, entry["step"])

    def on_end(self, run: Run) -> None:
        """Write what is still in memory."""
        self.writer.flush()

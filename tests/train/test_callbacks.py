"""Callbacks: what they count, when they act, and what they write."""

import csv
import functools
import json
import struct
import sys
import types

import numpy as np
import pytest
from fits import LABELS, LINEAR, ROWS, XS, fit

from rnnjax import train
from rnnjax.storage import files

NAN = float("nan")


class Script:
    """A run whose epochs have the values that a test wants, as callbacks see it."""

    monitor, step, scale, reason, took_best = "val_loss", 0, 1.0, None, False

    def __init__(self, **series):
        rows = zip(*series.values(), strict=True)
        self.entries = [dict(zip(series, row, strict=True)) for row in rows]
        self.job = types.SimpleNamespace(names=tuple(series))
        self.scales = []

    def higher_is_better(self, name):
        return name == "val_accuracy"

    def stop(self, reason):
        self.reason = reason

    def take_best(self):
        self.took_best = True

    def scale_updates(self, factor):
        self.scale *= factor

    def play(self, callback):
        """The epochs that were run."""
        callback.on_start(self)
        begun = self.step
        for entry in self.entries:
            self.step += 1
            callback.on_epoch(self, entry)
            self.scales.append(self.scale)
            if self.reason is not None:
                break
        callback.on_end(self)
        return self.step - begun


@pytest.mark.parametrize(
    ("losses", "options", "epochs"),
    [
        ([3, 2, 1, 0.5], {}, 4),
        ([3, 2, 2, 2, 1], {}, 4),  # the same is not better
        ([3, 2, 2.5, 1.9, 2, 2, 0], {}, 6),
        ([3, 2, 1.95, 1.91, 0], {"min_delta": 0.1}, 4),
        ([3, 2, 1.95, 1.85, 0], {"min_delta": 0.1}, 5),  # small steps add up to a great one
        ([NAN, 3, NAN, 2, NAN, NAN, 1], {}, 6),
        ([NAN, NAN, 1], {}, 2),
        ([3, -np.inf, -np.inf, NAN, 0], {}, 4),
    ],
)
def test_patience(losses, options, epochs):
    run = Script(val_loss=losses)
    assert run.play(train.EarlyStopping(2, **options)) == epochs
    stopped = epochs < len(losses)
    assert run.reason == ("val_loss was not better for 2 epochs" if stopped else None)
    assert run.took_best


def test_higher_may_be_better():
    rising = {"val_loss": [1, 2, 3, 4, 5], "val_accuracy": [0.1, 0.5, 0.4, 0.6, 0.7]}
    stop = functools.partial(train.EarlyStopping, 2, restore_best=False)
    assert Script(**rising).play(stop(monitor="val_accuracy")) == 5
    assert Script(**rising).play(stop(monitor="val_loss")) == 3
    assert Script(**rising).play(stop()) == 3  # the run's own
    assert Script(**rising).play(stop(monitor="val_accuracy", min_delta=0.45)) == 3


def test_the_best_weights_are_the_runs_own():
    wanted = (
        "EarlyStopping: `monitor` must be 'val_loss', which decides what fit's best weights are, "
        "got 'val_accuracy'; give fit the same monitor, or restore_best=False."
    )
    with pytest.raises(ValueError) as caught:
        Script(val_loss=[1], val_accuracy=[1]).play(train.EarlyStopping(2, monitor="val_accuracy"))
    assert str(caught.value) == wanted


def test_the_last_weights_may_be_kept():
    run = Script(val_loss=[1, 2])
    run.play(train.EarlyStopping(5, restore_best=False))
    assert not run.took_best


@pytest.mark.parametrize(
    ("losses", "options", "scales"),
    [
        ([3, 2, 2, 2, 2, 2], {}, [1, 1, 1, 0.1, 0.1, 0.01]),  # the wait begins again
        ([3, 4, 5, 2, 3, 1], {"factor": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.5]),
        ([1, 1, 1, 1, 1], {"patience": 1, "least": 0.05}, [1, 0.1, 0.05, 0.05, 0.05]),
        ([NAN, NAN, NAN, NAN], {}, [1, 0.1, 0.1, 0.01]),
    ],
)
def test_a_plateau(losses, options, scales):
    run = Script(val_loss=losses)
    run.play(train.ReduceOnPlateau(**{"patience": 2} | options))
    assert run.scales == pytest.approx(scales)
    assert run.reason is None


@pytest.mark.parametrize("make", [train.EarlyStopping, train.ReduceOnPlateau])
def test_the_count_goes_on_after_a_resumption(make):
    losses = [3.0, 2.0, 2.5, 2.5, 2.5]
    whole, first, second = (make(patience=3) for _ in range(3))
    run, begun, rest = (
        Script(val_loss=losses),
        Script(val_loss=losses[:3]),
        Script(val_loss=losses[3:]),
    )
    begun.play(first)
    second.recall(json.loads(json.dumps(first.remember())))
    rest.step = 3
    assert 3 + rest.play(second) == run.play(whole) == 5
    assert (rest.reason, rest.scale) == (run.reason, run.scale) != (None, 1.0)


def test_what_is_watched_is_refused_before_the_first_batch():
    read = []

    class Counting:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            read.append(index)
            return ROWS

    for callback in (train.EarlyStopping(1, monitor="nats"), train.ReduceOnPlateau(monitor="nats")):
        read.clear()
        with pytest.raises(ValueError, match="`monitor` must be one of"):
            fit(LINEAR, Counting(), callbacks=[callback])
        assert read == [0]  # for its shapes


@pytest.fixture
def promotion(any_promotion):
    """Optax counts steps in whole numbers."""


class Peek(train.Callback):
    """What another program would read after each epoch."""

    def __init__(self, path):
        self.path, self.texts = path, []

    def on_epoch(self, run, entry):
        self.texts.append(self.path.read_text())


@pytest.mark.usefixtures("promotion")
def test_tables_are_whole_after_each_epoch(tmp_path):
    table, lines = tmp_path / "new" / "a.csv", tmp_path / "new" / "a.jsonl"
    peek = Peek(table)
    logs = [train.CSVLog(table), train.JSONLog(str(lines)), peek]
    metrics = [train.confusion(2)]
    history = fit(LINEAR, epochs=3, batch_size=3, callbacks=logs, metrics=metrics).history
    assert [json.loads(line) for line in lines.read_text().splitlines()] == history.entries
    assert [text.count("\n") for text in peek.texts] == [2, 3, 4]
    assert table.read_text() == peek.texts[-1]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert list(rows[0]) == history.names
    for name in ("epoch", "step", "loss", "seconds"):
        assert [float(row[name]) for row in rows] == history[name]
    assert json.loads(rows[2]["confusion"]) == history["confusion"][2]
    assert {path.name for path in table.parent.iterdir()} == {"a.csv", "a.jsonl"}


@pytest.mark.parametrize("write", ["to_csv", "to_json"])
@pytest.mark.parametrize("step", ["write_file", "sync"])
def test_an_old_table_outlives_a_full_disk(write, step, tmp_path, monkeypatch):
    path = tmp_path / "history"
    history = train.History([{"epoch": 1, "loss": 0.5}])
    getattr(history, write)(path)
    before = path.read_bytes()

    def fails(path, *data):
        if data:
            path.write_bytes(data[0][:3])  # some of it was written
        raise OSError(28, "No space left on device", str(path))

    if step == "write_file":
        monkeypatch.setattr(files, "write_file", fails)
    else:
        monkeypatch.setattr("os.fsync", lambda descriptor: fails(path))
    history.entries.append({"epoch": 2, "loss": 0.25})
    with pytest.raises(OSError) as caught:
        getattr(history, write)(path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_history_is_a_mapping_of_columns(tmp_path):
    history = train.History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1}])
    assert dict(history) == {"epoch": [1, 2], "loss": [0.5, 0.25], "val_loss": [None, 1]}
    assert repr(history) == "History(2 epochs of epoch, loss, val_loss)"
    with pytest.raises(KeyError):
        history["accuracy"]
    history.to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss,val_loss\r\n1,0.5,\r\n2,0.25,1\r\n"


def test_a_tracker_is_told_of_each_epoch_at_its_step():
    class Fake:
        def __init__(self):
            self.told = []

        def log(self, values, *, step):
            self.told.append((step, dict(values)))
            values.clear()  # its own

    fake, run = Fake(), Script(step=[3, 6], loss=[0.5, 0.25])
    run.play(train.Tracker(fake))
    assert fake.told == [(3, {"step": 3, "loss": 0.5}), (6, {"step": 6, "loss": 0.25})]
    assert run.entries[0] == {"step": 3, "loss": 0.5}


EPOCHS = {"step": [3, 6], "loss": [0.5, NAN], "skipped": [0, 1], "confusion": [[[1.0]]] * 2}


def test_tensorboard_is_given_the_numbers(monkeypatch, tmp_path):
    made = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder, self.scalars, self.flushed = folder, [], 0
            made.append(self)

        def add_scalar(self, name, value, step):
            self.scalars.append((name, value, step))

        def flush(self):
            self.flushed += 1

    stub = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", stub)
    run = Script(**EPOCHS)
    run.play(train.TensorBoard(tmp_path))
    [writer] = made
    assert writer.folder == str(tmp_path)
    assert [(name, step) for name, _, step in writer.scalars] == [("loss", 3), ("loss", 6)]
    assert writer.scalars[0][1] == 0.5 and np.isnan(writer.scalars[1][1])
    assert writer.flushed == 1


def test_tensorboard_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    message = r"^TensorBoard: tensorboardX is not installed; pip install rnnjax\[tensorboard\]\.$"
    with pytest.raises(ImportError, match=message):
        train.TensorBoard(tmp_path)


def test_tensorboard_can_read_the_file(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    callback = train.TensorBoard(tmp_path)
    Script(**EPOCHS).play(callback)
    callback.writer.close()
    [path] = tmp_path.iterdir()
    data, found = path.read_bytes(), []
    while data:  # a length and its checksum, an event and its checksum
        (size,) = struct.unpack("<Q", data[:8])
        event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    assert found[0] == (3, "loss", 0.5)
    assert found[1][:2] == (6, "loss") and np.isnan(found[1][2])
    assert len(found) == 2


@pytest.mark.usefixtures("promotion")
def test_an_epoch_without_a_good_batch_is_not_the_best():
    """The mean of nothing is 0, and no loss."""
    rows = ROWS._replace(xs=np.full_like(XS, np.nan), lengths=None, targets=LABELS)
    seen = {}

    class Mend(train.Callback):
        def on_epoch(self, run, entry):
            rows.xs[:] = XS
            seen[entry["epoch"]] = run.best_epoch

    trained = fit(
        LINEAR, rows, epochs=3, batch_size=3, metrics=[train.accuracy], callbacks=[Mend()]
    )
    loss, accuracy = trained.history["loss"], trained.history["accuracy"]
    assert np.isnan(loss).tolist() == np.isnan(accuracy).tolist() == [True, False, False]
    assert trained.history["skipped"] == [2, 2, 2]
    assert seen == {1: None, 2: 2, 3: 3}

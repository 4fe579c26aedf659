"""A run that was stopped and goes on ends in the same bits as one that never was."""

import csv
import errno
import itertools
import json
import os
import re
import shutil
import sys
import time
from types import SimpleNamespace

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compilations
from flax import nnx
from messages import check_five_parts

import rnnjax
from rnnjax import data, train
from rnnjax.train import files

N, T, D, C = 11, 4, 3, 2
BATCHES = -(-N // 4)


@pytest.fixture(autouse=True)
def settings(any_promotion, monkeypatch):
    """Optax needs the first; the second is a look after every step."""
    monkeypatch.setattr("rnnjax.train.run.TICK", -1.0)


def task(seed=0, rows=N):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, T + 1, rows).astype(np.int32)
    xs = draw.normal(size=(rows, T, D)).astype(np.float32)
    return data.Batch(xs, (xs[:, 0, 0] > 0).astype(np.int32), lengths)


def listed():
    rows = data.rows(task(rows=12), batch_size=4, shuffle=False)
    return [rows[i] for i in range(len(rows))]


LAYER = rnnjax.stack(rnnjax.gru(4), rnnjax.gru(4), dropout=0.4)
MODEL = train.from_layer(LAYER, pool=train.last_step, head=rnnjax.dense(C))
ADAM = optax.adam(0.03)


class StopAt(train.Callback):
    """Stops after a step; None lets it run."""

    def __init__(self, step=None):
        self.step = step

    def on_tick(self, run, values):
        if run.step == self.step:
            run.stop("enough")


def fit(given=None, model=MODEL, callbacks=(), stop=None, **options):
    arrays = given is None
    options = {
        "loss": train.cross_entropy,
        "optimizer": ADAM,
        "key": jax.random.key(0),
        "batch_size": 4 if arrays else None,
        "epochs": 3,
    } | options
    callbacks = [*callbacks, StopAt(stop)]
    return train.fit(model, task() if arrays else given, callbacks=callbacks, **options)


def bits(trained):
    """Everything of a result but its time, leaf by leaf."""
    leaves = train.leaves.named_leaves("bits", "trained", (trained.state, *trained.weights))
    raw = lambda leaf: jax.random.key_data(leaf) if train.leaves.is_key(leaf) else leaf
    arrays = {name: np.asarray(raw(leaf)) for name, leaf in leaves.items()}
    entries = [{k: v for k, v in e.items() if k != "seconds"} for e in trained.history.entries]
    return entries, {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}


def record_of(folder):
    path = folder / f"step_{train.latest_step(folder):08d}" / "record.json"
    return json.loads(path.read_text())["record"]


def check_same(folder, stop, make):
    """Compare a run with one that is stopped after a step and resumed, all made anew."""
    whole = fit(**make())
    first = fit(**make(), stop=stop, checkpoints=folder)
    assert first.reason == "enough" and int(first.state.step) == stop
    record = record_of(folder)
    with compilations("advance") as compiled:
        resumed = fit(**make(), checkpoints=folder, resume=True)
    assert not compiled  # what was restored is as what a new run begins with
    assert resumed.reason == whole.reason and bits(resumed) == bits(whole)
    return record, resumed


# --- The same bits.


class NNXClassifier(nnx.Module):
    def __init__(self, rngs):
        self.rnn = rnnjax.nnx.GRU(D, 4, num_layers=2, dropout=0.4, rngs=rngs)
        self.head = nnx.Linear(4, C, rngs=rngs)

    def __call__(self, xs, *, lengths):
        _, ys = self.rnn(xs, lengths=lengths)
        return self.head(train.last_step(ys, lengths))


class Reader:
    """An iterator that says where it is, in bytes that are no text."""

    def __init__(self):
        self.batches, self.at, self.read = listed(), 0, []

    def __iter__(self):
        return self

    def __next__(self):
        self.at += 1
        self.read.append(self.at)
        return self.batches[self.at * self.at % 3]

    def get_state(self):
        return bytes([255, self.at])

    def set_state(self, state):
        assert state[0] == 255
        self.at = state[1]


@pytest.mark.parametrize("stop", [4, 2 * BATCHES])
def test_rows_in_a_drawn_order_with_noise(stop, tmp_path):
    """Amid an epoch, and after its last batch, when the epoch is not over yet."""
    check_same(tmp_path, stop, dict)


def test_parts_of_a_batch(tmp_path):
    check_same(tmp_path, 4, lambda: {"accumulate": 2})


def test_the_random_streams_of_an_nnx_module(tmp_path):
    module = NNXClassifier(nnx.Rngs(0))
    fresh, model = jax.tree.map(jnp.copy, nnx.state(module)), train.from_nnx(module)

    def make():
        nnx.update(module, jax.tree.map(jnp.copy, fresh))
        return {"model": model}

    _, resumed = check_same(tmp_path, 4, make)
    assert resumed.buffers["rnn"]["rngs"]["count"] == 3 * BATCHES


def test_a_grain_iterator_goes_on_where_it_was(tmp_path):
    read = []

    def make():
        read.clear()
        batches = listed()
        one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        numbers = grain.MapDataset.range(3).shuffle(seed=1)
        dataset = numbers.map(lambda i: read.append(i) or batches[i])
        return {"given": dataset.to_iter_dataset(one_by_one)}

    record, _ = check_same(tmp_path, 5, make)
    assert record["position"] == {"tree": {"next_index": 2}}
    assert len(read) == 1 + 1 + 3  # an example, what was left of the epoch, and the last one


def test_an_iterator_whose_state_is_bytes(tmp_path):
    readers = []

    def make():
        readers.append(Reader())
        return {"given": readers[-1], "steps_per_epoch": 3}

    check_same(tmp_path, 5, make)
    assert readers[-1].read == [1, 6, 7, 8, 9]


def test_a_list_is_read_up_to_there(tmp_path):
    record, _ = check_same(tmp_path, 5, lambda: {"given": listed()})
    assert record["position"] is None


def test_a_generator_is_read_up_to_there(tmp_path):
    """For training and validation; either gives its batches once."""

    def make():
        training, validation = ((listed()[i * i % 3] for i in itertools.count()) for _ in "ab")
        steps = {"steps_per_epoch": 3, "validation_steps": 2}
        return {"given": training, "validation": validation, **steps}

    _, resumed = check_same(tmp_path, 5, make)
    assert len(set(resumed.history["val_loss"])) == 3


def test_the_carry_of_truncated_backpropagation(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 7, 100).astype(np.int32)
    model = train.from_layer(
        rnnjax.stack(rnnjax.embedding(7, 4), rnnjax.gru(4), rnnjax.dense(7), dropout=0.3)
    )
    make = lambda: {"model": model, "given": data.windows(tokens, batch_size=4, num_steps=5)}
    check_same(tmp_path, 7, make)


def test_an_average_that_began_before_and_one_that_begins_after(tmp_path):
    noise = task(5)._replace(targets=np.arange(N, dtype=np.int32) % 2)
    averaging = train.nt_asgd(1)
    make = lambda: {"validation": noise, "averaging": averaging, "epochs": 8}
    for stop, begun in ((4, False), (20, True)):
        _, resumed = check_same(tmp_path / str(stop), stop, make)
        count = int(resumed.state.average.count)
        assert count > 0 and (8 * BATCHES - count < stop) == begun


def test_batches_over_eight_devices(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    make = lambda: {"given": task(rows=24), "batch_size": 8, "sharding": spread}
    _, resumed = check_same(tmp_path, 4, make)
    assert len(resumed.params.head.w.sharding.device_set) == 8


def test_the_best_weights_callbacks_and_logs(tmp_path):
    """Early stopping ends the run; resumed, it is over at once."""
    noise = task(5)._replace(targets=np.arange(N, dtype=np.int32) % 2)
    csv_log, json_log = tmp_path / "log.csv", tmp_path / "log.jsonl"

    def make():
        stopping = train.EarlyStopping(4, min_delta=0.01)
        plateau = train.ReduceOnPlateau(factor=0.5, patience=2, monitor="loss", min_delta=1.0)
        callbacks = [stopping, plateau, train.CSVLog(csv_log), train.JSONLog(json_log)]
        return {"validation": noise, "callbacks": callbacks, "epochs": 40}

    record, resumed = check_same(tmp_path / "runs", 10, make)
    history = resumed.history
    best = 1 + int(np.argmin(history["val_loss"]))
    assert record["best_epoch"] == best <= 3 < len(history.entries) < 40
    assert resumed.reason == "val_loss was not better for 4 epochs"
    assert history["scale"] == [1.0, 1.0, 1.0, 0.5, 0.5] and float(resumed.state.scale) == 0.25
    assert [json.loads(line) for line in json_log.read_text().splitlines()] == history.entries
    with open(csv_log) as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == history["loss"]
    again = fit(**make(), checkpoints=tmp_path / "runs", resume=True)
    assert again.history.entries == history.entries  # the time of every epoch, too
    assert again.reason == resumed.reason and bits(again) == bits(resumed)


def test_callbacks_of_an_earlier_run_begin_again():
    stopping = train.EarlyStopping(2, min_delta=10.0)
    one, two = (fit(callbacks=[stopping], epochs=6) for _ in range(2))
    assert len(one.history.entries) == len(two.history.entries) == 3


# --- Where a run begins and ends.


@pytest.fixture(scope="module")
def whole():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return fit()


def test_a_run_that_is_over_is_longer_with_more_epochs(whole, tmp_path):
    begun = fit(epochs=2, checkpoints=tmp_path, resume=True)  # the folder is empty
    again = fit(epochs=2, checkpoints=tmp_path, resume=True)
    assert begun.history.entries == again.history.entries and bits(begun) == bits(again)
    assert bits(begun) != bits(whole)
    assert bits(fit(checkpoints=tmp_path, resume=True)) == bits(whole)


@pytest.mark.parametrize(
    "options, wanted",
    [
        ({}, [2, 4, 6, 8, 9]),
        ({"every_steps": 4, "every_seconds": None}, [4, 8, 9]),
        ({"every_epochs": 2, "every_seconds": None}, [6, 9]),
        ({"every_epochs": 3, "every_steps": 9, "every_seconds": None}, [9, 9]),
        ({"every_seconds": 1e9}, [9]),
    ],
)
def test_moments_of_saving(options, wanted, tmp_path, monkeypatch):
    """Here a step takes 31 seconds; what is saved after the last one lacks the end of its epoch."""
    saved, clock = [], itertools.count(step=31.0)
    watch = SimpleNamespace(monotonic=lambda: next(clock), perf_counter=time.perf_counter)
    monkeypatch.setattr("rnnjax.train.run.time", watch)
    monkeypatch.setattr("rnnjax.train.run.save", lambda folder, step, *_, **__: saved.append(step))
    fit(checkpoints=train.Checkpoints(tmp_path, **options))
    assert saved == wanted


# --- Harm.


def every_two(folder):
    return train.Checkpoints(folder, every_steps=2, every_seconds=None)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with checkpoints of steps 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("begun")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rnnjax.train.run.TICK", -1.0)
            fit(stop=5, checkpoints=every_two(folder))
    return folder


def flip_a_bit(newest):
    path = max(newest.rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    return f"{path.relative_to(newest)} has changed since it was written"


def truncate(newest):
    content = (newest / "record.json").read_bytes()
    (newest / "record.json").write_bytes(content[:-7])
    return f"record.json has {len(content) - 7} bytes, not {len(content)}"


def remove(newest):
    (newest / "arrays" / "_METADATA").unlink()
    return "arrays/_METADATA is missing"


@pytest.mark.parametrize("harm", [flip_a_bit, truncate, remove])
def test_the_checkpoint_before_a_damaged_one_serves(harm, begun, whole, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(begun, folder)
    problem = harm(folder / "step_00000005")
    message = f"fit: {folder}/step_00000005 is damaged and was passed over: {problem}."
    with pytest.warns(train.CheckpointWarning, match=f"^{re.escape(message)}$"):
        resumed = fit(checkpoints=every_two(folder), resume=True)
    assert bits(resumed) == bits(whole)


def test_none_is_sound(begun, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(begun, folder)
    for path in folder.glob("step_*"):
        (path / "record.json").unlink()
    with pytest.raises(train.CheckpointError, match="^fit: no checkpoint in .* is sound: step_0"):
        fit(checkpoints=folder, resume=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(whole, tmp_path, monkeypatch):
    write, count = files.write_file, itertools.count(1)

    def until_full(path, content):
        if next(count) > 2:  # a record and a manifest
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_file", until_full)
        patch.setattr("rnnjax.train.manifest.write_file", until_full)
        with pytest.raises(train.CheckpointError) as caught:
            fit(checkpoints=every_two(tmp_path))
    assert str(caught.value) == (
        f"save: step 4 was not written to {tmp_path}: No space left on device; "
        f"the last good checkpoint is {tmp_path}/step_00000002."
    )
    assert train.latest_step(tmp_path) == 2
    assert bits(fit(checkpoints=tmp_path, resume=True)) == bits(whole)


def test_a_folder_that_cannot_be_written_is_found_out_before_the_first_step(
    begun, tmp_path, monkeypatch
):
    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    file = tmp_path / "file"
    file.touch()
    new, none = tmp_path / "new", "there is no earlier checkpoint"
    for folder, options, why, end in (
        (new, {}, "Read-only file system", none),
        (
            begun,
            {"resume": True},
            "Read-only file system",
            f"the last good checkpoint is {begun}/step_00000005",
        ),
    ):
        with monkeypatch.context() as patch, pytest.raises(train.CheckpointError) as caught:
            patch.setattr(os, "mkdir", read_only)
            fit(checkpoints=folder, callbacks=[], **options)
        message = f"fit: checkpoints cannot be written to {folder}: {why}; {end}."
        assert str(caught.value) == message
    with pytest.raises(train.CheckpointError, match=f"^latest_step: {file}: {file} is a file, and"):
        fit(checkpoints=file)


def test_what_else_is_found_out_before_the_first_step(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ImportError) as caught:
        patch.setitem(sys.modules, "orbax", None)
        fit(checkpoints=tmp_path)
    assert str(caught.value) == "fit: orbax-checkpoint is not installed; pip install rnnjax[train]."
    with monkeypatch.context() as patch, pytest.raises(train.CheckpointError) as caught:
        patch.setattr(jax, "process_count", lambda: 2)
        fit(checkpoints=tmp_path)
    assert str(caught.value) == "fit: this is one of 2 processes; only one alone can save."
    assert not list(tmp_path.iterdir())


def test_no_checkpoint_is_made_of_a_run_that_does_not_move(tmp_path, monkeypatch):
    """Else it could not go on from there, with better batches either."""
    monkeypatch.setattr("rnnjax.train.run.TICK", 1e9)
    good = listed()
    bad = good[0]._replace(xs=np.full_like(good[0].xs, np.nan))
    spoilt = [*good, *[bad] * 3]
    with pytest.raises(train.NonFiniteError, match=f"last checkpoint: {tmp_path}/step_00000004"):
        fit(spoilt, max_bad=2, checkpoints=every_two(tmp_path))
    assert train.latest_step(tmp_path) == 4
    resumed = fit([*good, *good], max_bad=2, epochs=1, checkpoints=tmp_path, resume=True)
    assert resumed.history["skipped"] == [1] and int(resumed.state.bad.in_row) == 0


# --- Refusals.


AGAIN = "resume with what the run began with, or give another folder."
OTHER = "this checkpoint is of another model: give another folder."
WIDE = train.from_layer(LAYER, pool=train.last_step, head=rnnjax.dense(C + 1))

REFUSALS = {
    "another key": (
        {"key": jax.random.key(1)},
        "fit: `key` must be [0, 0] as in {path}, got [0, 1]; " + AGAIN,
    ),
    "another batch size": (
        {"batch_size": 5},
        "fit: `batch_size` must be 4 as in {path}, got 5; " + AGAIN,
    ),
    "more batches": (
        {"given": task(rows=13), "batch_size": 4},
        "fit: `steps_per_epoch` must be 3 as in {path}, got 4; " + AGAIN,
    ),
    "more callbacks": (
        {"callbacks": [train.EarlyStopping(3)]},
        "fit: `callbacks` must be ['StopAt'] as in {path}, got ['EarlyStopping', 'StopAt']; "
        + AGAIN,
    ),
    "another width": (
        {"model": WIDE},
        "fit: `state.params.head.w` must have shape (4, 3), got (4, 2) in {path}; " + OTHER,
    ),
    "another optimizer": (
        {"optimizer": optax.sgd(0.1, momentum=0.9)},
        "fit: `state.opt_state.0.trace.layer.0.w_ih` must be there, "
        "got no leaf of this name in {path}; " + OTHER,
    ),
    "an average": (
        {"averaging": train.ema(0.9)},
        "fit: `state.average.params.layer.0.w_ih` must be there, "
        "got no leaf of this name in {path}; " + OTHER,
    ),
    "a folder in use": (
        {"resume": False},
        "fit: `checkpoints` must be a folder without checkpoints, got {folder} with step 5; "
        "give resume=True to go on from there, or another folder.",
    ),
    "nowhere to resume": (
        {"checkpoints": None},
        "fit: `resume` must be False without checkpoints, got True; "
        "say where they are with checkpoints=.",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_resumed_is_refused(case, begun):
    options, message = REFUSALS[case]
    before = sorted(begun.rglob("*"))
    with pytest.raises(ValueError) as caught:
        fit(**{"checkpoints": begun, "resume": True} | options)
    wanted = message.format(path=f"{begun}/step_00000005", folder=begun)
    assert str(caught.value) == wanted
    check_five_parts(wanted)
    assert sorted(begun.rglob("*")) == before


def test_a_checkpoint_that_is_not_of_fit(tmp_path):
    path = train.save(tmp_path, 3, {"w": jnp.ones(2)}, {"epoch": 1})
    with pytest.raises(ValueError) as caught:
        fit(checkpoints=tmp_path, resume=True)
    assert str(caught.value) == (
        f"fit: `checkpoints` must be of runs of fit, got {path} of another; give another folder."
    )

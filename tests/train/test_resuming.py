"""A run that was stopped and goes on ends in the same bits as one that never was."""

import csv
import itertools
import json
import time
from types import SimpleNamespace

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from resumed import (
    BATCHES,
    C,
    D,
    N,
    bits,
    check_same,
    fit,
    listed,
    task,
)
from resumed import settings as settings

import rnnjax
from rnnjax import data, train

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

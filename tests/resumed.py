"""What the tests of resumption share: a task, runs that stop, and what must be the same."""

import json

import jax
import numpy as np
import optax
import pytest
from compilations import compilations

import rnnjax
from rnnjax import data, train
from rnnjax.storage import leaves

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
    named = leaves.named_leaves("bits", "trained", (trained.state, *trained.weights))
    raw = lambda leaf: jax.random.key_data(leaf) if leaves.is_key(leaf) else leaf
    arrays = {name: np.asarray(raw(leaf)) for name, leaf in named.items()}
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

"""`fit`, `evaluate` and `predict`: what they learn, return, fetch and compile."""

import os
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compilations
from flax import linen as nn
from flax import nnx

import rnnjax
from rnnjax import data, train

N, T, D, C = 22, 5, 3, 2


def task(seed=0, rows=N):
    """Which sign has the sum over the valid steps of the first feature?"""
    draw = np.random.default_rng(seed)
    xs = draw.normal(size=(rows, T, D)).astype(np.float32)
    lengths = draw.integers(1, T + 1, rows).astype(np.int32)
    valid = np.arange(T) < lengths[:, None]
    labels = ((xs[..., 0] * valid).sum(1) > 0).astype(np.int32)
    xs[~valid] = np.nan  # what stands in the padding must not matter
    return data.Batch(xs, labels, lengths)


def classifier(dropout=0.0):
    head = rnnjax.stack(rnnjax.dense(8, activation=jnp.tanh), rnnjax.dense(C), dropout=dropout)
    return train.from_layer(rnnjax.gru(6), pool=train.last_step, head=head)


MODEL = classifier()


class NNXClassifier(nnx.Module):
    def __init__(self, rngs):
        self.rnn = rnnjax.nnx.GRU(D, 6, num_layers=2, dropout=0.2, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.head = nnx.Linear(6, C, rngs=rngs)

    def __call__(self, xs, *, lengths):
        _, ys = self.rnn(xs, lengths=lengths)
        return self.head(self.norm(train.last_step(ys, lengths)))


class LinenClassifier(nn.Module):
    @nn.compact
    def __call__(self, xs, lengths, training):
        rnn = rnnjax.linen.GRU(6, num_layers=2, dropout=0.2)
        _, ys = rnn(xs, lengths=lengths, deterministic=not training)
        features = nn.BatchNorm(use_running_average=not training)(train.last_step(ys, lengths))
        return nn.Dense(C)(features)


@pytest.fixture(autouse=True)
def promotion(any_promotion):
    """Optax counts steps in whole numbers, and raises floats to them."""


def fit(model=MODEL, given=None, **options):
    options = {
        "loss": train.cross_entropy,
        "optimizer": optax.adam(3e-2),
        "key": jax.random.key(0),
        "batch_size": 8,
        "metrics": [train.accuracy],
    } | options
    return train.fit(model, task() if given is None else given, **options)


@pytest.fixture(scope="module")
def learned():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return fit(epochs=40, validation=task(1, 40), averaging=train.ema(0.9))


def test_it_learns(learned):
    assert learned.history["loss"][-1] < 0.2 < 0.5 < learned.history["loss"][0]
    assert learned.history["val_accuracy"][-1] > 0.7
    assert learned.history["step"][-1] == 40 * 3
    assert learned.reason is None


def test_evaluate_and_predict_agree_however_rows_are_batched(learned):
    rows = task(1, 40)
    wanted = {name: learned.history[f"val_{name}"][-1] for name in ("loss", "accuracy")}
    loss = train.cross_entropy._replace(name="loss")
    for size in (40, 7):
        got = train.evaluate(learned, rows, [loss, train.accuracy], batch_size=size)
        assert got == pytest.approx(wanted, rel=1e-6)
    said = train.predict(learned, rows._replace(targets=None), batch_size=7)
    assert said.shape == (40, C)
    assert (said.argmax(-1) == rows.targets).mean() == pytest.approx(wanted["accuracy"])
    pieces = [data.Batch(rows.xs[:16], None, rows.lengths[:16])]
    np.testing.assert_allclose(train.predict(learned, pieces)[0], said[:16], atol=1e-6)


@pytest.mark.parametrize("kind", ["layer", "nnx", "linen", "functions"])
def test_every_kind_of_model(kind):
    call = lambda module, batch, carry, training: (None, module(batch.xs, batch.lengths, training))
    cell, readout = rnnjax.gru(6), rnnjax.dense(C)

    def init(key):
        keys = jax.random.split(key)
        return {"gru": cell.init(keys[0], D), "head": readout.init(keys[1], 6)}

    def apply(params, batch, key):
        ys = jnp.moveaxis(batch.xs, 1, 0)
        _, ys = rnnjax.unroll(cell, params["gru"], ys, lengths=batch.lengths)
        return readout.apply(params["head"], rnnjax.last_output(ys, batch.lengths)[None])[1][0]

    model = {
        "layer": lambda: classifier(0.2),
        "nnx": lambda: NNXClassifier(nnx.Rngs(0)),
        "linen": lambda: train.from_linen(LinenClassifier(), call=call),
        "functions": lambda: train.from_functions(init, apply),
    }[kind]()
    before = {"nnx": lambda: nnx.to_pure_dict(nnx.state(model))}.get(kind, dict)()
    trained = fit(model, epochs=8)
    assert trained.history["loss"][-1] < 0.9 * trained.history["loss"][0]
    again = train.evaluate(trained, task(), [train.cross_entropy])["cross_entropy"]
    assert again < trained.history["loss"][0]
    if kind == "nnx":  # it holds what it has learned, statistics and random streams too
        chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(model, nnx.Param)), trained.params)
        after = nnx.to_pure_dict(nnx.state(model))
        assert (after["norm"]["mean"] != before["norm"]["mean"]).any()
        assert after["rnn"]["rngs"]["count"] == 8 * 3
    if kind == "linen":
        assert set(trained.buffers) == {"batch_stats"}


def test_the_same_key_gives_the_same_bits():
    one, two = (fit(classifier(0.3), epochs=3) for _ in range(2))
    chex.assert_trees_all_equal(one.state.params, two.state.params)
    assert one.history["loss"] == two.history["loss"]
    other = fit(classifier(0.3), epochs=3, key=jax.random.key(1))
    assert other.history["loss"] != one.history["loss"]


def test_one_compilation_for_each_shape_of_buckets():
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 13, 30)
    sequences = [draw.normal(size=(n, D)).astype(np.float32) for n in lengths]
    buckets = data.buckets(sequences, lengths % 2, batch_size=4, max_shapes=3)
    with compilations("advance") as compiled:
        fit(given=buckets, batch_size=None, epochs=3)
    assert len(compiled) == len({batch.xs.shape for batch in buckets}) == 3


def test_no_step_fetches_anything(monkeypatch):
    """A look a tick and one at the end of each epoch, whatever the number of steps."""
    fetched = []
    get = jax.device_get
    monkeypatch.setattr("rnnjax.train.run.TICK", 1e9)
    monkeypatch.setattr(jax, "device_get", lambda tree: fetched.append(1) or get(tree))
    with jax.transfer_guard_device_to_host("disallow"):
        fit(epochs=2, batch_size=1)
    short = len(fetched)
    fit(epochs=2, batch_size=N)
    assert short == len(fetched) - short == 2


def test_a_callback_sees_the_four_moments():
    seen = []

    class Watch(train.Callback):
        def on_start(self, run):
            seen.append("start")

        def on_epoch(self, run, entry):
            seen.append((entry["epoch"], run.step))
            if run.epoch == 2:
                run.stop("enough")

        def on_end(self, run):
            seen.append("end")

    trained = fit(epochs=5, callbacks=[Watch()])
    assert seen == ["start", (1, 3), (2, 6), "end"]
    assert trained.reason == "enough" and len(trained.history.entries) == 2


def test_early_stopping_takes_the_best_weights():
    kept = {}

    class Keep(train.Callback):
        def on_epoch(self, run, entry):
            kept[entry["epoch"]] = jax.device_get(run.weights.params)

    noise = task(5, 12)._replace(targets=np.arange(12, dtype=np.int32) % 2)
    stop = train.EarlyStopping(3)
    trained = fit(epochs=60, validation=noise, callbacks=[Keep(), stop])
    best = 1 + int(np.argmin(trained.history["val_loss"]))
    assert len(trained.history.entries) == best + 3 < 60
    chex.assert_trees_all_equal(trained.params, kept[best])
    assert trained.reason == "val_loss was not better for 3 epochs"


def test_updates_shrink_on_a_plateau():
    plateau = train.ReduceOnPlateau(factor=0.5, patience=1, min_delta=10.0, least=0.25)
    trained = fit(epochs=4, callbacks=[plateau])
    assert trained.history["scale"] == [1.0, 1.0, 0.5, 0.25]
    assert float(trained.state.scale) == 0.25


def test_a_triggered_average_begins_when_validation_says_so():
    noise = task(5, 12)._replace(targets=np.arange(12, dtype=np.int32) % 2)
    trained = fit(epochs=20, validation=noise, averaging=train.nt_asgd(1))
    assert int(trained.state.average.count) > 0
    chex.assert_trees_all_equal(trained.params, trained.state.average.params)


def test_class_weights_act_on_the_training_loss_alone():
    one = fit(epochs=1, validation=task(1), optimizer=optax.set_to_zero())
    two = fit(epochs=1, validation=task(1), class_weights={0: 5.0}, optimizer=optax.set_to_zero())
    assert one.history["val_loss"] == two.history["val_loss"]
    assert one.history["loss"] != two.history["loss"]


def test_batches_may_come_from_anywhere():
    rows = task()
    batches = [jax.tree.map(lambda a, s=s: a[s], rows) for s in (slice(8), slice(8, 16))]
    as_list = fit(given=batches, batch_size=None, epochs=2)
    endless = (batches[i % 2] for i in range(100))
    as_iterator = fit(given=endless, batch_size=None, epochs=2, steps_per_epoch=2)
    assert as_list.history["loss"] == as_iterator.history["loss"]
    assert next(endless) is batches[0]  # nothing was read ahead


def test_truncated_backpropagation_hands_the_carry_on():
    tokens = np.random.default_rng(0).integers(0, 7, 200).astype(np.int32)
    windows = data.windows(tokens, batch_size=4, num_steps=6, shuffle=False)
    layer = rnnjax.stack(rnnjax.embedding(7, 4), rnnjax.gru(6), rnnjax.dense(7))
    trained = fit(layer, windows, batch_size=None, epochs=2, optimizer=optax.sgd(0.0))
    whole = data.windows(tokens, batch_size=4, num_steps=50, shuffle=False)
    [long] = [whole[i] for i in range(len(whole))]
    outputs = train.predict(trained, [long._replace(targets=None)])[0]
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, long.targets)
    sums = train.cross_entropy.sums(outputs, long)
    assert losses.shape == long.targets.shape
    assert trained.history["loss"][0] == pytest.approx(float(train.cross_entropy.value(sums)))
    assert trained.history["loss"][0] == pytest.approx(trained.history["loss"][1])
    measured = train.evaluate(trained, windows, [train.cross_entropy])
    assert measured["cross_entropy"] == pytest.approx(trained.history["loss"][1])


def test_a_batch_over_eight_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    alone = fit(epochs=2)
    together = fit(epochs=2, sharding=spread, validation_split=0.0)
    np.testing.assert_allclose(together.history["loss"], alone.history["loss"], rtol=1e-5)
    assert len(together.params.head[1].w.sharding.device_set) == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step(number, tmp_path, monkeypatch):
    class Send(train.Callback):
        def on_tick(self, run, values):
            if run.step == 7:
                os.kill(os.getpid(), number)

    monkeypatch.setattr("rnnjax.train.run.TICK", -1.0)  # a look after every step
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    trained = fit(epochs=9, callbacks=[Send()], checkpoints=tmp_path)
    assert trained.reason == number.name
    assert int(trained.state.step) == train.latest_step(tmp_path) == 7
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_bad_batches_are_counted_and_too_many_stop_the_run(tmp_path):
    rows = task()
    rows.xs[3, 0] = np.inf
    trained = fit(given=rows, epochs=2)
    assert trained.history["skipped"] == [1, 2]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.params))

    class Spoil(train.Callback):
        def on_epoch(self, run, entry):
            rows.xs[:] = np.nan

    rows = task()
    where = {"checkpoints": train.Checkpoints(tmp_path, every_epochs=1)}
    with pytest.raises(train.NonFiniteError) as caught:
        fit(given=rows, shuffle=False, epochs=3, callbacks=[Spoil()], max_bad=2, **where)
    text = str(caught.value)
    assert "2 batches in a row from step 3 on, batch 1 of epoch 2 (rows 0, 1, 2, 3" in text
    assert f"last checkpoint: {tmp_path / 'step_00000003'}" in text
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(caught.value.state.params))

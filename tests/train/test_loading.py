"""The best weights of a run, read from its checkpoints."""

import chex
import jax
import numpy as np
import optax
import pytest
from flax import nnx

import rnnjax
from rnnjax import train

XS = np.random.default_rng(0).normal(size=(8, 4, 3)).astype(np.float32)
DATA = (XS, np.arange(8, dtype=np.int32) % 2)


def model_of(features=4):
    return train.from_layer(rnnjax.gru(features), pool=train.last_step, head=rnnjax.dense(2))


class Worse(train.Callback):
    """Keeps the weights of the first epoch, and makes all later ones worse."""

    def on_epoch(self, run, entry):
        if run.epoch == 1:
            self.first = jax.device_get(run.weights)
            run.scale_updates(-50.0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder, worse = tmp_path_factory.mktemp("run"), Worse()
    task = {"loss": train.cross_entropy, "optimizer": optax.sgd(0.1), "key": jax.random.key(0)}
    fit = lambda model, **more: train.fit(model, DATA, validation=DATA, **task, epochs=3, **more)
    trained = fit(model_of(), checkpoints=folder, callbacks=[worse])
    return folder, worse, trained, fit


def test_the_best_weights_are_those_of_the_best_epoch(ran):
    folder, worse, trained, _ = ran
    assert np.argmin(trained.history["val_loss"]) == 0
    best = train.load_best(folder, model_of(), DATA)
    assert best.history.entries == trained.history.entries
    chex.assert_trees_all_equal(best.weights, worse.first)
    loss = train.evaluate(best, DATA, [train.cross_entropy])["cross_entropy"]
    assert loss == pytest.approx(trained.history["val_loss"][0])


def test_another_model_is_refused(ran):
    with pytest.raises(ValueError, match=r"load_best: `best\.params\.layer\.w_ih` must have shape"):
        train.load_best(ran[0], model_of(5), DATA)


def test_before_the_end_of_an_epoch_there_is_no_best(tmp_path):
    train.save(tmp_path, 0, {"best": DATA[0]}, {"best_epoch": None})
    with pytest.raises(train.CheckpointError, match="load_best: no epoch was over when"):
        train.load_best(tmp_path, model_of(), DATA)
    with pytest.raises(train.CheckpointError, match="load_best: there is no checkpoint in"):
        train.load_best(tmp_path / "elsewhere", model_of(), DATA)


def test_an_nnx_module_holds_them(ran, tmp_path):
    _, _, _, fit = ran
    trained = fit(Head(0), checkpoints=tmp_path)
    other = Head(1)
    best = train.load_best(tmp_path, other, DATA)
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(other, nnx.Param)), best.params)
    assert best.history.entries == trained.history.entries


class Head(nnx.Module):
    def __init__(self, seed):
        self.dense = nnx.Linear(3, 2, rngs=nnx.Rngs(seed))

    def __call__(self, xs):
        return self.dense(xs.mean(1))

"""`find_rate`: rates that grow, a suggestion that learns, and a run that leaves no trace."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from rnnjax import train
from rnnjax.data import Batch

pytestmark = pytest.mark.usefixtures("any_promotion")

KEY = jax.random.key(0)
XS = np.random.default_rng(0).normal(size=(64, 1, 4)).astype(np.float32)
ROWS = Batch(XS, (XS[:, 0] @ np.array([1.0, -2, 3, 0.5], np.float32))[:, None])


def bowl(start=0.0):
    """A mean of squares: steps of plain descent beyond a rate of about 1 make it worse."""
    return train.from_functions(
        lambda key: jnp.full((4, 1), start, jnp.float32),
        lambda params, batch, key: batch.xs[:, 0] @ params,
    )


BOWL = bowl()


def curve(model=BOWL, data=ROWS, **options):
    options = {"loss": train.squared_error, "optimizer": optax.sgd, "key": KEY} | options
    return train.find_rate(model, data, **{"low": 1e-4, "high": 100.0, "batch_size": 64} | options)


@pytest.fixture(scope="module")
def found():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return curve()


def test_rates_grow_evenly_in_the_logarithm(found):
    steps = np.diff(np.log(found.rates))
    np.testing.assert_allclose(steps, np.log(100.0 / 1e-4) / 99, rtol=1e-9)
    assert found.rates[0] == 1e-4
    assert found.rates.shape == found.losses.shape


def test_it_ends_where_the_loss_explodes(found):
    assert len(found.rates) < 100
    assert 0.3 < found.rates[-1] < 30


def test_its_best_rate_learns(found):
    assert found.best in found.rates
    assert 0.01 < found.best < 1.0
    assert found.losses.min() < 0.2 * found.losses[0]
    losses = {}
    for rate in (found.best, 1e-4):
        options = {"loss": train.squared_error, "optimizer": optax.sgd(rate), "key": KEY}
        trained = train.fit(BOWL, ROWS, epochs=20, batch_size=64, progress=False, **options)
        losses[rate] = trained.history["loss"][-1]
    assert losses[found.best] < 0.1 * losses[1e-4]


def test_the_schedule_is_that_of_the_rates():
    """Each step of plain descent moves by its own rate times the gradient."""
    given = []

    def optimizer(schedule):
        given.append([float(schedule(jnp.asarray(step))) for step in range(12)])
        return optax.set_to_zero()

    frozen = curve(optimizer=optimizer, steps=12)
    np.testing.assert_allclose(given[0], frozen.rates, rtol=1e-5)
    np.testing.assert_allclose(frozen.losses, frozen.losses[0], rtol=1e-6)  # nothing moved


def test_a_loss_that_is_not_finite_counts_as_the_worst():
    """It neither ends the run nor is suggested."""
    rows = [ROWS._replace(xs=XS * (np.nan if i % 5 == 4 else 1)) for i in range(20)]
    found = curve(data=rows, batch_size=None, steps=20, high=1e-2)
    assert len(found.rates) == 20
    assert np.isfinite(found.losses).all()
    assert found.losses[4] > found.losses[3]


def test_data_are_read_again_or_as_far_as_needed():
    read = []

    def batches():
        for index in itertools.count():
            read.append(index)
            yield ROWS

    short = curve(data=[ROWS, ROWS], batch_size=None, steps=10, high=1e-3)
    endless = curve(data=batches(), batch_size=None, steps=10, high=1e-3)
    np.testing.assert_allclose(short.losses, endless.losses)
    assert len(read) == 10


def test_the_model_is_not_changed():
    module = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(module)))
    call = lambda module, batch, carry, training: (None, module(batch.xs[:, 0]))
    curve(train.from_nnx(module, call=call), steps=10)
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(module)), before)

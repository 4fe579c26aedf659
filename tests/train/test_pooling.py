"""From the outputs of a sequence to its features, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from registry import random_params

import rnnjax
from rnnjax import testing, train
from rnnjax.data import Batch

B, T, H = 4, 5, 6
LENGTHS = np.array([5, 3, 0, 1])
YS = np.random.default_rng(0).normal(size=(B, T, H)).astype(np.float32)
DIRTY = np.where(np.arange(T)[None, :, None] < LENGTHS[:, None, None], YS, np.nan)

# Of the valid steps of one row, (n, H).
LOOPS = {
    train.last_step: lambda ys: ys[-1],
    train.mean_over_time: lambda ys: sum(ys) / len(ys),
    train.max_over_time: lambda ys: np.array([max(column) for column in ys.T]),
    train.both_ends: lambda ys: np.concatenate([ys[-1, : H // 2], ys[0, H // 2 :]]),
}
POOLS = pytest.mark.parametrize("pool", LOOPS, ids=lambda pool: pool.__name__)


def by_loops(pool, ys, lengths):
    rows = zip(np.asarray(ys, np.float64), lengths, strict=True)
    return np.stack([LOOPS[pool](row[:n]) if n else np.zeros(H) for row, n in rows])


@POOLS
@pytest.mark.parametrize("lengths", [LENGTHS, [2, 1, 5, 4], None], ids=["0..T", "list", "None"])
def test_they_are_those_of_loops(pool, lengths):
    counts = [T] * B if lengths is None else lengths
    ys = DIRTY if lengths is LENGTHS else YS
    np.testing.assert_allclose(pool(ys, lengths), by_loops(pool, ys, counts), atol=1e-6)


@POOLS
def test_gradients_are_those_of_the_valid_steps(pool):
    weight = np.random.default_rng(1).normal(size=(B, H)).astype(np.float32)
    slope = jax.grad(lambda ys: (pool(ys, LENGTHS) * weight).sum())(jnp.asarray(DIRTY))
    assert np.isfinite(slope).all()
    valid = np.arange(T) < LENGTHS[:, None]
    assert not slope[~valid].any()
    moved = np.random.default_rng(2).normal(size=YS.shape)
    clean = np.where(valid[..., None], YS, 0).astype(np.float64)
    ends = [(by_loops(pool, clean + d * moved, LENGTHS) * weight).sum() for d in (1e-4, -1e-4)]
    np.testing.assert_allclose((slope * moved)[valid].sum(), (ends[0] - ends[1]) / 2e-4, rtol=1e-4)


@POOLS
@pytest.mark.parametrize("lengths", [None, np.zeros(B, int)])
def test_no_steps_have_zeros_for_features(pool, lengths):
    assert np.array_equal(pool(jnp.ones((B, 0, H)), lengths), np.zeros((B, H)))


@POOLS
def test_lengths_may_be_traced(pool):
    np.testing.assert_allclose(
        jax.jit(pool)(DIRTY, LENGTHS), by_loops(pool, DIRTY, LENGTHS), atol=1e-6
    )


def test_both_ends_are_what_both_directions_said_last():
    """Each direction reads the valid steps of each row alone, as Keras's Bidirectional does."""
    layer, oracle = rnnjax.bidirectional(rnnjax.gru(3)), testing.gru()
    params = random_params(layer, H, 0)
    model = train.from_layer(layer, pool=train.both_ends)
    batch = Batch(jnp.asarray(YS), lengths=LENGTHS)
    got = jax.jit(model.apply)(train.Weights(params), batch, None, None).outputs

    def last(way, xs):
        one = jax.tree.map(lambda a: np.asarray(a, np.float64)[way][None], params)
        carry = oracle.fresh(one, xs[None, 0])
        for x in xs:
            carry, y = oracle.step(one, carry, x[None])
        return y[0]

    wanted = np.zeros((B, H))
    for row, (xs, n) in enumerate(zip(YS.astype(np.float64), LENGTHS, strict=True)):
        if n:
            wanted[row] = np.concatenate([last(0, xs[:n]), last(1, xs[:n][::-1])])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)

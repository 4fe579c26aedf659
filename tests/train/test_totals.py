"""Sums over an epoch: the compensated sum, and the count of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import train
from rnnjax.data import Batch
from rnnjax.train.totals import add, no_totals, valid_tokens, values_of

BATCH = Batch(jnp.ones((3, 7, 2)), lengths=jnp.array([7, 0, 3]))


def test_a_long_epoch_loses_nothing_to_rounding():
    """A hundred thousand batches, whose plain sum is wrong in the fourth digit."""
    losses = np.full(100_000, 0.1, np.float32)
    counts = np.full(losses.shape, 977, np.float32)
    batch = Batch(jnp.ones((1, 1, 1)))
    start = no_totals({"loss": train.Mean(jnp.float32(0), jnp.float32(0))})

    def body(carry, sums):
        totals, plain = carry
        sums = train.Mean(*sums)
        return (add(totals, {"loss": sums}, batch), plain + sums.total), None

    inputs = (jnp.asarray(losses * counts), jnp.asarray(counts))
    (totals, plain), _ = jax.lax.scan(body, (start, jnp.float32(0)), inputs)
    exact = (losses * counts).astype(np.float64).sum()
    measure = train.mean_of(lambda outputs, targets: outputs, name="loss")
    value = float(values_of([measure], totals)["loss"])
    assert value == pytest.approx(exact / counts.astype(np.float64).sum(), rel=1e-6)
    assert abs(float(plain) / exact - 1) > 1e-4
    assert float(totals.tokens) == 100_000


def test_small_sums_are_not_lost_beside_great_ones():
    start = no_totals({"loss": jnp.zeros(())})
    totals = add(start, {"loss": jnp.float32(2**24)}, BATCH)
    for _ in range(8):
        totals = add(totals, {"loss": jnp.float32(0.25)}, BATCH)
    assert float(totals.sums["loss"]) == 2**24
    assert float(totals.sums["loss"] + totals.lost["loss"]) == 2**24 + 2


def test_sums_may_be_any_tree():
    start = no_totals({"table": jax.ShapeDtypeStruct((2, 2), jnp.float32)})
    totals = add(add(start, {"table": jnp.eye(2)}, BATCH), {"table": jnp.ones((2, 2))}, BATCH)
    assert totals.sums["table"].tolist() == [[2.0, 1.0], [1.0, 2.0]]
    assert float(totals.tokens) == 20.0


def test_tokens_are_valid_steps():
    assert float(valid_tokens(BATCH)) == 10.0
    assert float(valid_tokens(BATCH._replace(lengths=None))) == 21.0
    assert float(valid_tokens(Batch((np.ones((2, 5, 3)), np.ones((2, 5, 4)))))) == 10.0

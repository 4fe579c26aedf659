"""`summary`: what a model is made of, against what is known of it."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fits import MODEL, ROWS
from flax import linen as nn
from flax import nnx

import rnnjax
from rnnjax import train
from rnnjax.data import Batch
from rnnjax.train.contents import in_bytes

pytestmark = pytest.mark.usefixtures("any_promotion")

XS = np.ones((2, 7, 3), np.float32)


def names(rows):
    return {row.name: row.shape for row in rows}


def test_a_network_with_a_head():
    told = train.summary(MODEL, ROWS)
    gru, head = 3 * 12 + 4 * 12 + 12 + 4, 4 * 2 + 2
    assert told.count == gru + head == 110
    assert names(told.params) == {
        "params.layer.w_ih": (3, 12),
        "params.layer.w_hh": (4, 12),
        "params.layer.b": (12,),
        "params.layer.b_hn": (4,),
        "params.head.w": (4, 2),
        "params.head.b": (2,),
    }
    assert names(told.carry) == {"carry.h": (6, 4)}
    assert names(told.outputs) == {"outputs": (6, 2)}
    assert told.buffers == () and told.step_bytes is None
    assert str(told).endswith("\nrecurrent: 110 parameters, 440 B")


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_flax_modules(kind):
    layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.elman(4)), rnnjax.elman(5), dropout=0.1)
    count = 2 * (3 + 4 + 1) * 4 + (8 + 5 + 1) * 5
    if kind == "nnx":
        module = rnnjax.nnx.RNN(layer, 3, rngs=nnx.Rngs(0))
    else:
        module = rnnjax.linen.RNN(layer)
    told = train.summary(module, (XS, None))
    assert told.name == "RNN" and told.count == count
    assert names(told.outputs) == {"outputs": (2, 7, 5)}
    assert sorted(names(told.carry).values()) == [(2, 2, 4), (2, 5)]
    # The streams of noise of an NNX module are its own.
    assert len(told.buffers) == (2 if kind == "nnx" else 0)
    assert f"RNN: {count} parameters" in str(told)


def test_statistics_are_no_parameters():
    call = lambda module, batch, carry, training: (None, module(batch.xs))
    model = train.from_linen(nn.BatchNorm(use_running_average=True), call=call)
    told = train.summary(model, (XS, None))
    assert told.count == 6 and names(told.params) == {"params.bias": (3,), "params.scale": (3,)}
    assert {row.shape for row in told.buffers} == {(3,)} and len(told.buffers) == 2


def test_numbers_and_bytes_of_each_array():
    model = train.from_functions(
        lambda key: {"half": jnp.ones((3, 5), jnp.bfloat16), "one": jnp.float32(2)},
        lambda params, batch, key: batch.xs,
    )
    half, one = train.summary(model, (XS, None)).params
    assert half == ("params.half", (3, 5), "bfloat16", 15, 30)
    assert one == ("params.one", (), "float32", 1, 4)


def test_memory_of_a_step_grows_with_the_batch():
    options = {"loss": train.squared_error, "optimizer": optax.sgd(0.1)}
    model = train.from_functions(
        lambda key: jnp.ones((3, 64)),
        lambda params, batch, key: jnp.tanh(batch.xs @ params),
    )
    sizes = []
    for rows in (8, 512):
        batch = Batch(np.ones((rows, 4, 3), np.float32), np.ones((rows, 4, 64), np.float32))
        told = train.summary(model, batch, **options)
        sizes.append(told.step_bytes)
        assert f"one step of training: {in_bytes(told.step_bytes)} of temporary memory" in str(told)
    assert 0 < 10 * sizes[0] < sizes[1]


def test_nothing_is_run():
    """Weights are abstract: a model that fills memory may be asked."""
    told = train.summary(rnnjax.elman(200_000), Batch(np.ones((1, 1, 3), np.float32)))
    assert told.count == 200_000 * (3 + 200_000 + 1)
    assert str(told).endswith("\nrecurrent: 40,000,800,000 parameters, 149 GiB")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 * 2**20, "3 MiB"),
        (2**40, "1.02e+03 GiB"),
    ],
)
def test_units(count, text):
    assert in_bytes(count) == text

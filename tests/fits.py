"""What tests of bad calls of training share: right calls to spoil, and the check of a message."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from messages import check_five_parts

import rnnjax
from rnnjax import train
from rnnjax.data import Batch

N, T, D, C = 6, 5, 3, 2
DRAW = np.random.default_rng(0)
XS = DRAW.normal(size=(N, T, D)).astype(np.float32)
LABELS = (np.arange(N) % C).astype(np.int32)
ROWS = Batch(XS, LABELS, np.array([5, 3, 1, 4, 5, 2], np.int32))
BATCHES = [jax.tree.map(lambda a, s=s: a[s], ROWS) for s in (slice(3), slice(3, 6))]
STEPS = Batch(XS, np.zeros((N, T), np.int32), resets=np.zeros((N, T), bool))
TOKENS = (np.full((N, T), 7), np.zeros((N, T), np.int32))
KEY = jax.random.key(0)
SGD = optax.sgd(0.1)

MODEL = train.from_layer(rnnjax.gru(4), pool=train.last_step, head=rnnjax.dense(C))
TAGGER = rnnjax.stack(rnnjax.gru(4), rnnjax.dense(C))
READER = rnnjax.stack(rnnjax.embedding(5, 4), rnnjax.gru(4), rnnjax.dense(C))
# Quickly compiled, for what shows after the first step.
LINEAR = train.from_functions(
    lambda key: jnp.zeros((D, C)), lambda params, batch, key: batch.xs[:, 0] @ params
)
TRAINED = train.Trained(MODEL, MODEL.init(KEY, ROWS).params)


def fit(model=MODEL, given=ROWS, **options):
    options = {"loss": train.cross_entropy, "optimizer": SGD, "key": KEY} | options
    return train.fit(model, given, progress=options.pop("progress", False), **options)


def rate(model=MODEL, given=ROWS, **options):
    options = {"loss": train.cross_entropy, "optimizer": optax.sgd, "key": KEY} | options
    return train.find_rate(model, given, **options)


def of(**parts):
    return ROWS._replace(**parts)


def check(case):
    """A call raises this error, with this whole message of five parts."""
    call, error, message = case
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message
    check_five_parts(message)

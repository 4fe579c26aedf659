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


# Ways out, and what is wanted, as several messages have them.
A_KEY = "make one with jax.random.key(seed)."
AN_INT = "give an int."
A_BOOL = "give a bool."
A_COUNT = "give the width or count that is meant."
AN_OPTIMIZER = "make one with train.adamw(1e-3) or optax.adam(1e-3)."
A_MODEL = "must be a model, a cell, a layer or a Flax module"
OF_FUNCTIONS = "make one of functions with train.from_functions."
CALL_FIRST = f"call it first, as in rnnjax.gru(64), or {OF_FUNCTIONS}"
THIS_MODEL = "give those of this very model, for inputs of this width."
WEIGHTS = "give trained.weights, or train.Weights(params)."
BATCH_WANTED = "must be a Batch, a tuple of arrays, or batches"
SUCH_DATA = "such as (xs, targets, lengths)."
SUCH_PARTS = "give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)."
PARTS = "must be a Batch or a tuple of 2 to 5 arrays"
FLAX_TOO = "fit takes cells, layers and both kinds of Flax modules as they are."
A_CALL = "such as lambda module, batch, carry, training: (None, module(batch.xs))."
THE_FUNCTION = "pass the function itself, such as"
BUILD = "build it with rnnjax.gru(...), rnnjax.dense(...) and the like."
WIDTH = "the features come last, and params fix their number."
FITTED = "give what fit returns, or train.Trained(model, params)."

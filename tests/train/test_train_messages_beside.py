"""Bad calls beside `fit` are refused in one sentence each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fits import (
    A_COUNT,
    A_KEY,
    A_MODEL,
    AN_OPTIMIZER,
    BATCH_WANTED,
    BATCHES,
    CALL_FIRST,
    LABELS,
    LINEAR,
    MODEL,
    OF_FUNCTIONS,
    PARTS,
    ROWS,
    SGD,
    SUCH_DATA,
    SUCH_PARTS,
    THE_FUNCTION,
    TRAINED,
    WIDTH,
    XS,
    check,
    fit,
    of,
    rate,
)
from flax import linen as nn
from flax import nnx
from messages import TYPE, VALUE, table

import rnnjax
from rnnjax import train

GRU = rnnjax.gru(4)
STEP = train.make_train_step(MODEL, train.cross_entropy, SGD)


def linear():
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


def outputs_alone(module, batch, carry, training):
    return module(batch.xs[:, 0])


def normed():
    call = lambda module, batch, carry, training: (None, module(batch.xs))
    return train.from_linen(nn.BatchNorm(use_running_average=True), call=call)


def begin_with(weights):
    return lambda: fit(weights=weights)


BESIDE = {
    "evaluate, another width": (
        lambda: train.evaluate(TRAINED, of(xs=XS[..., :2]), [train.accuracy]),
        VALUE,
        f"evaluate: `xs` must have shape (B, T, 3), got (6, 5, 2); {WIDTH}",
    ),
    "evaluate, inputs alone": (
        lambda: train.evaluate(TRAINED, XS, [train.accuracy]),
        TYPE,
        f"evaluate: `data` {BATCH_WANTED}, got float32 of shape (6, 5, 3); {SUCH_DATA}",
    ),
    "evaluate, no targets": (
        lambda: train.evaluate(TRAINED, of(targets=None), [train.accuracy]),
        TYPE,
        "evaluate: `targets` must be integer labels of shape (6,), got NoneType None; "
        "give one class for each of them.",
    ),
    "evaluate, more steps than batches": (
        lambda: train.evaluate(TRAINED, ROWS, [train.accuracy], batch_size=4, steps=3),
        VALUE,
        "evaluate: `steps` must be at most 2, as many as there are batches, got 3; leave it out "
        "to read all.",
    ),
    "fit, more validation steps than batches": (
        lambda: fit(validation=ROWS, batch_size=3, validation_steps=3),
        VALUE,
        "fit: `validation_steps` must be at most 2, as many as there are batches, got 3; leave it "
        "out to read all.",
    ),
    "evaluate, steps": (
        lambda: train.evaluate(TRAINED, BATCHES, [train.accuracy], steps=0),
        VALUE,
        f"evaluate: `steps` must be at least 1, got 0; {A_COUNT}",
    ),
    "predict, another width": (
        lambda: train.predict(TRAINED, XS[..., :2]),
        VALUE,
        f"predict: `xs` must have shape (B, T, 3), got (6, 5, 2); {WIDTH}",
    ),
    "predict, lengths in a later batch": (
        lambda: train.predict(
            train.Trained(LINEAR, jnp.ones((3, 2))), [of(lengths=None), of(lengths=[9] * 6)]
        ),
        VALUE,
        "predict: `lengths` must lie in 0..T = 0..5, got 9 at row 0; pad or cut the sequences.",
    ),
    "predict, a list": (
        lambda: train.predict(TRAINED, np.ones((2, 5, 3)).tolist()),
        TYPE,
        "predict: `xs[0]` must be an array, got float 1.0; wrap it in np.asarray.",
    ),
    "predict, endless data": (
        lambda: train.predict(TRAINED, range(10**12)),
        VALUE,
        "predict: `data` must have an end, got endless data; give a list.",
    ),
    "find_rate, a made optimizer": (
        lambda: rate(optimizer=SGD),
        TYPE,
        "find_rate: `optimizer` must be a function, got a GradientTransformationExtraArgs; "
        f"{THE_FUNCTION} optax.adam.",
    ),
    "find_rate, what makes none": (
        lambda: rate(optimizer=lambda rate: 3),
        TYPE,
        f"find_rate: `optimizer(rate)` must be an Optax optimizer, got int 3; {AN_OPTIMIZER}",
    ),
    "find_rate, falling": (
        lambda: rate(low=1.0, high=0.1),
        VALUE,
        "find_rate: `low` must satisfy 0 < low < high, got (1.0, 0.1); such as 1e-6, 1.",
    ),
    "find_rate, steps": (
        lambda: rate(steps=5),
        VALUE,
        f"find_rate: `steps` must be at least 10, got 5; {A_COUNT}",
    ),
    "find_rate, key": (
        lambda: rate(key=1),
        TYPE,
        f"find_rate: `key` must be one random key, got int 1; {A_KEY}",
    ),
    "find_rate, too short an iterator": (
        lambda: rate(LINEAR, iter(BATCHES), steps=10),
        VALUE,
        "find_rate: `data` must hold 10 batches an epoch, got 2 in epoch 1; "
        "give data, or a smaller steps.",
    ),
    "find_rate, no number": (
        lambda: rate(LINEAR, (XS * np.nan, LABELS), steps=10),
        VALUE,
        "find_rate: `loss` must be finite at some rate, got none; "
        "look at the data, or give a smaller low.",
    ),
    "summary, batches": (
        lambda: train.summary(MODEL, BATCHES),
        TYPE,
        f"summary: `batch` {PARTS}, got a list of batches; "
        "several batches are data for fit as a list.",
    ),
    "summary, inputs alone": (
        lambda: train.summary(MODEL, XS),
        TYPE,
        f"summary: `batch` {PARTS}, got an array of shape (6, 5, 3); {SUCH_PARTS}",
    ),
    "summary, lengths": (
        lambda: train.summary(MODEL, of(lengths=[9] * 6)),
        VALUE,
        "summary: `lengths` must lie in 0..T = 0..5, got 9 at row 0; pad or cut the sequences.",
    ),
    "summary, no axis of features": (
        lambda: train.summary(MODEL, of(xs=XS[..., 0])),
        VALUE,
        "summary: `xs` must have shape (B, T, D), got (6, 5); "
        "put an axis of features last, as in xs[..., None].",
    ),
    "summary, a loss alone": (
        lambda: train.summary(MODEL, ROWS, loss=train.cross_entropy),
        VALUE,
        "summary: `optimizer` must be given with `loss`, got None; a step of training needs both.",
    ),
    "summary, labels": (
        lambda: train.summary(
            MODEL, of(targets=LABELS / 2), loss=train.cross_entropy, optimizer=SGD
        ),
        TYPE,
        "summary: `targets` must be integer labels of shape (6,), got float64 of shape (6,); "
        "count classes in whole numbers, with .astype(int).",
    ),
    "make_train_step, a batch for the state": (
        lambda: STEP(ROWS, ROWS),
        TYPE,
        "make_train_step: `state` must be a TrainState, got Batch(xs, targets, lengths); give what "
        "train.init_state returns.",
    ),
    "make_train_step, a tuple for the batch": (
        lambda: STEP(train.init_state(MODEL, SGD, ROWS, key=jax.random.key(0)), (XS, LABELS)),
        TYPE,
        "make_train_step: `batch` must be a Batch, got a tuple of 2 (an array of shape (6, 5, 3), "
        "an array of shape (6,)); write data.Batch(xs, targets, lengths).",
    ),
    "make_train_step, no targets": (
        lambda: STEP(train.init_state(MODEL, SGD, ROWS, key=jax.random.key(0)), of(targets=None)),
        TYPE,
        "make_train_step: `targets` must be integer labels of shape (6,), got NoneType None; "
        "give one class for each of them.",
    ),
    "make_eval_step, targets of floats": (
        lambda: train.make_eval_step(MODEL, [train.accuracy])(
            TRAINED.weights, None, of(targets=np.ones(6, np.float32))
        ),
        TYPE,
        "make_eval_step: `targets` must be integer labels of shape (6,), got float32 of shape "
        "(6,); count classes in whole numbers, with .astype(int).",
    ),
    "make_eval_step, params for weights": (
        lambda: train.make_eval_step(MODEL, [train.accuracy])(TRAINED.params, None, ROWS),
        TYPE,
        "make_eval_step: `weights` must be a Weights, got NetworkParams(layer, head); give "
        "train.Weights(params).",
    ),
    "make_train_step, model": (
        lambda: train.make_train_step(rnnjax.gru, train.cross_entropy, SGD),
        TYPE,
        f"make_train_step: `model` {A_MODEL}, got the function gru; {CALL_FIRST}",
    ),
    "make_eval_step, model": (
        lambda: train.make_eval_step(7, [train.accuracy]),
        TYPE,
        f"make_eval_step: `model` {A_MODEL}, got int 7; {OF_FUNCTIONS}",
    ),
}

REFUSED = table(beside=BESIDE)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, any_promotion):
    check(REFUSED[name])


def test_an_iterator_is_read_to_its_end(any_promotion):
    """Where it is read once, nobody need say how many batches it has."""
    trained = train.Trained(LINEAR, jnp.ones((3, 2)))
    once = train.evaluate(trained, iter(BATCHES), [train.cross_entropy])
    assert once == train.evaluate(trained, BATCHES, [train.cross_entropy])
    assert len(train.predict(trained, iter(BATCHES))) == 2


def test_a_check_that_reads_numbers_is_for_fit_alone():
    read = lambda function, outputs, batch: np.asarray(batch.targets)
    cost = train.mean_of(lambda outputs, targets: outputs[:, 0] - targets, check=read, name="cost")
    step = jax.eval_shape(
        train.make_eval_step(MODEL, [cost]), TRAINED.weights, None, of(targets=np.ones(6, "f4"))
    )
    assert step[1]["cost"].total.shape == ()

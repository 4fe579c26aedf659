"""Bad models and weights are refused in one sentence each."""

import jax
import jax.numpy as jnp
import pytest
from fits import (
    A_CALL,
    A_MODEL,
    BATCHES,
    BUILD,
    CALL_FIRST,
    FITTED,
    FLAX_TOO,
    KEY,
    MODEL,
    OF_FUNCTIONS,
    ROWS,
    TAGGER,
    THE_FUNCTION,
    THIS_MODEL,
    TRAINED,
    WEIGHTS,
    XS,
    check,
    fit,
)
from flax import linen as nn
from flax import nnx
from messages import TYPE, VALUE, table

import rnnjax
from rnnjax import train

GRU = rnnjax.gru(4)


def linear():
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


MODELS = {
    "a class": (
        lambda: fit(rnnjax.linen.GRU),
        TYPE,
        f"fit: `model` {A_MODEL}, got type {rnnjax.linen.GRU!r}; {CALL_FIRST}",
    ),
    "what makes a cell": (
        lambda: fit(rnnjax.gru),
        TYPE,
        f"fit: `model` {A_MODEL}, got the function gru; {CALL_FIRST}",
    ),
    "None": (
        lambda: fit(None),
        TYPE,
        f"fit: `model` {A_MODEL}, got NoneType None; {OF_FUNCTIONS}",
    ),
    "what fit returns": (
        lambda: fit(TRAINED),
        TYPE,
        f"fit: `model` {A_MODEL}, got a Trained; {OF_FUNCTIONS}",
    ),
    "layer": (
        lambda: train.from_layer(rnnjax.gru),
        TYPE,
        f"from_layer: `layer` must be a cell or a layer, got the function gru; {BUILD}",
    ),
    "head, what makes one": (
        lambda: train.from_layer(GRU, head=rnnjax.dense),
        TYPE,
        f"from_layer: `head` must be a cell or a layer, got the function dense; {BUILD}",
    ),
    "head of Linen": (
        lambda: train.from_layer(GRU, head=nn.Dense(2)),
        TYPE,
        f"from_layer: `head` must be a cell or a layer, got a Dense; {BUILD}",
    ),
    "head of NNX": (
        lambda: train.from_layer(GRU, head=linear()),
        TYPE,
        f"from_layer: `head` must be a cell or a layer, got a Linear; {BUILD}",
    ),
    "head, a width": (
        lambda: train.from_layer(GRU, head=9),
        TYPE,
        f"from_layer: `head` must be a cell or a layer, got int 9; {BUILD}",
    ),
    "pool by name": (
        lambda: train.from_layer(GRU, pool="last"),
        TYPE,
        f"from_layer: `pool` must be a function, got str 'last'; {THE_FUNCTION} train.last_step.",
    ),
    "pool as a class": (
        lambda: train.from_layer(GRU, pool=nnx.Linear),
        TYPE,
        f"from_layer: `pool` must be a function, got ModuleMeta {nnx.Linear!r}; "
        f"{THE_FUNCTION} train.last_step.",
    ),
    "pool without lengths": (
        lambda: train.from_layer(GRU, pool=lambda ys: ys[:, -1]),
        TYPE,
        "from_layer: `pool` must take ys, lengths, got <lambda>(ys); "
        "pass one such as train.last_step.",
    ),
    "pool of all rows": (
        lambda: fit(train.from_layer(GRU, pool=lambda ys, lengths: ys.mean(0), head=TAGGER)),
        VALUE,
        "from_layer: `pool` must return features of shape (6, F), got (5, 4); "
        "as train.last_step does, which keeps rows and features.",
    ),
    "both ends of an odd width": (
        lambda: train.both_ends(jnp.ones((2, 3, 5)), None),
        VALUE,
        "both_ends: `ys` must have as many features for each direction, got 5; "
        "it reads the outputs of rnnjax.bidirectional(...).",
    ),
    "activity as a number": (
        lambda: train.from_layer(GRU, activity=2.0),
        TYPE,
        f"from_layer: `activity` must be a function, got float 2.0; {THE_FUNCTION} "
        "lambda ys, lengths: (ys**2).mean().",
    ),
    "activity of every step": (
        lambda: fit(train.from_layer(GRU, activity=lambda ys, lengths: ys)),
        VALUE,
        "from_layer: `activity` must return one number, got (6, 5, 4); take the sum or the mean.",
    ),
    "method by name": (
        lambda: train.from_layer(GRU, method="scan"),
        TYPE,
        "from_layer: `method` must be a method, got 'scan'; "
        "give a value such as Scan(unroll=1) or Chunked(size=128).",
    ),
    "init": (
        lambda: train.from_functions(jnp.ones(3), lambda params, batch, key: params),
        TYPE,
        "from_functions: `init` must be a function, got float32 of shape (3,); "
        f"{THE_FUNCTION} lambda key: cell.init(key, 3).",
    ),
    "apply without a key": (
        lambda: train.from_functions(lambda key: (), lambda params, xs: xs),
        TYPE,
        "from_functions: `apply` must take params, batch, key, got <lambda>(params, xs); "
        "pass one such as lambda params, batch, key: run(params, batch.xs).",
    ),
    "a penalty of every row": (
        lambda: fit(
            train.from_functions(
                lambda key: jnp.ones((3, 2)),
                lambda w, batch, key: train.Applied(batch.xs[:, 0] @ w, penalty=jnp.ones(6)),
            )
        ),
        VALUE,
        "fit: `Applied.penalty` must return one number, got (6,); take the sum or the mean.",
    ),
    "an NNX class": (
        lambda: train.from_nnx(nnx.Linear),
        TYPE,
        f"from_nnx: `module` must be an nnx.Module, got ModuleMeta {nnx.Linear!r}; {FLAX_TOO}",
    ),
    "a Linen class": (
        lambda: train.from_linen(nn.Dense),
        TYPE,
        f"from_linen: `module` must be a linen.Module, got type {nn.Dense!r}; {FLAX_TOO}",
    ),
    "call": (
        lambda: train.from_nnx(linear(), call=lambda module, xs: xs),
        TYPE,
        "from_nnx: `call` must take module, batch, carry, training, got <lambda>(module, xs); "
        f"pass one {A_CALL}",
    ),
    "call, linen": (
        lambda: train.from_linen(nn.Dense(2), call=True),
        TYPE,
        f"from_linen: `call` must be a function, got bool True; pass the function itself, {A_CALL}",
    ),
    "a module that takes no lengths": (
        lambda: fit(linear()),
        TYPE,
        "from_nnx: `call` must be given for a module without Linear(xs, lengths=lengths), "
        f"got None; {A_CALL}",
    ),
    "a module that takes no lengths, linen": (
        lambda: fit(nn.Dense(2)),
        TYPE,
        "from_linen: `call` must be given for a module without Dense(xs, lengths=lengths), "
        f"got None; {A_CALL}",
    ),
    "a call that returns outputs alone": (
        lambda: fit(train.from_nnx(linear(), call=outputs_alone), BATCHES),
        TYPE,
        "from_nnx: `call` must return (carry, outputs), got an array of shape (3, 2); "
        "a carry of None hands nothing on.",
    ),
    "a call that returns outputs alone, linen": (
        lambda: fit(train.from_linen(nn.Dense(2), call=outputs_alone)),
        TYPE,
        "from_linen: `call` must return (carry, outputs), got an array of shape (6, 2); "
        "a carry of None hands nothing on.",
    ),
}


def outputs_alone(module, batch, carry, training):
    return module(batch.xs[:, 0])


def normed():
    call = lambda module, batch, carry, training: (None, module(batch.xs))
    return train.from_linen(nn.BatchNorm(use_running_average=True), call=call)


def begin_with(weights):
    return lambda: fit(weights=weights)


NORM = {"scale": jnp.ones(3), "bias": jnp.ones(3)}

HELD = {
    "weights, params alone": (
        begin_with(TRAINED.params),
        TYPE,
        f"fit: `weights` must be Weights, got a NetworkParams; {WEIGHTS}",
    ),
    "weights, what fit returns": (
        begin_with(TRAINED),
        TYPE,
        f"fit: `weights` must be Weights, got a Trained; {WEIGHTS}",
    ),
    "weights, a file": (
        begin_with("gru.safetensors"),
        TYPE,
        f"fit: `weights` must be Weights, got str 'gru.safetensors'; {WEIGHTS}",
    ),
    "weights without the head": (
        begin_with(train.Weights(GRU.init(KEY, 3))),
        TYPE,
        "fit: `weights.params` must be NetworkParams(layer, head), "
        f"got GRUParams(w_ih, w_hh, b, b_hn); {THIS_MODEL}",
    ),
    "weights of another cell": (
        begin_with(train.Weights(TRAINED.params._replace(layer=rnnjax.lstm(4).init(KEY, 3)))),
        TYPE,
        "fit: `weights.params.layer` must be GRUParams(w_ih, w_hh, b, b_hn), "
        f"got LSTMParams(w_ih, w_hh, b); {THIS_MODEL}",
    ),
    "weights of another width": (
        begin_with(train.Weights(TRAINED.params._replace(layer=rnnjax.gru(5).init(KEY, 3)))),
        VALUE,
        f"fit: `weights.params.layer.w_ih` must have shape (3, 12), got (3, 15); {THIS_MODEL}",
    ),
    "weights in whole numbers": (
        begin_with(jax.tree.map(lambda a: a.astype(jnp.int32), TRAINED.weights)),
        TYPE,
        f"fit: `weights.params.layer.w_ih` must be float32, got int32; {THIS_MODEL}",
    ),
    "weights with buffers": (
        begin_with(train.Weights(TRAINED.params, {"mean": jnp.ones(3)})),
        TYPE,
        f"fit: `weights.buffers` must be an empty tuple, got a dict with ['mean']; {THIS_MODEL}",
    ),
    "evaluate, a model": (
        lambda: train.evaluate(MODEL, ROWS, [train.accuracy]),
        TYPE,
        f"evaluate: `trained` must be Trained, got a Model; {FITTED}",
    ),
    "predict, a model": (
        lambda: train.predict(GRU, XS),
        TYPE,
        f"predict: `trained` must be Trained, got a Cell; {FITTED}",
    ),
    "evaluate, no params": (
        lambda: train.evaluate(train.Trained(MODEL, {}), ROWS, [train.accuracy]),
        TYPE,
        "evaluate: `trained.params` must be NetworkParams(layer, head), got a dict with []; "
        "give what fit returned for this very model.",
    ),
    "evaluate, no buffers": (
        lambda: train.evaluate(train.Trained(normed(), NORM), ROWS, []),
        TYPE,
        "evaluate: `trained.buffers` must be a dict with ['batch_stats'], got an empty tuple; "
        "give what fit returned for this very model.",
    ),
    "evaluate, no model": (
        lambda: train.evaluate(train.Trained(None, {}), ROWS, [train.accuracy]),
        TYPE,
        f"evaluate: `model` {A_MODEL}, got NoneType None; {OF_FUNCTIONS}",
    ),
}
REFUSED = table(models=MODELS, weights=HELD)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, any_promotion):
    check(REFUSED[name])

"""Bad options, and bad use of what builds networks and of the helpers, is refused in one sentence.

Each entry of a table is a call and the whole message. What must be accepted is listed too, since
a check that refuses too much is a bug as well.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import (
    NO_LINEAR,
    TYPE,
    VALUE,
    B,
    D,
    H,
    T,
    check_refused,
    no_type_checker,
    table,
    world,
)

import rnnjax

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

KEY = lambda: jax.random.key(0)
ORTHOGONAL = jax.nn.initializers.orthogonal()

AT_LEAST_1 = "give the width or count that is meant."
A_METHOD = "give a value such as Scan(unroll=1) or Chunked(size=128)."
FLOATING = "give one such as jnp.float32."
SWITCHED_ON = 'call jax.config.update("jax_enable_x64", True) first.'
AN_INIT = "pass the function itself, such as jax.nn.initializers.orthogonal()."
PER_GATE = "give one for all gates, or a tuple with one a gate."
LEAVE_OUT = "leave one of the two out."

OPTIONS = {
    "width 0": (
        lambda w: rnnjax.lstm(0),
        VALUE,
        f"lstm: `hidden_features` must be at least 1, got 0; {AT_LEAST_1}",
    ),
    "width negative": (
        lambda w: rnnjax.gru(-2),
        VALUE,
        f"gru: `hidden_features` must be at least 1, got -2; {AT_LEAST_1}",
    ),
    "width float": (
        lambda w: rnnjax.elman(2.0),
        TYPE,
        "elman: `hidden_features` must be a whole number, got float 2.0; give an int.",
    ),
    "width bool": (
        lambda w: rnnjax.lstm(True),
        TYPE,
        "lstm: `hidden_features` must be a whole number, got bool True; give an int.",
    ),
    "width bool, dense": (
        lambda w: rnnjax.dense(True),
        TYPE,
        "dense: `out_features` must be a whole number, got bool True; give an int.",
    ),
    "inputs for their width": (
        lambda w: w.lstm.init(KEY(), w.xs),
        TYPE,
        "lstm.init: `in_features` must be a whole number, got float32 of shape (7, 3, 4); "
        "give an int.",
    ),
    "unknown word": (
        lambda w: rnnjax.gru(H, reset="middle"),
        VALUE,
        "gru: `reset` must be one of ['after', 'before'], got 'middle'; choose one of these.",
    ),
    "method by name": (
        lambda w: w.unroll(w.xs, method="scan"),
        TYPE,
        f"unroll: `method` must be a method, got 'scan'; {A_METHOD}",
    ),
    "method as a class": (
        lambda w: w.unroll(w.xs, method=rnnjax.Scan),
        TYPE,
        f"unroll: `method` must be a method, got {rnnjax.Scan!r}; {A_METHOD}",
    ),
    "a method that cannot serve a layer": (
        lambda w: w.deep.apply(w.p_deep, w.xs, method=rnnjax.Linear()),
        VALUE,
        f"stack.apply: `method` must serve this call, got {NO_LINEAR}",
    ),
    "method by name, layer": (
        lambda w: w.deep.apply(w.p_deep, w.xs, method="scan"),
        TYPE,
        f"stack.apply: `method` must be a method, got 'scan'; {A_METHOD}",
    ),
    "method by name, where none is needed": (
        lambda w: rnnjax.pointwise(jnp.tanh).apply((), w.xs, method="scan"),
        TYPE,
        f"pointwise.apply: `method` must be a method, got 'scan'; {A_METHOD}",
    ),
    "reverse as a number": (
        lambda w: w.unroll(w.xs, reverse=1),
        TYPE,
        "unroll: `reverse` must be True or False, got int 1; give a bool.",
    ),
    "bias as a number": (
        lambda w: rnnjax.lstm(H, bias=1),
        TYPE,
        "lstm: `bias` must be True or False, got int 1; give a bool.",
    ),
    "forget_bias True": (
        lambda w: rnnjax.lstm(H, forget_bias=True),
        TYPE,
        "lstm: `forget_bias` must be a float, got bool True; give a number.",
    ),
    "forget_bias infinite": (
        lambda w: rnnjax.lstm(H, forget_bias=float("inf")),
        VALUE,
        "lstm: `forget_bias` must be finite, got inf; give a number.",
    ),
    "update_bias True": (
        lambda w: rnnjax.gru(H, update_bias=True),
        TYPE,
        "gru: `update_bias` must be a float, got bool True; give a number.",
    ),
    "forget_bias without bias": (
        lambda w: rnnjax.lstm(H, forget_bias=2.0, bias=False),
        VALUE,
        f"lstm: `forget_bias` must be left out where bias=False, got 2.0; {LEAVE_OUT}",
    ),
    "chrono without bias": (
        lambda w: rnnjax.lstm(H, forget_bias=rnnjax.chrono(9), bias=False),
        VALUE,
        "lstm: `forget_bias` must be left out where bias=False, got Chrono(max_steps=9); "
        f"{LEAVE_OUT}",
    ),
    "update_bias without bias": (
        lambda w: rnnjax.gru(H, update_bias=2.0, bias=False),
        VALUE,
        f"gru: `update_bias` must be left out where bias=False, got 2.0; {LEAVE_OUT}",
    ),
    "chrono too short": (
        lambda w: rnnjax.chrono(2),
        VALUE,
        "chrono: `max_steps` must be at least 3, got 2; use a plain bias for shorter memory.",
    ),
    "dtype of integers": (
        lambda w: rnnjax.lstm(H, dtype=jnp.int32),
        TYPE,
        f"lstm: `dtype` must be a floating dtype, got int32; {FLOATING}",
    ),
    "dtype True": (
        lambda w: rnnjax.gru(H, carry_dtype=True),
        TYPE,
        f"gru: `carry_dtype` must be a floating dtype, got bool True; {FLOATING}",
    ),
    "dtype misspelt": (
        lambda w: rnnjax.dense(H, dtype="flaot32"),
        TYPE,
        f"dense: `dtype` must be a floating dtype, got str 'flaot32'; {FLOATING}",
    ),
    "param_dtype None": (  # float64 to NumPy
        lambda w: rnnjax.elman(H, param_dtype=None),
        TYPE,
        f"elman: `param_dtype` must be a floating dtype, got NoneType None; {FLOATING}",
    ),
    "param_dtype float64 without x64": (
        lambda w: rnnjax.lstm(H, param_dtype=jnp.float64).init(KEY(), D),
        VALUE,
        "lstm.init: `param_dtype` must be a dtype that JAX has switched on, got float64; "
        f"{SWITCHED_ON}",
    ),
    "carry_dtype float64 without x64": (
        lambda w: rnnjax.unroll(rnnjax.lstm(H, carry_dtype=jnp.float64), w.p, w.xs),
        VALUE,
        "lstm.init: `carry_dtype` must be a dtype that JAX has switched on, got float64; "
        f"{SWITCHED_ON}",
    ),
    "number of initialisers": (
        lambda w: rnnjax.lstm(H, w_hh_init=(ORTHOGONAL,) * 3),
        VALUE,
        f"lstm: `w_hh_init` must name 4 gates, got 3; {PER_GATE}",
    ),
    "number of initialisers, gru": (
        lambda w: rnnjax.gru(H, w_ih_init=(ORTHOGONAL,) * 4),
        VALUE,
        f"gru: `w_ih_init` must name 3 gates, got 4; {PER_GATE}",
    ),
    "initialiser by name": (
        lambda w: rnnjax.gru(H, w_ih_init=(ORTHOGONAL, ORTHOGONAL, "orthogonal")),
        TYPE,
        f"gru: `w_ih_init` must be a function, got str 'orthogonal'; {AN_INIT}",
    ),
    "initialiser by value": (
        lambda w: rnnjax.lstm(H, w_hh_init=jnp.ones((H, H))),
        TYPE,
        f"lstm: `w_hh_init` must be a function, got float32 of shape (5, 5); {AN_INIT}",
    ),
    "activation by name": (
        lambda w: rnnjax.elman(H, activation="relu"),
        TYPE,
        "elman: `activation` must be a function, got str 'relu'; "
        "pass the function itself, such as jax.nn.relu.",
    ),
    "Scan of 0": (
        lambda w: rnnjax.Scan(unroll=0),
        VALUE,
        f"Scan: `unroll` must be at least 1, got 0; {AT_LEAST_1}",
    ),
    "Chunked of 0": (
        lambda w: rnnjax.Chunked(0),
        VALUE,
        f"Chunked: `size` must be at least 1, got 0; {AT_LEAST_1}",
    ),
    "Chunkwise of 0": (
        lambda w: rnnjax.Chunkwise(0),
        VALUE,
        f"Chunkwise: `size` must be at least 1, got 0; {AT_LEAST_1}",
    ),
    "Chunked of 2.5": (
        lambda w: rnnjax.Chunked(2.5),
        TYPE,
        "Chunked: `size` must be a whole number, got float 2.5; give an int.",
    ),
}

A_KEY = "make one with jax.random.key(seed)."
A_RATE = "0.0 drops nothing."
TO_BUILD = "build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like."
ANY_LAYER = "cells, layers or functions of the features"
NARROWER = "put a layer that changes the width outside: stack(first, stack(..., skip=...))."
A_MERGE = "pass the function itself, such as rnnjax.merge.add."

LAYERS = {
    "dropout True": (
        lambda w: rnnjax.stack(w.lstm, w.gru, dropout=True),
        TYPE,
        "stack: `dropout` must be a float, got bool True; give a number.",
    ),
    "dropout 1": (
        lambda w: rnnjax.stack(w.lstm, w.gru, dropout=1.0),
        VALUE,
        f"stack: `dropout` must lie in 0 <= rate < 1, got 1.0; {A_RATE}",
    ),
    "dropout negative": (
        lambda w: rnnjax.stack(w.lstm, w.gru, dropout=-0.1),
        VALUE,
        f"stack: `dropout` must lie in 0 <= rate < 1, got -0.1; {A_RATE}",
    ),
    "dropout nan": (
        lambda w: rnnjax.stack(w.lstm, w.gru, dropout=float("nan")),
        VALUE,
        "stack: `dropout` must be finite, got nan; give a number.",
    ),
    "dropout of one layer": (
        lambda w: rnnjax.stack(w.lstm, dropout=0.1),
        VALUE,
        "stack: `dropout` must be 0 where one layer has no gap, got 0.1; "
        "add a layer, or wrap the cell in rnnjax.input_dropout.",
    ),
    "input_dropout beyond 1": (
        lambda w: rnnjax.input_dropout(w.lstm, 1.5),
        VALUE,
        f"input_dropout: `rate` must lie in 0 <= rate < 1, got 1.5; {A_RATE}",
    ),
    "input_dropout of a layer": (
        lambda w: rnnjax.input_dropout(w.both, 0.5),
        TYPE,
        "input_dropout: `cell` must be a Cell, got a Layer; "
        "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...).",
    ),
    "key 0": (
        lambda w: w.lstm.init(0, D),
        TYPE,
        f"lstm.init: `key` must be one random key, got int 0; {A_KEY}",
    ),
    "key of floats": (
        lambda w: w.unroll(w.xs, key=jnp.ones(2)),
        TYPE,
        f"unroll: `key` must be one random key, got float32 of shape (2,); {A_KEY}",
    ),
    "several keys": (
        lambda w: w.deep.apply(w.p_deep, w.xs, key=jax.random.split(KEY())),
        TYPE,
        f"stack.apply: `key` must be one random key, got key<fry> of shape (2,); {A_KEY}",
    ),
    "no key": (
        lambda w: w.both.init(None, D),
        TYPE,
        f"bidirectional.init: `key` must be one random key, got NoneType None; {A_KEY}",
    ),
    "stack of nothing": (
        lambda w: rnnjax.stack(),
        VALUE,
        "stack: `layers` must be at least one, got none; give a cell or a layer.",
    ),
    "stack of a word": (
        lambda w: rnnjax.stack("lstm"),
        TYPE,
        f"stack: `layers` must be {ANY_LAYER}, got str 'lstm'; {TO_BUILD}",
    ),
    "stack of a list": (
        lambda w: rnnjax.stack([w.lstm, w.gru]),
        TYPE,
        f"stack: `layers` must be {ANY_LAYER}, got a list; {TO_BUILD}",
    ),
    "stack of a class": (
        lambda w: rnnjax.stack(rnnjax.Layer),
        TYPE,
        f"stack: `layers` must be {ANY_LAYER}, got type {rnnjax.Layer!r}; {TO_BUILD}",
    ),
    "both ways of a word": (
        lambda w: rnnjax.bidirectional("lstm"),
        TYPE,
        f"bidirectional: `layer` must be {ANY_LAYER}, got str 'lstm'; {TO_BUILD}",
    ),
    "merge by name": (
        lambda w: rnnjax.bidirectional(w.lstm, merge="concat"),
        TYPE,
        f"bidirectional: `merge` must be a function, got str 'concat'; {A_MERGE}",
    ),
    "skip by name": (
        lambda w: rnnjax.stack(w.lstm, skip="add"),
        TYPE,
        f"stack: `skip` must be a function, got str 'add'; {A_MERGE}",
    ),
    "skip around a change of width": (
        lambda w: rnnjax.stack(w.lstm, rnnjax.lstm(6), skip=rnnjax.merge.add).init(KEY(), H),
        VALUE,
        f"stack: `skip` must fit layer 1, got 5 features below and 6 above; {NARROWER}",
    ),
    "skip around a width of 1": (  # which would broadcast
        lambda w: rnnjax.stack(rnnjax.lstm(1), skip=rnnjax.merge.add).init(KEY(), D),
        VALUE,
        f"stack: `skip` must fit layer 0, got 4 features below and 1 above; {NARROWER}",
    ),
}

CASES = table(options=OPTIONS, layers=LAYERS)


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_sentence(name):
    check_refused(CASES[name])


def test_unknown_keyword_is_an_error():
    with pytest.raises(TYPE, match="^lstm.. got an unexpected keyword argument 'dropout'"):
        rnnjax.lstm(H, dropout=0.1)
    with pytest.raises(TYPE, match="^unroll.. got an unexpected keyword argument 'length'"):
        world().unroll(world().xs, length=[1, 2, 3])
    with pytest.raises(TYPE, match="^stack.. got an unexpected keyword argument 'num_layers'"):
        rnnjax.stack(world().lstm, num_layers=2)


ACCEPTED = {
    "NumPy widths": lambda w: jax.eval_shape(
        lambda: rnnjax.lstm(np.int64(5)).init(KEY(), np.int32(4))
    ),
    "dropout 0 of one layer": lambda w: rnnjax.stack(w.lstm, dropout=0),
    "dropout of NumPy": lambda w: rnnjax.stack(w.lstm, w.gru, dropout=np.float32(0.1)),
    "whole numbers for a bias": lambda w: rnnjax.lstm(H, forget_bias=2),
    "no bias": lambda w: rnnjax.lstm(H, bias=False),
    "dtype by name": lambda w: rnnjax.lstm(H, dtype="bfloat16", param_dtype=np.float16),
    "lists of lengths and flags": lambda w: w.unroll(
        w.xs, lengths=[7, 0, 1], mask=[[True] * B] * T, resets=[[False] * B] * T
    ),
    "NumPy inputs and carry": lambda w: w.unroll(
        np.ones((T, B, D), np.float32), jax.tree.map(np.asarray, w.carry)
    ),
    "one length without a batch": lambda w: w.unroll(w.xs[:, 0], lengths=3),
    "an old key": lambda w: w.unroll(w.xs, key=jnp.zeros(2, jnp.uint32)),
    "no steps": lambda w: w.unroll(w.xs[:0], lengths=[0, 0, 0]),
    "no rows": lambda w: w.unroll(w.xs[:, :0], lengths=np.zeros(0, np.int32)),
    "params of another dtype": lambda w: rnnjax.unroll(
        w.lstm, jax.tree.map(lambda a: a.astype(jnp.bfloat16), w.p), w.xs
    ),
    "a time axis of NumPy": lambda w: rnnjax.last_output(w.xs, time_axis=np.int64(0)),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    assert jax.tree.leaves(ACCEPTED[name](world()))

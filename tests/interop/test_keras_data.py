"""Keras from plain data and back: notes, round trips, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop.keras_data import arrays, both_ways, data, lstm, there, zeros
from registry import random_params

import rnnjax
from rnnjax.interop import keras_to_rnnjax, rnnjax_to_keras


def test_notes():
    _, _, report = keras_to_rnnjax(
        [
            data("Masking", mask_value=0.0),
            lstm(dropout=0.1, recurrent_dropout=0.2, stateful=True, dtype="mixed_bfloat16"),
            data("GaussianNoise", stddev=0.3, name="noise"),
            lstm(below=4, return_sequences=False),
        ]
    )
    assert report.notes == (
        "layers_0: skips steps where all features are 0.0, whatever the layers below skip; give "
        "lengths=, or mask= that is False there",
        "layers_1: computes in bfloat16 there; here in the dtype of weights and inputs",
        "layers_1: without dropout 0.1, which is off at inference",
        "layers_1: without recurrent_dropout 0.2, which is off at inference",
        "layers_1: is stateful there; here hand the carry on yourself",
        "layers_1: at skipped steps its output is the last one again there, and 0 here",
        "noise: without GaussianNoise 0.3, which is off at inference",
        "layers_3: hands on its last output only; take it at the end, "
        "rnnjax.last_output(ys, lengths)",
    )


LAYERS = {
    "model": lambda: rnnjax.stack(
        rnnjax.embedding(7, 3),
        rnnjax.bidirectional(rnnjax.gru(4), merge=rnnjax.merge.average),
        jax.nn.relu,
        rnnjax.elman(2, activation=jax.nn.softplus, bias=False),
        rnnjax.dense(5, activation=jax.nn.softmax),
        rnnjax.dense(2, bias=False),
    ),
    "cells both ways": lambda: rnnjax.bidirectional(
        rnnjax.stack(rnnjax.lstm(4), rnnjax.gru(2, reset="before")), merge=rnnjax.merge.pair
    ),
    "a stack of one": lambda: rnnjax.stack(rnnjax.lstm(4)),
    "a stack of one cell both ways": lambda: rnnjax.bidirectional(rnnjax.stack(rnnjax.gru(4))),
    "lstm": lambda: rnnjax.lstm(4, gate_activation=jax.nn.hard_sigmoid, activation=jnp.tanh),
}


@pytest.mark.parametrize("name", LAYERS)
def test_round_trip_from_plain_data(name):
    layer = LAYERS[name]()
    params = random_params(layer, None if name == "model" else 3)
    there = rnnjax_to_keras(layer, params)
    again = keras_to_rnnjax(there.options | {"weights": there.weights})
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, again.params))
    back = rnnjax_to_keras(again.layer, again.params)
    assert back.options == there.options
    for ours, theirs in zip(back.weights, there.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {row.source for row in again.report.rows} == {row.source for row in there.report.rows}


def test_arrays_alone():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=array.shape).astype("float32") for array in arrays(1)]
    options = {"activation": "relu", "merge_mode": "sum"}
    _, params, report = keras_to_rnnjax(2 * weights, kind="simple_rnn", options=options)
    np.testing.assert_array_equal(params.w_ih, np.stack([weights[0]] * 2))
    assert report.notes == ("arrays alone: with activation 'relu'",)


def test_a_cell_stays_a_cell():
    cell = keras_to_rnnjax(data("GRUCell", [*arrays(3)[:2], zeros(2, 12)])).layer
    assert isinstance(cell, rnnjax.Cell) and cell.out_features == 4
    both = {"cells": [data("LSTMCell"), data("LSTMCell")]}
    stacked = data("StackedRNNCells", arrays() + arrays(below=4), **both)
    assert isinstance(keras_to_rnnjax(stacked).layer, rnnjax.Layer)


def test_skipped_steps_that_are_zero_there():
    table = data("Embedding", [zeros(9, 3)], mask_zero=True)
    report = keras_to_rnnjax([table, lstm(zero_output_for_mask=True), both_ways(lstm(4))]).report
    assert report.notes == ("layers_0: skips token 0; give lengths=, or mask=(tokens != 0)",)


def test_hard_sigmoid_without_a_version():
    notes = keras_to_rnnjax(both_ways(lstm(recurrent_activation="hard_sigmoid"))).report.notes
    text = "is taken as that of Keras 3, of slope 1/6; that of Keras 2 has slope 0.2"
    assert notes == (f"LSTM: recurrent_activation hard_sigmoid {text}",)


def test_weights_are_cast_before_they_are_summed():
    rng = np.random.default_rng(0)
    shapes = (3, 12), (4, 12), (2, 12)
    weights = [rng.normal(size=shape).astype(jnp.bfloat16) for shape in shapes]
    layer, params, report = keras_to_rnnjax(weights, kind="gru", dtype="float32")
    rows = weights[2].astype("float32")
    z, r = np.split((rows[0] + rows[1])[:8], 2)
    np.testing.assert_array_equal(params.b[:8], np.concatenate([r, z]))
    assert params.b.dtype == jnp.float32 and len(report.notes) == 1
    made = jax.eval_shape(lambda: layer.init(jax.random.key(0), 3))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} == {"float32"}
    assert keras_to_rnnjax(weights, kind="gru").report.notes[0] == (
        'b: summed in bfloat16, which rounds; dtype="float32" sums them in that'
    )


def test_functions_have_the_dtype_of_the_weights():
    layer = rnnjax.stack(jax.nn.relu, rnnjax.lstm(4, param_dtype="bfloat16"), jax.nn.relu)
    layers = rnnjax_to_keras(layer, random_params(layer, 3)).options["config"]["layers"]
    assert [one["config"]["dtype"] for one in layers] == ["bfloat16"] * 3


def test_notes_of_cells_both_ways():
    inner = rnnjax.stack(rnnjax.lstm(4), rnnjax.zoneout(rnnjax.gru(3), 0.1), dropout=0.2)
    assert there(rnnjax.bidirectional(inner)).report.notes == (
        "layers_0: without dropout 0.2 between layers, which is off at inference",
        "layers_1: without dropout 0.2 between layers, which is off at inference",
        "layers_1: without zoneout, which is off at inference",
    )

"""Keras's layers and models here and back: equal outputs, and the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.interop import keras_to_rnnjax, rnnjax_to_keras
from rnnjax.interop.keras_config import ACTIVATIONS

keras = pytest.importorskip("keras", reason='Keras is missing: pip install -e ".[parity]"')

pytestmark = [
    pytest.mark.usefixtures("x64", "any_promotion"),
    # Of Keras's own `get_weights`.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
WIDTHS = st.integers(1, 4)


def randomise(layer, seed=0):
    """Random values in every leaf."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.get_weights()])


def in_full_precision(layer):
    """Keras's tanh computes in float32 whatever the dtype; JAX's takes its place."""
    for part in layer._flatten_layers():
        if hasattr(part, "state_size") and hasattr(part, "kernel"):  # a cell
            if part.activation is keras.activations.tanh:
                part.activation = jnp.tanh


def outputs(layer, xs, mask=None):
    """Time-major in and out."""
    ys = layer(np.swapaxes(xs, 0, 1), mask=None if mask is None else mask.T)
    each = lambda y: np.swapaxes(np.asarray(y), 0, 1)
    return tuple(map(each, ys)) if isinstance(ys, list | tuple) else each(ys)


@st.composite
def options_of_cells(draw, dtype):
    kind = draw(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]))
    options = {
        "units": draw(WIDTHS),
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(["tanh", "relu", "softsign"])),
        "dtype": dtype,
    }
    if kind == "GRU":
        options["reset_after"] = draw(st.booleans())
    return kind, options


@st.composite
def forms(draw):
    """What a layer of Keras is to be, which draws numbers of its own when it is made."""
    dtype = draw(st.sampled_from(["float32", "float64"]))
    told = [draw(options_of_cells(dtype))]
    form = draw(st.sampled_from(["layer", "cell", "cells"]))
    if form == "cells":
        told.append(draw(options_of_cells(dtype)))
    return (
        dtype,
        form,
        told,
        draw(st.sampled_from(["one way", "concat", "sum", "mul", "ave", None])),
    )


def make(form):
    dtype, form, told, merge = form
    if form == "layer":
        [(kind, options)] = told
        layer = getattr(keras.layers, kind)(**options, return_sequences=True)
    else:
        cells = [getattr(keras.layers, f"{name}Cell")(**options) for name, options in told]
        stacked = keras.layers.StackedRNNCells(cells, dtype=dtype)
        inner = stacked if form == "cells" else cells[0]
        layer = keras.layers.RNN(inner, return_sequences=True, dtype=dtype)
    if merge == "one way":
        return layer
    return keras.layers.Bidirectional(layer, merge_mode=merge, dtype=dtype)


@settings(max_examples=15, deadline=None)
@given(forms(), st.integers(1, 5), st.integers(0, 99))
def test_outputs_are_equal_and_weights_come_back(case, width, seed):
    layer, dtype = make(case), case[0]
    layer.build((2, 4, width))
    randomise(layer, seed)
    ours, params, _ = keras_to_rnnjax(layer)
    there = rnnjax_to_keras(ours, params)
    again = keras_to_rnnjax(there.options | {"weights": there.weights})
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, again.params))
    made = keras.saving.deserialize_keras_object(there.options)
    made.build((2, 4, width))
    made.set_weights(there.weights)
    for one in (layer, made):
        in_full_precision(one)
    xs = np.random.default_rng(1).normal(size=(4, 2, width)).astype(dtype)
    with jax.disable_jit():
        _, ys = ours.apply(params, xs)
        both = outputs(layer, xs), outputs(made, xs)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for theirs in both:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), ys, theirs)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_masked_steps_and_final_states(kind):
    mask = np.arange(5)[:, None] < [5, 3, 1]
    layer = keras.layers.Bidirectional(
        getattr(keras.layers, kind)(4, return_sequences=True, return_state=True, dtype="float64"),
        dtype="float64",
    )
    layer.build((3, 5, 2))
    randomise(layer)
    ours, params, _ = keras_to_rnnjax(layer)
    in_full_precision(layer)
    xs = np.random.default_rng(1).normal(size=(5, 3, 2))
    theirs, *states = layer(np.swapaxes(xs, 0, 1), mask=mask.T)
    carry, ys = ours.apply(params, xs, mask=mask)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(np.asarray(ys)[mask], np.swapaxes(theirs, 0, 1)[mask], **close)
    got = [leaf[way] for way in range(2) for leaf in carry]
    for a, b in zip(got, states, strict=True):
        np.testing.assert_allclose(a, b, **close)


def test_going_backwards_alone():
    layer = keras.layers.GRU(4, go_backwards=True)
    layer.build((3, 5, 2))
    randomise(layer)
    ours, params, report = keras_to_rnnjax(layer)
    xs = np.random.default_rng(1).normal(size=(5, 3, 2)).astype("float32")
    _, ys = ours.apply(params, xs)
    np.testing.assert_allclose(ys[0], layer(np.swapaxes(xs, 0, 1)), rtol=1e-6, atol=1e-6)
    assert "ys[0]" in report.notes[0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_keras(name):
    xs = np.concatenate([np.linspace(-8, 8, 41), [1e-3, -1e-3, 30, -30]]).reshape(5, 9)
    theirs = keras.activations.get(name)(jnp.asarray(xs, jnp.float32))
    np.testing.assert_allclose(ACTIVATIONS[name](xs.astype("float32")), theirs, rtol=2e-6)


# The models of the founding texts, small.


def word_prediction(layers):
    return [
        layers.Embedding(11, 6, mask_zero=True, trainable=False),
        layers.Masking(0.0),
        layers.LSTM(4, dropout=0.1, recurrent_dropout=0.1),
        layers.Dense(5, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(11, activation="softmax"),
    ]


def sentiment(layers):
    return [
        layers.Embedding(11, 6),
        layers.Dropout(0.2),
        layers.LSTM(4),
        layers.Dense(5, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(1, activation="sigmoid"),
    ]


def sentiment_both_ways(layers):
    return [
        layers.Embedding(11, 6),
        layers.Dropout(0.5),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge_mode="concat"),
        layers.Dropout(0.5),
    ]


def tokens(seed=1):
    """Some of them zero, but only at the end."""
    found = np.random.default_rng(seed).integers(1, 11, size=(5, 3))
    return np.where(np.arange(5)[:, None] < [5, 3, 1], found, 0), [5, 3, 1]


@pytest.mark.parametrize("make", [word_prediction, sentiment])
def test_models_that_answer_once(make):
    model = keras.Sequential(make(keras.layers))
    model.build((None, None))
    randomise(model)
    if make is word_prediction:  # as pre-trained vectors have it: what `Masking` looks for
        table, *others = model.get_weights()
        table[0] = 0.0
        model.set_weights([table, *others])
    ours, params, report = keras_to_rnnjax(model)
    xs, lengths = tokens()
    lengths = lengths if make is word_prediction else None
    _, ys = ours.apply(params, xs, lengths=lengths)
    got = rnnjax.last_output(ys, lengths)
    np.testing.assert_allclose(got, model(xs.T), rtol=1e-6, atol=1e-6)
    assert len(report.rows) == len(model.get_weights())
    told = {row.source for row in report.rows}
    assert f"{model.layers[0].name}.embeddings" in told


def test_model_both_ways_up_to_the_flattening():
    layers = sentiment_both_ways(keras.layers)
    model = keras.Sequential(layers)
    model.build((None, None))
    randomise(model)
    xs, _ = tokens()
    for source in (model, layers):
        ours, params, _ = keras_to_rnnjax(source)
        _, ys = ours.apply(params, xs)
        np.testing.assert_allclose(ys, outputs(model, xs), rtol=1e-6, atol=1e-6)
    there = rnnjax_to_keras(ours, params)
    made = keras.saving.deserialize_keras_object(there.options)
    made.build((None, None))
    made.set_weights(there.weights)
    np.testing.assert_array_equal(outputs(made, xs), outputs(model, xs))
    full = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(1)])
    full.build((None, 5))
    with pytest.raises(ValueError, match="Flatten"):
        keras_to_rnnjax(full)


def relu(x):
    return 2 * x


class Scaled(keras.layers.GRU):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        return 2 * super().call(sequences, initial_state, mask, training)


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.Sequential([keras.layers.LSTM(4, activation=relu)]),
        lambda: Scaled(4),
        lambda: keras.Sequential([Scaled(4)]),
    ],
)
def test_functions_and_classes_of_ones_own(make):
    layer = make()
    layer.build((2, 4, 3))
    with pytest.raises(ValueError, match="Keras's own"):
        keras_to_rnnjax(layer)


def test_functions_in_double_precision():
    layer = rnnjax.stack(jax.nn.relu, rnnjax.gru(4, param_dtype="float64"), jax.nn.relu)
    params = layer.init(jax.random.key(0), 3)
    there = rnnjax_to_keras(layer, params)
    made = keras.saving.deserialize_keras_object(there.options)
    made.build((None, None, 3))
    made.set_weights(there.weights)
    for one in made.layers:
        in_full_precision(one)
    xs = np.random.default_rng(1).normal(size=(5, 2, 3))
    _, ys = layer.apply(params, xs)
    np.testing.assert_allclose(ys, outputs(made, xs), rtol=1e-12, atol=1e-12)

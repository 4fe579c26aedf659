"""Keras on JAX, float64: outputs at valid steps and final states, with holes and padding.

At a masked step Keras repeats its last output where rnnjax says zero, so only valid steps are
compared there.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from parity.layouts import TINY, keras_layer, keras_loaded, keras_weights, one_way, run_keras
from registry import B, D, T, inputs, make, random_carry, random_params, sequence_options

import rnnjax

keras = pytest.importorskip("keras", reason='Keras is missing: pip install -e ".[parity]"')

pytestmark = pytest.mark.usefixtures("x64", "any_promotion")

NAMES = ("lstm", "gru", "gru, reset before", "elman", "elman, relu")
OPTIONS = sequence_options()
MASKS = {
    "all steps": None,
    "right padding": np.arange(T)[:, None] < OPTIONS["lengths"]["lengths"],
    "holes": OPTIONS["mask"]["mask"],
}
MERGES = {
    "concat": rnnjax.merge.concatenate,
    "sum": rnnjax.merge.add,
    "mul": rnnjax.merge.multiply,
    "ave": rnnjax.merge.average,
}


@pytest.fixture(autouse=True)
def keras_uses_jax():
    assert keras.backend.backend() == "jax"


def weights_of(name, params, seed=0):
    reset = "before" if name.endswith("before") else "after"
    return keras_weights(params, reset=reset, seed=seed)


def random_case(name, layer, seed=0):
    params = random_params(layer, D, seed)
    xs = inputs(T, B, D, dtype=jnp.float64)
    return params, xs, random_carry(layer, params, xs[0], 2)


def assert_valid_equal(ys, theirs, mask):
    valid = np.ones((T, B), bool) if mask is None else mask
    np.testing.assert_allclose(np.asarray(ys)[valid], theirs[valid], **TINY)


def assert_states_equal(carry, theirs):
    assert len(carry) == len(theirs)
    for name, ours, other in zip(carry._fields, carry, theirs, strict=True):
        np.testing.assert_allclose(ours, other, err_msg=name, **TINY)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", NAMES)
def test_layer_equals_keras(name, reverse, mask):
    cell, _ = make(name, dtype=jnp.float64)
    params, xs, carry = random_case(name, rnnjax.recurrent(cell))
    activation = "relu" if name.endswith("relu") else "tanh"
    layer = keras_layer(params, activation=activation, go_backwards=reverse)
    theirs, states = run_keras(layer, weights_of(name, params), xs, carry, mask)
    final, ys = rnnjax.unroll(cell, params, xs, carry, mask=mask, reverse=reverse)
    # A Keras layer that goes backwards leaves its outputs in the order of reading.
    assert_valid_equal(ys, theirs[::-1] if reverse else theirs, mask)
    assert_states_equal(final, states)


HALVES = [("concat", which) for which in MASKS] + [(m, "holes") for m in MERGES if m != "concat"]


@pytest.mark.parametrize(("mode", "which"), HALVES)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_bidirectional_equals_keras(name, mode, which):
    mask = MASKS[which]
    cell, _ = make(name, dtype=jnp.float64)
    layer = rnnjax.bidirectional(cell, merge=MERGES[mode])
    params, xs, carry = random_case(name, layer)
    sides = [one_way(params, 0), one_way(params, 1)]
    weights = [w for k, side in enumerate(sides) for w in weights_of(name, side, k)]
    wrapped = keras.layers.Bidirectional(keras_layer(sides[0]), merge_mode=mode, dtype="float64")
    start = [leaf for k in range(2) for leaf in one_way(carry, k)]
    theirs, states = run_keras(wrapped, weights, xs, start, mask)
    final, ys = layer.apply(params, xs, carry, mask=mask)
    assert_valid_equal(ys, theirs, mask)
    half = len(states) // 2
    assert_states_equal(one_way(final, 0), states[:half])
    assert_states_equal(one_way(final, 1), states[half:])


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_last_output_is_keras_without_return_sequences(name):
    cell, params = make(name, dtype=jnp.float64)
    xs = inputs(T, B, D, dtype=jnp.float64)
    lengths = np.array([4, T, 1], np.int32)
    layer = keras_layer(params, return_sequences=False, return_state=False)
    layer = keras_loaded(layer, weights_of(name, params), xs)
    theirs = layer(np.swapaxes(np.asarray(xs), 0, 1), mask=np.arange(T) < lengths[:, None])
    _, ys = rnnjax.unroll(cell, params, xs, lengths=lengths)
    np.testing.assert_allclose(rnnjax.last_output(ys, lengths), np.asarray(theirs), **TINY)

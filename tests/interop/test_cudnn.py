"""The flat vector of cuDNN's LSTM, against the reference of JAX itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import rnn
from messages import TYPE, VALUE, check_refused_by_name, table
from registry import random_params

import rnnjax
from rnnjax.interop import cudnn_to_rnnjax, rnnjax_to_cudnn

SIZES = {"input_size": 3, "hidden_size": 4, "num_layers": 1, "bidirectional": False}


@pytest.mark.usefixtures("any_promotion")
@settings(max_examples=4, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2), st.booleans())
def test_outputs_are_equal_and_weights_come_back(width, hidden, num_layers, both):
    sizes = {
        "input_size": width,
        "hidden_size": hidden,
        "num_layers": num_layers,
        "bidirectional": both,
    }
    count = rnn.get_num_params_in_lstm(**sizes)
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=count) / 2).astype("float32")
    layer, params, report = cudnn_to_rnnjax(weights, **sizes)
    xs = rng.normal(size=(3, 3, width)).astype("float32")
    lengths = np.array([3, 2, 1], np.int32)
    zeros = np.zeros((num_layers * (1 + both), 3, hidden), "float32")
    pieces = rnn.unpack_lstm_weights(jnp.asarray(weights), *sizes.values())
    with jax.disable_jit():
        carry, ys = layer.apply(params, xs, lengths=lengths)
        theirs, h, c = rnn.lstm_ref(
            np.swapaxes(xs, 0, 1),
            zeros,
            zeros,
            *pieces,
            lengths,
            *list(sizes.values())[:3],
            0.0,
            both,
        )
    close = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(ys, np.swapaxes(theirs, 0, 1), **close)
    for field, wanted in (("h", h), ("c", c)):
        ours = [np.reshape(getattr(one, field), (-1, 3, hidden)) for one in carry]
        np.testing.assert_allclose(np.concatenate(ours), wanted, **close)
    there = rnnjax_to_cudnn(layer, params)
    assert there.options == sizes and there.weights.shape == (count,)
    again = cudnn_to_rnnjax(there.weights, **there.options)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, again.params))
    assert sum(int(np.prod(row.shape)) for row in report.rows) == count
    # What has one bias comes back bit by bit.
    np.testing.assert_array_equal(rnnjax_to_cudnn(again.layer, again.params).weights, there.weights)


def test_no_bias_is_zero():
    layer = rnnjax.lstm(4, bias=False)
    there = rnnjax_to_cudnn(layer, random_params(layer, 3))
    np.testing.assert_array_equal(there.weights[-32:], np.zeros(32))


def test_a_learned_carry_is_noted_as_left_out():
    assert there(rnnjax.lstm(4, learned_carry=True)).report.notes == (
        "the layer: the learned initial carry has no place there; give layer.init_carry(params, x) "
        "as the initial state",
    )


def there(layer, dtype=None):
    params = random_params(layer, 3)
    return rnnjax_to_cudnn(layer, jax.tree.map(lambda a: a.astype(dtype or a.dtype), params))


CASES = table(
    cudnn_to_rnnjax={
        "too few": (
            lambda: cudnn_to_rnnjax(np.zeros(100, "float32"), **SIZES),
            VALUE,
            "weights` must have shape (144,) for these sizes, got (100,); see "
            "jax.experimental.rnn.get_num_params_in_lstm.",
        ),
        "float64": (
            lambda: cudnn_to_rnnjax(np.zeros(144), **SIZES),
            TYPE,
            "weights` must be float32, got float64; cuDNN's LSTM has no other in JAX: cast it "
            "with .astype('float32').",
        ),
        "a number for a flag": (
            lambda: cudnn_to_rnnjax(np.zeros(144, "float32"), **SIZES | {"bidirectional": 1}),
            TYPE,
            "bidirectional` must be True or False, got int 1; give a bool.",
        ),
        "no layers": (
            lambda: cudnn_to_rnnjax(np.zeros(144, "float32"), **SIZES | {"num_layers": 0}),
            VALUE,
            "num_layers` must be at least 1, got 0; give the width or count that is meant.",
        ),
    },
    rnnjax_to_cudnn={
        "a gru": (
            lambda: there(rnnjax.gru(4)),
            VALUE,
            "layer` must be one of ['lstm'], got gru; convert it by hand.",
        ),
        "half precision": (
            lambda: there(rnnjax.lstm(4), "bfloat16"),
            TYPE,
            "params` must be float32, got bfloat16; cuDNN's LSTM has no other in JAX: cast the "
            "params.",
        ),
        "backwards": (
            lambda: there(rnnjax.recurrent(rnnjax.lstm(4), reverse=True)),
            VALUE,
            "layer` must read forwards, got reverse=True; make it bidirectional, or turn the "
            "sequence around yourself.",
        ),
        "a sum": (
            lambda: there(rnnjax.bidirectional(rnnjax.lstm(4), merge=rnnjax.merge.add)),
            VALUE,
            "layer` must concatenate its directions, got add; merge after it.",
        ),
        "layers that differ": (
            lambda: there(rnnjax.stack(rnnjax.lstm(4), rnnjax.bidirectional(rnnjax.lstm(4)))),
            VALUE,
            "layer.layers_1` must be of one width and direction with layers_0, got 2 of width 4; "
            "write each layer to a vector of its own.",
        ),
    },
)


@pytest.mark.parametrize("name", CASES)
def test_refused(name):
    check_refused_by_name(name, CASES)

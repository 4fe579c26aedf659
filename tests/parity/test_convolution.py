"""Convolutional LSTMs of Flax and Keras, float64, with equal weights and random biases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from parity.layouts import TINY
from parity.test_peers_mistakes import peer_is_wrong
from registry import inputs, random_carry, random_params

import rnnjax

keras = pytest.importorskip("keras", reason='Keras is missing: pip install -e ".[parity]"')

pytestmark = pytest.mark.usefixtures("x64", "any_promotion")

T, B, C, H = 5, 3, 2, 4
WINDOWS = {  # kernel, space, and options of the input convolution
    "lines": ((3,), (5,), {}),
    "images": ((3, 2), (4, 3), {}),
    "volumes": ((2, 1, 3), (2, 3, 4), {}),
    "strides": ((3, 2), (5, 4), {"strides": (2, 3)}),
    "dilation": ((2, 3), (5, 4), {"dilation": (3, 2)}),
    "valid": ((3, 2), (5, 4), {"padding": "valid"}),
}
PLAIN = [name for name, (_, _, options) in WINDOWS.items() if not options]
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@functools.cache
def problem(name):
    kernel, space, options = WINDOWS[name]
    cell = rnnjax.conv_lstm(H, kernel_size=kernel, param_dtype=jnp.float64, **options)
    params = random_params(cell, C, 0)
    xs = inputs(T, B, *space, C, dtype=jnp.float64)
    return cell, params, xs, random_carry(cell, params, xs[0], 2)


def linen_conv_lstm(params):
    """The tree of `ConvLSTMCell` under `nn.RNN`'s `cell`: gates i, g, f, o, a bias at each of the
    two convolutions, and 1 added to the forget gate at run time."""

    def turned(a):
        i, f, g, o = np.split(np.asarray(a), 4, axis=-1)
        return np.concatenate([i, g, f, o], axis=-1)

    width = params.b.shape[0] // 4
    recurrent = np.random.default_rng(5).normal(size=params.b.shape)
    given = np.asarray(params.b) - recurrent
    given[width : 2 * width] -= 1
    ih = {"kernel": turned(params.w_ih), "bias": turned(given)}
    hh = {"kernel": turned(params.w_hh), "bias": turned(recurrent)}
    return {"params": {"cell": {"ih": ih, "hh": hh}}}


@both_ways
@pytest.mark.parametrize("name", PLAIN)
def test_cell_equals_linen(name, reverse):
    cell, params, xs, start = problem(name)
    theirs = linen.ConvLSTMCell(H, WINDOWS[name][0], param_dtype=jnp.float64)
    rnn = linen.RNN(theirs, time_major=True, return_carry=True, reverse=reverse, keep_order=True)
    begin = start.c, start.h
    (c, h), wanted = rnn.apply(linen_conv_lstm(params), xs, initial_carry=begin)
    carry, ys = rnnjax.unroll(cell, params, xs, start, reverse=reverse)
    for ours, other in [(ys, wanted), (carry.c, c), (carry.h, h)]:
        np.testing.assert_allclose(ours, other, **TINY)


def run_keras(name, params, xs, start, *, reverse=False, mask=None):
    """Outputs, time-major, and the final states. JAX's tanh takes the place of Keras's, which
    computes in float32 whatever the dtype of the layer."""
    kernel, space, window = WINDOWS[name]
    kinds = keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D
    layer = kinds[len(kernel) - 1](
        H,
        kernel,
        strides=window.get("strides", 1),
        dilation_rate=window.get("dilation", 1),
        padding=window.get("padding", "same"),
        dtype="float64",
        return_sequences=True,
        return_state=True,
        go_backwards=reverse,
    )
    assert layer.cell.activation is keras.activations.tanh
    layer.cell.activation = jnp.tanh
    layer.build((B, T, *space, C))
    layer.set_weights([np.asarray(a) for a in params[:3]])
    mask = None if mask is None else mask.T
    out = layer(np.swapaxes(np.asarray(xs), 0, 1), initial_state=list(start), mask=mask)
    ys, *final = (np.asarray(a) for a in out)
    return np.swapaxes(ys, 0, 1), final


@both_ways
@pytest.mark.parametrize("name", WINDOWS)
def test_layer_equals_keras(name, reverse):
    """Gates i, f, c, o, and strides, dilation and padding of the input convolution alone."""
    cell, params, xs, start = problem(name)
    theirs, states = run_keras(name, params, xs, start, reverse=reverse)
    carry, ys = rnnjax.unroll(cell, params, xs, start, reverse=reverse)
    # A Keras layer that goes backwards leaves its outputs in the order of reading.
    np.testing.assert_allclose(ys, theirs[::-1] if reverse else theirs, **TINY)
    for ours, other in zip(carry, states, strict=True):
        np.testing.assert_allclose(ours, other, **TINY)


def test_keras_masks_columns_of_an_image_instead_of_rows_of_the_batch():
    """Its mask of a step is `(B, 1)` beside states `(B, height, width, H)`: rows meet columns.

    With as many columns as rows it answers, else it fails. So it is not compared with ours."""
    cell, params, xs, start = problem("images")
    mask = np.random.default_rng(4).random((T, B)) < 0.6
    carry, ys = rnnjax.unroll(cell, params, xs, start, mask=mask)
    for row in range(B):
        of_row = lambda tree, n=row: jax.tree.map(lambda a: a[n], tree)
        valid = mask[:, row]
        alone, wanted = rnnjax.unroll(cell, params, xs[valid, row], of_row(start))
        np.testing.assert_allclose(ys[valid, row], wanted, **TINY)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **TINY), of_row(carry), alone)

    by_columns = start
    for x, valid in zip(xs, mask, strict=True):
        moved, _ = cell.step(params, by_columns, cell.project(params, x))
        keep = lambda new, old, valid=valid: jnp.where(valid[:, None], new, old)
        by_columns = jax.tree.map(keep, moved, by_columns)
    _, states = run_keras("images", params, xs, start, mask=mask)
    same = all(np.allclose(a, b, **TINY) for a, b in zip(states, by_columns, strict=True))
    peer_is_wrong(same, "Keras's mask of a ConvLSTM")
    with pytest.raises((TypeError, ValueError)):
        run_keras("strides", *problem("strides")[1:], mask=mask)


def test_default_weights_begin_as_in_keras():
    """`unit_forget_bias`: a bias of 1 for the forget gate, zeros for the others."""
    layer = keras.layers.ConvLSTM2D(H, (3, 2))
    layer.build((B, T, 4, 3, C))
    params = rnnjax.conv_lstm(H, kernel_size=(3, 2)).init(jax.random.key(0), C)
    w_ih, w_hh, b = (np.asarray(variable.value) for variable in layer.weights)
    assert (w_ih.shape, w_hh.shape) == (params.w_ih.shape, params.w_hh.shape)
    np.testing.assert_array_equal(b, params.b)

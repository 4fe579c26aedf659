"""Where peers answer wrongly, side by side: theirs is shown wrong, ours right.

`tests/test_peers_mistakes.py` has the same cases without the peers. Ours is asserted first; a
peer that has mended its ways makes the rest a skip that says so, and can be struck off here.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from parity.layouts import (
    TINY,
    keras_layer,
    keras_weights,
    linen_params,
    nnx_gru,
    nnx_lstm,
    run_keras,
    torch_vjp,
)
from registry import B, D, H, T, exact_methods, inputs, make, random_carry, randomise

import rnnjax

pytestmark = pytest.mark.usefixtures("x64", "any_promotion")

LENGTHS = np.array([T, 3, 0], np.int32)
VALID = np.arange(T)[:, None] < LENGTHS


def close(a, b) -> bool:
    return np.allclose(a, b, **TINY)


def peer_is_wrong(wrong, what: str):
    if not wrong:
        pytest.skip(f"mended: {what}; strike it off the list")


def case(name):
    cell, params = make(name, dtype=jnp.float64)
    return cell, params, inputs(T, B, D, dtype=jnp.float64)


# Rows of length 0


def assert_empty_row_keeps_its_carry(ours, start):
    np.testing.assert_array_equal(ours.h[2], start.h[2])
    np.testing.assert_array_equal(ours.c[2], start.c[2])


def test_linen_ends_an_empty_row_in_the_carry_of_all_its_padding():
    cell, params, xs = case("lstm")
    start = random_carry(cell, params, xs[0], 2)
    rnn = linen.RNN(linen.LSTMCell(H, param_dtype=jnp.float64), time_major=True)
    (c, h), _ = rnn.apply(
        linen_params(params), xs, initial_carry=start[::-1], seq_lengths=LENGTHS, return_carry=True
    )
    ours, _ = rnnjax.unroll(cell, params, xs, start, lengths=LENGTHS)
    padding_too, _ = rnnjax.unroll(cell, params, xs, start)
    assert_empty_row_keeps_its_carry(ours, start)
    assert close(ours.h[:2], h[:2]) and close(ours.c[:2], c[:2])
    peer_is_wrong(close(h[2], padding_too.h[2]), "linen's carry of a row of length 0")


def test_nnx_ends_an_empty_row_in_the_carry_of_all_its_padding():
    cell, params, xs = case("lstm")
    start = random_carry(cell, params, xs[0], 2)
    rnn = nnx.RNN(nnx_lstm(params), time_major=True, rngs=nnx.Rngs(0))
    (c, h), _ = rnn(xs, initial_carry=start[::-1], seq_lengths=LENGTHS, return_carry=True)
    ours, _ = rnnjax.unroll(cell, params, xs, start, lengths=LENGTHS)
    padding_too, _ = rnnjax.unroll(cell, params, xs, start)
    assert_empty_row_keeps_its_carry(ours, start)
    assert close(ours.h[:2], h[:2]) and close(ours.c[:2], c[:2])
    peer_is_wrong(close(h[2], padding_too.h[2]), "nnx's carry of a row of length 0")


def test_torch_refuses_a_row_of_length_0():
    torch = pytest.importorskip("torch")
    cell, params, xs = case("lstm")
    start = random_carry(cell, params, xs[0], 2)
    ours, ys = rnnjax.unroll(cell, params, xs, start, lengths=LENGTHS)
    assert_empty_row_keeps_its_carry(ours, start)
    assert not np.asarray(ys)[:, 2].any()
    with pytest.raises(RuntimeError, match="greater than 0"):
        torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(np.asarray(xs)), torch.tensor(LENGTHS, dtype=torch.int64)
        )


# Padding


def test_linen_lets_nan_in_padding_into_gradients_and_fills_padded_outputs():
    cell, params, xs = case("lstm")
    dirty = jnp.where(VALID[..., None], xs, jnp.nan)
    rnn = linen.RNN(linen.LSTMCell(H, param_dtype=jnp.float64), time_major=True)

    def ours(params, xs):
        return rnnjax.unroll(cell, params, xs, lengths=LENGTHS)[1]

    def theirs(tree, xs):
        return rnn.apply(tree, xs, seq_lengths=LENGTHS)

    def loss(run):
        return lambda params, xs: jnp.where(VALID[..., None], run(params, xs), 0).sum()

    clean_grads = jax.grad(loss(ours), (0, 1))(params, xs)
    dirty_grads = jax.grad(loss(ours), (0, 1))(params, dirty)
    jax.tree.map(np.testing.assert_array_equal, clean_grads, dirty_grads)
    assert not np.asarray(dirty_grads[1])[~VALID].any()
    assert not np.asarray(ours(params, dirty))[~VALID].any()
    tree = linen_params(params)
    nan = any(np.isnan(g).any() for g in jax.tree.leaves(jax.grad(loss(theirs))(tree, dirty)))
    filled = np.asarray(theirs(tree, xs))[~VALID].any()
    peer_is_wrong(nan and filled, "linen's padding")


def test_linen_fails_on_two_batch_axes_with_lengths_and_carry():
    cell, params, _ = case("lstm")
    xs = inputs(2, B, T, D, dtype=jnp.float64)
    lengths = np.array([[T, 0, 3], [1, 2, 4]], np.int32)
    carry, ys = rnnjax.unroll(cell, params, jnp.moveaxis(xs, 2, 0), lengths=lengths)
    for row in np.ndindex(2, B):
        alone, y = rnnjax.unroll(cell, params, xs[row], lengths=lengths[row])
        assert close(carry.c[row], alone.c) and close(ys[:, *row], y)
    rnn = linen.RNN(linen.LSTMCell(H, param_dtype=jnp.float64))
    try:
        rnn.apply(linen_params(params), xs, seq_lengths=lengths, return_carry=True)
        failed = False
    except (ValueError, TypeError):
        failed = True
    peer_is_wrong(failed, "linen with two batch axes")


# Lengths above T


def test_torch_packs_more_steps_than_there_are():
    torch = pytest.importorskip("torch")
    cell, params, xs = case("lstm")
    too_long = np.array([T + 2, 3, 1], np.int32)
    with pytest.raises(ValueError, match=rf"`lengths` must lie in 0\.\.T = 0\.\.{T}, got {T + 2}"):
        rnnjax.unroll(cell, params, xs, lengths=too_long)
    try:
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(np.asarray(xs)), torch.tensor(too_long, dtype=torch.int64)
        )
        steps = len(packed.batch_sizes)
    except (RuntimeError, ValueError):
        steps = 0
    peer_is_wrong(steps > T, "PyTorch's packing of a length above T")


def test_flax_takes_a_length_above_the_number_of_steps():
    cell, params, xs = case("lstm")
    too_long = np.array([T + 2, 3, 1], np.int32)
    with pytest.raises(ValueError, match="lengths"):
        rnnjax.unroll(cell, params, xs, lengths=too_long)
    rnn = linen.RNN(linen.LSTMCell(H, param_dtype=jnp.float64), time_major=True)
    try:
        rnn.apply(linen_params(params), xs, seq_lengths=too_long, return_carry=True)
        taken = True
    except ValueError:
        taken = False
    peer_is_wrong(taken, "linen's lengths above T")


# Weights and widths


def test_nnx_gru_has_no_place_for_the_inner_bias():
    pytest.importorskip("torch")
    cell, params, xs = case("gru")
    start = cell.init_carry(params, xs[0])
    zeros = jax.tree.map(jnp.zeros_like, (start, jnp.zeros((T, B, H))))
    torch_ys = torch_vjp((params,), xs, (start,), ((zeros[0],), zeros[1])).ys
    _, ys = rnnjax.unroll(cell, params, xs)
    np.testing.assert_allclose(ys, torch_ys, **TINY)
    theirs = nnx.RNN(nnx_gru(params), time_major=True, rngs=nnx.Rngs(0))(xs)
    without = params._replace(b_hn=jnp.zeros(H))
    assert close(theirs, rnnjax.unroll(cell, without, xs)[1])  # all else is the same
    peer_is_wrong(np.abs(theirs - torch_ys).max() > 0.01, "nnx.GRUCell without b_hn")


def test_linen_builds_a_cell_as_wide_as_a_wrong_carry():
    cell, params, xs = case("lstm")
    wide = rnnjax.LSTMCarry(jnp.zeros((B, 7)), jnp.zeros((B, 7)))
    with pytest.raises(ValueError, match=r"carry.* must have shape \(3, 5\), got \(3, 7\)"):
        rnnjax.unroll(cell, params, xs, wide)
    try:
        tree = linen.LSTMCell(H).init(jax.random.key(0), tuple(wide), xs[0])
        width = tree["params"]["hi"]["kernel"].shape[0]
    except ValueError:
        width = H
    peer_is_wrong(width == 7, "linen's cell with a carry of another width")


# Options that do nothing


def test_nnx_bidirectional_takes_options_and_ignores_them():
    cell, params, xs = case("lstm")
    with pytest.raises(TypeError, match="reverse"):
        rnnjax.bidirectional(cell, reverse=True)
    layer = rnnjax.bidirectional(cell)
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), params)
    with pytest.raises(TypeError, match="reverse"):
        layer.apply(twice, xs, reverse=True)
    rnn = nnx.Bidirectional(
        nnx.RNN(nnx_lstm(params)), nnx.RNN(nnx_lstm(params)), time_major=True, rngs=nnx.Rngs(0)
    )
    ignored = close(rnn(xs), rnn(xs, reverse=True)) and close(rnn(xs), rnn(xs, keep_order=False))
    peer_is_wrong(ignored, "nnx.Bidirectional's reverse= and keep_order=")


# Keras


@pytest.fixture
def keras():
    keras = pytest.importorskip("keras")
    assert keras.backend.backend() == "jax"
    return keras


@pytest.fixture
def keras_on_cudnn(keras, monkeypatch):
    """Keras's cuDNN path on a CPU: JAX's own reference stands in for the primitive."""
    jax_rnn = importlib.import_module("jax.experimental.rnn")
    keras_rnn = importlib.import_module("keras.src.backend.jax.rnn")
    calls = []

    def reference(x, h_0, c_0, weights, seq_lengths, input_size, hidden_size, num_layers,
                  dropout, bidirectional):  # fmt: skip
        calls.append(seq_lengths)
        sizes = (input_size, hidden_size, num_layers, bidirectional)
        unpacked = jax_rnn.unpack_lstm_weights(weights, *sizes)
        return jax_rnn.lstm_ref(
            x, h_0, c_0, *unpacked, seq_lengths, *sizes[:3], dropout, bidirectional
        )

    monkeypatch.setattr(jax_rnn, "lstm", reference)
    monkeypatch.setattr(keras_rnn, "_is_gpu_available", lambda: True)
    return calls


def test_keras_on_cudnn_turns_a_backward_half_around(keras, keras_on_cudnn):
    cell, params, xs = case("lstm")
    backward = randomise(params, 5)
    weights = [w for side in (params, backward) for w in keras_weights(side)]
    # Dropout, which does nothing at inference, keeps Keras off its fused bidirectional call.
    inner = keras_layer(params, dropout=0.3)
    wrapped = keras.layers.Bidirectional(inner, merge_mode="concat", dtype="float64")
    theirs, _ = run_keras(wrapped, weights, xs)
    layer = rnnjax.bidirectional(cell)
    twice = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, backward)
    _, ys = layer.apply(twice, xs)
    _, forward_half = rnnjax.unroll(cell, params, xs)
    # The backward half from its meaning: flip the inputs, run, flip the outputs.
    _, flipped = rnnjax.unroll(cell, backward, xs[::-1])
    np.testing.assert_allclose(ys[..., :H], forward_half, **TINY)
    np.testing.assert_allclose(ys[..., H:], flipped[::-1], **TINY)
    assert keras_on_cudnn, "Keras did not take its cuDNN path"
    np.testing.assert_allclose(theirs[..., :H], ys[..., :H], **TINY)
    peer_is_wrong(close(theirs[..., H:], ys[::-1, :, H:]), "Keras's backward half on cuDNN")


def test_keras_answers_backwards_in_one_order_on_cpu_and_another_on_cudnn(keras, request):
    cell, params, xs = case("lstm")
    _, ys = rnnjax.unroll(cell, params, xs, reverse=True)
    on_cpu, _ = run_keras(keras_layer(params, go_backwards=True), keras_weights(params), xs)
    np.testing.assert_allclose(ys[::-1], on_cpu, **TINY)  # theirs is in the order of reading
    request.getfixturevalue("keras_on_cudnn")
    on_cudnn, _ = run_keras(keras_layer(params, go_backwards=True), keras_weights(params), xs)
    for method in exact_methods("lstm"):  # ours has one order: ys[t] answers xs[t]
        _, again = rnnjax.unroll(cell, params, xs, reverse=True, method=method)
        np.testing.assert_allclose(again, ys, **TINY)
    peer_is_wrong(close(on_cudnn, ys), "Keras's two orders of go_backwards")


def test_keras_masked_start_depends_on_unroll(keras):
    cell, params, xs = case("elman")
    mask = np.ones((T, B), bool)
    mask[:2, 0] = False
    start = random_carry(cell, params, xs[0], 2)
    results = [
        rnnjax.unroll(cell, params, xs, start, mask=mask, method=method)
        for method in exact_methods("elman")
    ]
    for final, ys in results:
        np.testing.assert_array_equal(ys[:2, 0], 0)
        np.testing.assert_allclose(ys, results[0][1], **TINY)
        np.testing.assert_allclose(final.h, results[0][0].h, **TINY)
    theirs = [
        run_keras(keras_layer(params, unroll=u), keras_weights(params), xs, start, mask)[0]
        for u in (False, True)
    ]
    np.testing.assert_allclose(theirs[0][mask], results[0][1][mask], **TINY)
    differ = not close(theirs[0][:2, 0], theirs[1][:2, 0])
    peer_is_wrong(differ, "Keras's masked start, rolled and unrolled")


def test_keras_zero_output_for_mask_wipes_the_last_output(keras):
    cell, params, xs = case("elman")
    lengths = np.array([4, T, 1], np.int32)
    _, ys = rnnjax.unroll(cell, params, xs, lengths=lengths)
    last = rnnjax.last_output(ys, lengths)
    for row, length in enumerate(lengths):
        alone, _ = rnnjax.unroll(cell, params, xs[:length, row])
        np.testing.assert_allclose(last[row], alone.h, **TINY)
    layer = keras.layers.RNN(
        keras.layers.SimpleRNNCell(H, dtype="float64"), zero_output_for_mask=True, dtype="float64"
    )
    layer.build((B, T, D))
    layer.set_weights(keras_weights(params))
    theirs = np.asarray(
        layer(np.swapaxes(np.asarray(xs), 0, 1), mask=np.arange(T) < lengths[:, None])
    )
    peer_is_wrong(not theirs[[0, 2]].any() and theirs[1].any(), "Keras's zero_output_for_mask")


def test_keras_computes_tanh_of_float64_in_float32(keras):
    cell, params, xs = case("lstm")
    tree = jax.tree.map(lambda a: np.asarray(a), params)
    carry, ys = rnnjax.unroll(cell, tree, xs)
    assert ys.dtype == carry.c.dtype == jnp.float64
    i, f, g, o = np.split(np.asarray(xs[0] @ tree.w_ih + tree.b), 4, axis=-1)
    sigmoid = lambda s: 1 / (1 + np.exp(-s))
    np.testing.assert_allclose(ys[0], sigmoid(o) * np.tanh(sigmoid(i) * np.tanh(g)), **TINY)
    wide = jnp.linspace(-2, 2, 7, dtype=jnp.float64)
    theirs = np.asarray(keras.activations.tanh(wide))
    peer_is_wrong(np.abs(theirs - np.tanh(np.asarray(wide))).max() > 1e-9, "Keras's tanh")

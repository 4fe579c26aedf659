"""Inputs with axes of space in layers, helpers and modules: batch axes stand in front of them."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from flax import linen, nnx

import rnnjax

T, B, C, H = 4, 2, 3, 2
OPTIONS = registry.sequence_options(T, B)["all"]


def cell_of(*kernel, **options):
    return rnnjax.conv_lstm(H, kernel_size=kernel, **options)


@functools.cache
def problem(cell, space):
    """Random params, inputs and carry."""
    params = registry.random_params(cell, C, 0)
    xs = registry.inputs(T, B, *space, C)
    return params, xs, registry.random_carry(cell, params, xs[0], 2)


def test_stack_down_to_vectors():
    """Convolutions, a mean over space, and what reads vectors; as by hand, one after the other."""
    pool = lambda x: x.mean((-3, -2))
    cells = cell_of(3, 3), rnnjax.bidirectional(cell_of(3, 2, strides=2))
    layer = rnnjax.stack(*cells, jnp.tanh, pool, rnnjax.gru(5), rnnjax.dense(1))
    assert layer.out_features(C) == 1
    params = layer.init(jax.random.key(0), C)
    xs = registry.inputs(T, B, 4, 3, C)
    carry, ys = layer.apply(params, xs, **OPTIONS)
    first, middle = rnnjax.unroll(cells[0], params[0], xs, **OPTIONS)
    second, middle = cells[1].apply(params[1], middle, **OPTIONS)
    assert middle.shape == (T, B, 2, 2, 2 * H)
    last, vectors = rnnjax.unroll(rnnjax.gru(5), params[4], pool(jnp.tanh(middle)), **OPTIONS)
    assert ys.shape == (T, B, 1)
    compare.assert_close((carry[0], carry[1], carry[4]), (first, second, last))
    again, _ = layer.apply(params, xs, layer.init_carry(params, xs[0]), **OPTIONS)
    compare.assert_close(again, carry)


@pytest.mark.parametrize("method", [None, rnnjax.Scan()], ids=["picked", "scan"])
@pytest.mark.parametrize("both_ways", [False, True], ids=["one way", "bidirectional"])
def test_what_reads_vectors_stands_at_every_place(method, both_ways):
    """Above a convolution it takes places for rows, and each has the flags of its own row."""
    upper = rnnjax.bidirectional(rnnjax.lstm(5)) if both_ways else rnnjax.recurrent(rnnjax.lstm(5))
    lower = cell_of(3)
    layer = rnnjax.stack(lower, rnnjax.dense(4), upper)
    params = registry.random_params(layer, C, 1)
    xs = registry.inputs(T, B, 3, C)
    carry, ys = layer.apply(params, xs, **OPTIONS, method=method)
    _, middle = rnnjax.unroll(lower, params[0], xs, **OPTIONS)
    _, middle = rnnjax.dense(4).apply(params[1], middle)
    for place in range(3):
        final, wanted = upper.apply(params[2], middle[:, :, place], **OPTIONS)
        compare.assert_close(ys[:, :, place], wanted)
        got = jax.tree.map(lambda a, n=place: a[..., n, :], carry[2])
        compare.assert_close(got, final)


def test_dropout_and_skip():
    layer = rnnjax.stack(cell_of(3), cell_of(3), dropout=0.5, skip=None)
    residual = rnnjax.stack(
        rnnjax.conv_lstm(C, kernel_size=(3,)), cell_of(3), skip=rnnjax.merge.concatenate
    )
    xs, key = registry.inputs(T, B, 4, C), jax.random.key(1)
    params = layer.init(key, C)
    quiet, loud = layer.apply(params, xs)[1], layer.apply(params, xs, key=key)[1]
    assert quiet.shape == loud.shape and np.abs(quiet - loud).max() > 1e-3
    assert residual.out_features(C) == 2 * C + H
    _, ys = residual.apply(residual.init(key, C), xs)
    np.testing.assert_array_equal(ys[..., :C], xs)
    noisy = rnnjax.input_dropout(cell_of(3), 0.5)
    _, first = rnnjax.unroll(noisy, noisy.init(key, C), xs, key=key)
    assert first.shape == (T, B, 4, H)


def test_helpers_of_padded_sequences():
    cell = cell_of(3, 2)
    params, xs, carry = problem(cell, (4, 3))
    lengths = np.array([2, T], np.int32)
    final, ys = rnnjax.unroll(cell, params, xs, carry, lengths=lengths)
    np.testing.assert_array_equal(rnnjax.last_output(ys, lengths), final.h)
    batch_major = jnp.moveaxis(ys, 0, 1)
    last = rnnjax.last_output(batch_major, lengths, time_axis=-4)
    np.testing.assert_array_equal(last, final.h)
    turned = rnnjax.reverse_sequences(xs, lengths)
    _, zs = rnnjax.unroll(cell, params, turned, carry, lengths=lengths)
    _, wanted = rnnjax.unroll(cell, params, xs, carry, lengths=lengths, reverse=True)
    compare.assert_close(rnnjax.reverse_sequences(zs, lengths), wanted)
    again = rnnjax.params_from_dict(params, rnnjax.params_to_dict(params))
    compare.assert_equal(again, params)


@pytest.mark.parametrize("batch", [(), (B,), (2, B)], ids=str)
def test_flax_modules(any_promotion, batch):
    """Our modules and Flax's own `RNN` around our cell, all with the params of the functions."""
    cell = cell_of(3, 2, strides=2)
    params, _, _ = problem(cell, (4, 3))
    xs = registry.inputs(*batch, T, 4, 3, C)
    lengths = np.arange(np.prod(batch, dtype=int)).reshape(batch) + 1
    front = functools.partial(jnp.moveaxis, source=len(batch), destination=0)
    carry, wanted = rnnjax.unroll(cell, params, front(xs), lengths=lengths)
    wanted = jnp.moveaxis(wanted, 0, len(batch))
    tree = rnnjax.params_to_dict(params)

    module = rnnjax.nnx.RNN(cell, C, rngs=nnx.Rngs(0))
    nnx.update(module, nnx.State({"params": jax.tree.map(nnx.Param, tree)}))
    compare.assert_close(module(xs, lengths=lengths), (carry, wanted))
    ours = rnnjax.linen.RNN(cell)
    shapes = jax.tree.map(jnp.shape, dict(ours.init(jax.random.key(0), xs)["params"]))
    assert shapes == jax.tree.map(jnp.shape, tree)
    compare.assert_close(ours.apply({"params": tree}, xs, lengths=lengths), (carry, wanted))

    carry, wanted = rnnjax.unroll(cell, params, front(xs))
    wanted = jnp.moveaxis(wanted, 0, len(batch))
    theirs = linen.RNN(rnnjax.linen.RNNCell(cell), return_carry=True)
    compare.assert_close(theirs.apply({"params": {"cell": tree}}, xs), (carry, wanted))
    inner = rnnjax.nnx.RNNCell(cell, C, rngs=nnx.Rngs(0))
    nnx.update(inner, nnx.State({"params": jax.tree.map(nnx.Param, tree)}))
    compare.assert_close(nnx.RNN(inner, return_carry=True)(xs), (carry, wanted))

"""Cells that normalise, and cells of heads: what the properties of all cells do not say."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.cells import SLSTMCarry
from rnnjax.cells.norm import layer_norm

T, B, D, H = 5, 3, 4, 6
HEADS = 3

CELLS = {
    "layer_norm_lstm": rnnjax.layer_norm_lstm(H),
    "layer_norm_gru": rnnjax.layer_norm_gru(H),
    "multihead_lstm": rnnjax.multihead_lstm(H, num_heads=HEADS),
    "multihead_gru": rnnjax.multihead_gru(H, num_heads=HEADS),
    "slstm": rnnjax.slstm(H, num_heads=HEADS),
    "slstm, exponential forget": rnnjax.slstm(H, exponential_forget=True),
}
cells = pytest.mark.parametrize("name", CELLS)


def random_params(cell, dtype=jnp.float32):
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    return registry.randomise(jax.tree.map(lambda a: a.update(dtype=dtype), shapes), 0)


# Layer normalisation


@pytest.mark.parametrize("number", [0.0, 7.0, -1e30])
def test_equal_numbers_become_the_shift(number):
    scale, shift = jnp.arange(1.0, 50.0), jnp.linspace(-2.0, 2.0, 49)

    def run(v):
        return layer_norm(v, scale, shift, epsilon=1e-5)

    out, pull = jax.vjp(run, jnp.full((2, 49), number))
    compare.assert_equal(out, jnp.broadcast_to(shift, (2, 49)))
    (slope,) = pull(jnp.ones((2, 49)))
    wanted = np.broadcast_to((np.arange(1.0, 50.0) - 25) / np.sqrt(1e-5), (2, 49))
    np.testing.assert_allclose(slope, wanted, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_numbers_of_any_size_are_normalised(x64, size):
    """In float32, against float64, where their squares are numbers still."""
    one, v = jnp.ones(20), registry.inputs(3, 20) * np.float32(size)
    bars = registry.inputs(3, 20, seed=2)

    def run(v, scale):
        return layer_norm(v, scale, epsilon=1e-5)

    def plain(v, scale):
        v = v - v.mean(-1, keepdims=True)
        return v / jnp.sqrt((v**2).mean(-1, keepdims=True) + 1e-5) * scale[None]

    wide = jax.tree.map(lambda a: a.astype(jnp.float64), (v, one.astype(jnp.float32), bars))
    out, pull = jax.vjp(run, v, one.astype(jnp.float32))
    wanted, pull_wanted = jax.vjp(plain, *wide[:2])
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)
    for got, slope in zip(pull(bars), pull_wanted(wide[2]), strict=True):
        slope = np.asarray(slope)
        np.testing.assert_allclose(got, slope, rtol=1e-4, atol=1e-5 * np.abs(slope).max())


def test_statistics_are_of_float32_at_least():
    """1000 and a little more, in bfloat16 input: a mean in bfloat16 would be wrong."""
    v = jnp.asarray([[1024.0, 1032.0, 1024.0, 1040.0]], jnp.bfloat16)
    out = layer_norm(v, jnp.ones(4, jnp.bfloat16), epsilon=1e-5)
    assert out.dtype == jnp.float32
    exact = np.array([-6.0, 2.0, -6.0, 10.0]) / np.sqrt(44.0)
    np.testing.assert_allclose(out[0], exact, rtol=1e-5)


# Heads


def dense_weights(w):
    """Block-diagonal weights for all units, from those of the heads; gates stay packed."""
    heads, units, columns = w.shape
    blocks = np.asarray(w).reshape(heads, units, columns // units, units)
    out = np.zeros((heads, units, columns // units, heads, units), w.dtype)
    for n in range(heads):
        out[n, :, :, n] = blocks[n]
    return jnp.asarray(out.reshape(heads * units, -1))


DENSE = {
    "multihead_lstm": lambda p: (
        rnnjax.lstm(H),
        rnnjax.LSTMParams(p.w_ih, dense_weights(p.w_hh), p.b),
    ),
    "multihead_gru": lambda p: (
        rnnjax.gru(H),
        rnnjax.GRUParams(p.w_ih, dense_weights(p.w_hh), p.b, p.b_hn),
    ),
    "slstm": lambda p: (rnnjax.slstm(H), p._replace(w_hh=dense_weights(p.w_hh)[None])),
}


@pytest.mark.parametrize("name", DENSE)
def test_heads_are_the_dense_cell_with_block_diagonal_weights(x64, name):
    cell, xs = CELLS[name], registry.inputs(T, B, D, dtype=jnp.float64)
    params = random_params(cell, jnp.float64)
    dense, dense_params = DENSE[name](params)

    def run(cell):
        return compare.graded(lambda p, xs, _: rnnjax.unroll(cell, p, xs), registry_slopes)

    got, slopes = run(cell)(params, xs, None)
    wanted, dense_slopes = run(dense)(dense_params, xs, None)
    close = functools.partial(compare.assert_close, rtol=1e-11, atol=1e-13)
    close(got, wanted)
    close((slopes.xs, slopes.params.b), (dense_slopes.xs, dense_slopes.params.b))
    flat = dense_weights(slopes.params.w_hh)
    inside = np.asarray(dense_weights(jnp.ones_like(params.w_hh)))
    close(flat, inside * np.asarray(dense_slopes.params.w_hh).reshape(inside.shape))


def registry_slopes(out):
    return registry.randomise(out, seed=3)


@pytest.mark.parametrize("name", DENSE)
def test_each_gate_of_each_head_is_drawn_by_itself(name):
    w = np.asarray(CELLS[name].init(jax.random.key(0), D).w_hh)
    heads, units, columns = w.shape
    assert (heads, units) == (HEADS, H // HEADS)
    blocks = [gate for head in w for gate in np.split(head, columns // units, axis=-1)]
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(units), atol=1e-6)
    assert len({block.tobytes() for block in blocks}) == len(blocks)


@pytest.mark.parametrize("name", ["multihead_lstm", "multihead_gru", "slstm"])
def test_heads_that_do_not_share_the_units_equally_are_refused(name):
    message = f"{name}: `num_heads` must divide hidden_features = 5, got 2; "
    with pytest.raises(ValueError, match=message):
        getattr(rnnjax, name)(5, num_heads=2)
    with pytest.raises(ValueError, match=f"{name}: `num_heads` must be at least 1, got 0; "):
        getattr(rnnjax, name)(5, num_heads=0)


@pytest.mark.parametrize("name", ["layer_norm_lstm", "layer_norm_gru"])
def test_epsilon_must_be_above_zero(name):
    with pytest.raises(ValueError, match=f"{name}: `epsilon` must be at least 1e-30, got 0.0; "):
        getattr(rnnjax, name)(5, epsilon=0.0)


# sLSTM


def test_slstm_does_not_depend_on_m():
    """c and n are meant times exp(m), and only their ratio is read."""
    cell, xs = CELLS["slstm"], registry.inputs(T, B, D)
    params = random_params(cell)
    h, c, n, m = registry.random_carry(cell, params, xs[0], 2)
    begin = SLSTMCarry(h, c, 1 + jnp.abs(n), m)
    factor = jnp.exp(jnp.asarray(3.0))
    moved = begin._replace(c=begin.c * factor, n=begin.n * factor, m=begin.m - 3)
    _, ys = rnnjax.unroll(cell, params, xs, begin)
    compare.assert_close(rnnjax.unroll(cell, params, xs, moved)[1], ys)


@pytest.mark.parametrize("name", ["slstm", "slstm, exponential forget"])
def test_slstm_has_second_derivatives_from_a_fresh_start(x64, name):
    """Minus infinity is never taken from itself, in no derivative."""
    cell, xs = CELLS[name], registry.inputs(2, 2, D, dtype=jnp.float64)
    params = random_params(cell, jnp.float64)

    def loss(params, xs):
        carry, ys = rnnjax.unroll(cell, params, xs)
        return sum((leaf**2).sum() for leaf in (ys, *carry))

    slope = jax.grad(loss, argnums=(0, 1))
    direction = registry.randomise((params, xs), 6)
    _, got = jax.jit(lambda *at: jax.jvp(slope, at, direction))(params, xs)
    ahead, behind = (
        slope(*jax.tree.map(lambda a, b, s=step: a + s * b, (params, xs), direction))
        for step in (1e-6, -1e-6)
    )
    wanted = jax.tree.map(lambda a, b: (a - b) / 2e-6, ahead, behind)
    compare.assert_close(got, wanted, rtol=1e-5, atol=1e-6)

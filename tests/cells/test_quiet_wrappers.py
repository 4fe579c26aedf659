"""Wrappers without noise: limits of the carry, and what is done to outputs."""

import jax
import jax.numpy as jnp
import numpy as np
from compare import assert_close, graded
from wrapped import (
    KEY,
    NOISY,
    ON_H,
    OPTIONS,
    VALID,
    B,
    D,
    H,
    T,
    by_hand,
    few_cells,
    noises,
    one_way,
    padded,
    padded_tail,
    problem,
    unroll,
)

import rnnjax
from rnnjax.cells import LayerNormOutputsParams


@few_cells
@one_way
def test_clip_carry_is_a_loop_with_clips(name, reverse):
    cell, point = problem(name)

    def after(t, old, new, y):
        new = jax.tree.map(lambda a: a.clip(-0.2, 0.2), new)
        return new, new.h

    run = unroll(rnnjax.clip_carry(cell, 0.2), **OPTIONS, reverse=reverse)
    wanted = graded(by_hand(cell, after, VALID, OPTIONS["resets"], reverse))(*point)
    assert_close(graded(run)(*point._replace(xs=padded(point.xs))), wanted)


def test_clip_carry_stops_what_explodes():
    cell = rnnjax.clip_carry(rnnjax.elman(3, bias=False, activation=jax.nn.relu), 2.0)
    params = rnnjax.ElmanParams(jnp.ones((1, 3)), jnp.ones((3, 3)))
    (carry, ys), pulled = graded(unroll(cell))(params, jnp.full((9, 2, 1), 1e30), None)
    assert carry.h.max() == ys.max() == 2.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(pulled))


@few_cells
def test_residual_is_a_skip_connection(name):
    cell, point = problem(name)
    layer = rnnjax.stack(cell, skip=rnnjax.merge.add)

    def stacked(params, xs, carry):
        told = OPTIONS | {"method": rnnjax.Scan()}
        (carry,), ys = layer.apply((params,), xs, (carry,), **told)
        return carry, ys

    point = point._replace(xs=padded(point.xs))
    got = graded(unroll(rnnjax.residual(cell), **OPTIONS))(*point)
    assert_close(got, graded(stacked)(*point))


def test_residual_adds_the_input_that_it_sees():
    cell, point = problem("lstm")
    still = lambda params, carry, z: (carry, z)
    echo = cell._replace(project=lambda params, xs: xs, step=still, form=None)
    _, mask = rnnjax.unroll(
        NOISY["input_dropout"](echo), point.params, jnp.ones((T, B, D)), key=KEY
    )
    run = lambda cell: jax.jit(unroll(cell, key=KEY))(*point)[1]
    alone = run(NOISY["input_dropout"](cell))
    outside = run(rnnjax.residual(NOISY["input_dropout"](cell)))
    inside = run(NOISY["input_dropout"](rnnjax.residual(cell)))
    assert_close(outside, alone + point.xs)
    assert_close(inside, alone + mask * point.xs)


@few_cells
def test_layer_norm_outputs(name):
    cell, point = problem(name)
    rng = np.random.default_rng(3)
    scale, shift = rng.normal(size=(2, H)).astype(np.float32)
    own = LayerNormOutputsParams(point.params, jnp.asarray(scale), jnp.asarray(shift))
    wrapped = rnnjax.layer_norm_outputs(cell, epsilon=0.01)
    _, ys = jax.jit(unroll(cell))(*point)
    (_, got), pulled = graded(unroll(wrapped, lengths=[5, 0, 3]))(own, padded_tail(point.xs), None)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(pulled))
    assert not got[:, 1].any() and not got[3:, 2].any()
    (_, got), _ = graded(unroll(wrapped))(own, *point[1:])
    ys = np.asarray(ys)
    mean, variance = ys.mean(-1, keepdims=True), ys.var(-1, keepdims=True)
    assert_close(got, (ys - mean) / np.sqrt(variance + 0.01) * scale + shift)


def test_layer_norm_outputs_of_extremes():
    """Constant and huge outputs: finite values and gradients."""
    cell = rnnjax.layer_norm_outputs(rnnjax.elman(4, activation=lambda x: x))
    params = cell.init(jax.random.key(0), 4)
    eye = params.cell._replace(w_ih=jnp.eye(4), w_hh=jnp.zeros((4, 4)))
    params = params._replace(cell=eye)
    xs = jnp.array([[0.0, 0, 0, 0], [2.0, 2, 2, 2], [1e30, 0, 0, 0], [1.0, 2, 3, 4]])
    (_, ys), pulled = graded(unroll(cell))(params, xs, None)
    assert_close(ys[0], np.zeros(4, np.float32))
    assert_close(ys[1], np.zeros(4, np.float32))
    assert_close(ys[2], np.array([3.0, -1, -1, -1], np.float32) / np.sqrt(3, dtype=np.float32))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(pulled))


@noises
def test_changed_outputs_may_stand_between(noise):
    """Around or inside layer normalisation, where both are allowed, noise is the same."""
    cell, point = problem("lstm")
    own = LayerNormOutputsParams(point.params, jnp.ones(H), jnp.zeros(H))
    run = lambda cell: jax.jit(unroll(cell, key=KEY))(own, *point[1:])
    inside = run(rnnjax.layer_norm_outputs(NOISY[noise](cell)))
    plain = jax.jit(unroll(NOISY[noise](cell), key=KEY))(*point)
    assert_close(inside[0], plain[0])
    if noise not in ON_H:
        assert_close(run(NOISY[noise](rnnjax.layer_norm_outputs(cell))), inside)

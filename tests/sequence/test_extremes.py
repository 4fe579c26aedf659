"""Enormous inputs, saturated gates, one step and very many: numbers where mathematics has numbers.

Every cell of the registry, in float32, and in bfloat16 with a carry of float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from compare import assert_close, graded

import rnnjax

D = H = 4
LONG, SHORT = 4096, 9
MANY = 1024  # enough for rows that differ
DENSE = [name for name in registry.CELLS if not registry.CELLS[name].space]

# A gradient over many steps in bfloat16 costs most of what this file does, so some stand for all.
# Convolutions of images and volumes are those of lines, and take long.
LONG_CASES = [(n, "float32", LONG) for n in registry.CELLS if len(registry.CELLS[n].space) < 2]
LONG_CASES += [(name, "bfloat16", LONG) for name in DENSE if name in registry.VARIED]
CASES = LONG_CASES + [
    (name, kind, SHORT)
    for name in registry.CELLS
    for kind in ("float32", "bfloat16")
    if (name, kind, LONG) not in LONG_CASES
]
CASES += [(name, "bfloat16", 1) for name in registry.VARIED]

# The memory of an mLSTM holds products of numbers of 4e9. A weight's slope is that times inputs of
# 1e30, above the largest float in mathematics too. Its biases are those of keys and values as well;
# tests/cells/test_mlstm.py saturates its gates.
MATRIX = [name for name in registry.CELLS if name.startswith("mlstm")]


def rows(name, num_steps):
    """Inputs, one kind of extreme a row; the last row has one step."""
    rng = np.random.default_rng(0)
    shape = (num_steps, *registry.CELLS[name].space, D)
    usual, now_and_then = rng.normal(size=shape), rng.random(size=shape) < 0.1
    return np.stack(
        [
            usual,
            1e30 * np.sign(usual),
            1e30 * usual.clip(-1, 1),
            np.where(now_and_then, 1e30, 1) * usual,
            np.full(shape, 1e30),
            np.zeros(shape),
            -1e30 * np.sign(usual),
        ],
        axis=1,
    )


def shaken(params):
    """Weights as they start, so that no state grows without bound; zeros and ones are moved."""
    rng = np.random.default_rng(1)

    def leaf(a):
        moved = rng.normal(size=a.shape) / 2 if np.ptp(np.asarray(a, np.float64)) == 0 else 0.0
        return a + jnp.asarray(moved, a.dtype)

    return jax.tree.map(leaf, params)


def saturated(params, size):
    """Every gate far open or far shut, at random."""
    signs = np.sign(np.random.default_rng(2).normal(size=params.b.shape))
    return params._replace(b=jnp.asarray(size * signs, params.b.dtype))


def only_outputs(out):
    """Cotangents of the outputs alone: an m of minus infinity has none."""
    carry, ys = out
    return jax.tree.map(jnp.zeros_like, carry), jax.tree.map(jnp.ones_like, ys)


def all_finite(tree):
    return all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name, kind, num_steps", CASES)
def test_no_nan(name, kind, num_steps):
    cell = registry.sized(name, D, H, dtype=kind)
    params = shaken(cell.init(jax.random.key(0), D))
    xs = jnp.asarray(rows(name, num_steps), kind)
    lengths = np.array([num_steps] * (xs.shape[1] - 1) + [1])
    # In segments where XLA on CPU would copy all of a bfloat16 array in each step.
    long = kind == "bfloat16" and num_steps == LONG
    method = rnnjax.Chunked(64) if long else rnnjax.Scan()

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry, lengths=lengths, method=method)

    both = graded(run, only_outputs)
    points = [params]
    if getattr(params, "b", None) is not None and name not in MATRIX:
        points += [saturated(params, size) for size in (100.0, 1e30)]
    for point in points:
        (carry, ys), gradients = both(point, xs, None)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(carry)} == {"float32"}
        assert ys.dtype == kind
        assert all_finite((carry, ys))
        if name in MATRIX:
            gradients = gradients._replace(params=gradients.params.b)
        assert all_finite(gradients)


METHODS = {
    "slstm": [rnnjax.Scan()],
    "slstm, exponential forget": [rnnjax.Scan()],
    "mlstm, 2 heads": [rnnjax.Scan(), rnnjax.Chunkwise()],
}


@pytest.mark.parametrize("flags", ["mask", "resets"])
@pytest.mark.parametrize("name, method", [(name, m) for name in METHODS for m in METHODS[name]])
def test_rows_that_start_at_different_times_are_each_row_alone(x64, name, method, flags):
    """What comes before is padding, full of NaN, or another sequence, huge, ended by a reset."""
    cell, params = registry.make(name, features=D, hidden=H, dtype=jnp.float64)
    starts = np.array([0, 7, 500, MANY - 1, MANY])
    xs = np.array(registry.inputs(MANY, len(starts), D, dtype=jnp.float64))
    xs[::5, 1] *= 1e30
    xs[:, 2] *= 1e4
    xs[-1, 3] = 1e30
    before = np.arange(MANY)[:, None] < starts
    xs[before] = np.nan if flags == "mask" else 1e30
    option = {"mask": ~before} if flags == "mask" else {"resets": before ^ (before_or_at(starts))}

    def run(params, xs, carry, option):
        return rnnjax.unroll(cell, params, xs, carry, **option, method=method)

    (carry, ys), slopes = graded(run, only_outputs)(params, jnp.asarray(xs), None, option)
    alone = one_row(name, method)
    for row, start in enumerate(starts[:-1]):
        own = np.roll(np.where(before[:, row : row + 1], 0, xs[:, row]), -start, axis=0)
        (own_carry, own_ys), own_slopes = alone(params, jnp.asarray(own), None, MANY - start)
        assert_close(jax.tree.map(lambda a, n=row: a[n], carry), own_carry)
        assert_close(ys[start:, row], own_ys[: MANY - start])
        assert all_finite((own_ys, own_slopes.xs))
        scale = max(1.0, float(np.abs(own_slopes.xs).max()))
        assert_close(slopes.xs[start:, row], own_slopes.xs[: MANY - start], atol=1e-5 * scale)
    if flags == "mask":
        assert not np.asarray(ys)[before].any() and not np.asarray(slopes.xs)[before].any()
        assert np.isneginf(carry.m[-1]).all()


def before_or_at(starts):
    return np.arange(MANY)[:, None] <= starts


@functools.cache
def one_row(name, method):
    """A row without batch axes, from its first step."""
    cell, _ = registry.make(name, features=D, hidden=H, dtype=jnp.float64)

    def run(params, xs, carry, length):
        return rnnjax.unroll(cell, params, xs, carry, lengths=length, method=method)

    return graded(run, only_outputs)

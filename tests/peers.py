"""What the tests of peers' mistakes share: params that hide nothing, runs, and comparisons."""

import functools

import jax
import numpy as np


def run(layer, params, xs, carry=None, **options):
    """`layer.apply` as one compiled program; options stay concrete."""
    return jax.jit(lambda p, x, c: layer.apply(p, x, c, **options))(params, xs, carry)


def assert_same(got, want, tolerance=2e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    jax.tree.map(close, got, want)


def differ(a, b):
    return any(
        x.dtype != y.dtype or x.shape != y.shape or not np.allclose(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )

"""Values and gradients, compiled and compared; never shapes alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Point(NamedTuple):
    """What gradients are taken of, or those gradients."""

    params: Any
    xs: Any
    carry: Any


def slopes(out):
    """Cotangents that depend on the outputs alone, wherever they stand."""
    return jax.tree.map(jnp.cos, out)


def graded(run, cotangents=slopes):
    """`run(params, xs, carry, *rest)`, compiled: its outputs, and gradients of the first three."""

    def both(params, xs, carry, *rest):
        out, vjp = jax.vjp(lambda *point: run(*point, *rest), params, xs, carry)
        return out, Point(*vjp(cotangents(out)))

    return jax.jit(both)


def assert_equal(got, wanted):
    """Equal structure and bits."""
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def assert_close(got, wanted, *, rtol=1e-4, atol=1e-5):
    """Equal structure and nearly equal numbers; the default suits float32."""
    assert jax.tree.structure(got) == jax.tree.structure(wanted)

    def leaf(a, b):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)

    jax.tree.map(leaf, got, wanted)

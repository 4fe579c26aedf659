"""Ways to make one output of two: of both directions, or of a layer's input and output.

Each takes two trees of arrays of equal shapes (`concatenate` lets the last axis differ), so any
function of two arrays, such as `jnp.maximum`, will do in their place. Of two zeros each makes
zeros, which keeps the output at padding zero; a function of yours should too.
"""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree


def concatenate(a: PyTree, b: PyTree) -> PyTree:
    """Put `b` behind `a` along the features: the outputs of PyTorch, and Keras's `concat`."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), a, b)


def add(a: PyTree, b: PyTree) -> PyTree:
    """Sum: Keras's `sum`; as a skip connection, the residual."""
    return _each("add", jnp.add, a, b)


def multiply(a: PyTree, b: PyTree) -> PyTree:
    """Product: Keras's `mul`."""
    return _each("multiply", jnp.multiply, a, b)


def average(a: PyTree, b: PyTree) -> PyTree:
    """Mean: Keras's `ave`."""
    return _each("average", lambda a, b: (a + b) / 2, a, b)


def pair(a: PyTree, b: PyTree) -> tuple[PyTree, PyTree]:
    """Keep both: Keras's `merge_mode=None`."""
    return a, b


def _each(name: str, function: Any, a: PyTree, b: PyTree) -> PyTree:
    """Merge leaf by leaf; a width of 1 does not broadcast."""

    def leaf(a: Any, b: Any) -> Any:
        if a.shape != b.shape:
            way_out = "give both the same width"
            _checks.refuse(f"merge.{name}", "b", f"have shape {a.shape}", b.shape, way_out)
        return function(a, b)

    return jax.tree.map(leaf, a, b)


def merged_features(merge: Any, a: PyTree, b: PyTree) -> PyTree:
    """The widths that `merge` makes of the widths `a` and `b`, without running it."""
    struct = lambda tree: jax.tree.map(lambda n: jax.ShapeDtypeStruct((n,), jnp.float32), tree)
    return jax.tree.map(lambda s: s.shape[-1], jax.eval_shape(merge, struct(a), struct(b)))

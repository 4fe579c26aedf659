"""Several devices: where rows stand, and, inside `shard_map`, what a value varies over."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree


def rows_are_here() -> bool:
    """Whether all rows that a call sees are known to stand on one device."""
    return jax.device_count() == 1 or bool(jax.sharding.get_abstract_mesh().manual_axes)


def varying_axes(tree: PyTree) -> frozenset[Any]:
    """The manual mesh axes that any leaf varies over; none outside `shard_map`."""
    leaves = (jax.typeof(leaf).manual_axis_type.varying for leaf in jax.tree.leaves(tree))
    return frozenset().union(*leaves)


def vary(tree: PyTree, axes: frozenset[Any]) -> PyTree:
    """Let every leaf vary over `axes`; the gradient of one that did not is summed over them."""
    if not axes:
        return tree

    def leaf(x: Array) -> Array:
        missing = axes - jax.typeof(x).manual_axis_type.varying
        return jax.lax.pcast(x, tuple(missing), to="varying") if missing else x

    return jax.tree.map(leaf, tree)


def varying_zeros(shape: tuple[int, ...], dtype: Any, *, like: PyTree) -> Array:
    """Zeros that a loop may take beside `like`."""
    return vary(jnp.zeros(shape, dtype), varying_axes(like))


def result_like(array: Array, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """A result of this shape; inside `shard_map` it varies as `array` does."""
    varying = jax.typeof(array).manual_axis_type
    if not varying.varying:
        return jax.ShapeDtypeStruct(shape, dtype)
    mesh = jax.sharding.get_abstract_mesh()
    sharding = jax.sharding.NamedSharding(mesh, jax.P())
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding, manual_axis_type=varying)

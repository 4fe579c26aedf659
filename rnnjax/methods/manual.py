"""Several devices: where rows stand, and, inside `shard_map`, what a value varies over."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree

# The platform that a function is lowered for, where this machine's backend is another one.
_elsewhere: contextvars.ContextVar[str] = contextvars.ContextVar("elsewhere", default="")


def platform_elsewhere() -> str:
    """The platform that is lowered for, if it is known and not this machine's; else empty."""
    return _elsewhere.get()


def rows_are_here() -> bool:
    """Whether all rows that a call sees are known, or taken, to stand on one device."""
    if platform_elsewhere() or jax.device_count() == 1:
        return True
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


@contextlib.contextmanager
def elsewhere(platform: str) -> Iterator[None]:
    """Trace for another platform; JAX does not tell its devices, rows are taken to stand on one."""
    token = _elsewhere.set(platform)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def why_not_explicit() -> str | None:
    """What methods say that do not carry shardings in types."""
    explicit = jax.sharding.get_abstract_mesh().explicit_axes
    return "it does not run on a mesh with explicit axes" if explicit else None


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

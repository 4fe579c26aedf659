"""Meshes: the inputs say how the batch is sharded, and masks and carries follow them."""

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree
from rnnjax.methods.base import typed_as


def follow(flags: Array, like: PyTree) -> Array:
    """Shard flags or lengths, on a mesh with explicit axes, as the leading axes of `like`.

    There `jnp.where` refuses a replicated condition beside sharded cases of the same shape.
    """
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return flags
    spec = jax.typeof(jax.tree.leaves(like)[0]).sharding.spec
    return jax.reshard(flags, jax.P(*spec[: flags.ndim]))


def settle(carry: PyTree, fresh: PyTree, operands: PyTree) -> PyTree:
    """Give `carry` the sharding of `fresh`, and let it vary wherever an operand of the loop does.

    On a mesh with explicit axes a carry made elsewhere may be sharded otherwise; inside
    `shard_map` the loop's result varies over every axis that weights, inputs or masks vary over.
    """
    carry = typed_as(carry, fresh)
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return carry
    # A sum with zeros that were made from the operands varies over their axes as well.
    leaves = jax.tree.leaves(operands)
    nothing = sum((jnp.zeros_like(x, jnp.float32).sum() for x in leaves), jnp.float32(0))

    def leaf(c: Array) -> Array:
        return c + nothing.astype(c.dtype)

    return jax.tree.map(leaf, carry)

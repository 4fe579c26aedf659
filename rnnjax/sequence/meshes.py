"""Meshes: the inputs say how the batch is sharded, and masks and carries follow them."""

import jax

from rnnjax._typing import Array, PyTree
from rnnjax.methods.base import typed_as
from rnnjax.methods.manual import vary, varying_axes


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
    return vary(typed_as(carry, fresh), varying_axes(operands))

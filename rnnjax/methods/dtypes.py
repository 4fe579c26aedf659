"""In which dtypes a call computes, from abstract arrays."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax.cells.base import Cell
from rnnjax.methods.base import Call


class Dtypes(NamedTuple):
    """Those of a call.

    Attributes:
        given: of params and inputs.
        projected: of what the cell makes of inputs, and of outputs.
        carry: of what travels over time.
    """

    given: frozenset[Any]
    projected: frozenset[Any]
    carry: frozenset[Any]


def dtypes_of(call: Call) -> Dtypes:
    """The dtypes of a call."""
    leaves, structure = jax.tree.flatten((call.params, call.xs))
    return _dtypes(call.cell, structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves))


@functools.lru_cache(maxsize=1024)  # eager calls ask again and again
def _dtypes(cell: Cell, structure: Any, leaves: tuple[Any, ...]) -> Dtypes:
    given = [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
    params, xs = jax.tree.unflatten(structure, given)
    projected = jax.eval_shape(cell.project, params, xs)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    carry = jax.eval_shape(cell.init_carry, params, like)
    parts = (given, projected, carry)
    return Dtypes(*(frozenset(leaf.dtype for leaf in jax.tree.leaves(part)) for part in parts))

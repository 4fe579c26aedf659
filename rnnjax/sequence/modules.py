"""What the Flax faces share: batch-major calls, and sharding names for parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.sequence.arguments import check_params, check_sequence, num_batch_axes
from rnnjax.sequence.layer import Layer

Partitioning = Mapping[str, tuple[str | None, ...]]
"""Mesh or logical axis names by parameter name, such as `{"w_hh": (None, "model")}`."""


def apply_module(
    function: str,
    layer: Layer,
    params: PyTree,
    xs: PyTree,
    carry: PyTree,
    *,
    lengths: Any,
    mask: Any,
    resets: Any,
    key: Any,
    method: Any,
    time_major: bool,
) -> tuple[PyTree, PyTree]:
    """Run a layer with time where the module has it, in inputs, mask, resets and outputs."""
    check_params(function, layer, params)
    spec = layer.in_spec(params)
    sequence = check_sequence(
        function,
        spec,
        xs,
        lengths=lengths,
        mask=mask,
        resets=resets,
        time_major=time_major,
    )
    carry, ys = layer.run_sequence(function, params, sequence, carry, key=key, method=method)
    if not time_major:
        axis = num_batch_axes(spec, sequence)
        ys = jax.tree.map(lambda y: jnp.moveaxis(y, 0, axis), ys)
    return carry, ys


def partition_axes(function: str, tree: PyTree, partitioning: Partitioning | None) -> PyTree:
    """The axis names of every array in a dict of params; None where nothing was said.

    An array with one axis more than names were given, as in a bidirectional layer, has that axis
    in front, unsharded. A name that no parameter has is refused.
    """
    names = dict(partitioning or {})
    unused = set(names)

    def leaf(path: Any, array: Any) -> tuple[str | None, ...] | None:
        name = path[-1].key
        if name not in names:
            return None
        unused.discard(name)
        axes = tuple(names[name])
        axes = (None,) * (len(array.shape) - len(axes)) + axes
        if len(axes) != len(array.shape):
            wanted = f"name the {len(array.shape)} axes of {name}"
            _checks.refuse(function, "partitioning", wanted, names[name], "one name an axis")
        return axes

    axes = jax.tree_util.tree_map_with_path(leaf, tree)
    if unused:
        got = ", ".join(sorted(unused))
        way_out = "see rnnjax.params_to_dict for the names"
        _checks.refuse(function, "partitioning", "name parameters that exist", got, way_out)
    return axes

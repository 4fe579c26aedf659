"""What a model wants of inputs, refused on the host before anything is traced."""

from typing import Any

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import ANY_INPUT, InputSpec
from rnnjax.data.batch import Batch
from rnnjax.sequence.arguments import check_kind, check_tokens
from rnnjax.train.models import Model


def spec_of(model: Model, params: PyTree, batch: Batch | None) -> PyTree:
    """What inputs must look like, by params, also abstract ones, or by those of a batch."""
    found: list[PyTree] = [ANY_INPUT]
    in_spec = model.in_spec
    if in_spec is not None:  # abstract params cannot be indexed, and traced ones can
        jax.eval_shape(lambda params: found.append(in_spec(params, batch)), params)
    return found[-1]


def check_inputs(function: str, spec: PyTree, batch: Batch) -> None:
    """Refuse inputs that lack axes of batch, time or features, and tokens without a vector."""
    leaves = jax.tree_util.tree_leaves_with_path(batch.xs)
    specs = jax.tree.leaves(spec, is_leaf=is_spec)
    if spec is ANY_INPUT or len(specs) != len(leaves):
        return  # trees of another structure are refused by the layer
    for (path, x), one in zip(leaves, specs, strict=True):
        check_axes(function, "xs" + jax.tree_util.keystr(path), x, one)
    check_tokens_of(function, spec, batch)


def check_tokens_of(function: str, spec: PyTree, batch: Batch) -> None:
    """What `check_inputs` says of numbers, for a batch of shapes that it has seen."""
    if is_spec(spec) and spec.below is not None:
        lengths, steps = batch.lengths, np.arange(batch.xs.shape[1])
        if _checks.is_concrete(lengths):
            valid = None if lengths is None else steps < np.asarray(lengths)[:, None]
            check_tokens(function, "xs", batch.xs, valid, spec.below)


def is_spec(node: Any) -> bool:
    """Whether this speaks of one input."""
    return isinstance(node, InputSpec)


def check_axes(function: str, name: str, x: Any, spec: InputSpec) -> None:
    """Refuse inputs of other axes or another kind of dtype."""
    rank = 2 + len(spec.shape)
    sizes = zip(spec.shape, x.shape[2:], strict=False)
    if x.ndim != rank or any(want not in (None, got) for want, got in sizes):
        free = ["S"] * (len(spec.shape) - 1) + ["D"]
        # The last axis may be that of time, and params made for it.
        known = spec.shape if x.ndim == rank else [None] * len(spec.shape)
        axes = [f if n is None else str(n) for f, n in zip(free, known, strict=False)]
        way_out = "the features come last, and params fix their number"
        if x.ndim < rank:
            way_out = "put an axis of features last, as in xs[..., None]"
        if not spec.shape:
            way_out = "tokens have no axis of features"
        wanted = f"have shape ({', '.join(['B', 'T', *axes])})"
        _checks.refuse(function, name, wanted, x.shape, way_out)
    check_kind(function, name, x, spec, cast="np.float32")

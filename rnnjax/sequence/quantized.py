"""Smaller weights for inference: int8 with a scale for each output channel, or bfloat16."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, Int, PyTree
from rnnjax.cells.base import Cell, value
from rnnjax.sequence.arguments import check_params
from rnnjax.sequence.embedding import EmbeddingParams
from rnnjax.sequence.layer import Layer, as_layer

LARGEST = 127  # so that -w is what -w/scale rounds to


class Int8Weights(NamedTuple):
    """A matrix as whole numbers, `w = values * scale`.

    `scale` belongs to output channels, so it has one row; that of an embedding belongs to tokens,
    and has one column.
    """

    values: Int[Array, "*lead D H"]
    scale: Float[Array, "*lead _ _"]


class Quantized(NamedTuple):
    """A network with smaller weights: a layer, and its params."""

    layer: Layer
    params: PyTree


def quantize(
    layer: Cell | Layer, params: PyTree, dtype: Literal["int8", "bfloat16"] = "int8"
) -> Quantized:
    r"""Make the weights of a trained network a quarter or half as large, for inference.

    $$ \hat w_{ij} = s_j \, \text{round}(w_{ij} / s_j), \qquad s_j = \max_i |w_{ij}| / 127 $$

    Matrices (`w`, `w_ih`, `w_hh` and the like) become int8 with a float32 scale for each output
    channel, which changes no weight by more than half a scale; or they are rounded to bfloat16,
    which keeps 8 significant bits. Biases, peepholes and the like stay as they are.

    The layer that comes back multiplies the weights out at the start of a run and then computes
    in float32, so every method serves; memory and files are smaller, and long runs gain no time.
    A `stepper` that the compiled library serves reads the small weights themselves; one
    that JAX runs multiplies them out in every step.

    Args:
        layer: what made the params.
        params: trained, in float32.
        dtype: of the matrices.

    Returns:
        A layer of the same inputs, carry and outputs, and its params.

    Raises:
        TypeError: if the params are of another layer, or not in float32.
        ValueError: for another dtype, and params with NaN or infinity, or without matrices.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.lstm(64)
        >>> params = cell.init(jax.random.key(0), in_features=32)
        >>> small = rnnjax.quantize(cell, params)
        >>> small.params.w_ih.values.dtype.name, small.params.w_ih.scale.shape
        ('int8', (1, 256))
        >>> _, ys = small.layer.apply(small.params, jnp.ones((7, 32)))
        >>> bool(abs(ys - rnnjax.unroll(cell, params, jnp.ones((7, 32)))[1]).max() < 0.01)
        True

    Reference: Jacob et al., *Quantization and training of neural networks for efficient
    integer-arithmetic-only inference* (2018); here the arithmetic stays in float32.
    """
    inner = as_layer("quantize", layer, argument="layer")
    _checks.choice("quantize", "dtype", dtype, tuple(SHRINK))
    check_params("quantize", inner, params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        check_leaf("params" + jax.tree_util.keystr(path), leaf)
    small = shrink(params, SHRINK[dtype])
    dtypes = lambda tree: [leaf.dtype for leaf in jax.tree.leaves(tree)]
    if any(map(is_small, jax.tree.leaves(params, is_leaf=is_small))):
        got, way_out = "int8 weights with their scales", "quantize the whole weights, once"
        _checks.refuse("quantize", "params", "be whole weights", got, way_out)
    if dtypes(small) == dtypes(params):
        way_out = "matrices are fields named `w`, or that begin with `w_`"
        got = _checks.describe(params)
        _checks.refuse("quantize", "params", "hold matrices", got, way_out)
    return Quantized(quantized(inner, dtype=dtype), small)


@value
def quantized(layer: Cell | Layer, *, dtype: Literal["int8", "bfloat16"] = "int8") -> Layer:
    """Make the layer that runs with the params of `quantize`; for inference only.

    Args:
        layer: what would run with whole weights.
        dtype: of the matrices.

    Returns:
        A layer whose `init` draws as `layer` does, and rounds.

    Raises:
        TypeError: if `layer` is neither cell nor layer.
        ValueError: for another dtype.
    """
    inner = as_layer("quantized", layer, argument="layer")
    make = SHRINK[_checks.choice("quantized", "dtype", dtype, tuple(SHRINK))]

    def run(params, sequence, carry, *, key, method):
        return inner.run(dequantize(params), sequence, carry, key=key, method=method)

    return Layer(
        name="quantized",
        init=lambda key, in_features: shrink(inner.init(key, in_features), make),
        run=run,
        out_features=inner.out_features,
        in_spec=lambda params: inner.in_spec(unscaled(params)),
        noisy=inner.noisy,
    )


def check_leaf(name: str, leaf: Any) -> None:
    """Refuse other dtypes, and what has no largest number."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return
    if leaf.dtype != jnp.float32:
        way_out, got = "cast the params first", leaf.dtype.name
        _checks.refuse("quantize", name, "be float32", got, way_out, error=TypeError)
    if _checks.is_concrete(leaf) and not bool(jnp.isfinite(leaf).all()):
        way_out = "take params from before training went wrong"
        _checks.refuse("quantize", name, "be finite", "NaN or infinity", way_out)


def dequantize(params: PyTree) -> PyTree:
    """The params that a quantized network computes with, all of them in float32.

    Args:
        params: from `quantize`.

    Returns:
        Params of the layer that was quantized.

    Raises:
        TypeError: for a leaf that is no array.
    """

    def leaf(node: Any) -> Any:
        if is_small(node):
            return node.values.astype(jnp.float32) * node.scale
        if not hasattr(node, "astype"):
            got, way_out = _checks.kind(node), "give the params that quantize returns"
            _checks.refuse("dequantize", "params", "hold arrays", got, way_out, error=TypeError)
        return node.astype(jnp.float32) if node.dtype == jnp.bfloat16 else node

    return jax.tree.map(leaf, params, is_leaf=is_small)


def unscaled(params: PyTree) -> PyTree:
    """Arrays of the right shapes, without computing anything."""
    return jax.tree.map(lambda n: n.values if is_small(n) else n, params, is_leaf=is_small)


def is_small(node: Any) -> bool:
    """Whether a node of a tree is a matrix of whole numbers."""
    return isinstance(node, Int8Weights)


def shrink(params: PyTree, make: Callable[[Array, int], Any]) -> PyTree:
    """Make something else of the matrices: `make(w, axis)`, where `axis` has no scale."""
    if hasattr(params, "_fields"):
        axis = -1 if isinstance(params, EmbeddingParams) else -2
        parts = (
            make(part, axis) if is_matrix(name, part) else shrink(part, make)
            for name, part in zip(params._fields, params, strict=True)
        )
        return type(params)(*parts)
    if isinstance(params, dict):
        whole = params.items()
        return {k: make(v, -2) if is_matrix(str(k), v) else shrink(v, make) for k, v in whole}
    if isinstance(params, tuple | list):
        return type(params)(shrink(part, make) for part in params)
    return params


def is_matrix(name: str, leaf: Any) -> bool:
    """Whether a field of params holds weights that are multiplied, not added."""
    named = name == "w" or name.startswith("w_")
    return named and getattr(leaf, "ndim", 0) >= 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


def to_int8(w: Array, axis: int) -> Int8Weights:
    """Whole numbers and their scale, which is 1 where all weights are zero, or next to it."""
    scale = jnp.max(jnp.abs(w), axis, keepdims=True) / LARGEST
    scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    values = jnp.clip(jnp.round(w / scale), -LARGEST, LARGEST)
    return Int8Weights(values.astype(jnp.int8), scale)


SHRINK: dict[str, Callable[[Array, int], Any]] = {
    "int8": to_int8,
    "bfloat16": lambda w, axis: w.astype(jnp.bfloat16),
}

"""What ONNX cannot say is refused, by name and with the reason, before anything is written."""

from typing import Any, NoReturn

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.dtypes import at_least_float32, promote
from rnnjax.export.functions import writer_of
from rnnjax.export.operators import in_features
from rnnjax.interop.onnx_activations import by_function
from rnnjax.interop.onnx_layout import OPERATORS, activations_of
from rnnjax.sequence import merge
from rnnjax.sequence.arguments import abstract_params
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.parts import REASONS, Part, whole_parts
from rnnjax.storage import leaves

MERGES = (merge.concatenate, merge.add, merge.multiply, merge.average)
STABLEHLO = "rnnjax.export.to_stablehlo takes every layer"


def checked_parts(function: str, layer: Layer, params: PyTree) -> list[Part]:
    """The parts of a network, each of which ONNX can say; weights of `quantize` multiplied out."""
    try:
        parts = whole_parts(layer, params)
    except (AttributeError, TypeError, ValueError):  # they do not fit, and nobody could see that
        way_out, got = "give what init made for this very layer", _checks.describe(params)
        _checks.refuse(function, "params", "be from init", got, way_out, error=TypeError)
    _check_parts(function, parts)
    weighted = [part for part in parts if part.factory != "pointwise"]
    if weighted and parts[0].factory == "pointwise":  # whose width `check_params` could not know
        template = abstract_params(layer, in_features(weighted[0]))
        way_out = "give what init made for this very layer"
        _checks.same_structure(function, "params", params, template, way_out)
    return parts


def _check_parts(function: str, parts: list[Part]) -> None:
    """Refuse the first part that has no equal among the operators."""
    dtype: Any = jnp.dtype("float32")
    for index, part in enumerate(parts):
        name = part.name or "layer"
        if part.factory in OPERATORS:
            _check_merge(function, name, part)
            for activation in activations_of(part.factory, part.options):
                _check_activation(function, name, activation)
        elif part.factory in ("dense", "pointwise"):
            option = "activation" if part.factory == "dense" else "function"
            _check_function(function, name, part.options[option])
        elif part.factory == "embedding":
            if index:
                got, way_out = "an embedding above another layer", "put it at the bottom"
                _checks.refuse(function, name, "read what is not tokens", got, way_out)
        else:
            got = REASONS.get(part.factory, f"{part.factory}, which is none of them")
            wanted = "be something that ONNX has operators for"
            _checks.refuse(function, name, wanted, got, STABLEHLO)
        dtype = _dtype_above(function, name, part, dtype)


def _check_merge(function: str, name: str, part: Part) -> None:
    if part.merge is not None and part.merge not in MERGES:
        wanted = "merge both ways by concatenate, add, multiply or average"
        got = getattr(part.merge, "__name__", _checks.kind(part.merge))
        _checks.refuse(function, name, wanted, got, STABLEHLO)


def _check_activation(function: str, name: str, activation: Any) -> None:
    if by_function(activation) is None:
        wanted = "have activations that ONNX's recurrent operators have"
        way_out = f"use jnp.tanh, jax.nn.sigmoid or jax.nn.relu; {STABLEHLO}"
        _checks.refuse(function, name, wanted, title(activation), way_out)


def _check_function(function: str, name: str, activation: Any) -> None:
    if activation is not None and writer_of(activation) is None:
        wanted = "be a function that ONNX has"
        way_out = f"use one of jax.nn such as jax.nn.relu; {STABLEHLO}"
        _checks.refuse(function, name, wanted, title(activation), way_out)


def _dtype_above(function: str, name: str, part: Part, below: Any) -> Any:
    """The dtype of a part's outputs; refuse what does not compute in float32."""
    if part.factory == "pointwise":
        return below
    w = part.directions[0][0]
    compute = part.options["dtype"]
    if compute is None:
        compute = w.dtype if part.factory == "embedding" else promote(below, w.dtype)
    carry = part.options.get("carry_dtype") or at_least_float32(compute)
    for what, got in (("compute", compute), ("carry", carry)):
        if jnp.dtype(got) != jnp.float32:
            wanted = "compute in float32" if what == "compute" else "keep its carry in float32"
            way_out = "give params in float32, or build it with dtype=jnp.float32"
            if what == "carry":
                way_out = "build it without carry_dtype"
            _checks.refuse(function, name, wanted, jnp.dtype(got).name, way_out, error=TypeError)
    return jnp.dtype("float32")


def check_concrete(function: str, params: PyTree) -> None:
    """Refuse params that are no numbers yet."""
    leaves.check_arrays(function, leaves.named_leaves(function, "params", {"params": params}))


def check_one_input(function: str, layer: Layer, params: PyTree) -> Any:
    """What one step of the inputs looks like, for networks that read one array."""
    spec = layer.in_spec(params)
    if not hasattr(spec, "shape"):
        way_out = "put an array together of it"
        _checks.refuse(function, "layer", "read one array", _checks.describe(spec), way_out)
    return spec


def title(activation: Any) -> str:
    """A function in a few words."""
    name = getattr(activation, "__name__", None)
    return f"the function {name}" if name else _checks.kind(activation)


def refuse_size(function: str, size: int) -> NoReturn:
    """A message of protobuf ends at 2 GiB."""
    way_out = f"give fewer weights; {STABLEHLO}"
    got = f"{size / 2**30:.1f} GiB"
    _checks.refuse(function, "params", "fit into the 2 GiB of one ONNX file", got, way_out)

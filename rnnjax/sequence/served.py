"""Which networks the compiled library runs by itself, a step at a time."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.methods.native import steps
from rnnjax.methods.native.kinds import kind_of
from rnnjax.methods.native.library import why_not_loaded
from rnnjax.methods.native.packing import STORED, is_quantized
from rnnjax.methods.native.steps import Network, StepLayer
from rnnjax.sequence.arguments import Sequence
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.parts import Part, parts_of
from rnnjax.sequence.quantized import dequantize

KNOWN = "the library knows LSTM, GRU and Elman cells, dense layers, embeddings and activations"

MISFIT = "its params do not fit together"


def served(layer: Layer, params: PyTree) -> Network | str:
    """The network with its weights packed, or the reason why the library cannot run it."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params)):
        return "its params are traced"
    if jax.default_backend() != "cpu":
        return "it runs on CPU alone"
    reason = why_not_loaded()
    if reason is not None:
        return reason
    layers: list[StepLayer] = []
    for part in parts_of(layer, params):
        width = layers[-1].outputs if layers else None
        found = _layer(part, width)
        if isinstance(found, str):
            return f"of {part.name}, {found}" if part.name else found
        layers.append(found)
    return Network(layers)


def _layer(part: Part, width: int | None) -> StepLayer | str:
    """One layer of the table, for inputs of this width; None where they come from outside."""
    of_others = {leaf.dtype for leaf in _weights(part.params)} - set(STORED)
    if of_others:
        return f"weights are in {min(map(str, of_others))}, and it knows float32 and bfloat16"
    if isinstance(part.thing, Cell):
        kind = kind_of(part.thing.form)
        if kind is None:
            return f"{KNOWN}, not {part.factory or 'this cell'}{_with_activation(part)}"
        if not steps.fits_recurrent(kind, part.params, width):
            return MISFIT
        made = steps.recurrent(kind, part.params)
        return _in_float32(part, made.inputs) or made
    if part.factory == "embedding" and width is None:
        return _in_float32(part, None) or steps.embedding(part.params)
    if part.factory in ("dense", "pointwise"):
        activation = part.options["activation" if part.factory == "dense" else "function"]
        if not steps.knows(activation):
            return "the activation is none that the library knows"
        if part.factory == "dense":
            if not steps.fits_dense(part.params, width):
                return MISFIT
            made = steps.dense(part.params, activation)
            return _in_float32(part, made.inputs) or made
        if width is not None:
            return steps.elementwise(activation, width)
        return "params do not say how wide the inputs of a function of the features are"
    return f"{KNOWN}, not {part.factory or 'this layer'}" + (
        " above another layer" if part.factory == "embedding" else ""
    )


def _with_activation(part: Part) -> str:
    """The option by which a cell of a known kind is another one."""
    if part.factory != "elman":
        return ""
    activation = part.options["activation"]
    return f" with activation={getattr(activation, '__name__', _checks.kind(activation))}"


def _weights(params: PyTree) -> list[Any]:
    """What is packed of the params: matrices, or the integers that stand for them."""
    names = ("w", "w_ih", "w_hh")
    found = [getattr(params, name) for name in names if hasattr(params, name)]
    return [w.values if is_quantized(w) else w for w in found]


def _in_float32(part: Part, width: int | None) -> str | None:
    """Why not, where a layer computes in another dtype than float32 on inputs in float32."""
    struct, params = jax.ShapeDtypeStruct, part.params
    if part.small:  # the library multiplies weights out, as a step does
        params = jax.eval_shape(dequantize, params)
    if isinstance(part.thing, Cell):
        x = struct((width,), jnp.float32)
        made = [jax.eval_shape(f, params, x) for f in (part.thing.project, part.thing.init_carry)]
    else:
        x = struct((1,), jnp.int32) if width is None else struct((1, width), jnp.float32)
        run: Any = part.thing.run
        made = jax.eval_shape(
            lambda p, x: run(p, Sequence(x, None, None), None, key=None, method=None), params, x
        )
    others = {str(leaf.dtype) for leaf in jax.tree.leaves(made)} - {"float32"}
    return f"it computes in float32, and here is {min(others)}" if others else None

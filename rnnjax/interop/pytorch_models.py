"""Whole models of PyTorch: embeddings, recurrent modules and linear ones in a chain."""

from collections.abc import Sequence
from typing import Any, NoReturn

from rnnjax import _checks
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import as_params
from rnnjax.interop.pytorch_reading import (
    activation_of,
    is_theirs,
    notes_of,
    read_levels,
    state_dict,
    under,
)
from rnnjax.interop.pytorch_writing import POINTWISE
from rnnjax.interop.report import Converted
from rnnjax.sequence.dense import DenseParams, dense
from rnnjax.sequence.embedding import EmbeddingParams, embedding
from rnnjax.sequence.layer import Layer, pointwise
from rnnjax.sequence.stack import stack

RECURRENT = ("LSTM", "GRU", "RNN")
NOISE = ("Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout")


def chain(
    function: str, source: Any, order: Any, prefix: str, nonlinearity: str | None, dtype: Any
) -> Converted:
    """The named parts of a model as one stack."""
    if isinstance(order, str) or not isinstance(order, Sequence) or not order:
        way_out = 'such as ("embed", "lstm", "head")'
        wanted, got = "be names of parts from bottom to top", _checks.kind(order)
        _checks.refuse(function, "order", wanted, got, way_out, error=TypeError)
    model = Model(function, source, prefix, nonlinearity=nonlinearity, dtype=dtype)
    for name in order:
        model.find(str(name))
    for i, name in enumerate(order):
        model.add(str(name), str(order[i + 1]) if i + 1 < len(order) else None)
    if not model.layers:
        way_out = "name the recurrent module as well"
        _checks.refuse(function, "order", "name a part with weights", list(order), way_out)
    params = as_params(function, tuple(model.trees))
    return Converted(stack(*model.layers), params, model.arrays.finish())


class Model:
    """Layers of ours, as they come out one by one."""

    def __init__(
        self,
        function: str,
        source: Any,
        prefix: str,
        *,
        nonlinearity: str | None,
        dtype: Any,
    ):
        self.function, self.nonlinearity = function, nonlinearity
        self.module = source if hasattr(source, "get_submodule") else None
        named = state_dict(source)
        self.arrays = Arrays(function, "source", under(function, named, prefix), dtype=dtype)
        self.prefix = prefix.rstrip(".") + "." if prefix else ""
        self.layers: list[Cell | Layer] = []
        self.trees: list[Any] = []
        self.width: int | None = None  # of what the next part reads

    def find(self, name: str) -> None:
        """Refuse a part of which there is nothing."""
        if self.module is not None:
            self.submodule(name)
        elif not any(f"{name}.{weight}" in self.arrays for weight in ("weight_ih_l0", "weight")):
            found = sorted({key.rpartition(".")[0] for key in self.arrays.left})
            way_out = f"arrays tell of {found}: leave out what has none"
            self.refuse(name, "begin names of weights", repr(name), way_out)

    def add(self, name: str, above: str | None) -> None:
        """Add what a part becomes; `above` is the name of the next one."""
        part = self.submodule(name)
        kind = type(part).__name__ if part is not None else self.kind(name, above)
        if part is not None and not is_theirs(part):
            got = f"a {kind} of {type(part).__module__}"
            way_out = "give the state_dict() if its forward is the usual one"
            self.refuse(name, "be a module of torch.nn itself", got, way_out)
        if kind in NOISE:
            rate = getattr(part, "p", "")
            self.arrays.notes.append(f"{name}: without {kind} {rate}, which is off at inference")
        elif kind == "Identity":
            self.arrays.notes.append(f"{name}: does nothing")
        elif kind in RECURRENT:
            self.recurrent(name, part)
        elif kind == "Embedding":
            self.embedding(name, part)
        elif kind == "Linear":
            self.linear(name)
        elif kind in POINTWISE:
            self.put(pointwise(POINTWISE[kind]), ())
        else:
            known = [*RECURRENT, "Embedding", "Linear", *POINTWISE, "Dropout"]
            self.refuse(name, f"be one of {known}", kind, "convert the parts around it")

    def submodule(self, name: str) -> Any:
        """The part itself; None where there are only arrays."""
        if self.module is None:
            return None
        try:
            return self.module.get_submodule(self.prefix + name)
        except AttributeError:
            found = [n for n, _ in self.module.get_submodule(self.prefix[:-1]).named_children()]
            self.refuse(name, "be a part of the module", "no such name", f"there are {found}")

    def kind(self, name: str, above: str | None) -> str:
        """What the arrays of a part belong to."""
        if f"{name}.weight_ih_l0" in self.arrays:
            return "LSTM"  # or a relative, which its shapes tell
        if f"{name}.bias" in self.arrays or self.layers:
            return "Linear"
        weight = self.arrays.left[f"{name}.weight"]
        if weight.ndim != 2:
            return "Linear"  # whose shape will be refused
        wanted = self.width_of(above)
        rows, columns = weight.shape
        if rows == columns or wanted not in (rows, columns):
            got = f"{weight.shape} below {wanted if wanted is not None else 'no'} features"
            way_out = "both would fit: give the module instead"
            if wanted not in (None, rows, columns):
                way_out = "neither fits: name the parts from bottom to top"
            self.refuse(
                name, "be an Embedding or a Linear without bias, by its shape", got, way_out
            )
        return "Embedding" if wanted == columns else "Linear"

    def width_of(self, name: str | None) -> int | None:
        """How many features a part reads; None where its arrays do not tell."""
        for weight in ("weight_ih_l0", "weight"):
            array = self.arrays.left.get(f"{name}.{weight}")
            if array is not None and array.ndim == 2:
                return array.shape[1]
        return None

    def put(self, layer: Cell | Layer, params: Any) -> None:
        """Add one layer of ours."""
        self.layers.append(layer)
        self.trees.append(params)

    @property
    def target(self) -> str:
        """How names of ours begin in the report."""
        return f"layers_{len(self.layers)}."

    def recurrent(self, name: str, part: Any) -> None:
        """All layers of a recurrent module."""
        activation = activation_of(self.function, part, self.nonlinearity)
        self.arrays.notes += notes_of(part, name)
        levels = read_levels(
            self.arrays,
            activation,
            start=f"{name}.",
            first=len(self.layers),
            below=self.width,
        )
        for layer, params in levels:
            self.put(layer, params)
        last, params = levels[-1]
        self.width = last.out_features if isinstance(last, Cell) else last.out_features(None)

    def embedding(self, name: str, part: Any) -> None:
        """A table of vectors."""
        if self.layers:
            self.refuse(name, "stand at the bottom", "an Embedding above others", "put it first")
        if getattr(part, "max_norm", None) is not None:
            way_out = "scale its weight once, and take max_norm off"
            self.refuse(name, "have no max_norm", part.max_norm, way_out)
        if getattr(part, "padding_idx", None) is not None:
            note = f"{name}: padding_idx changes gradients only; its vector comes along"
            self.arrays.notes.append(note)
        w: Any = self.arrays.take(
            f"{name}.weight", (None, None), target=f"{self.target}w", how="as it is"
        )
        if self.module is None:
            self.arrays.notes.append(
                f"{name}: taken for an Embedding; arrays do not tell it from an EmbeddingBag"
            )
        self.put(embedding(*w.shape, param_dtype=w.dtype), EmbeddingParams(w))
        self.width = w.shape[1]

    def linear(self, name: str) -> None:
        """A layer between or above the recurrent ones."""
        if self.module is None and self.trees and isinstance(self.trees[-1], DenseParams):
            note = "follows straight on a Linear; arrays do not tell of an activation between them"
            self.arrays.notes.append(f"{name}: {note}")
        w: Any = self.arrays.take(
            f"{name}.weight", (None, self.width), target=f"{self.target}w", how="transposed"
        ).T
        b: Any = None
        if f"{name}.bias" in self.arrays:
            b = self.arrays.take(
                f"{name}.bias", (w.shape[1],), target=f"{self.target}b", how="as it is"
            )
        self.put(dense(w.shape[1], bias=b is not None, param_dtype=w.dtype), DenseParams(w, b))
        self.width = w.shape[1]

    def refuse(self, name: str, wanted: str, got: Any, way_out: str) -> NoReturn:
        """Say what is wrong with a part."""
        _checks.refuse(self.function, f"order[{name!r}]", wanted, got, way_out)

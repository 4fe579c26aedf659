"""What a network is made of: its cells and layers in order, for what writes or runs them apart."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.recipe import Recipe, recipe_of
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.quantized import dequantize
from rnnjax.sequence.tied import untied, untied_layers

# What is said of parts that hardly anything else has, by factory.
REASONS = {
    "": "a cell or layer whose factory is unknown",
    "projected_lstm": "projected_lstm, which projects its outputs",
    "layer_norm_lstm": "layer_norm_lstm, which normalises inside its gates",
    "layer_norm_gru": "layer_norm_gru, which normalises inside its gates",
    "batch_norm_lstm": "batch_norm_lstm, which normalises inside its gates",
    "stack": "a stack with skip connections",
    "bidirectional": "bidirectional around more than a cell",
    "zoneout": "zoneout with expectation=True, which mixes old and new states",
}
# Wrappers that do nothing without a key; `zoneout` is one unless it takes expectations.
QUIET = ("input_dropout", "recurrent_dropout", "drop_connect", "state_noise", "zoneout")


class Part(NamedTuple):
    """One cell or layer of a network, as it runs without noise.

    Attributes:
        name: where it stands, such as `layers_1` or `layers_0.layers_2`; empty if it is all.
        thing: the cell or layer, without wrappers that are quiet.
        recipe: of `thing`; None where it is unknown, as with a cell of one's own.
        params: of `thing`; a pair, forwards and backwards, where it reads both ways.
        reverse: whether a cell that reads one way reads from the end.
        merge: what makes one output of both ways; None for one way.
        notes: what was left out, such as "dropout 0.2", which is off at inference.
        tied: the part whose matrix this one reads the other way, by name; empty for its own.
        small: the dtype of weights from `quantize`, which are to be multiplied out; else None.
    """

    name: str
    thing: Cell | Layer
    recipe: Recipe | None
    params: PyTree
    reverse: bool = False
    merge: Callable[[Any, Any], Any] | None = None
    notes: tuple[str, ...] = ()
    small: str | None = None
    tied: str = ""

    @property
    def factory(self) -> str:
        """What made it; empty where that is unknown."""
        return self.recipe.factory if self.recipe else ""

    @property
    def directions(self) -> tuple[PyTree, ...]:
        """The params of each way."""
        return (self.params,) if self.merge is None else self.params

    @property
    def options(self) -> dict[str, Any]:
        """What the factory was given."""
        return self.recipe.options if self.recipe else {}


def parts_of(layer: Cell | Layer, params: PyTree) -> list[Part]:
    """The parts of a cell or layer from bottom to top; stacks in stacks are laid flat.

    A stack with skip connections is one part, and so is what is bidirectional around more than a
    cell. A tied embedding is three or more: `embedding`, `body`, and the `output`, which has the
    same matrix. Params may be abstract, from `jax.eval_shape`.
    """
    return _walk("", layer, params, ())


def whole_parts(layer: Cell | Layer, params: PyTree) -> list[Part]:
    """The parts, in which the weights of `quantize` are multiplied out to float32."""
    return [
        part._replace(params=dequantize(part.params)) if part.small else part
        for part in parts_of(layer, params)
    ]


def _walk(name: str, thing: Any, params: PyTree, notes: tuple[str, ...]) -> list[Part]:
    recipe = recipe_of(thing)
    options = recipe.options if recipe else {}
    match recipe.factory if recipe else "":
        case "stack" if options["skip"] is None:
            rate = options["dropout"]
            inner = notes + ((f"dropout {rate} between layers",) if rate else ())
            start = f"{name}." if name else ""
            return [
                part
                for i, (layer, own) in enumerate(zip(options["layers"], params, strict=True))
                for part in _walk(f"{start}layers_{i}", as_layer("stack", layer), own, inner)
            ]
        case "tied_embedding":
            return _both_ends(f"{name}." if name else "", options, params, notes)
        case "embedding" if options["dropout"]:
            notes = (*notes, f"dropout {options['dropout']} of words")
        case "quantized":
            inner = as_layer("quantized", options["layer"])
            found = _walk(name, inner, params, notes)
            return [part._replace(small=options["dtype"]) for part in found]
        case "recurrent":
            cell, more = _quiet(options["cell"])
            reverse = options["reverse"]
            return [Part(name, cell, recipe_of(cell), params, reverse, None, notes + more)]
        case "bidirectional":
            return [_both_ways(name, thing, options, params, notes)]
    if isinstance(thing, Cell):
        cell, more = _quiet(thing)
        return [Part(name, cell, recipe_of(cell), params, notes=notes + more)]
    return [Part(name, thing, recipe, params, notes=notes)]


def _both_ends(
    start: str, options: dict[str, Any], params: PyTree, notes: tuple[str, ...]
) -> list[Part]:
    """An embedding, a body, and a dense layer with the embedding's matrix."""
    layers, names = untied_layers(**options), ("embedding", "body", "output")
    parts = [
        part
        for name, layer, own in zip(names, layers, untied(params), strict=True)
        for part in _walk(f"{start}{name}", layer, own, notes)
    ]
    return [*parts[:-1], parts[-1]._replace(tied=parts[0].name)]


def _both_ways(
    name: str, thing: Layer, options: dict[str, Any], params: PyTree, notes: tuple[str, ...]
) -> Part:
    """A cell that reads both ways; anything else as it stands."""
    inner = options["layer"]
    recipe = recipe_of(inner)
    if recipe and recipe.factory == "recurrent" and not recipe.options["reverse"]:
        inner = recipe.options["cell"]
    if not isinstance(inner, Cell):
        return Part(name, thing, recipe_of(thing), params, notes=notes)
    cell, more = _quiet(inner)
    pair = tuple(jax.tree.map(lambda a, i=i: _pick(a, i), params) for i in range(2))
    return Part(name, cell, recipe_of(cell), pair, False, options["merge"], notes + more)


def _pick(leaf: Any, direction: int) -> Any:
    """One of both directions; of an abstract array, too."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
    return leaf[direction]


def _quiet(cell: Cell) -> tuple[Cell, tuple[str, ...]]:
    """The cell inside wrappers that are off without a key, and what these are."""
    recipe = recipe_of(cell)
    if not recipe or recipe.factory not in QUIET or recipe.options.get("expectation"):
        return cell, ()
    inner, notes = _quiet(recipe.options["cell"])
    return inner, (recipe.factory, *notes)

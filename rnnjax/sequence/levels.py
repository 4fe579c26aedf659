"""A stack whose layers one method runs in one call."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.recipe import recipe_of
from rnnjax.methods.base import Call, Method
from rnnjax.methods.choice import PICKED, choose
from rnnjax.sequence.arguments import Sequence, with_flags_of_rows
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.merge import concatenate
from rnnjax.sequence.unroll import abstract_call, make_call, pick


class Level(NamedTuple):
    """A layer that is a cell over time: the cell, and whether each direction reads backwards."""

    cell: Cell
    directions: tuple[bool, ...]

    @property
    def out_features(self) -> int:
        """Of all directions."""
        return len(self.directions) * self.cell.out_features

    def each(self, tree: PyTree) -> list[PyTree]:
        """The params or the carry of each direction."""
        if len(self.directions) == 1:
            return [tree]
        return [pick(tree, number) for number in range(2)]


def level_of(layer: Layer) -> Level | None:
    """What a layer is, if it is no more than a cell in one direction or in both."""
    recipe = recipe_of(layer)
    options = recipe.options if recipe else {}
    match recipe.factory if recipe else "":
        case "recurrent":
            return Level(options["cell"], (options["reverse"],))
        case "bidirectional" if options["merge"] is concatenate:
            inner = level_of(as_layer("bidirectional", options["layer"]))
            if inner is not None and inner.directions == (False,):
                return Level(inner.cell, (False, True))
    return None


def run_in_one_call(
    layers: tuple[Layer, ...],
    params: tuple[PyTree, ...],
    sequence: Sequence,
    carries: tuple[PyTree, ...],
    *,
    method: Method | None,
) -> tuple[tuple[PyTree, ...], PyTree] | None:
    """Run a stack without noise; None where no method takes it as a whole.

    One that was asked for and cannot serve is left to say so layer by layer.
    """
    able: list[Any] = [method] if method is not None else [picked for picked, _ in PICKED]
    able = [one for one in able if hasattr(one, "run_stack") and one.is_here()]
    if not able or len(layers) == 1:
        return None
    levels = tuple(level for layer in layers if (level := level_of(layer)) is not None)
    if len(levels) < len(layers):
        return None
    like = [jax.eval_shape(level.each, own) for level, own in zip(levels, params, strict=True)]
    sequence = with_flags_of_rows(levels[0].cell.in_spec(like[0][0]), sequence)
    first = abstract_call(levels[0].cell, like[0][0], sequence, levels[0].directions[0])
    if all(one.why_not(first) is not None for one in able):
        return None
    chosen: Any = choose("stack", method, first).method
    if chosen not in able or not chosen.runs_stack(calls_of(levels, like, sequence)):
        return None
    return run_levels(levels, chosen, params, sequence, carries)


def calls_of(
    levels: tuple[Level, ...], params: list[list[PyTree]], sequence: Sequence
) -> tuple[tuple[Call, ...], ...]:
    """What a method is asked; of the layers above, inputs are as wide as the outputs below."""
    calls = []
    for level, each in zip(levels, params, strict=True):
        pairs = zip(each, level.directions, strict=True)
        calls.append(tuple(abstract_call(level.cell, own, sequence, way) for own, way in pairs))
        above = (*sequence.xs.shape[:-1], level.out_features)
        sequence = sequence._replace(xs=jax.ShapeDtypeStruct(above, sequence.xs.dtype))
    return tuple(calls)


@functools.partial(jax.jit, static_argnums=(0, 1))
def run_levels(
    levels: tuple[Level, ...],
    method: Any,
    params: tuple[PyTree, ...],
    sequence: Sequence,
    carries: tuple[PyTree, ...],
) -> tuple[tuple[PyTree, ...], PyTree]:
    """Run all layers at once; compiled once for each stack, method and shape."""
    calls, none = [], jnp.zeros_like(sequence.xs[..., :1])
    for level, own, begin in zip(levels, params, carries, strict=True):
        ways = zip(level.each(own), level.each(begin), level.directions, strict=True)
        calls.append(tuple(make_call(level.cell, way, p, sequence, c, None) for p, c, way in ways))
        above = jnp.broadcast_to(none, (*none.shape[:-1], level.out_features))
        sequence = sequence._replace(xs=above)  # nobody reads it
    carries, ys = method.run_stack(tuple(calls))
    stacked = lambda first, *rest: jnp.stack([first, *rest]) if rest else first
    return tuple(jax.tree.map(stacked, *each) for each in carries), ys

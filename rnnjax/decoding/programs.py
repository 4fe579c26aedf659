"""Loops around a step, compiled once for equal functions, options and shapes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.tree_util import Partial

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import program

# carry, inputs -> carry, outputs
Step = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]


def run(loop: Callable[..., Any], step: Step, *arrays: PyTree, **options: Any) -> Any:
    """`loop(step, *arrays, **options)` as one program; inside another one, a part of that.

    The arrays of a `jax.tree_util.Partial`, as `step_of` makes it, are arguments of the program.
    What another step holds is constant in it.
    """
    step = step if isinstance(step, Partial) else Partial(step)
    held = (step.args, step.keywords)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((held, arrays))):
        return loop(step, *arrays, **options)
    return _compiled(loop, step.func, **options)(held, *arrays)


@program
def _compiled(loop: Callable[..., Any], function: Callable[..., Any], **options: Any) -> Any:
    def whole(held, *arrays):
        args, keywords = held
        return loop(Partial(function, *args, **keywords), *arrays, **options)

    return jax.jit(whole)


def check_step_function(function: str, step: Any) -> None:
    """Refuse what cannot be called as a step."""
    _checks.function(function, "step", step, such_as="decoding.step_of(layer, params)")
    way_out = "make one with decoding.step_of(layer, params)"
    _checks.takes(function, "step", step, ("carry", "inputs"), way_out)


def check_first(function: str, first: Any) -> PyTree:
    """The first inputs as arrays, every one with an axis of rows."""
    leaves, structure = jax.tree.flatten(first)
    if not leaves:
        way_out = "give what the first step reads, such as one token a row"
        _checks.refuse(function, "first", "hold an array", _checks.kind(first), way_out)
    arrays = [_checks.array(function, "first", leaf) for leaf in leaves]
    for array in arrays:
        if array.ndim == 0 or len(array) != len(arrays[0]):
            way_out = "give one row for a single sequence"
            wanted = "lead with one axis of B rows"
            _checks.refuse(function, "first", wanted, f"shape {array.shape}", way_out)
    return jax.tree.unflatten(structure, arrays)


def check_rows(function: str, carry: PyTree, count: int) -> None:
    """Refuse a carry of which rows cannot be told apart."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        if leaf.shape[:1] != (count,):
            name = "carry" + jax.tree_util.keystr(path)
            wanted = f"lead with B = {count} rows"
            way_out = "rows go ways of their own, and first has as many"
            _checks.refuse(function, name, wanted, f"shape {leaf.shape}", way_out)


def check_outcome(function: str, step: Step, carry: PyTree, first: PyTree) -> Any:
    """The abstract outputs of a step; refuse one that does not return the carry in its own form."""
    result = jax.eval_shape(step, carry, first)
    if not (type(result) is tuple and len(result) == 2):
        wanted, got = "return a carry and outputs", _checks.describe(result)
        way_out = "end it with `return carry, outputs`"
        _checks.refuse(function, "step", wanted, got, way_out, error=TypeError)
    after, outputs = result
    way_out = "step must return it as it takes it"
    _checks.same_structure(function, "carry", carry, after, way_out)
    pairs = zip(jax.tree_util.tree_leaves_with_path(carry), jax.tree.leaves(after), strict=True)
    for (path, leaf), like in pairs:
        if leaf.dtype != like.dtype:
            name = "carry" + jax.tree_util.keystr(path)
            wanted, got = f"be {like.dtype.name}", leaf.dtype.name
            _checks.refuse(function, name, wanted, got, way_out, error=TypeError)
    return outputs


def as_arrays(function: str, carry: PyTree) -> PyTree:
    """The carry as arrays, of no weak type, that a loop may take."""

    def leaf(value: Any) -> Any:
        array = _checks.array(function, "carry", value)
        return jax.lax.convert_element_type(array, array.dtype)

    return jax.tree.map(leaf, carry)


def check_end(function: str, end: Any) -> int:
    """The token that ends a row."""
    return _checks.size(function, "end", end, least=0)


def are_tokens(values: PyTree) -> bool:
    """Whether values are one token a row."""
    one = hasattr(values, "dtype") and values.ndim == 1
    return one and jnp.issubdtype(values.dtype, jnp.integer)

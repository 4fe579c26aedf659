"""What wrappers share: checks, what travels beside the inputs, and noise at every step.

They nest in any order, since each keeps two rules. `prepare` changes inputs before the cell within
sees them, and params and the kind of inputs after. And what a wrapper adds to the inputs it takes
off again before it calls the cell within.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import Cell, fresh_carry


class Beside(NamedTuple):
    """Inputs, of a sequence or of a step, and what a wrapper sends along with them."""

    xs: PyTree
    other: PyTree


def check_cell(function: str, cell: Any) -> None:
    """Refuse what is no cell, such as a layer or a Flax module."""
    if not isinstance(cell, Cell):
        way_out = "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...)"
        _checks.refuse(function, "cell", "be a Cell", kind_of(cell), way_out, error=TypeError)


def kind_of(thing: Any) -> str:
    """The class of a thing, with its article."""
    return f"a {type(thing).__name__}"


def check_output(function: str, cell: Cell) -> None:
    """Refuse a cell whose output would not follow its carry."""
    check_cell(function, cell)
    if not cell.output_is_h:
        way_out = f"put {function} inside, as in residual({function}(cell, ...))"
        _checks.refuse(function, "cell", "put out its `h`", "a changed output", way_out)


def has_output(carry: PyTree, y: Any) -> bool:
    """Whether there is a leaf `h` that the output can be."""
    fields = getattr(carry, "_fields", ())
    return "h" in fields and hasattr(y, "shape") and carry.h.shape == y.shape


def check_h(function: str, carry: PyTree, y: Any) -> None:
    """Refuse a carry without the output among its leaves."""
    if not has_output(carry, y):
        way_out = "take another wrapper, such as rnnjax.input_dropout or rnnjax.clip_carry"
        wanted = "have its output among its carry, as a leaf `h`"
        _checks.refuse(function, "cell", wanted, _checks.describe(carry), way_out)


def map_states(
    function: Callable[[Array], Any], counter: Callable[[Array], Any], carry: PyTree
) -> Any:
    """`function` of what noise and limits may touch; `counter` of what only counts.

    That is every leaf that is not floating, and one whose name is `count`.
    """

    def leaf(path: tuple[Any, ...], leaf: Array) -> Any:
        counts = bool(path) and getattr(path[-1], "name", None) == "count"
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return function(leaf) if floating and not counts else counter(leaf)

    return jax.tree_util.tree_map_with_path(leaf, carry)


def prepare_within(cell: Cell, key: Array, params: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
    """The noise of the cell within, if it has any."""
    return (params, xs) if cell.prepare is None else cell.prepare(key, params, xs)


def with_noise_beside(
    cell: Cell,
    draw: Callable[[Array, int, PyTree], PyTree],
    loud: Callable[[PyTree, PyTree, PyTree, Array], tuple[PyTree, Array]],
    quiet: Callable[[PyTree, PyTree, Array], tuple[PyTree, Array]],
) -> Cell:
    """A cell whose every step is followed by something random, drawn before the loop.

    Args:
        cell: what takes the step.
        draw: `key, num_steps, carry -> noise`, with arrays `(T, *batch, ...)`; of the carry only
            shapes, dtypes and sharding count.
        loud: `noise, old, new, y -> carry, y`, after a step from `old` to `new`.
        quiet: `old, new, y -> carry, y`, the same without a key.
    """

    def prepare(key, params, xs):
        key_noise, key_cell = jax.random.split(key)
        num_steps = jax.tree.leaves(xs)[0].shape[0]
        noise = draw(key_noise, num_steps, fresh_carry(cell, params, xs))
        params, xs = prepare_within(cell, key_cell, params, xs)
        return params, Beside(xs, noise)

    def project(params, xs):
        if not isinstance(xs, Beside):
            return cell.project(params, xs)
        return Beside(cell.project(params, xs.xs), xs.other)

    def step(params, carry, z):
        if not isinstance(z, Beside):
            return quiet(carry, *cell.step(params, carry, z))
        return loud(z.other, carry, *cell.step(params, carry, z.xs))

    return cell._replace(prepare=prepare, project=project, step=step, form=None)

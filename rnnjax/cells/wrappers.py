"""Wrappers: each maps a cell to a cell."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.cells.base import Cell, value


@value
def with_carries(cell: Cell) -> Cell:
    """Make the output `(y, carry)`, for those who need the carry after every step.

    As every output, it is zero on invalid steps.

    Args:
        cell: any cell.

    Returns:
        A cell with the same params and carry, whose output is a pair.

    Raises:
        TypeError: if `cell` is no cell.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.with_carries(rnnjax.lstm(5))
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> _, (ys, carries) = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)))
        >>> ys.shape, carries.c.shape
        ((7, 2, 5), (7, 2, 5))
    """
    check_cell("with_carries", cell)

    def step(params, carry, z):
        carry, y = cell.step(params, carry, z)
        return carry, (y, carry)

    return cell._replace(step=step, form=None)


@value
def input_dropout(cell: Cell, rate: float) -> Cell:
    """Drop input features, the same ones at every step of a sequence.

    Each row draws its own mask of the input features, and draws it once for the whole
    sequence; what is kept is scaled by `1 / (1 - rate)`. Without a key nothing is dropped.

    Args:
        cell: any cell whose input is one array.
        rate: the probability of dropping a feature, `0 <= rate < 1`.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell.
        ValueError: if `rate` is out of range.

    Reference: Gal & Ghahramani, *A theoretically grounded application of dropout in recurrent
    neural networks* (2016).
    """
    check_cell("input_dropout", cell)
    rate = _checks.rate("input_dropout", "rate", rate)

    def prepare(key, params, xs):
        key_mask, key_cell = jax.random.split(key)
        xs = dropout(key_mask, xs, rate, shape=(1, *xs.shape[1:]))
        return (params, xs) if cell.prepare is None else cell.prepare(key_cell, params, xs)

    return cell._replace(prepare=prepare)


def dropout(key: Array, x: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Zero with probability `rate` and scale the rest up; the mask has `shape` and broadcasts."""
    kept = jax.random.bernoulli(key, 1.0 - rate, shape) | jnp.zeros_like(x, bool)  # sharded as x
    return jnp.where(kept, x / jnp.asarray(1.0 - rate, x.dtype), jnp.zeros_like(x))


def check_cell(function: str, cell: Any) -> None:
    """Refuse what is no cell, such as a layer or a Flax module."""
    if not isinstance(cell, Cell):
        way_out = "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...)"
        _checks.refuse(function, "cell", "be a Cell", kind_of(cell), way_out, error=TypeError)


def kind_of(thing: Any) -> str:
    """The class of a thing, with its article."""
    return f"a {type(thing).__name__}"

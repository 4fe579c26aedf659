"""Dropout of inputs, of what recurs, and of recurrent weights: drawn once a sequence."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import Cell, fresh_carry, value
from rnnjax.cells.dtypes import DroppedRows
from rnnjax.cells.wrappers.common import check_cell, prepare_within


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
        return prepare_within(cell, key_cell, params, xs)

    return cell._replace(prepare=prepare)


@value
def recurrent_dropout(cell: Cell, rate: float) -> Cell:
    r"""Drop units of `h` on their way into the recurrent product, the same ones at every step.

    $$ h W_{hh} \to \frac{m \odot h}{1 - p} \, W_{hh}, \qquad m \sim \text{Bernoulli}(1 - p) $$

    Each row draws its own mask of the units, once for the whole sequence, when a key is given.
    Only the product is touched: the carry is not, nor what else reads `h`, such as the path
    $z \odot h$ of a GRU. No fast method runs it; `drop_connect` is the one that they do.

    Args:
        cell: any cell with `h` in its carry and a matrix `w_hh` in its params that all of `h`
            goes through, such as the LSTM, the GRU and the Elman cell.
        rate: p, the probability of dropping a unit, `0 <= rate < 1`.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell.
        ValueError: if `rate` is out of range; from `init`, or the first run, for a cell without
            such a matrix.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.recurrent_dropout(rnnjax.gru(5), 0.25)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> _, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)), key=jax.random.key(1))
        >>> ys.shape
        (7, 2, 5)

    Reference: Gal & Ghahramani, *A theoretically grounded application of dropout in recurrent
    neural networks* (2016).
    """
    check_cell("recurrent_dropout", cell)
    rate = _checks.rate("recurrent_dropout", "rate", rate)

    def rows_of(params):
        w = recurrent_weights("recurrent_dropout", params)
        if w.ndim != 2:
            wanted, got = "have one matrix `w_hh`", f"`w_hh` of shape {w.shape}"
            _checks.refuse("recurrent_dropout", "cell", wanted, got, WAY_OUT)
        return w.shape[0]

    def init(key, in_features):
        params = cell.init(key, in_features)
        rows_of(params)
        return params

    def prepare(key, params, xs):
        key_mask, key_cell = jax.random.split(key)
        rows = rows_of(params)
        h = getattr(fresh_carry(cell, params, xs), "h", None)
        if h is None or h.shape[-1:] != (rows,):
            got = "no `h`" if h is None else f"`h` of {h.shape[-1]} features"
            wanted = f"have in its carry the `h` that goes through the {rows} rows of `w_hh`"
            _checks.refuse("recurrent_dropout", "cell", wanted, got, WAY_OUT)
        kept = jax.random.bernoulli(key_mask, 1.0 - rate, h.shape) | jnp.zeros_like(h, bool)
        # The scale stands in the weights, so that a step costs no more than a choice.
        scaled = lambda w: DroppedRows(on_array(w, lambda a: scale_up(a, rate)), kept)
        params, xs = prepare_within(cell, key_cell, params, xs)
        return replace_w_hh(params, scaled), xs

    return cell._replace(init=init, prepare=prepare, form=None)


@value
def drop_connect(cell: Cell, rate: float) -> Cell:
    r"""Drop recurrent weights, the same ones at every step and for every row.

    $$ W_{hh} \to \frac{M \odot W_{hh}}{1 - p}, \qquad M \sim \text{Bernoulli}(1 - p) $$

    The mask is drawn once a sequence, when a key is given. The recurrence stays what it was with
    other weights, so the fast methods run it. Dropped weights have no gradient.

    Args:
        cell: any cell with `w_hh` in its params.
        rate: p, the probability of dropping a weight, `0 <= rate < 1`.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell.
        ValueError: if `rate` is out of range; from `init`, or the first run, for a cell without
            `w_hh`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.drop_connect(rnnjax.lstm(5), 0.5)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> _, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)), key=jax.random.key(1))
        >>> ys.shape
        (7, 2, 5)

    Reference: Wan et al., *Regularization of neural networks using DropConnect* (2013); on
    recurrent weights, Merity, Keskar & Socher, *Regularizing and optimizing LSTM language models*
    (2018).
    """
    check_cell("drop_connect", cell)
    rate = _checks.rate("drop_connect", "rate", rate)

    def init(key, in_features):
        params = cell.init(key, in_features)
        recurrent_weights("drop_connect", params)
        return params

    def prepare(key, params, xs):
        key_mask, key_cell = jax.random.split(key)
        recurrent_weights("drop_connect", params)
        params, xs = prepare_within(cell, key_cell, params, xs)
        drop = lambda w: on_array(w, lambda a: dropout(key_mask, a, rate, a.shape))
        return replace_w_hh(params, drop), xs

    return cell._replace(init=init, prepare=prepare)


def dropout(key: Array, x: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Zero with probability `rate` and scale the rest up; the mask has `shape` and broadcasts."""
    kept = jax.random.bernoulli(key, 1.0 - rate, shape) | jnp.zeros_like(x, bool)  # sharded as x
    return jnp.where(kept, scale_up(x, rate), jnp.zeros_like(x))


def scale_up(x: Array, rate: float) -> Array:
    """What is kept, so that the mean stays what it was."""
    return x / jnp.asarray(1.0 - rate, x.dtype)


WAY_OUT = "regularise it with rnnjax.input_dropout or rnnjax.zoneout"


def recurrent_weights(function: str, params: PyTree) -> Array:
    """The `w_hh` of params; those of a cell inside, where a wrapper added some of its own."""
    inner = params
    while hasattr(inner, "cell"):
        inner = inner.cell
    if getattr(inner, "w_hh", None) is None or not hasattr(inner, "_replace"):
        wanted, got = "have `w_hh` in its params", _checks.describe(inner)
        _checks.refuse(function, "cell", wanted, got, WAY_OUT)
    return inner.w_hh


def replace_w_hh(params: Any, change: Callable[[Any], Any]) -> Any:
    """Params with other recurrent weights."""
    if hasattr(params, "cell"):
        return params._replace(cell=replace_w_hh(params.cell, change))
    return params._replace(w_hh=change(params.w_hh))


def on_array(w: Any, change: Callable[[Array], Array]) -> Any:
    """Change the weights themselves, below the masks that they may have."""
    if isinstance(w, DroppedRows):
        return DroppedRows(on_array(w.w, change), w.kept)
    return change(w)

"""One step of the course's cells."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array
from rnnjax.cells.gates import recording
from rnnjax.cells.gru import GRUCarry, gru
from rnnjax.cells.lstm import LSTMCarry, lstm
from rnnjax.interop.course.caches import GRUCache, LSTMCache
from rnnjax.interop.course.checks import (
    Weights,
    check_features,
    check_state,
    in_one_dtype,
    numbers,
    sizes,
    weights_of,
)
from rnnjax.interop.course.packing import pack


def lstm_cell(
    xt: Any, a_prev: Any, c_prev: Any, parameters: Mapping[str, Any]
) -> tuple[Array, Array, LSTMCache]:
    r"""Take one step of the course's LSTM, with the cell of `rnnjax.lstm`.

    $$ c = f \odot c_{prev} + i \odot \tilde c, \qquad a = o \odot \tanh c $$

    with f, i and o sigmoids and $\tilde c$ the tanh of $W [a_{prev}; x_t] + b$.

    Args:
        xt: the input, `(n_x, m)`.
        a_prev: the hidden state, `(n_a, m)`.
        c_prev: the cell state, `(n_a, m)`.
        parameters: `Wf Wi Wo Wc`, each `(n_a, n_a + n_x)`, and `bf bi bo bc`, each `(n_a, 1)`;
            others are left alone.

    Returns:
        `a_next`, `c_next` and the cache, in the widest dtype of the arguments that JAX has
        switched on.

    Raises:
        TypeError: for what is no array of numbers, and parameters that are no dictionary.
        ValueError: for weights that are missing, and shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import course
        >>> rng = np.random.default_rng(0)
        >>> parameters = {f"W{g}": rng.normal(size=(5, 8)) for g in "fioc"}
        >>> parameters |= {f"b{g}": np.zeros((5, 1)) for g in "fioc"}
        >>> zeros = np.zeros((5, 10))
        >>> a, c, cache = course.lstm_cell(np.ones((3, 10)), zeros, zeros, parameters)
        >>> a.shape, cache.f.shape
        ((5, 10), (5, 10))
    """
    function = "lstm_cell"
    weights = weights_of(function, "parameters", "lstm", parameters)
    xt = numbers(function, "xt", xt, 2, "(n_x, m)")
    a_prev = numbers(function, "a_prev", a_prev, 2, "(n_a, m)")
    c_prev = numbers(function, "c_prev", c_prev, 2, "(n_a, m)")
    check_features(function, "xt", xt, weights)
    check_state(function, "a_prev", a_prev, sizes(weights)[0], xt)
    check_state(function, "c_prev", c_prev, sizes(weights)[0], xt)
    cache = lstm_step(*in_one_dtype(weights, xt, a_prev, c_prev))
    return cache.a_next, cache.c_next, cache


@jax.jit
def lstm_step(weights: Weights, xt: Array, a_prev: Array, c_prev: Array) -> LSTMCache:
    """One step of checked arguments."""
    params = pack("lstm", weights, jnp)
    cell = recording(lstm(len(a_prev)))
    z = cell.project(params, xt.T)
    _, gates = cell.step(params, LSTMCarry(a_prev.T, c_prev.T), z)
    return as_cache(gates, xt, a_prev, c_prev, lambda value: value.T)


def as_cache(gates: Any, xt: Any, a_prev: Any, c_prev: Any, turn: Any) -> LSTMCache:
    """The course's cache of what a cell of ours has computed; `turn` puts the examples last."""
    computed = (gates.h, gates.c, gates.f, gates.i, gates.o, gates.g)
    return LSTMCache(xt, a_prev, c_prev, *(turn(value).astype(xt.dtype) for value in computed))


def gru_cell(a_prev: Any, x: Any, parameters: Mapping[str, Any]) -> tuple[Array, GRUCache]:
    r"""Take one step of the course's GRU, with the cell of `rnnjax.gru(reset="before")`.

    $$ \tilde a = \tanh(W_a [r \odot a_{prev}; x] + b_a), \qquad
       a = (1 - z) \odot a_{prev} + z \odot \tilde a $$

    with r and z the sigmoids of $W [a_{prev}; x] + b$. Here z takes the new value, where that of
    `rnnjax.gru` keeps the old one.

    Args:
        a_prev: the hidden state, `(n_a, m)`.
        x: the input, `(n_x, m)`.
        parameters: `W_r W_z W_a`, each `(n_a, n_a + n_x)`, and `b_r b_z b_a`, each `(n_a, 1)`;
            others are left alone.

    Returns:
        `a_t` and the cache, in the widest dtype of the arguments that JAX has switched on.

    Raises:
        TypeError: for what is no array of numbers, and parameters that are no dictionary.
        ValueError: for weights that are missing, and shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import course
        >>> parameters = {f"W_{g}": np.ones((5, 8)) for g in "rza"}
        >>> parameters |= {f"b_{g}": np.zeros((5, 1)) for g in "rza"}
        >>> a, cache = course.gru_cell(np.zeros((5, 10)), np.ones((3, 10)), parameters)
        >>> a.shape, bool(abs(a - cache.z * cache.candidate).max() < 1e-6)
        ((5, 10), True)
    """
    function = "gru_cell"
    weights = weights_of(function, "parameters", "gru", parameters)
    a_prev = numbers(function, "a_prev", a_prev, 2, "(n_a, m)")
    x = numbers(function, "x", x, 2, "(n_x, m)")
    check_features(function, "x", x, weights)
    check_state(function, "a_prev", a_prev, sizes(weights)[0], x)
    cache = gru_step(*in_one_dtype(weights, a_prev, x))
    return cache.a_t, cache


@jax.jit
def gru_step(weights: Weights, a_prev: Array, x: Array) -> GRUCache:
    """One step of checked arguments."""
    params = pack("gru", weights, jnp)
    cell = recording(gru(len(a_prev), reset="before"))
    _, gates = cell.step(params, GRUCarry(a_prev.T), cell.project(params, x.T))
    computed = (gates.r, 1 - gates.z, gates.n, gates.h)
    return GRUCache(a_prev, x, *(value.T.astype(x.dtype) for value in computed))

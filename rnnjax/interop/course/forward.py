"""Whole sequences and whole models of the course."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.cells.gates import recording
from rnnjax.cells.lstm import LSTMCarry, lstm
from rnnjax.interop.course.caches import LSTMCache, ModelOutput
from rnnjax.interop.course.checks import (
    Weights,
    check_features,
    check_state,
    dense_layers_of,
    dense_of,
    in_one_dtype,
    lstm_layers_of,
    numbers,
    sizes,
    weights_of,
)
from rnnjax.interop.course.packing import pack
from rnnjax.interop.course.steps import as_cache
from rnnjax.methods.scan import Scan
from rnnjax.sequence.dense import DenseParams, dense
from rnnjax.sequence.unroll import unroll


def lstm_forward(
    x: Any, a0: Any, parameters: Mapping[str, Any]
) -> tuple[Array, Array, list[LSTMCache]]:
    """Run the course's LSTM over a sequence, from a cell state of zero, in one compiled loop.

    Args:
        x: the inputs, `(n_x, m, T_x)`.
        a0: the initial hidden state, `(n_a, m)`.
        parameters: as for `lstm_cell`.

    Returns:
        The hidden states `a` and the cell states `c`, each `(n_a, m, T_x)`, and the caches, one a
        step.

    Raises:
        TypeError: as `lstm_cell`.
        ValueError: as `lstm_cell`.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import course
        >>> parameters = {f"W{g}": np.ones((5, 8)) for g in "fioc"}
        >>> parameters |= {f"b{g}": np.zeros((5, 1)) for g in "fioc"}
        >>> a, c, caches = course.lstm_forward(np.ones((3, 10, 7)), np.zeros((5, 10)), parameters)
        >>> a.shape, c.shape, len(caches)
        ((5, 10, 7), (5, 10, 7), 7)
    """
    function = "lstm_forward"
    weights = weights_of(function, "parameters", "lstm", parameters)
    x = numbers(function, "x", x, 3, "(n_x, m, T_x)")
    a0 = numbers(function, "a0", a0, 2, "(n_a, m)")
    check_features(function, "x", x, weights)
    check_state(function, "a0", a0, sizes(weights)[0], x)
    return run_layer(*in_one_dtype(weights, x, a0))


def run_layer(weights: Weights, x: Array, a0: Array) -> tuple[Array, Array, list[LSTMCache]]:
    """One layer of checked arguments."""
    a, c, steps = run_steps(weights, x, a0)
    return a, c, [LSTMCache(*step) for step in zip(*map(jnp.unstack, steps), strict=True)]


@jax.jit
def run_steps(weights: Weights, x: Array, a0: Array) -> tuple[Array, Array, LSTMCache]:
    """Hidden states, cell states, and the caches with time first."""
    params = pack("lstm", weights, jnp)
    cell = recording(lstm(len(a0)))
    start = LSTMCarry(a0.T, jnp.zeros_like(a0.T))
    _, gates = unroll(cell, params, jnp.transpose(x, (2, 1, 0)), start, method=Scan())
    turned = as_cache(gates, jnp.moveaxis(x, -1, 0), None, None, lambda v: jnp.swapaxes(v, 1, 2))
    before = lambda first, rest: jnp.concatenate([first[None], rest])[: x.shape[-1]]
    a, c = turned.a_next, turned.c_next
    caches = turned._replace(a_prev=before(a0, a), c_prev=before(jnp.zeros_like(a0), c))
    return jnp.moveaxis(a, 0, -1), jnp.moveaxis(c, 0, -1), caches


def lstm_model_forward(
    x: Any, layers: Sequence[Mapping[str, Any]]
) -> tuple[Array, list[Array], list[list[LSTMCache]]]:
    """Run LSTM layers above each other, each from zero states.

    Args:
        x: the inputs, `(n_x, m, T_x)`.
        layers: the parameters of each layer, from bottom to top, as for `lstm_cell`; a layer
            reads the hidden states of the one below, so its weights are
            `(n_a, n_a + n_a of the layer below)`.

    Returns:
        The hidden states of the last layer, the cell states of each, and the caches of each.

    Raises:
        TypeError: as `lstm_cell`, and for layers that are no list.
        ValueError: as `lstm_cell`.
    """
    function = "lstm_model_forward"
    x = numbers(function, "x", x, 3, "(n_x, m, T_x)")
    weights = lstm_layers_of(function, "layers", layers, x)
    return run_layers(*in_one_dtype(x, weights))


def run_layers(x: Array, layers: list[Weights]) -> tuple[Array, list[Array], list[list[LSTMCache]]]:
    """Layers of checked arguments."""
    cells, caches = [], []
    for weights in layers:
        x, c, steps = run_layer(weights, x, jnp.zeros((sizes(weights)[0], x.shape[1]), x.dtype))
        cells.append(c)
        caches.append(steps)
    return x, cells, caches


def dense_layer_forward(a: Any, W: Any, b: Any) -> tuple[Array, Array]:
    r"""Compute the course's dense layer, $\sigma(W a + b)$.

    Args:
        a: what the units below say, `(n_below, m)`.
        W: weights, `(n, n_below)`.
        b: the bias, `(n, 1)`.

    Returns:
        The output, and its value before the sigmoid, each `(n, m)`.

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: for shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import course
        >>> y, before = course.dense_layer_forward(np.ones((3, 2)), np.ones((1, 3)), [[-3.0]])
        >>> y.tolist(), before.tolist()
        ([[0.5, 0.5]], [[0.0, 0.0]])
    """
    function = "dense_layer_forward"
    a = numbers(function, "a", a, 2, "(n_below, m)")
    return run_dense(*in_one_dtype(a, *dense_of(function, ("W", "b"), W, b, a.shape[0])))


@jax.jit
def run_dense(a: Array, w: Array, b: Array) -> tuple[Array, Array]:
    """One dense layer of checked arguments."""
    layer = dense(len(w))
    before = layer.apply(DenseParams(w.T, b[:, 0]), a.T[None])[1][0].T
    return jax.nn.sigmoid(before), before


def model_forward(
    x: Any, lstm_layers: Sequence[Mapping[str, Any]], dense_layers: Sequence[Mapping[str, Any]]
) -> ModelOutput:
    """Predict from the last hidden state of LSTM layers, through dense layers.

    Args:
        x: the inputs, `(n_x, m, T_x)`.
        lstm_layers: as for `lstm_model_forward`.
        dense_layers: `W` and `b` of each, from bottom to top, as for `dense_layer_forward`.

    Returns:
        The prediction `(n_y, m)`, then what `lstm_model_forward` returns, and the values before
        the sigmoid of each dense layer.

    Raises:
        TypeError: as `lstm_model_forward`.
        ValueError: as `lstm_model_forward` and `dense_layer_forward`, and for no steps.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import course
        >>> layer = {f"W{g}": np.ones((5, 8)) for g in "fioc"}
        >>> layer |= {f"b{g}": np.zeros((5, 1)) for g in "fioc"}
        >>> head = {"W": np.ones((1, 5)), "b": np.zeros((1, 1))}
        >>> course.model_forward(np.ones((3, 10, 7)), [layer], [head]).prediction.shape
        (1, 10)
    """
    function = "model_forward"
    x = numbers(function, "x", x, 3, "(n_x, m, T_x)")
    layers = lstm_layers_of(function, "lstm_layers", lstm_layers, x)
    heads = dense_layers_of(function, "dense_layers", dense_layers, sizes(layers[-1])[0])
    if not x.shape[-1]:
        _checks.refuse(function, "x", "have a last step", x.shape, "give a sequence")
    x, layers, heads = in_one_dtype(x, layers, heads)
    a, c, caches = run_layers(x, layers)
    y, before = a[:, :, -1], []
    for w, b in heads:
        y, z = run_dense(y, w, b)
        before.append(z)
    return ModelOutput(y, a, c, caches, before)

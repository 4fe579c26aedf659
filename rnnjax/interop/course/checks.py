"""What the functions of the course refuse: shapes that do not fit, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.cells.dtypes import promote
from rnnjax.interop.course.packing import NAMES

Weights = dict[str, Array]


def numbers(function: str, argument: str, value: Any, ndim: int, shape: str) -> Array:
    """An array of so many axes; whole numbers become floats later."""
    array = _checks.array(function, argument, value)
    if not jnp.issubdtype(array.dtype, jnp.number) or jnp.iscomplexobj(array):
        way_out = "give an array of floats"
        got = _checks.kind(value)
        _checks.refuse(function, argument, "hold real numbers", got, way_out, error=TypeError)
    if array.ndim != ndim:
        way_out = "columns are examples here"
        _checks.refuse(function, argument, f"have shape {shape}", array.shape, way_out)
    return array


def weights_of(function: str, argument: str, kind: str, parameters: Any) -> Weights:
    """The weights of one cell, whose shapes fit each other; what else is there is left alone."""
    wanted = [name for pair in NAMES[kind].values() for name in pair]
    if not isinstance(parameters, Mapping):
        got = _checks.kind(parameters)
        way_out = f"give the weights by name: {', '.join(wanted)}"
        _checks.refuse(function, argument, "be a dictionary", got, way_out, error=TypeError)
    missing = [name for name in wanted if name not in parameters]
    if missing:
        got = f"only {sorted(map(str, parameters))[:10]}"
        way_out = f"the weights of {'an LSTM' if kind == 'lstm' else 'a GRU'} are {wanted}"
        _checks.refuse(function, argument, f"hold {missing[0]!r}", got, way_out)
    out = {}
    first = f"{argument}[{wanted[0]!r}]"
    shape = numbers(function, first, parameters[wanted[0]], 2, "(n_a, n_a + n_x)").shape
    if not 0 < shape[0] < shape[1]:
        way_out = "its columns are for the state and, after it, the input"
        _checks.refuse(function, first, "have shape (n_a, n_a + n_x)", shape, way_out)
    for name in wanted:
        where = f"{argument}[{name!r}]"
        bias = name.startswith("b")
        like = (shape[0], 1) if bias else shape
        way_out = "a bias is a column" if bias else "all gates have one shape"
        out[name] = numbers(function, where, parameters[name], 2, f"{like}")
        if out[name].shape != like:
            _checks.refuse(function, where, f"have shape {like}", out[name].shape, way_out)
    return out


def sizes(weights: Weights) -> tuple[int, int]:
    """`n_a` and `n_x` of the weights of a cell."""
    rows, columns = next(iter(weights.values())).shape
    return rows, columns - rows


def check_features(function: str, argument: str, x: Array, weights: Weights) -> None:
    """The features of an input are those that the weights ask for."""
    rows, features = sizes(weights)
    if x.shape[0] == features:
        return
    names = ("features", "examples", "steps")
    read = ", ".join(f"{n} {name}" for n, name in zip(x.shape, names, strict=False))
    wanted = (
        f"have {features} features in its first axis, as weights of shape "
        f"{(rows, rows + features)} ask for"
    )
    order = "(n_x, m, T_x)" if x.ndim == 3 else "(n_x, m)"
    way_out = f"bring it into the order {order}, or make weights for {x.shape[0]} features"
    _checks.refuse(function, argument, wanted, f"{x.shape}: {read}", way_out)


def check_state(function: str, argument: str, state: Array, width: int, x: Array) -> None:
    """A state has a row for each unit and a column for each example."""
    like = (width, x.shape[1])
    if state.shape != like:
        way_out = "n_a is that of the weights, m that of the input"
        wanted = f"have shape (n_a, m) = {like}"
        _checks.refuse(function, argument, wanted, state.shape, way_out)


def layers_of(function: str, argument: str, layers: Any) -> Sequence[Any]:
    """A list of the weights of layers."""
    if not isinstance(layers, list | tuple):
        way_out = "give the weights of each layer, from bottom to top"
        got = _checks.kind(layers)
        _checks.refuse(function, argument, "be a list", got, way_out, error=TypeError)
    if not layers:
        _checks.refuse(function, argument, "hold a layer", "none", "give the weights of one")
    return layers


def lstm_layers_of(function: str, argument: str, layers: Any, x: Array) -> list[Weights]:
    """The weights of LSTM layers that fit the input and each other."""
    out: list[Weights] = []
    for k, parameters in enumerate(layers_of(function, argument, layers)):
        where = f"{argument}[{k}]"
        weights = weights_of(function, where, "lstm", parameters)
        if not out:
            check_features(function, "x", x, weights)
        else:
            (rows, features), (below, _) = sizes(weights), sizes(out[-1])
            if features != below:
                name = next(iter(weights))
                wanted = f"have shape {(rows, rows + below)}, for {below} units in the layer below"
                way_out = "its columns are for its own state and, after it, the layer below"
                got = (rows, rows + features)
                _checks.refuse(function, f"{where}[{name!r}]", wanted, got, way_out)
        out.append(weights)
    return out


def dense_of(
    function: str, names: tuple[str, str], w: Any, b: Any, below: int
) -> tuple[Array, Array]:
    """Weights and bias of a dense layer above so many units."""
    w = numbers(function, names[0], w, 2, "(n, n_below)")
    b = numbers(function, names[1], b, 2, "(n, 1)")
    if w.shape[1] != below:
        wanted = f"have {below} columns, one for each unit below"
        way_out = f"give weights of shape {(w.shape[0], below)}"
        _checks.refuse(function, names[0], wanted, f"shape {w.shape}", way_out)
    if b.shape != (w.shape[0], 1):
        wanted = f"have shape {(w.shape[0], 1)}"
        _checks.refuse(function, names[1], wanted, b.shape, "a bias is a column")
    return w, b


def dense_layers_of(
    function: str, argument: str, layers: Any, below: int
) -> list[tuple[Array, Array]]:
    """Weights and biases of dense layers above each other."""
    out = []
    for k, layer in enumerate(layers_of(function, argument, layers)):
        where = f"{argument}[{k}]"
        if not isinstance(layer, Mapping) or not {"W", "b"} <= set(layer):
            way_out = "give its weights by name"
            got = _checks.describe(layer)
            _checks.refuse(function, where, "be a dictionary with 'W' and 'b'", got, way_out)
        names = (f"{where}['W']", f"{where}['b']")
        out.append(dense_of(function, names, layer["W"], layer["b"], below))
        below = out[-1][0].shape[0]
    return out


def in_one_dtype(tree: Any, *others: Any) -> Any:
    """All arrays in the widest of their floating dtypes, as NumPy would compute with them."""
    everything = (tree, *others)
    dtype = None
    for leaf in jax.tree.leaves(everything):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            dtype = leaf.dtype if dtype is None else promote(dtype, leaf.dtype)
    wanted = jnp.result_type(float) if dtype is None else dtype
    return jax.tree.map(lambda a: a.astype(wanted), everything)

"""The flat vector of weights that cuDNN's LSTM takes, as `jax.experimental.rnn` has it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.lstm import LSTMParams
from rnnjax.interop.arrays import as_floats
from rnnjax.interop.assemble import Level, Reading, as_params, cell_of, one_layer
from rnnjax.interop.report import Converted, Foreign, Report, Row
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.stack import stack

HOW = {
    "W_ih": ("w_ih", "transposed"),
    "W_hh": ("w_hh", "transposed"),
    "b_ih": ("b", "plus b_hh"),
    "b_hh": ("b", "plus b_ih"),
}


def cudnn_to_rnnjax(
    weights: Any,
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    dtype: Any = None,
) -> Converted:
    """Bring the weights of `jax.experimental.rnn.lstm` here; the outputs are equal.

    They are one vector: of every layer and direction (forward, backward, then the next layer)
    `W_ih` and `W_hh`, then of every layer and direction `b_ih` and `b_hh`. The two biases are
    summed. That function has the batch first; ours has time first. On AMD's GPUs its vector may
    have two gates exchanged, which `swap_lstm_gates` of that module undoes.

    Args:
        weights: the vector, in float32.
        input_size: D, features of the inputs.
        hidden_size: H.
        num_layers: how many.
        bidirectional: whether each of them reads both ways.
        dtype: of the params; None keeps float32.

    Returns:
        A `stack` of LSTMs, its params, and the report.

    Raises:
        TypeError: for what is no vector of float32, and sizes that are no whole numbers.
        ValueError: for a vector of another length than these sizes make.

    Example:
        >>> import jax, rnnjax
        >>> from jax.experimental import rnn
        >>> sizes = {"input_size": 3, "hidden_size": 4, "num_layers": 1, "bidirectional": False}
        >>> weights = rnn.init_lstm_weight(jax.random.key(0), **sizes)
        >>> print(rnnjax.interop.cudnn_to_rnnjax(weights, **sizes).report)
        array there  shape    here             how
        W_ih[0]      (16, 3)  layers_0.w_ih    transposed
        W_hh[0]      (16, 4)  layers_0.w_hh    transposed
        b_ih[0]      (16,)    layers_0.b       plus b_hh
        b_hh[0]      (16,)    layers_0.b       plus b_ih
    """
    function = "cudnn_to_rnnjax"
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, value in sizes.items():
        _checks.size(function, name, value)
    _checks.flag(function, "bidirectional", bidirectional)
    vector = as_floats(function, "weights", weights)
    if vector.dtype != np.float32:
        way_out = "cuDNN's LSTM has no other in JAX: cast it with .astype('float32')"
        got = vector.dtype.name
        _checks.refuse(function, "weights", "be float32", got, way_out, error=TypeError)
    if dtype is not None:
        vector = vector.astype(_checks.float_dtype(function, "dtype", dtype))
    ways = 2 if bidirectional else 1
    total = size_of(input_size, hidden_size, num_layers, ways)
    if vector.shape != (total,):
        way_out = "see jax.experimental.rnn.get_num_params_in_lstm"
        wanted = f"have shape ({total},) for these sizes"
        _checks.refuse(function, "weights", wanted, vector.shape, way_out)
    pieces = list(shapes(input_size, hidden_size, num_layers, ways))
    ends = np.cumsum([int(np.prod(shape)) for _, _, shape in pieces])[:-1]
    found: dict[tuple[str, int], Any] = {}
    rows = []
    for (name, index, shape), part in zip(pieces, np.split(vector, ends), strict=True):
        found[name, index] = part.reshape(shape)
        field, how = HOW[name]
        end = f"[{index % ways}]" if bidirectional else ""
        rows.append(Row(f"{name}[{index}]", shape, f"layers_{index // ways}.{field}{end}", how))
    layers, trees = [], []
    for k in range(num_layers):
        own = [
            LSTMParams(found["W_ih", i].T, found["W_hh", i].T, found["b_ih", i] + found["b_hh", i])
            for i in range(k * ways, (k + 1) * ways)
        ]
        layer, params = one_layer(cell_of(own[0]), own)
        layers.append(layer)
        trees.append(params)
    params = as_params(function, tuple(trees))
    return Converted(stack(*layers), params, Report(tuple(rows)))


def size_of(input_size: int, hidden_size: int, num_layers: int, ways: int) -> int:
    """The length of the vector, without going through its pieces."""
    columns = num_layers * (hidden_size + 2) + input_size + (num_layers - 1) * ways * hidden_size
    return ways * 4 * hidden_size * columns


def shapes(
    input_size: int, hidden_size: int, num_layers: int, ways: int
) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Name, layer and direction by one number, and shape of every piece, in their order."""
    gates = 4 * hidden_size
    for index in range(num_layers * ways):
        below = input_size if index < ways else ways * hidden_size
        yield "W_ih", index, (gates, below)
        yield "W_hh", index, (gates, hidden_size)
    for index in range(num_layers * ways):
        yield "b_ih", index, (gates,)
        yield "b_hh", index, (gates,)


def rnnjax_to_cudnn(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write LSTMs as the vector of weights that `jax.experimental.rnn.lstm` takes.

    All layers must be of one width, and all in both directions or none. The bias goes to `b_ih`,
    with zeros in `b_hh`; without a bias both are zero.

    Args:
        layer: an `lstm`, in one direction or both, or a stack of them.
        params: of `layer`, in float32.

    Returns:
        The vector, the sizes that `lstm` and its kind take, and the report.

    Raises:
        TypeError: if `layer` is none, the params are of another, or not in float32.
        ValueError: for other cells, activations and merges, layers that differ, and a direction
            that is only backward.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.lstm(5), rnnjax.lstm(5))
        >>> there = rnnjax.interop.rnnjax_to_cudnn(layer, layer.init(jax.random.key(0), 3))
        >>> there.weights.shape, there.options["num_layers"]
        ((440,), 2)
    """
    reading = Reading("rnnjax_to_cudnn", layer, params)
    levels = reading.levels(("lstm",))
    first = levels[0]
    for level in levels:
        check_level(reading, level, first)
    ways = len(first.directions)
    input_size, hidden_size = first.directions[0].w_ih.shape[0], first.directions[0].w_hh.shape[0]
    own = [way for level in levels for way in reading.without_initial(level)]
    vector, rows = [], []
    for name, index, shape in shapes(input_size, hidden_size, len(levels), ways):
        level = levels[index // ways]
        array = piece(name, own[index])
        target = level.named(HOW[name][0], index % ways) if name != "b_hh" else ""
        how = "transposed" if name.startswith("W") else "as it is"
        rows.append(Row(f"{name}[{index}]", shape, target, how if target else "zero"))
        vector.append(array.reshape(-1))
    options = {
        "input_size": input_size,
        "hidden_size": hidden_size,
        "num_layers": len(levels),
        "bidirectional": ways == 2,
    }
    return Foreign(np.concatenate(vector), options, Report(tuple(rows), tuple(reading.notes)))


def piece(name: str, params: Any) -> np.ndarray:
    """One array of one layer and direction as it stands there."""
    if name == "W_ih":
        return params.w_ih.T
    if name == "W_hh":
        return params.w_hh.T
    if name == "b_hh" or params.b is None:
        return np.zeros(params.w_hh.shape[1], params.w_hh.dtype)
    return params.b


def check_level(reading: Reading, level: Level, first: Level) -> None:
    """Refuse a level that cannot stand in one vector with the first one."""
    part, own = level.part, level.directions[0]
    if own.w_ih.dtype != np.float32:
        way_out = "cuDNN's LSTM has no other in JAX: cast the params"
        name = f"params.{part.name}" if part.name else "params"
        got = own.w_ih.dtype.name
        _checks.refuse(reading.function, name, "be float32", got, way_out, error=TypeError)
    reading.forwards_only(part)
    same = lambda of: (len(of.directions), of.directions[0].w_hh.shape)
    if same(level) != same(first):
        wanted = f"be of one width and direction with {first.where}"
        got = f"{len(level.directions)} of width {own.w_hh.shape[0]}"
        reading.refuse(part, wanted, got, "write each layer to a vector of its own")

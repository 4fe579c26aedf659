"""Weights of `nn.LSTM`, `nn.GRU` and `nn.RNN`, and of their cells."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.projected import ProjectedLSTMParams
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Level, Reading, as_params
from rnnjax.interop.pytorch_models import chain
from rnnjax.interop.pytorch_reading import (
    ACTIVATIONS,
    activation_of,
    cell_for,
    notes_of,
    read_levels,
    read_way,
    state_dict,
    under,
)
from rnnjax.interop.report import Converted, Foreign, Report, Row
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.merge import concatenate
from rnnjax.sequence.stack import stack

KINDS = ("lstm", "projected_lstm", "gru", "elman")
NUM_GATES = {"lstm": 4, "projected_lstm": 4, "gru": 3, "elman": 1}
CONSTRUCTORS = {"lstm": "LSTM", "projected_lstm": "LSTM", "gru": "GRU", "elman": "RNN"}


def torch_to_rnnjax(
    source: Any,
    *,
    prefix: str = "",
    order: Sequence[str] | None = None,
    nonlinearity: Literal["tanh", "relu"] | None = None,
    dtype: Any = None,
) -> Converted:
    """Bring an `nn.LSTM`, `nn.GRU` or `nn.RNN` of PyTorch here; the outputs are equal.

    All layers, both directions and projections come along. PyTorch's two biases are summed, but
    for the GRU's `b_hn`. Its modules give a `stack`, whose carries are `h_0` and `c_0` by layer
    and direction; `nn.LSTMCell` and the like give a cell. Ours is time-major, as PyTorch's is
    without `batch_first`. Given an `order`, the parts of a whole model become one `stack`.

    Args:
        source: the module, or its state dict, or any mapping of names to arrays or tensors, or
            the path of a file of safetensors. PyTorch need not be installed for the last two.
        prefix: where the network's names begin in a larger state dict, such as `"encoder.gru"`.
        order: the names of the parts of a whole model from bottom to top, such as
            `("embed", "lstm", "head")`: recurrent modules, `nn.Embedding`, `nn.Linear`, and where
            `source` is the module also dropout and activations. None means that `source` is one
            recurrent module.
        nonlinearity: of an `nn.RNN`; None where the module says it, or where there is none.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The layer or cell, its params, and the report on every array.

    Raises:
        OSError: for a path of no file that can be read.
        TypeError: for what is neither module nor mapping, and arrays of other kinds.
        ValueError: for arrays that are missing, too many, or of shapes that do not fit, for an
            `nn.RNN` without its nonlinearity, and for parts of a model that are something else.

    Example:
        >>> import jax, rnnjax
        >>> from rnnjax.interop import rnnjax_to_torch, torch_to_rnnjax
        >>> cell = rnnjax.gru(4)
        >>> weights = rnnjax_to_torch(cell, cell.init(jax.random.key(0), 3)).weights
        >>> print(torch_to_rnnjax(weights).report)
        array there   shape    here                                  how
        weight_ih_l0  (12, 3)  layers_0.w_ih                         transposed
        weight_hh_l0  (12, 4)  layers_0.w_hh                         transposed
        bias_ih_l0    (12,)    layers_0.b                            plus bias_hh
        bias_hh_l0    (12,)    layers_0.b, layers_0.b_hn             its n block apart
    """
    function = "torch_to_rnnjax"
    if order is not None:
        return chain(function, source, order, prefix, nonlinearity, dtype)
    arrays = Arrays(function, "source", under(function, state_dict(source), prefix), dtype=dtype)
    activation = activation_of(function, source, nonlinearity)
    arrays.notes += notes_of(source)
    if "weight_ih" in arrays:
        params = read_way(arrays, ("", ""), "")
        cell = cell_for(arrays, params, activation)
        return Converted(cell, as_params(function, params), arrays.finish())
    layers, trees = zip(*read_levels(arrays, activation), strict=True)
    return Converted(stack(*layers), as_params(function, trees), arrays.finish())


def rnnjax_to_torch(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write the weights as PyTorch's `nn.LSTM`, `nn.GRU` or `nn.RNN` has them.

    All layers must be of one kind and width, and all in both directions or none, since that is
    what one module of PyTorch can be. The bias goes to `bias_ih`, with zeros in `bias_hh` but for
    the GRU's `b_hn`.

    Args:
        layer: a cell, a bidirectional layer, or a stack of them.
        params: of `layer`.

    Returns:
        The state dict with arrays of NumPy, the options of the constructor (`options["module"]`
        is its name), and the report. Load it with
        `module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})`.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for what PyTorch's modules cannot be: reset before, other cells, activations
            and merges, layers that differ, and a direction that is only backward.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.lstm(5), rnnjax.lstm(5))
        >>> there = rnnjax.interop.rnnjax_to_torch(layer, layer.init(jax.random.key(0), 3))
        >>> there.options["module"], there.options["num_layers"], there.weights["bias_hh_l1"].shape
        ('LSTM', 2, (20,))
    """
    reading = Reading("rnnjax_to_torch", layer, params)
    levels = reading.levels(KINDS)
    options = module_options(reading, levels)
    weights: dict[str, np.ndarray] = {}
    rows: list[Row] = []
    for k, level in enumerate(levels):
        for way, own in enumerate(reading.without_initial(level)):
            end = f"_l{k}" + ("_reverse" if way else "")
            for name, array, target, how in write_way(own, options["bias"]):
                weights[name + end] = array
                rows.append(Row(name + end, array.shape, level.named(target, way), how))
    return Foreign(weights, options, Report(tuple(rows), tuple(reading.notes)))


def module_options(reading: Reading, levels: list[Level]) -> dict[str, Any]:
    """What the module's constructor takes; refuses what one module cannot be."""
    first = levels[0]
    own = first.directions[0]
    options: dict[str, Any] = {
        "module": CONSTRUCTORS[first.kind],
        "input_size": own.w_ih.shape[0],
        "hidden_size": own.w_hh.shape[-1] // NUM_GATES[first.kind],
        "num_layers": len(levels),
        "bias": any(level.directions[0].b is not None for level in levels),
        "bidirectional": len(first.directions) == 2,
    }
    if first.kind == "projected_lstm":
        options["proj_size"] = own.w_hr.shape[1]
        if options["proj_size"] >= options["hidden_size"]:
            wanted = f"have out_features below {options['hidden_size']}, as PyTorch asks for"
            reading.refuse(first.part, wanted, options["proj_size"], "make it narrower")
    if first.kind == "elman":
        options["nonlinearity"] = nonlinearity_of(reading, first)
    for level in levels:
        check_level(reading, level, first)
    return options


def check_level(reading: Reading, level: Level, first: Level) -> None:
    """Refuse a level that cannot stand in one module with the first one."""
    part = level.part
    if part.reverse:
        way_out = "make it bidirectional, or turn the sequence around yourself"
        reading.refuse(part, "read forwards", "reverse=True", way_out)
    if part.merge not in (None, concatenate):
        wanted = "concatenate its directions"
        reading.refuse(part, wanted, getattr(part.merge, "__name__", part.merge), "merge after it")
    if part.options.get("reset") == "before":
        reading.refuse(
            part, "reset after the product", "reset='before'", "no weights make it equal"
        )
    same = lambda of: (
        of.kind,
        len(of.directions),
        of.directions[0].w_hh.shape,
        of.part.options.get("activation"),
    )
    if same(level) != same(first):
        wanted = f"be of one kind, width and direction with {first.where}"
        reading.refuse(part, wanted, level.kind, "write each layer to a module of its own")


def nonlinearity_of(reading: Reading, level: Level) -> str:
    """What PyTorch calls the activation of an Elman cell."""
    for name, function in ACTIVATIONS.items():
        if level.part.options["activation"] is function:
            return name
    reading.refuse(level.part, "have tanh or relu", "another activation", "train with one of these")


def write_way(params: Any, bias: bool) -> list[tuple[str, np.ndarray, str, str]]:
    """Name there, array, name here and what was done, of one direction of one layer."""
    arrays = [
        ("weight_ih", params.w_ih.T, "w_ih", "transposed"),
        ("weight_hh", params.w_hh.T, "w_hh", "transposed"),
    ]
    if isinstance(params, ProjectedLSTMParams):
        arrays.append(("weight_hr", params.w_hr.T, "w_hr", "transposed"))
    if bias:
        zeros = np.zeros(params.w_ih.shape[1], params.w_ih.dtype)
        b, b_hh = zeros if params.b is None else params.b, zeros
        b_hn = getattr(params, "b_hn", None)
        if b_hn is not None:
            b_hh = np.concatenate([zeros[: -len(b_hn)], b_hn])
        arrays.append(("bias_ih", b, "b", "as it is"))
        arrays.append(("bias_hh", b_hh, "b_hn" if b_hh is not zeros else "", "zero elsewhere"))
    return arrays

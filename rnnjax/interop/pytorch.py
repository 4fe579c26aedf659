"""Weights of `nn.LSTM`, `nn.GRU` and `nn.RNN`, and of their cells."""

from collections.abc import Sequence
from typing import Any, Literal

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Reading, as_params, refuse_unused
from rnnjax.interop.pytorch_models import chain
from rnnjax.interop.pytorch_reading import (
    activation_of,
    cell_for,
    check_module,
    notes_of,
    read_levels,
    read_way,
    state_dict,
    under,
)
from rnnjax.interop.pytorch_writing import modules, one_module
from rnnjax.interop.report import Converted, Foreign, Report
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.stack import stack


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
        nonlinearity: of an `nn.RNN`; None where the module says it, and where there is none.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The layer or cell, its params, and the report on every array.

    Raises:
        OSError: for a path of no file that can be read.
        TypeError: for what is neither module nor mapping, a module that is not of PyTorch itself
            (whose forward may be another), and arrays of other kinds.
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
        found = chain(function, source, order, prefix, nonlinearity, dtype)
    else:
        found = one_network(function, source, prefix, nonlinearity, dtype)
    refuse_unused(function, "nonlinearity", nonlinearity, found[:2], ("elman",))
    return found


def one_network(
    function: str, source: Any, prefix: str, nonlinearity: str | None, dtype: Any
) -> Converted:
    """What one recurrent module becomes."""
    named = under(function, state_dict(source), prefix)
    module = check_module(function, source, prefix)
    arrays = Arrays(function, "source", named, dtype=dtype)
    activation = activation_of(function, module, nonlinearity)
    arrays.notes += notes_of(module)
    if "weight_ih" in arrays:
        params = read_way(arrays, ("", ""), "")
        cell = cell_for(arrays, params, activation)
        return Converted(cell, as_params(function, params), arrays.finish())
    layers, trees = zip(*read_levels(arrays, activation), strict=True)
    return Converted(stack(*layers), as_params(function, trees), arrays.finish())


def rnnjax_to_torch(
    layer: Cell | Layer, params: PyTree, *, order: Sequence[str] | None = None
) -> Foreign:
    """Write the weights as PyTorch's `nn.LSTM`, `nn.GRU` or `nn.RNN` has them, or a whole model.

    All layers of one module are of one kind and width, and all in both directions or none. The
    bias goes to `bias_ih`, with zeros in `bias_hh` but for the GRU's `b_hn`. Given an `order`,
    every part goes to a module of its own: layers that differ, `embedding`, `dense` and functions
    of the features, as `torch_to_rnnjax` with this `order` has read them.

    Args:
        layer: a cell, a bidirectional layer, or a stack of them; with an `order`, any stack.
        params: of `layer`.
        order: the names of the modules there from bottom to top, such as
            `("embed", "lstm", "head")`. Recurrent levels in a row that are alike share a name, or
            there is a name for every level, the same one for those of one module. The activation
            of a `dense` layer is a module with a name, and without weights; dropout has none.
            None means one recurrent module.

    Returns:
        The state dict with arrays of NumPy, the options of the constructor (`options["module"]`
        is its name; with an `order` these are by module), and the report. Load it with
        `module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})`; bfloat16,
        which PyTorch does not take from NumPy, as
        `torch.from_numpy(v.astype("float32")).bfloat16()`.

    Raises:
        TypeError: if `layer` is none, the params are of another, or `order` holds no names.
        ValueError: for what PyTorch's modules cannot be: reset before, other cells, activations
            and merges, layers that differ without an `order`, a direction that is only backward;
            and for an `order` of another length.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.lstm(5), rnnjax.lstm(5))
        >>> there = rnnjax.interop.rnnjax_to_torch(layer, layer.init(jax.random.key(0), 3))
        >>> there.options["module"], there.options["num_layers"], there.weights["bias_hh_l1"].shape
        ('LSTM', 2, (20,))
        >>> model = rnnjax.stack(rnnjax.embedding(9, 3), rnnjax.gru(5), rnnjax.dense(2))
        >>> params = model.init(jax.random.key(0), None)
        >>> there = rnnjax.interop.rnnjax_to_torch(model, params, order=("embed", "gru", "head"))
        >>> head = there.options["head"]
        >>> head["module"], there.weights["head.weight"].shape
        ('Linear', (2, 5))
    """
    reading = Reading("rnnjax_to_torch", layer, params)
    if order is None:
        made = {"": one_module(reading)}
        options = made[""].options
    else:
        made = {f"{name}.": module for name, module in modules(reading, order).items()}
        options = {start[:-1]: module.options for start, module in made.items()}
    weights = {s + name: array for s, module in made.items() for name, array, _, _ in module.arrays}
    rows = [row for start, module in made.items() for row in module.rows(start)]
    return Foreign(weights, options, Report(tuple(rows), tuple(reading.notes)))

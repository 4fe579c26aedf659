"""Weights of `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` and `SimpleCell` of Flax NNX."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Level, Reading
from rnnjax.interop.flax_reading import Source, Told
from rnnjax.interop.flax_trees import NNX, Tree, size_of
from rnnjax.interop.flax_writing import functions, precision, refuse_reset_before, write
from rnnjax.interop.report import Converted, Foreign
from rnnjax.sequence.layer import Layer

BY_COLUMNS = {4: "optimized", 3: "gru", 1: "elman"}
LAYERS = {"cell", "forward_rnn", "backward_rnn"}.union(*(tree.names for tree in NNX.values()))
RANDOM = "rngs"  # streams of keys that stand among the weights


def nnx_to_rnnjax(
    source: Any,
    *,
    gate_activation: Callable[[Any], Any] | None = None,
    activation: Callable[[Any], Any] | None = None,
    dtype: Any = None,
) -> Converted:
    """Bring cells of Flax NNX here, alone or in `nnx.RNN` and `nnx.Bidirectional`.

    `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` and `SimpleCell` are told apart by their leaves. A
    cell gives a cell, an `nnx.RNN` a layer, and a list a `stack`. Ours is time-major, and a carry
    of NNX's LSTM is `(c, h)`, ours `LSTMCarry(h, c)`. NNX's GRU has no `b_hn`, so ours is zero;
    leave it out of training if the network is to go back.

    A module tells its activations and options. A state does not: they are taken to be those of
    Flax.

    Args:
        source: the module, its `nnx.State`, or a pure dict of arrays; or a list of them, from
            bottom to top.
        gate_activation: of the gates, where `source` does not tell; None means `jax.nn.sigmoid`.
        activation: where `source` does not tell; None means `jnp.tanh`.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The layer or cell, its params, and the report on every array.

    Raises:
        TypeError: for what is neither module, mapping nor list, and arrays of other kinds.
        ValueError: for arrays that are missing, too many, or of shapes that do not fit, for an
            option that the module contradicts, and for modules that have no equal here:
            `residual=True`, and `reverse=True` without `keep_order=True`.

    Example:
        >>> from flax import nnx
        >>> from rnnjax.interop import nnx_to_rnnjax
        >>> print(nnx_to_rnnjax(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))).report)
        array there     shape    here  how
        dense_i.kernel  (3, 12)  w_ih  as it is
        dense_h.kernel  (4, 12)  w_hh  as it is
        dense_i.bias    (12,)    b     as it is
        note: b_hn is zero: there is none there
    """
    function = "nnx_to_rnnjax"
    told = Told(gate_activation, activation)
    if not isinstance(source, list | tuple):
        return Source(function, tree_in(source), told, tree_of, dtype).one(module_of(source))
    if not source:
        _checks.refuse(function, "source", "be at least one module", "none", "give a module")
    trees = {str(k): tree_in(one) for k, one in enumerate(source)}
    return Source(function, trees, told, tree_of, dtype).several([*map(module_of, source)])


def module_of(source: Any) -> Any:
    """A module; None for what holds arrays alone."""
    return None if isinstance(source, Mapping) else source


def tree_in(source: Any) -> Any:
    """The weights of a module or a state as nested dictionaries, without streams of keys."""
    if isinstance(source, Mapping):
        return {
            name: tree_in(value) if isinstance(value, Mapping) else value
            for name, value in source.items()
            if name != RANDOM
        }
    layers = {n: tree_in(value) for n, value in attributes(source).items() if n in LAYERS}
    leaves = {n: value for n, value in attributes(source).items() if n in ("kernel", "bias")}
    found = layers or {n: value for n, value in leaves.items() if value is not None}
    return found or source


def attributes(module: Any) -> dict[str, Any]:
    """What a module holds."""
    return getattr(module, "__dict__", {})


def tree_of(names: set[str], arrays: Arrays, start: str) -> Tree | None:
    """The cell that has these dense layers; the number of columns tells those that share names."""
    if names & {"ii", "if_"}:
        return NNX["lstm"]
    width, columns = (size_of(arrays, f"{start}dense_h.kernel", axis) for axis in (0, 1))
    if not width or not columns or columns % width:
        return None
    kind = BY_COLUMNS.get(columns // width)
    return NNX[kind] if kind else None


def rnnjax_to_nnx(layer: Cell | Layer, params: PyTree, *, optimized: bool = False) -> Foreign:
    """Write the weights as the cells of Flax NNX have them.

    Args:
        layer: a cell, a layer of one, a bidirectional layer, or a stack of them.
        params: of `layer`.
        optimized: whether an LSTM becomes an `OptimizedLSTMCell`, whose tree is another one.

    Returns:
        A pure dict of arrays of NumPy, for a cell, an `nnx.RNN` or an `nnx.Bidirectional`, or a
        list of them for a stack; the options of the constructor (`options["module"]` is its
        name; a list of them is in `options["layers"]`); and the report. Load it with
        `state = nnx.state(module, nnx.Param)`, `nnx.replace_by_pure_dict(state, weights)` and
        `nnx.update(module, state)`.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for what NNX's cells cannot be: a GRU with a `b_hn` that is not zero, reset
            before, and other cells.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.lstm(4)
        >>> params = cell.init(jax.random.key(0), 3)
        >>> there = rnnjax.interop.rnnjax_to_nnx(cell, params, optimized=True)
        >>> there.options["module"], sorted(there.weights)
        ('OptimizedLSTMCell', ['dense_h', 'dense_i'])
    """
    function = "rnnjax_to_nnx"
    _checks.flag(function, "optimized", optimized)
    reading = Reading(function, layer, params)
    levels = reading.levels(("lstm", "gru", "elman"), usual=False)

    def cell_of_level(level: Level) -> tuple[Tree, dict[str, Any]]:
        refuse_reset_before(reading, level)
        refuse_b_hn(reading, level)
        tree = NNX["optimized" if optimized and level.kind == "lstm" else level.kind]
        own = level.directions[0]
        options = (
            {
                "module": tree.module,
                "in_features": own.w_ih.shape[0],
                "hidden_features": own.w_hh.shape[0],
            }
            | functions(level)
            | precision(level)
        )
        if level.kind == "elman" and "param_dtype" in options:
            options["dtype"] = options["param_dtype"]  # else it computes in float32
        return tree, options

    return write(reading, layer, levels, cell_of_level)


def refuse_b_hn(reading: Reading, level: Level) -> None:
    """NNX's GRU has no bias inside the product with the reset gate."""
    sizes = [
        np.abs(own.b_hn).max()
        for own in level.directions
        if hasattr(own, "b_hn") and own.b_hn is not None
    ]
    if any(sizes):
        way_out = "go to Linen, whose GRUCell has one, or set it to zero and train on"
        wanted = "have b_hn = 0, since nnx.GRUCell has none"
        reading.refuse(level.part, wanted, f"one of up to {max(sizes):.3g}", way_out)

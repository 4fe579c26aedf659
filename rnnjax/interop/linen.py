"""Weights of `LSTMCell`, `GRUCell`, `MGUCell` and `SimpleCell` of Flax Linen."""

from collections.abc import Callable
from typing import Any

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Level, Reading
from rnnjax.interop.flax_reading import Source, Told
from rnnjax.interop.flax_trees import LINEN, Tree
from rnnjax.interop.flax_writing import functions, precision, refuse_reset_before, write
from rnnjax.interop.report import Converted, Foreign
from rnnjax.sequence.layer import Layer

SIGNS = {"elman": {"i", "h"}, "lstm": {"ig", "io"}, "gru": {"ir", "iz"}, "mgu": {"if", "in"}}


def linen_to_rnnjax(
    source: Any,
    *,
    module: Any = None,
    gate_activation: Callable[[Any], Any] | None = None,
    activation: Callable[[Any], Any] | None = None,
    dtype: Any = None,
) -> Converted:
    """Bring cells of Flax Linen here, alone or in `nn.RNN` and `nn.Bidirectional`.

    `LSTMCell`, `OptimizedLSTMCell`, `GRUCell`, `MGUCell` and `SimpleCell` are told apart by the
    names of their leaves. A cell gives a cell, an `nn.RNN` a layer, and a list a `stack`. Ours is
    time-major, and a carry of Linen's LSTM is `(c, h)`, ours `LSTMCarry(h, c)`.

    Weights do not tell activations, `reverse=True` and other options: without the module they are
    taken to be those of Flax.

    Args:
        source: variables `{"params": ...}`, or the tree in it, or the part of a larger tree that
            is a cell or an RNN; a module that is bound to its variables; or a list of them, from
            bottom to top. Cells that are made inside `nn.compact` stand beside each other, so
            write a Bidirectional as `{"forward_rnn": tree["GRUCell_0"], "backward_rnn": ...}`.
        module: what has made the weights, or a list of them; None where it is unknown.
        gate_activation: of the gates, where it is not the module's `gate_fn`; None means
            `jax.nn.sigmoid`.
        activation: where it is not the module's `activation_fn`; None means `jnp.tanh`.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The layer or cell, its params, and the report on every array.

    Raises:
        TypeError: for what is neither a mapping nor a list of them, and arrays of other kinds.
        ValueError: for arrays that are missing, too many, or of shapes that do not fit, for an
            option that the module contradicts, and for modules that have no equal here:
            `residual=True`, `reset_gate=False`, `reverse=True` without `keep_order=True`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import linen as nn
        >>> from rnnjax.interop import linen_to_rnnjax
        >>> rnn = nn.RNN(nn.LSTMCell(4))
        >>> variables = rnn.init(jax.random.key(0), jnp.ones((2, 7, 3)))
        >>> layer, params, report = linen_to_rnnjax(variables, module=rnn)
        >>> params.w_ih.shape, params.b.shape
        ((3, 16), (16,))
    """
    function = "linen_to_rnnjax"
    if getattr(source, "scope", None) is not None:  # a module that is bound
        source, module = source.variables, source
    told = Told(gate_activation, activation)
    if not isinstance(source, list | tuple):
        return Source(function, without_collection(source), told, tree_of, dtype).one(module)
    if not source:
        _checks.refuse(function, "source", "be at least one tree", "none", "give a tree")
    modules = [None] * len(source) if module is None else module
    if not isinstance(modules, list | tuple) or len(modules) != len(source):
        wanted = f"be a list of {len(source)}, one for each tree"
        _checks.refuse(function, "module", wanted, _checks.kind(module), "or leave it out")
    trees = {str(k): without_collection(tree) for k, tree in enumerate(source)}
    return Source(function, trees, told, tree_of, dtype).several(modules)


def without_collection(tree: Any) -> Any:
    """The tree of params in the variables of a module."""
    return tree["params"] if hasattr(tree, "keys") and set(tree) == {"params"} else tree


def tree_of(names: set[str], arrays: Arrays, start: str) -> Tree | None:
    """The cell that has these dense layers."""
    for kind, signs in SIGNS.items():
        if signs <= names:
            if kind == "mgu" and f"{start}hn.kernel" in arrays and f"{start}hn.bias" not in arrays:
                way_out = "an MGUCell with reset_gate=False is another cell, which rnnjax has not"
                arrays.refuse(f"{start}hn.bias", "be there", "none", way_out)
            return LINEN[kind]
    return None


def rnnjax_to_linen(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write the weights as the cells of Flax Linen have them.

    Args:
        layer: a cell, a layer of one, a bidirectional layer, or a stack of them.
        params: of `layer`.

    Returns:
        `{"params": ...}` with arrays of NumPy, for a cell, an `nn.RNN` or an `nn.Bidirectional`,
        or a list of them for a stack; the options of the constructor (`options["module"]` is its
        name; a list of them is in `options["layers"]`); and the report.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for what Linen's cells cannot be: reset before, and other cells.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.gru(4)
        >>> there = rnnjax.interop.rnnjax_to_linen(cell, cell.init(jax.random.key(0), 3))
        >>> there.options, sorted(there.weights["params"])
        ({'module': 'GRUCell', 'features': 4}, ['hn', 'hr', 'hz', 'in', 'ir', 'iz'])
    """
    reading = Reading("rnnjax_to_linen", layer, params)
    levels = reading.levels(tuple(LINEN), usual=False)

    def cell_of_level(level: Level) -> tuple[Tree, dict[str, Any]]:
        refuse_reset_before(reading, level)
        tree = LINEN[level.kind]
        options = {"module": tree.module, "features": level.directions[0].w_hh.shape[0]}
        return tree, options | functions(level) | precision(level)

    weights, options, report = write(reading, layer, levels, cell_of_level)
    wrap = lambda tree: {"params": tree}
    weights = [wrap(tree) for tree in weights] if isinstance(weights, list) else wrap(weights)
    return Foreign(weights, options, report)

"""Weights of `LSTMCell` and `GRUCell` of Equinox."""

from collections.abc import Mapping
from typing import Any

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Level, Reading, as_params, cell_of, one_layer, stacked
from rnnjax.interop.report import Converted, Foreign, Report, Row
from rnnjax.sequence.layer import Layer

FIELDS = ("weight_ih", "weight_hh", "bias", "bias_n")
MODULES = {"lstm": "LSTMCell", "gru": "GRUCell"}
WAYS = ("forward", "backward")


def equinox_to_rnnjax(source: Any, *, dtype: Any = None) -> Converted:
    """Bring an `LSTMCell` or `GRUCell` of Equinox here; the outputs are equal.

    A cell gives a cell. A list of cells, from bottom to top, gives a `stack`, in which a pair
    (tuple) of cells is a layer that reads both ways. Equinox's cells take one example and state at
    a time, ours any batch axes.

    Args:
        source: the cell, or its arrays by name (`weight_ih`, `weight_hh`, `bias`, `bias_n`); or a
            list of cells, and of pairs of them.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The layer or cell, its params, and the report on every array.

    Raises:
        TypeError: for what is no cell, mapping or list, and arrays of other kinds.
        ValueError: for arrays that are missing, too many, or of shapes that do not fit.

    Example:
        >>> import jax, rnnjax
        >>> from rnnjax.interop import equinox_to_rnnjax, rnnjax_to_equinox
        >>> cell = rnnjax.gru(4)
        >>> weights = rnnjax_to_equinox(cell, cell.init(jax.random.key(0), 3)).weights
        >>> print(equinox_to_rnnjax(weights).report)
        array there  shape    here  how
        weight_hh    (12, 4)  w_hh  transposed
        weight_ih    (12, 3)  w_ih  transposed
        bias         (12,)    b     as it is
        bias_n       (4,)     b_hn  as it is
    """
    function = "equinox_to_rnnjax"
    if not isinstance(source, list):
        arrays = Arrays(function, "source", fields_of(source), dtype=dtype)
        params = read_cell(arrays, "", "")
        cell = cell_of(params)
        return Converted(cell, as_params(function, params), arrays.finish())
    if not source:
        _checks.refuse(function, "source", "be at least one cell", "none", "give a cell")
    for k, level in enumerate(source):
        if isinstance(level, tuple) and len(level) != len(WAYS):
            way_out = "a pair is forwards and backwards"
            got = f"a tuple of {len(level)}"
            _checks.refuse(function, f"source[{k}]", "be a cell or a pair of cells", got, way_out)
    trees = {str(k): tree_of(level) for k, level in enumerate(source)}
    arrays = Arrays(function, "source", trees, dtype=dtype)
    pairs = [read_level(arrays, k, level) for k, level in enumerate(source)]
    layers, params = zip(*pairs, strict=True)
    names = [f"source[{k}]" for k in range(len(pairs))]
    layer, params = stacked(function, names, layers, params)
    return Converted(layer, as_params(function, params), arrays.finish())


def tree_of(level: Any) -> Any:
    """The arrays of a cell, or of both directions."""
    if isinstance(level, tuple):
        return {way: fields_of(cell) for way, cell in zip(WAYS, level, strict=True)}
    return fields_of(level)


def fields_of(cell: Any) -> Any:
    """The arrays of a cell by name, without those that it does not have."""
    if hasattr(cell, "weight_ih"):
        cell = {name: getattr(cell, name, None) for name in FIELDS}
    if not isinstance(cell, Mapping):
        return cell
    return {name: array for name, array in cell.items() if array is not None}


def read_level(arrays: Arrays, k: int, level: Any) -> tuple[Cell | Layer, PyTree]:
    """One level of a list and its params."""
    target = f"layers_{k}."
    if not isinstance(level, tuple):
        params = read_cell(arrays, f"{k}.", target)
        return one_layer(cell_of(params), [params])
    ways = [read_cell(arrays, f"{k}.{way}.", target, f"[{i}]") for i, way in enumerate(WAYS)]
    return one_layer(cell_of(ways[0]), ways, function=arrays.function, name=f"source[{k}]")


def read_cell(arrays: Arrays, start: str, target: str, way: str = "") -> Any:
    """The params of one cell, whose names there begin with `start`."""

    def take(name: str, shape: tuple[int | None, ...], field: str, how: str) -> Any:
        return arrays.take(f"{start}{name}", shape, target=f"{target}{field}{way}", how=how)

    w_hh = take("weight_hh", (None, None), "w_hh", "transposed").T
    width, columns = w_hh.shape
    if not width or columns not in (3 * width, 4 * width):
        wanted = f"have 4 or 3 times {width} rows"
        arrays.refuse(f"{start}weight_hh", wanted, columns, "give an LSTMCell or a GRUCell")
    w_ih = take("weight_ih", (columns, None), "w_ih", "transposed").T
    b = None
    if f"{start}bias" in arrays:
        b = take("bias", (columns,), "b", "as it is")
    if columns == 4 * width:
        return LSTMParams(w_ih, w_hh, b)
    b_hn = None if b is None else take("bias_n", (width,), "b_hn", "as it is")
    return GRUParams(w_ih, w_hh, b, b_hn)


def rnnjax_to_equinox(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write the weights as the cells of Equinox have them.

    Args:
        layer: a cell, a bidirectional layer, or a stack of them.
        params: of `layer`.

    Returns:
        The arrays by their names in the cell, None where it has none; for layers a list of them,
        with a pair for both directions; the options of the constructor (`options["module"]` is
        its name; a list of them is in `options["layers"]`); and the report. Put them into a cell
        with `eqx.tree_at(lambda c: c.weight_ih, cell, weights["weight_ih"])` and the like.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for what Equinox has not: an Elman cell and others, reset before, other
            activations and merges, and a direction that is only backward.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.lstm(5, bias=False)
        >>> there = rnnjax.interop.rnnjax_to_equinox(cell, cell.init(jax.random.key(0), 3))
        >>> there.options["module"], there.weights["weight_ih"].shape, there.weights["bias"]
        ('LSTMCell', (20, 3), None)
    """
    reading = Reading("rnnjax_to_equinox", layer, params)
    trees, options, rows = [], [], []
    for k, level in enumerate(reading.levels(tuple(MODULES))):
        reading.forwards_only(level.part, reset="after")
        ways = []
        for way, own in enumerate(reading.without_initial(level)):
            start = "" if isinstance(layer, Cell) else f"{k}."
            start += f"{WAYS[way]}." if len(level.directions) == 2 else ""
            named = write_cell(own)
            ways.append({name: array for name, array, _, _ in named})
            rows += [
                Row(start + name, array.shape, level.named(field, way), how)
                for name, array, field, how in named
                if array is not None
            ]
        trees.append(ways[0] if len(ways) == 1 else tuple(ways))
        options.append(options_of(level))
    report = Report(tuple(rows), tuple(reading.notes))
    if isinstance(layer, Cell):
        return Foreign(trees[0], options[0], report)
    return Foreign(trees, {"layers": options}, report)


def options_of(level: Level) -> dict[str, Any]:
    """What the constructor of a cell takes."""
    own = level.directions[0]
    return {
        "module": MODULES[level.kind],
        "input_size": own.w_ih.shape[0],
        "hidden_size": own.w_hh.shape[0],
        "use_bias": own.b is not None,
    }


def write_cell(params: Any) -> list[tuple[str, Any, str, str]]:
    """Name there, array or None, name here and what was done, of one cell."""
    named = [
        ("weight_ih", params.w_ih.T, "w_ih", "transposed"),
        ("weight_hh", params.w_hh.T, "w_hh", "transposed"),
        ("bias", params.b, "b", "as it is"),
    ]
    if isinstance(params, GRUParams):
        named.append(("bias_n", params.b_hn, "b_hn", "as it is"))
    return named

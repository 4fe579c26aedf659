"""The course's weights as a cell or a stack of ours, and back."""

from typing import Any

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Reading, as_params, cell_of, refuse_unused, stacked
from rnnjax.interop.course.packing import NAMES, Update, pack, unpack
from rnnjax.interop.report import Converted, Foreign, Report, Row
from rnnjax.sequence.dense import DenseParams, dense
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.parts import Part

BLENDS = "'new' is a = (1 - z) * a_prev + z * candidate, 'old' is z * a_prev + (1 - z) * candidate"


def course_to_rnnjax(
    parameters: Any, *, update: Update | None = None, dtype: Any = None
) -> Converted:
    """Bring weights of a course's NumPy code here: LSTM, GRU and dense layers.

    One layer's weights give a cell (or a dense layer), a list of them gives a `stack`. Time comes
    first here and examples are rows: give `x.transpose(2, 1, 0)` for an `x` of `(n_x, m, T_x)`.
    The GRU resets before the product. Where its z takes the new value, its weights change their
    sign, for ours keeps the old one.

    Args:
        parameters: `Wf bf Wi bi Wo bo Wc bc` of an LSTM, `W_r b_r W_z b_z W_a b_a` of a GRU, or
            `W b` of a dense layer with a sigmoid; or a list of such dictionaries.
        update: what z of a GRU multiplies, the `"new"` value or the `"old"` state. Weights do not
            tell, and texts differ. None where there is no GRU.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The cell or layer, its params, and the report on every array.

    Raises:
        TypeError: for what is neither a dictionary nor a list of them, and arrays of other kinds.
        ValueError: for arrays that are missing, too many, or of shapes that do not fit, and for a
            GRU without `update`.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import course
        >>> weights = {f"W_{g}": np.ones((4, 7), "float32") for g in "rza"}
        >>> weights |= {f"b_{g}": np.zeros((4, 1), "float32") for g in "rza"}
        >>> print(course.course_to_rnnjax(weights, update="new").report)
        array there  shape   here        how
        W_r          (4, 7)  w_hh, w_ih  transposed, split
        b_r          (4, 1)  b           as a row
        W_z          (4, 7)  w_hh, w_ih  transposed, split, negated
        b_z          (4, 1)  b           as a row, negated
        W_a          (4, 7)  w_hh, w_ih  transposed, split
        b_a          (4, 1)  b           as a row
    """
    function = "course_to_rnnjax"
    if update is not None:
        _checks.choice(function, "update", update, ("new", "old"))
    if not isinstance(parameters, list | tuple):
        arrays = Arrays(function, "parameters", parameters, dtype=dtype)
        layer, params = read_layer(arrays, "", "", update)
        refuse_unused(function, "update", update, (layer, params), ("gru",))
        return Converted(layer, as_params(function, params), arrays.finish())
    if not parameters:
        way_out = "give the weights of one"
        _checks.refuse(function, "parameters", "hold a layer", "none", way_out)
    trees = {str(k): one for k, one in enumerate(parameters)}
    arrays = Arrays(function, "parameters", trees, dtype=dtype)
    pairs = [read_layer(arrays, f"{k}.", f"layers_{k}.", update) for k in range(len(parameters))]
    layers, params = zip(*pairs, strict=True)
    names = [f"parameters[{k}]" for k in range(len(pairs))]
    layer, params = stacked(function, names, layers, params)
    refuse_unused(function, "update", update, (layer, params), ("gru",))
    return Converted(layer, as_params(function, params), arrays.finish())


def read_layer(
    arrays: Arrays, start: str, target: str, update: Update | None
) -> tuple[Cell | Layer, Any]:
    """One layer and its params."""
    if f"{start}W" in arrays:
        w = arrays.take(f"{start}W", (None, None), target=f"{target}w", how="transposed")
        b = arrays.take(f"{start}b", (w.shape[0], 1), target=f"{target}b", how="as a row")
        layer = dense(w.shape[0], activation=jax.nn.sigmoid, param_dtype=w.dtype)
        return layer, DenseParams(w.T, b[:, 0])
    kind = "gru" if f"{start}W_r" in arrays else "lstm"
    if kind == "gru" and update is None:
        wanted = "be 'new' or 'old' for a GRU"
        _checks.refuse(arrays.function, "update", wanted, None, f"look at its last line: {BLENDS}")
    width = None
    weights: dict[str, np.ndarray] = {}
    shape: tuple[int | None, ...] = (None, None)
    for gate, (w, b) in NAMES[kind].items():
        end = ", negated" if gate == "z" and update == "new" else ""
        here = f"{target}w_hh, {target}w_ih"
        weights[w] = arrays.take(start + w, shape, target=here, how=f"transposed, split{end}")
        shape = weights[w].shape
        width = weights[w].shape[0]
        if width >= weights[w].shape[1]:
            way_out = "its columns are for the state and, after it, the input"
            arrays.refuse(start + w, "have shape (n_a, n_a + n_x)", shape, way_out)
        weights[b] = arrays.take(start + b, (width, 1), target=f"{target}b", how=f"as a row{end}")
    params = pack(kind, weights, np, update or "new")
    return cell_of(params, reset="before"), params


def rnnjax_to_course(
    layer: Cell | Layer, params: PyTree, *, update: Update | None = None
) -> Foreign:
    """Write the weights as a course's NumPy code has them.

    Args:
        layer: an LSTM, a GRU with `reset="before"`, a dense layer with a sigmoid, or a stack.
        params: of `layer`.
        update: what z of a GRU is to multiply there, the `"new"` value or the `"old"` state. None
            where there is no GRU.

    Returns:
        A dictionary of arrays of NumPy, or a list of them for a stack; the sizes, and `update`
        where there is a GRU; and the report.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for other cells, activations and directions, and for a GRU without `update`.

    Example:
        >>> import jax, rnnjax
        >>> from rnnjax.interop import course
        >>> cell = rnnjax.lstm(5)
        >>> weights = course.rnnjax_to_course(cell, cell.init(jax.random.key(0), 3)).weights
        >>> weights["Wf"].shape, weights["bf"].shape
        ((5, 8), (5, 1))
    """
    function = "rnnjax_to_course"
    if update is not None:
        _checks.choice(function, "update", update, ("new", "old"))
    reading = Reading(function, layer, params)
    refuse_unused(function, "update", update, (layer, params), ("gru",))
    trees, rows = [], []
    for part in reading.parts:
        weights = write_dense(reading, part) if part.factory == "dense" else None
        if weights is None:
            weights = write_cell(reading, part, update)
        number = f"{len(trees)}." if part.name else ""
        start = f"{part.name}." if part.name else ""
        for name, array in weights.items():
            fields = "b" if name.startswith("b") else "w" if name == "W" else "w_hh, w_ih"
            here = ", ".join(start + field for field in fields.split(", "))
            rows.append(Row(number + name, array.shape, here, "transposed"))
        trees.append(weights)
    options = {} if update is None else {"update": update}
    alone = len(trees) == 1 and not reading.parts[0].name
    report = Report(tuple(rows), tuple(reading.notes))
    return Foreign(trees[0] if alone else trees, options, report)


def write_dense(reading: Reading, part: Part) -> dict[str, np.ndarray]:
    """A dense layer, which has a sigmoid there."""
    if part.options["activation"] is not jax.nn.sigmoid:
        way_out = "the course has no other dense layer"
        wanted = "have activation=jax.nn.sigmoid"
        reading.refuse(part, wanted, "another activation", way_out)
    w, b = part.params
    zeros = np.zeros(w.shape[1], w.dtype)
    return {"W": w.T, "b": (zeros if b is None else b)[:, None]}


def write_cell(reading: Reading, part: Part, update: Update | None) -> dict[str, np.ndarray]:
    """An LSTM, or a GRU that resets before the product."""
    level = reading.level(part, tuple(NAMES))
    if part.reverse or part.merge is not None:
        got = "reverse=True" if part.reverse else "both directions"
        reading.refuse(part, "read forwards", got, "the course has no other direction")
    if part.options.get("reset") == "after":
        reading.refuse(
            part, "reset before the product", "reset='after'", "no weights make it equal"
        )
    if level.kind == "gru" and update is None:
        wanted = "be 'new' or 'old' for a GRU"
        _checks.refuse(reading.function, "update", wanted, None, BLENDS)
    [own] = reading.without_initial(level)
    if own.b is None:
        reading.notes.append(f"{level.where}: has no bias; there it is zero")
        own = own._replace(b=np.zeros_like(own.w_ih[0]))
    return unpack(level.kind, own, np, update or "new")

"""Weights of ONNX's operators LSTM, GRU and RNN."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Reading, as_params, cell_of, one_layer, stacked
from rnnjax.interop.onnx_activations import USUAL, by_function
from rnnjax.interop.onnx_attributes import KNOWN, activations, check_attributes, check_kinds, named
from rnnjax.interop.onnx_chain import operators_of
from rnnjax.interop.onnx_graph import Operator, is_graph, is_node
from rnnjax.interop.onnx_layout import OPERATORS, ORDERS, activations_of, pack, unpack
from rnnjax.interop.report import Converted, Foreign, Report, Row
from rnnjax.sequence.layer import Layer, recurrent
from rnnjax.sequence.merge import concatenate, pair

FUNCTION = "onnx_to_rnnjax"
BOTH_WAYS = ("lstm", "peephole_lstm", "coupled_lstm", "gru", "elman")  # come back as they went
HOW = {
    "W": ("w_ih", "transposed, gates in our order"),
    "R": ("w_hh", "transposed, gates in our order"),
    "B": ("b", "both halves summed"),
    "P": ("p", "in our order"),
    "initial_h": ("initial.h", "as it is"),
    "initial_c": ("initial.c", "as it is"),
}


def onnx_to_rnnjax(
    source: Any,
    *,
    attributes: Mapping[str, Any] | None = None,
    initializers: Mapping[str, Any] | None = None,
    dtype: Any = None,
) -> Converted:
    """Bring operators LSTM, GRU or RNN of ONNX here; the outputs are equal.

    All directions and both resets come along, peepholes and `input_forget` too, and the
    activations that our cells can have. Of two biases the sum comes, but for the GRU's `b_hn`.
    Initial states that are weights become a learned initial carry.

    Args:
        source: arrays by the names of the operator's inputs (`W`, `R`, and if they are there `B`,
            `P`, `initial_h`, `initial_c`); or a node; or a model or graph that is a chain of such
            nodes, with axes laid out anew between them. The package onnx is needed only for these.
        attributes: of the operator, where `source` is arrays; those left out have ONNX's
            defaults, so `{}` is an answer. `op_type` may be among them, which is told by the
            shapes as well. None for nodes and models, which say theirs.
        initializers: where `source` is a node, the arrays that its inputs name.
        dtype: of the params; None keeps that of the weights.

    Returns:
        A layer (a `stack` of a chain), its params, and the report on every array. Its outputs are
        ONNX's with both directions concatenated and time first; where a graph has only final
        states as outputs, which a note says, they are those of the carry.

    Raises:
        ImportError: if onnx is needed and not installed.
        TypeError: for what is none of these, and arrays of other kinds.
        ValueError: for missing arrays and shapes that do not fit, attributes that contradict them,
            clipping, activations that are not ours, and graphs that do something else as well.

    Example:
        >>> import jax, rnnjax
        >>> from rnnjax.interop import onnx_to_rnnjax, rnnjax_to_onnx
        >>> cell = rnnjax.gru(4)
        >>> there = rnnjax_to_onnx(cell, cell.init(jax.random.key(0), 3))
        >>> print(onnx_to_rnnjax(there.weights, attributes=there.options).report)
        array there  shape       here     how
        W            (1, 12, 3)  w_ih     transposed, gates in our order
        R            (1, 12, 4)  w_hh     transposed, gates in our order
        B            (1, 24)     b, b_hn  both halves summed, but for the last block
    """
    operators = read(source, attributes, initializers)
    layers, trees, rows, notes = [], [], [], []
    for k, operator in enumerate(operators):
        target = f"layers_{k}." if len(operators) > 1 else ""
        layer, params, report = convert(operator, target, dtype)
        layers.append(layer)
        trees.append(params)
        rows += report.rows
        notes += report.notes
    report = Report(tuple(rows), tuple(notes))
    layer, params = layers[0], trees[0]
    if len(layers) > 1:
        layer, params = stacked(FUNCTION, [one.name for one in operators], layers, trees)
    return Converted(layer, as_params(FUNCTION, params), report)


def read(source: Any, attributes: Any, initializers: Any) -> list[Operator]:
    """The operators of a source of any kind, from bottom to top."""
    if isinstance(source, str | os.PathLike):
        wanted, got = "be a model, a node or arrays", _checks.kind(source)
        _checks.refuse(FUNCTION, "source", wanted, got, "give onnx.load(path)", error=TypeError)
    if initializers is not None and not isinstance(initializers, Mapping):
        way_out, got = "give names and arrays", _checks.kind(initializers)
        _checks.refuse(FUNCTION, "initializers", "be a mapping", got, way_out, error=TypeError)
    if is_graph(source) or is_node(source):
        if attributes is not None:
            way_out = "leave it out"
            wanted = "be None where the node says its own"
            _checks.refuse(FUNCTION, "attributes", wanted, _checks.describe(attributes), way_out)
        return operators_of(FUNCTION, source, initializers)
    if attributes is None:
        way_out = "the arrays do not tell: {} stands for ONNX's defaults"
        wanted = "be the attributes of the operator"
        _checks.refuse(FUNCTION, "attributes", wanted, None, way_out)
    if initializers is not None:
        wanted, got = "be None where source is arrays", _checks.describe(initializers)
        _checks.refuse(FUNCTION, "initializers", wanted, got, "put them into source")
    return [Operator("source", "", source, named(FUNCTION, attributes))]


def convert(operator: Operator, target: str, dtype: Any) -> tuple[Layer, Any, Report]:
    """The layer of one operator, its params of NumPy, and the report."""
    arrays = Arrays(FUNCTION, operator.name, operator.arrays, dtype=dtype)
    arrays.notes += operator.notes
    attributes = named(FUNCTION, operator.attributes)
    said = attributes.pop("op_type", None)
    op_type = operator.op_type or (told(arrays) if said is None else said)
    if not isinstance(op_type, str) or op_type not in ORDERS:
        way_out = "the rest of a model has no place here"
        _checks.refuse(FUNCTION, "op_type", f"be one of {list(ORDERS)}", repr(op_type), way_out)
    check_kinds(FUNCTION, operator.name, op_type, attributes)
    taken = take(arrays, op_type, attributes, target)
    check_attributes(arrays, attributes, taken)
    found = activations(arrays, op_type, attributes, len(taken["W"]))
    names = [one.name for one in found]
    if tuple(names) != USUAL[op_type] and ("P" in taken or attributes.get("input_forget")):
        what = "peepholes" if "P" in taken else "input_forget=1"
        way_out = "our cell of this kind has no others"
        wanted = f"have the usual activations with {what}"
        _checks.refuse(FUNCTION, operator.name, wanted, names, way_out)
    ways = unpack(op_type, taken, attributes)
    if "B" in taken:
        arrays.note_sum(f"{target}b", ways[0].b)
    after = op_type == "GRU" and attributes.get("linear_before_reset")
    cell = cell_of(
        ways[0],
        activation=found[-1].function,
        gate_activation=found[0].function if op_type != "RNN" else jax.nn.sigmoid,
        reset="after" if after or op_type != "GRU" else "before",
    )
    layer, params = one_layer(cell, ways, function=FUNCTION, name=operator.name)
    if isinstance(layer, Cell):
        layer = recurrent(layer, reverse=attributes.get("direction") == "reverse")
    return layer, params, arrays.finish()


def told(arrays: Arrays) -> str:
    """The operator that arrays belong to, by the number of gates."""
    w, r = (arrays.left.get(name, np.zeros((0, 0, 0))) for name in "WR")
    rows, width = w.shape[1:2], r.shape[-1:]
    for op_type, order in ORDERS.items():
        if rows and width and width[0] and rows[0] == len(order) * width[0]:
            return op_type
    if rows and width and rows[0] and width[0]:
        wanted = f"have 4, 3 or 1 times {width[0]} rows, as R says"
        arrays.refuse("W", wanted, rows[0], "give the W and R of one operator")
    return "LSTM"  # whose missing arrays will be named


def take(
    arrays: Arrays, op_type: str, attributes: dict[str, Any], target: str
) -> dict[str, np.ndarray]:
    """The arrays of the operator by the names of its inputs, of shapes that fit."""
    num_gates = len(ORDERS[op_type])
    after = op_type == "GRU" and attributes.get("linear_before_reset")

    def one(name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        field, how = HOW[name]
        here = f"{target}{field}"
        if name == "B" and after:
            here, how = f"{here}, {target}b_hn", how + ", but for the last block"
        return arrays.take(name, shape, target=here, how=how)

    taken = {"W": one("W", (None, None, None))}
    dirs, rows = taken["W"].shape[:2]
    if dirs not in (1, 2):
        arrays.refuse("W", "have 1 or 2 directions", dirs, "they stand on its first axis")
    taken["R"] = one("R", (dirs, rows, None))
    width = taken["R"].shape[2]
    if width == 0:
        arrays.refuse("R", "have units", taken["R"].shape, "its last axis counts them")
    if rows != num_gates * width:
        wanted = f"have {num_gates} times {width} rows for {op_type}"
        arrays.refuse("W", wanted, rows, "give the W and R of one operator")
    if "B" in arrays:
        taken["B"] = one("B", (dirs, 2 * rows))
    if "P" in arrays and op_type == "LSTM":
        taken["P"] = one("P", (dirs, 3 * width))
    states = ("initial_h", "initial_c") if op_type == "LSTM" else ("initial_h",)
    for name in states:
        if name in arrays:
            batch_first = bool(attributes.get("layout"))
            shape = (None, dirs, width) if batch_first else (dirs, None, width)
            array = np.moveaxis(one(name, shape), 1, 0) if batch_first else one(name, shape)
            if array.shape[1] == 0 or (array != array[:, :1]).any():
                way_out = "leave it out, and give it as the carry of a run"
                wanted = "be the same for the whole batch"
                arrays.refuse(name, wanted, "rows that differ", way_out)
            taken[name] = array[:, :1]
    given = [name for name in states if name in taken]
    for name in states if given else ():
        taken.setdefault(name, np.zeros_like(taken[given[0]]))
    return taken


def rnnjax_to_onnx(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write one recurrent level as the inputs and attributes of ONNX's LSTM, GRU or RNN.

    An `lstm`, `peephole_lstm` or `coupled_lstm` becomes an LSTM, a `gru` of either reset a GRU, an
    `elman` an RNN. The bias goes to the first half of `B`, with zeros in the second but for the
    GRU's `b_hn`. The operator keeps both directions apart, on the second axis of its output.

    Args:
        layer: a cell, or a layer of one cell in either direction or both.
        params: of `layer`.

    Returns:
        Arrays by the names of the operator's inputs (`W`, `R`, `B`, `P`, and `initial_h` and
        `initial_c` with a batch of 1 where the carry is learned), its attributes with `op_type`
        among them, and the report.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for more than one level, and for what the operators cannot be: other cells,
            activations and merges.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.bidirectional(rnnjax.lstm(5))
        >>> there = rnnjax.interop.rnnjax_to_onnx(layer, layer.init(jax.random.key(0), 3))
        >>> there.options
        {'op_type': 'LSTM', 'hidden_size': 5, 'direction': 'bidirectional'}
        >>> there.weights["W"].shape
        (2, 20, 3)
    """
    reading = Reading("rnnjax_to_onnx", layer, params)
    first, *more = reading.parts
    if more:
        way_out = "convert each level by itself; rnnjax.export.to_onnx writes whole models"
        got = f"{len(reading.parts)} of them"
        _checks.refuse("rnnjax_to_onnx", "layer", "be one level", got, way_out)
    level = reading.level(first, BOTH_WAYS, usual=False)
    if first.merge not in (None, concatenate, pair):
        got = getattr(first.merge, "__name__", first.merge)
        reading.refuse(first, "concatenate its directions", got, "merge after it")
    if None in map(by_function, activations_of(level.kind, first.options)):
        wanted = f"have activations among {KNOWN}"
        reading.refuse(first, wanted, "another", "train with one of these")
    weights, attributes = pack(level.kind, level.directions, first.options, reverse=first.reverse)
    if first.merge is pair:
        reading.notes.append(f"{level.where}: a pair here; it comes back concatenated")
    if first.name:
        reading.notes.append(f"{level.where}: one level; it comes back without the stack")
    if "initial_h" in weights:
        note = f"{level.where}: expand the batch axis of the initial states to that of a run"
        reading.notes.append(note)
    rows = []
    for name, array in weights.items():
        field, _ = HOW[name]
        how = "transposed, gates in their order" if name in "WR" else "as it is"
        if name in "BP":
            how = "gates in their order"
        if name == "B" and getattr(level.directions[0], "b_hn", None) is not None:
            field, how = "b, b_hn", how + ", b_hn in the last block"
        rows.append(Row(name, array.shape, field, how))
    options = {"op_type": OPERATORS[level.kind], **attributes}
    return Foreign(weights, options, Report(tuple(rows), tuple(reading.notes)))

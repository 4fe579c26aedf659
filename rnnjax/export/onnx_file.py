"""Networks as ONNX: native LSTM, GRU and RNN operators, and what stands between them."""

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.export import refusals
from rnnjax.export.graph import Graph, Port
from rnnjax.export.writing import Writer, reads_tokens
from rnnjax.sequence.arguments import check_params
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.parts import Part, parts_of
from rnnjax.storage.files import replace_file

if TYPE_CHECKING:
    import onnx

LEAST_OPSET, OPSET = 14, 17
LARGEST = 2**31 - 2**20  # bytes of weights in one message of protobuf


class ONNXPart(NamedTuple):
    """One cell or layer of a network in ONNX.

    Attributes:
        name: where it stands, such as `layers_1`; empty if it is all.
        factory: what made it, such as `lstm`.
        operators: what it became, in order.
    """

    name: str
    factory: str
    operators: tuple[str, ...]


class ONNXReport(NamedTuple):
    """What a file of ONNX holds; printed, it is a table.

    Attributes:
        inputs: names, dtypes and shapes; those of `initial` states may be left out.
        outputs: `ys`, and the `final` states.
        parts: one for each cell or layer.
        notes: what else one should know, such as dropout that is off at inference.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parts: tuple[ONNXPart, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        shape = lambda port: ", ".join("1 or B" if n is None else str(n) for n in port.shape)
        line = lambda word, port: f"{word}  {port.name}  {port.dtype} ({shape(port)})"
        lines = [line("in ", port) for port in self.inputs]
        lines += [line("out", port) for port in self.outputs]
        for part in self.parts:
            name = f"{part.name}, " if part.name else ""
            lines.append(f"{name}{part.factory}: {', '.join(part.operators)}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


class Written(NamedTuple):
    """A graph and the account of it."""

    graph: Graph
    report: ONNXReport


def to_onnx(
    layer: Cell | Layer,
    params: PyTree,
    *,
    lengths: bool = True,
    carry: bool = False,
    time_major: bool = True,
    opset: int = OPSET,
) -> "onnx.ModelProto":
    """Write a network as a model of ONNX, with its native recurrent operators.

    Inputs are `xs`, `(T, B, D)`, or tokens `(T, B)` of int32 where the network begins with an
    embedding, and `lengths`, `(B,)` of int32; T and B may be any size. Outputs are `ys`, zero at
    padding, and the final carry of each recurrent part: `final_layers_0_h`, `(B, H)`, or
    `(2, B, H)` where it reads both ways. They equal those of `apply` without a key: what stands
    in the padding, NaN too, changes nothing, lengths outside 0..T are clipped, and a row of
    length 0 ends in the carry it began with.

    Written are `lstm`, `gru`, `elman`, `peephole_lstm`, `coupled_lstm`, `mgu`, `indrnn`,
    `multihead_lstm` and `multihead_gru` in one direction or both, with learned carries; above and
    below them `embedding`, `dense` and the usual functions of `jax.nn`. What has no equal in ONNX
    is refused, and nothing is approximated. Wrappers that are off at inference are left out.

    Args:
        layer: a cell or layer.
        params: of `layer`; numbers are computed in float32.
        lengths: whether there is an input `lengths`; without it every row has T steps.
        carry: whether there are inputs `initial_layers_0_h` and so on, to hand final states on.
            What is not given when the model runs begins as `init_carry` does.
        time_major: False for `xs` and `ys` with the batch first.
        opset: which version of the operators to write, 14 at least.

    Returns:
        The model, which has passed `onnx.checker`. Its `doc_string` is the report.

    Raises:
        ImportError: if onnx is not installed.
        TypeError: for an argument of the wrong kind, and what does not compute in float32.
        ValueError: for what ONNX cannot say, with the reason, params of another network, more
            than 2 GiB of weights, or an opset that is not known.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(5)), rnnjax.dense(2))
        >>> model = rnnjax.export.to_onnx(layer, layer.init(jax.random.key(0), in_features=3))
        >>> [output.name for output in model.graph.output]
        ['ys', 'final_layers_0_h', 'final_layers_0_c']
    """
    options = (lengths, carry, time_major, opset)
    return _model("to_onnx", _written("to_onnx", layer, params, options), opset)


def save_onnx(
    path: str | Path,
    layer: Cell | Layer,
    params: PyTree,
    *,
    lengths: bool = True,
    carry: bool = False,
    time_major: bool = True,
    opset: int = OPSET,
) -> ONNXReport:
    """Write a network to a file of ONNX; see `to_onnx`.

    The file is written under another name, synced and renamed: whatever happens, there is the
    whole new file, or what was there before.

    Args:
        path: of the file, in a folder that exists.
        layer: a cell or layer.
        params: of `layer`.
        lengths: whether there is an input `lengths`.
        carry: whether initial states may be given.
        time_major: False for `xs` and `ys` with the batch first.
        opset: which version of the operators to write.

    Returns:
        What the file holds.

    Raises:
        ImportError: if onnx is not installed.
        OSError: if the file cannot be written.
        TypeError: as `to_onnx`.
        ValueError: as `to_onnx`.
    """
    written = _written("save_onnx", layer, params, (lengths, carry, time_major, opset))
    model = _model("save_onnx", written, opset)
    replace_file(Path(path), model.SerializeToString())
    return written.report


def onnx_report(
    layer: Cell | Layer,
    params: PyTree,
    *,
    lengths: bool = True,
    carry: bool = False,
    time_major: bool = True,
) -> ONNXReport:
    """Say what `save_onnx` would write, or refuse what it would; onnx need not be installed.

    Args:
        layer: a cell or layer.
        params: of `layer`.
        lengths: whether there is an input `lengths`.
        carry: whether initial states may be given.
        time_major: False for `xs` and `ys` with the batch first.

    Returns:
        Inputs, outputs and operators.

    Raises:
        TypeError: as `to_onnx`.
        ValueError: as `to_onnx`.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.zoneout(rnnjax.gru(5), 0.1)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> print(rnnjax.export.onnx_report(cell, params, lengths=False))
        in   xs  float32 (T, B, 3)
        out  ys  float32 (T, B, 5)
        out  final_h  float32 (B, 5)
        gru: GRU, Squeeze, Squeeze
        note: zoneout is off at inference, and left out
    """
    return _written("onnx_report", layer, params, (lengths, carry, time_major, OPSET)).report


def _written(function: str, layer: Any, params: PyTree, options: tuple[Any, ...]) -> Written:
    """The graph, after everything that can be refused without onnx has been."""
    lengths, carry, time_major, opset = options
    for name, flag in (("lengths", lengths), ("carry", carry), ("time_major", time_major)):
        _checks.flag(function, name, flag)
    if _checks.size(function, "opset", opset) < LEAST_OPSET:
        way_out = "older recurrent operators differ"
        _checks.refuse(function, "opset", f"be at least {LEAST_OPSET}", opset, way_out)
    layer = as_layer(function, layer, argument="layer")
    check_params(function, layer, params)
    refusals.check_concrete(function, params)
    parts = parts_of(layer, params)
    refusals.check_parts(function, parts)
    spec = refusals.check_one_input(function, layer, params)
    writer = Writer(lengths=lengths, carry=carry, time_major=time_major)
    graph = writer.write(parts, reads_tokens(spec))
    size = sum(array.nbytes for array in graph.constants.values())
    if size > LARGEST:
        refusals.refuse_size(function, size)
    return Written(graph, _report(graph, parts))


def _report(graph: Graph, parts: list[Part]) -> ONNXReport:
    """The account of a graph."""
    operators = {part.name: [] for part in parts}
    for node in graph.nodes:
        if node.part in operators and (node.part or node.outputs != ("ys",)):
            operators[node.part].append(node.operator)
    rows = [ONNXPart(part.name, part.factory, tuple(operators[part.name])) for part in parts]
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    said = tuple(f"{note} is off at inference, and left out" for note in notes)
    return ONNXReport(tuple(graph.inputs), tuple(graph.outputs), tuple(rows), said)


def _model(function: str, written: Written, opset: int) -> "onnx.ModelProto":
    """The graph in the classes of onnx, checked."""
    try:
        import onnx
    except ImportError as error:
        message = f"{function}: onnx is not installed; pip install rnnjax[export]."
        raise ImportError(message) from error
    latest = onnx.defs.onnx_opset_version()
    if opset > latest:
        way_out = "install a newer one, or leave it out"
        _checks.refuse(function, "opset", f"be known to onnx {onnx.__version__}", opset, way_out)
    helper, graph = onnx.helper, written.graph
    code = lambda dtype: onnx.TensorProto.DataType.Value({"float32": "FLOAT"}.get(dtype, dtype.upper()))
    port = lambda p: helper.make_tensor_value_info(p.name, code(p.dtype), p.shape)
    nodes = []
    for node in graph.nodes:
        attributes = dict(node.attributes)
        if node.operator == "Cast":
            attributes["to"] = code(attributes["to"])
        made = helper.make_node(node.operator, node.inputs, node.outputs, node.outputs[0])
        made.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        nodes.append(made)
    made = helper.make_graph(
        nodes,
        "rnnjax",
        [port(p) for p in graph.inputs],
        [port(p) for p in graph.outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        made,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="rnnjax",
        producer_version=_version(),
        doc_string=str(written.report),
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _version() -> str:
    """That of rnnjax; empty where it runs without being installed."""
    try:
        return importlib.metadata.version("rnnjax")
    except importlib.metadata.PackageNotFoundError:
        return ""

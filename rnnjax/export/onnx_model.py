"""Networks as ONNX: native LSTM, GRU and RNN operators, and what stands between them."""

from typing import TYPE_CHECKING, Any, NamedTuple

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.export import refusals
from rnnjax.export.graph import Graph, Port
from rnnjax.export.protobuf import OPSET, check_opset, model_of
from rnnjax.export.writing import Writer, reads_tokens
from rnnjax.sequence.arguments import check_params
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.parts import Part

if TYPE_CHECKING:
    import onnx

LARGEST = 2**31 - 2**20  # bytes of weights in one message of protobuf


class ONNXPart(NamedTuple):
    """One cell or layer of a network in ONNX.

    Attributes:
        name: where it stands, such as `layers_1`; empty if it is all.
        factory: what made it, such as `lstm`.
        operators: of which kinds it became, in order.
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
    embedding, and `lengths`, `(B,)` of int32; T may be any size, and B at least 1, as ONNX Runtime
    crashes in its LSTM and GRU where there is no row. Outputs are `ys`, zero at
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
        >>> print(*(output.name for output in model.graph.output))
        ys final_layers_0_h final_layers_0_c
    """
    check_opset("to_onnx", opset)
    written = _written("to_onnx", layer, params, (lengths, carry, time_major))
    return model_of("to_onnx", written.graph, opset, str(written.report))


def onnx_report(
    layer: Cell | Layer,
    params: PyTree,
    *,
    lengths: bool = True,
    carry: bool = False,
    time_major: bool = True,
) -> ONNXReport:
    """Say what `to_onnx` would write, or refuse what it would; onnx need not be installed.

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
        gru: GRU, Squeeze
        note: zoneout, left out: off at inference
    """
    return _written("onnx_report", layer, params, (lengths, carry, time_major)).report


def _written(
    function: str, layer: Any, params: PyTree, options: tuple[bool, bool, bool]
) -> Written:
    """The graph, after everything that can be refused without onnx has been."""
    lengths, carry, time_major = options
    for name, flag in (("lengths", lengths), ("carry", carry), ("time_major", time_major)):
        _checks.flag(function, name, flag)
    layer = as_layer(function, layer, argument="layer")
    check_params(function, layer, params)
    refusals.check_concrete(function, params)
    parts = refusals.checked_parts(function, layer, params)
    spec = refusals.check_one_input(function, layer, params)
    writer = Writer(lengths=lengths, carry=carry, time_major=time_major)
    graph = writer.write(parts, reads_tokens(spec))
    size = sum(array.nbytes for array in graph.constants.values())
    if size > LARGEST:
        refusals.refuse_size(function, size)
    return Written(graph, _report(graph, parts))


def _report(graph: Graph, parts: list[Part]) -> ONNXReport:
    """The account of a graph."""
    operators = lambda part: dict.fromkeys(n.operator for n in graph.nodes if n.part == part.name)
    rows = [ONNXPart(part.name, part.factory, tuple(operators(part))) for part in parts]
    notes = [f"{note}, left out: off at inference" for part in parts for note in part.notes]
    notes += [f"{part.small} weights, multiplied out to float32" for part in parts if part.small]
    notes += [f"{part.name}: the matrix of {part.tied} again" for part in parts if part.tied]
    said = tuple(dict.fromkeys(notes))
    return ONNXReport(tuple(graph.inputs), tuple(graph.outputs), tuple(rows), said)

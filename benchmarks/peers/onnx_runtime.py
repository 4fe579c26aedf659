"""ONNX Runtime: its LSTM and GRU operators, inference only; weights are part of a model."""

import time
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import machine
from cases import Case, Data, Weights
from peers import Program, inference_results

OPSET, IR = 14, 8  # old ones, which every release reads


def why_not(case: Case) -> str | None:
    return "has no gradients" if case.mode == "training" else None


def device() -> tuple[str, str]:
    return "cpu", "cpu"  # its GPU build would want its inputs bound there


class OnnxProgram:
    temporary_bytes = None

    def __init__(self, case: Case, data: Data):
        self.case = case
        self.feed = {"xs": data.xs}
        if data.lengths is not None:
            self.feed["lengths"] = data.lengths
        model = _model(case, data).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = machine.cores()
        start = time.perf_counter()
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.run()
        self.first_call_seconds = time.perf_counter() - start

    def run(self) -> Any:
        return self.session.run(None, self.feed)

    def canonical(self, result: Any) -> dict[str, np.ndarray]:
        ys, *states = result
        return inference_results(
            ys.reshape(self.case.T, self.case.B, -1), [h for state in states for h in state]
        )


def build(case: Case, data: Data) -> Program:
    return OnnxProgram(case, data)


def _model(case: Case, data: Data) -> Any:
    """A chain of layers; an operator's outputs are (T, directions, B, H)."""
    merge = numpy_helper.from_array(np.array([0, 0, -1]), "merge")  # of a Reshape: H and directions
    squeeze = numpy_helper.from_array(np.array([1]), "squeeze")  # of a Squeeze: the directions
    nodes, constants, below = [], [merge, squeeze], "xs"
    for layer in range(case.num_layers):
        first = layer * case.num_directions
        arrays = _arrays(case, data.weights[first : first + case.num_directions])
        names = [f"{name}{layer}" for name in ("W", "R", "B")]
        pairs = zip(arrays, names, strict=True)
        constants += [numpy_helper.from_array(array, name) for array, name in pairs]
        lengths = "" if data.lengths is None else "lengths"
        ys = f"ys{layer}"
        nodes.append(_operator(case, [below, *names, lengths], [ys, f"h{layer}"]))
        if case.num_directions == 2:
            nodes.append(helper.make_node("Transpose", [ys], ["turned"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", ["turned", "merge"], ["merged"]))
            ys = "merged"
        elif layer + 1 < case.num_layers:  # the last outputs need no copy: see `canonical`
            nodes.append(helper.make_node("Squeeze", [ys, "squeeze"], [f"{ys}_flat"]))
            ys = f"{ys}_flat"
        below = ys
    given = [("xs", data.xs)] + ([] if data.lengths is None else [("lengths", data.lengths)])
    outputs = [below, *(f"h{layer}" for layer in range(case.num_layers))]
    graph = helper.make_graph(
        nodes,
        "network",
        [_value(name, array) for name, array in given],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _operator(case: Case, given: list[str], out: list[str]) -> Any:
    direction = "bidirectional" if case.num_directions == 2 else "forward"
    node = helper.make_node(case.cell.upper(), given, out, hidden_size=case.H, direction=direction)
    if case.cell == "gru":
        node.attribute.append(helper.make_attribute("linear_before_reset", 1))
    return node


def _value(name: str, a: np.ndarray) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)


def _arrays(case: Case, sides: tuple[Weights, ...]) -> list[np.ndarray]:
    """W, R and both biases of every direction; gates i, o, f, c or z, r, h."""
    order = (0, 3, 1, 2) if case.cell == "lstm" else (1, 0, 2)

    def rows(a: np.ndarray) -> np.ndarray:
        gates = np.split(a.T, len(order))
        return np.concatenate([gates[k] for k in order])

    def biases(given: Weights) -> np.ndarray:
        recurrent = np.zeros_like(given.b)
        if given.b_hn is not None:
            recurrent[2 * case.H :] = given.b_hn
        return np.concatenate([rows(given.b), rows(recurrent)])

    columns = [(rows(s.w_ih), rows(s.w_hh), biases(s)) for s in sides]
    return [np.stack(column) for column in zip(*columns, strict=True)]

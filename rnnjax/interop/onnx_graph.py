"""Recurrent operators in nodes and graphs of ONNX, which are read and not run."""

import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnnjax import _checks

RECURRENT = ("LSTM", "GRU", "RNN")
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
SAME = ("Identity", "Dropout")  # which is off at inference
STATES = (*SAME, "Squeeze", "Unsqueeze", "Concat", "Transpose", "Reshape", "Slice", "Gather")


class Operator(NamedTuple):
    """One recurrent operator.

    Attributes:
        name: how messages call it.
        op_type: its kind; empty where only the shapes of its arrays tell.
        arrays: by the names of its inputs.
        attributes: those it has.
        notes: what else the graph says.
    """

    name: str
    op_type: str
    arrays: Mapping[str, Any]
    attributes: dict[str, Any]
    notes: tuple[str, ...] = ()


def is_node(source: Any) -> bool:
    """Whether this is one node of a graph."""
    return hasattr(source, "op_type") and hasattr(source, "attribute")


def is_graph(source: Any) -> bool:
    """Whether this is a graph, or a model, which has one."""
    return hasattr(source, "graph") or (hasattr(source, "node") and hasattr(source, "initializer"))


def attributes_of(function: str, given: Any) -> dict[str, Any]:
    """Attributes from a mapping, with words as text."""
    if not isinstance(given, Mapping):
        way_out = "give names and values, {} for ONNX's defaults"
        got = _checks.kind(given)
        _checks.refuse(function, "attributes", "be a mapping", got, way_out, error=TypeError)
    return {str(name): as_text(value) for name, value in given.items() if value is not None}


def as_text(value: Any) -> Any:
    """Bytes as text, in lists too."""
    if isinstance(value, list | tuple):
        return [as_text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def operators_of(function: str, source: Any, initializers: Any) -> list[Operator]:
    """The operators of a node, a graph or a model, from bottom to top."""
    onnx = import_onnx(function)
    if is_node(source):
        named = {} if initializers is None else initializers
        return [Graph(function, onnx, [source], named).operator(source)]
    if initializers is not None:
        way_out = "leave it out"
        wanted = "be None where the graph has its own"
        _checks.refuse(function, "initializers", wanted, _checks.describe(initializers), way_out)
    inner = getattr(source, "graph", source)
    named = {tensor.name: tensor for tensor in inner.initializer}
    graph = Graph(function, onnx, list(inner.node), named)
    return graph.chain({value.name for value in inner.input} - set(named))


def import_onnx(function: str) -> types.ModuleType:
    """The package, or what to do about its absence."""
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        message = f"{function}: onnx is not installed; pip install onnx, or give arrays."
        raise ImportError(message) from error
    return onnx


class Graph:
    """Nodes and the arrays that they name."""

    def __init__(self, function: str, onnx: Any, nodes: list[Any], named: Mapping[str, Any]):
        self.function, self.onnx, self.nodes = function, onnx, nodes
        self.named = dict(named)
        self.maker = {out: node for node in nodes for out in node.output if out}
        for node in nodes:
            if node.op_type == "Constant":
                self.named[node.output[0]] = next(iter(self.attributes(node).values()))

    def attributes(self, node: Any) -> dict[str, Any]:
        """What a node is told."""
        get = self.onnx.helper.get_attribute_value
        return {attribute.name: as_text(get(attribute)) for attribute in node.attribute}

    def array(self, name: str) -> np.ndarray | None:
        """The array of this name; None for what is only known in a run."""
        value: Any = self.named.get(name)
        if not hasattr(value, "data_location"):
            return None if value is None else np.asarray(value)
        if value.data_location == self.onnx.TensorProto.EXTERNAL:
            way_out = "read it with onnx.load(path), which fetches them"
            wanted = "have its arrays inside"
            _checks.refuse(self.function, "source", wanted, f"{name!r} in another file", way_out)
        return self.onnx.numpy_helper.to_array(value)

    def operator(self, node: Any) -> Operator:
        """A recurrent node with its arrays."""
        title = f"source[{node.name or node.op_type!r}]" if node.name else "source"
        arrays, notes = {}, []
        for name, value in zip(INPUTS, node.input, strict=False):
            if not value or name == "X":
                continue
            if name == "sequence_lens":
                notes.append(f"{title}: takes sequence_lens; give lengths=")
                continue
            array = self.array(value)
            if array is None and name.startswith("initial"):
                notes.append(f"{title}: {name} is known in a run only; give it as the carry")
            elif array is None:
                way_out = "give it in initializers, or as arrays"
                wanted = f"know the array of its input {name}"
                _checks.refuse(self.function, title, wanted, f"only its name {value!r}", way_out)
            elif array.any() or not name.startswith("initial"):
                arrays[name] = array
        return Operator(title, node.op_type, arrays, self.attributes(node), tuple(notes))

    def chain(self, inputs: set[str]) -> list[Operator]:
        """All operators, if each reads the one before and nothing else is computed."""
        nodes = [node for node in self.nodes if node.op_type in RECURRENT]
        if not nodes:
            got = sorted({node.op_type for node in self.nodes})
            way_out = "give the node, or its arrays"
            _checks.refuse(self.function, "source", f"have one of {list(RECURRENT)}", got, way_out)
        used = {id(node) for node in nodes}
        for below, node in zip([None, *nodes], nodes, strict=False):
            start = self.walk_down(node.input[0], below, used)
            if start not in (inputs if below is None else below.output[:1]):
                self.refuse_node(self.maker.get(start), f"as the input of {node.name!r}")
            for name in node.input[4:7]:
                self.use_all_below(name, used)
        self.use_states({out for node in nodes for out in node.output[1:] if out}, used)
        self.use_outputs(nodes[-1].output[0], used)
        for node in self.nodes:
            if id(node) not in used and node.op_type != "Constant":
                self.refuse_node(node, "beside the recurrent operators")
        return [self.operator(node) for node in nodes]

    def walk_down(self, name: str, below: Any, used: set[int]) -> str:
        """What stands below an input, under nodes that only lay the axes out anew."""
        while name in self.maker and self.maker[name].op_type not in RECURRENT:
            node = self.maker[name]
            if not self.is_layout(node, below):
                return name
            used.add(id(node))
            if node.op_type == "Reshape":
                self.use_all_below(node.input[1], used)
            name = node.input[0]
        return name

    def is_layout(self, node: Any, below: Any) -> bool:
        """Whether a node only joins the directions of the operator below with its features."""
        if node.op_type in SAME:
            return True
        if below is None:
            return False
        told = self.attributes(node)
        if node.op_type == "Transpose":
            return told.get("perm") == [0, 2, 1, 3]
        if node.op_type == "Squeeze":
            axes = told.get("axes")
            if axes is None and len(node.input) > 1:
                axes = self.array(node.input[1])
            return axes is not None and list(np.ravel(axes)) == [1]
        if node.op_type == "Reshape":
            maker = self.maker.get(node.input[0])
            return maker is not None and maker.op_type == "Transpose"
        return False

    def use_all_below(self, name: str, used: set[int]) -> None:
        """Count everything that computes a state, lengths or a shape as known."""
        node = self.maker.get(name)
        if node is None or id(node) in used:
            return
        used.add(id(node))
        for below in node.input:
            self.use_all_below(below, used)

    def use_states(self, names: set[str], used: set[int]) -> None:
        """Count what gathers the final states as known."""
        for node in self.nodes:
            if node.op_type in STATES and node.input and names.intersection(node.input):
                used.add(id(node))
                names.update(node.output)

    def use_outputs(self, name: str, used: set[int]) -> None:
        """Count what lays out the last outputs as known."""
        names = {name}
        for node in self.nodes:
            if node.input and node.input[0] in names and self.is_layout(node, node):
                used.add(id(node))
                names.update(node.output)
                if node.op_type == "Reshape":
                    self.use_all_below(node.input[1], used)

    def refuse_node(self, node: Any, where: str) -> None:
        """Say what a graph does that is no recurrent operator."""
        got = f"{node.op_type} {node.name!r}" if node is not None else "something else"
        way_out = "give the recurrent nodes one by one with their initializers"
        wanted = f"have only recurrent operators in a chain, {where}"
        _checks.refuse(self.function, "source", wanted, got, way_out)

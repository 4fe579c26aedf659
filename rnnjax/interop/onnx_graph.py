"""Nodes of ONNX with their arrays and attributes, which are read and not run."""

import types
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from rnnjax import _checks

RECURRENT = ("LSTM", "GRU", "RNN")
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OWN = ("", "ai.onnx")  # domains of ONNX's own operators
ZEROS_STAY = ("Slice", "Gather", "Squeeze", "Reshape", "Transpose", "Cast")


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


def import_onnx(function: str) -> types.ModuleType:
    """The package, or what to do about its absence."""
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        message = f"{function}: onnx is not installed; pip install onnx, or give arrays."
        raise ImportError(message) from error
    return onnx


def title_of(node: Any) -> str:
    """How messages call a node."""
    return f"source[{node.name!r}]" if getattr(node, "name", "") else "source"


class Graph:
    """Nodes and the arrays that they name.

    Attributes:
        nodes: in the order in which they run.
        named: arrays, tensors or numbers by name.
        maker: the node that makes what has a name.
        defaults: which of the arrays are inputs too, that may be given in a run.
    """

    def __init__(
        self,
        function: str,
        onnx: Any,
        nodes: list[Any],
        named: Mapping[str, Any],
        defaults: frozenset[str] = frozenset(),
    ):
        self.function, self.onnx, self.nodes, self.defaults = function, onnx, nodes, defaults
        self.named = dict(named)
        self.maker = {out: node for node in nodes for out in node.output if out}
        seen: set[str] = set()
        for node in nodes:
            later = [name for name in node.input if name in self.maker and name not in seen]
            if later:
                way_out = "onnx.checker.check_model says more"
                self.refuse("source", "have its nodes in order", f"{later[0]!r} too late", way_out)
            seen.update(node.output)
            values = self.attributes(node) if node.op_type == "Constant" else {}
            if values and node.output:
                self.named[node.output[0]] = next(iter(values.values()))

    def attributes(self, node: Any) -> dict[str, Any]:
        """What a node is told."""
        get = self.onnx.helper.get_attribute_value
        try:
            return {attribute.name: get(attribute) for attribute in node.attribute}
        except ValueError:  # of a kind that is not known
            names = [attribute.name for attribute in node.attribute]
            way_out = "write the model anew"
            self.refuse(title_of(node), "have attributes with values", names, way_out)

    def array(self, name: str) -> np.ndarray | None:
        """The array of this name; None for what is only known in a run."""
        value: Any = self.named.get(name)
        if not hasattr(value, "data_location"):
            return None if value is None else np.asarray(value)
        if value.data_location == self.onnx.TensorProto.EXTERNAL:
            way_out = "read it with onnx.load(path), which fetches them"
            wanted = "have its arrays inside"
            self.refuse("source", wanted, f"{name!r} in another file", way_out)
        try:
            return self.onnx.numpy_helper.to_array(value)
        except (TypeError, ValueError):
            way_out = "fetch the file anew"
            wanted = "have as many numbers in each array as its shape says"
            self.refuse("source", wanted, f"another number in {name!r}", way_out)

    def constant(self, node: Any, place: int) -> list[Any] | None:
        """An input as a list of numbers; None for one that is left out or known in a run only."""
        name = node.input[place] if len(node.input) > place else ""
        array = self.array(name)
        return None if array is None else np.ravel(array).tolist()

    def axes(self, node: Any) -> list[Any] | None:
        """The axes of a node, an attribute in older opsets."""
        told = self.attributes(node).get("axes")
        return self.constant(node, 1) if told is None else list(told)

    def below(self, names: list[str]) -> set[int]:
        """The ids of all nodes that these need."""
        found: set[int] = set()
        left = list(names)
        while left:
            node = self.maker.get(left.pop())
            if node is not None and id(node) not in found:
                found.add(id(node))
                left += node.input
        return found

    def check(self, node: Any) -> None:
        """Refuse a recurrent node that is not ONNX's, or lacks what each has."""
        domain = getattr(node, "domain", "")
        if domain not in OWN:
            way_out = "another domain's operator may compute something else"
            self.refuse(f"{title_of(node)}.domain", "be ONNX's own", repr(domain), way_out)
        if node.op_type in RECURRENT and not all([*node.input, "", "", ""][:3]):
            way_out = "the operator needs these"
            self.refuse(title_of(node), "have inputs X, W and R", list(node.input), way_out)

    def operator(self, node: Any) -> Operator:
        """A recurrent node with its arrays."""
        self.check(node)
        title = title_of(node)
        arrays: dict[str, Any] = {}
        notes: list[str] = []
        for name, value in zip(INPUTS, node.input, strict=False):
            if not value or name == "X":
                continue
            if name == "sequence_lens":
                fixed = self.array(value)
                numbers = "" if fixed is None else f" {fixed.tolist()}"
                notes.append(f"{title}: takes sequence_lens{numbers}; give lengths=")
                continue
            array = self.array(value)
            if name.startswith("initial"):
                array = self.start(name, value, arrays.get("R"), (title, notes))
                if array is not None and np.any(array):
                    arrays[name] = array
            elif array is None:
                way_out = "give it in initializers, or as arrays"
                wanted = f"know the array of its input {name}"
                self.refuse(title, wanted, f"only its name {value!r}", way_out)
            else:
                arrays[name] = array
        return Operator(title, node.op_type, arrays, self.attributes(node), tuple(notes))

    def start(self, name: str, value: str, r: Any, said: tuple[str, list[str]]) -> Any:
        """A state that an operator begins with; None where only a run knows it."""
        title, notes = said
        like = (r.shape[0], 1, r.shape[-1]) if np.ndim(r) == 3 else ()
        array, inputs = self.steady(value, like)
        if array is None:
            node = self.maker.get(value)
            how = f"computed in a run, by {node.op_type}" if node else "an input of the graph"
            notes.append(f"{title}: {name} is {how}; give it as the carry")
        elif self.defaults.intersection(inputs):
            notes.append(f"{title}: {name} may be given in a run there; give it as the carry")
        return array

    def steady(self, name: str, like: tuple[int, ...]) -> tuple[Any, list[str]]:
        """An array that is the same for any batch, in which it is 1, and what it comes from."""
        array, node = self.array(name), self.maker.get(name)
        if array is not None:
            return array, [name]
        if node is None or node.domain not in OWN or not node.input:
            return None, []
        if node.op_type == "ConstantOfShape":
            value = self.attributes(node).get("value")
            fill = 0.0 if value is None else self.onnx.numpy_helper.to_array(value).ravel()[0]
            return np.full(like, fill, np.float32), []
        array, names = self.steady(node.input[0], ())
        match node.op_type:
            case "Identity":
                return array, names
            case "Expand" if array is not None:
                try:
                    return np.broadcast_to(array, np.broadcast_shapes(array.shape, like)), names
                except ValueError:  # its shape will be refused
                    return array, names
            case "Unsqueeze" if array is not None:
                axes = self.axes(node)
                return (np.expand_dims(array, axes[0]) if axes in ([0], [1]) else None), names
        zeros = node.op_type in ZEROS_STAY and array is not None and not np.any(array)
        return (array if zeros else None), names

    def refuse(self, argument: str, wanted: str, got: Any, way_out: str) -> NoReturn:
        """Say what is wrong with the source."""
        _checks.refuse(self.function, argument, wanted, got, way_out)

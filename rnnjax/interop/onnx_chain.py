"""Graphs of ONNX that are a chain of recurrent operators, with the axes laid out anew between."""

from typing import Any, NamedTuple, NoReturn

import numpy as np

from rnnjax import _checks
from rnnjax.interop.onnx_graph import (
    OWN,
    RECURRENT,
    Graph,
    Operator,
    import_onnx,
    is_node,
    title_of,
)

STATES = ("Identity", "Squeeze", "Unsqueeze", "Concat", "Transpose", "Reshape", "Slice", "Gather")
OLDEST = 7  # before, the operators had other attributes
AGAIN = "give the recurrent nodes one by one with their initializers"


class Value(NamedTuple):
    """What the network reads, or an operator's outputs, with the axes in whatever order.

    Attributes:
        axes: "0", "1" and "2" for those of the inputs, then "ways" and "features" as well.
        below: which operator made it; -1 for the inputs.
        way: which direction stands there alone; None where all do.
        masked: the lengths behind which it was zeroed, and the axes of time and batch.
    """

    axes: tuple[str, ...]
    below: int
    way: int | None = None
    masked: tuple[str, str, str] | None = None


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
    for one in getattr(source, "opset_import", ()):
        if one.domain in OWN and one.version < OLDEST:
            way_out = "bring it up to date with onnx.version_converter.convert_version"
            wanted = f"be of opset {OLDEST} or newer"
            _checks.refuse(function, "source", wanted, one.version, way_out)
    inner = getattr(source, "graph", source)
    named = {tensor.name: tensor for tensor in inner.initializer}
    inputs = [value.name for value in inner.input]
    defaults = frozenset(named).intersection(inputs)
    graph = Graph(function, onnx, list(inner.node), named, defaults)
    sizes = {value.name: _sizes(value) for value in inner.input if value.name not in named}
    return Chain(graph, sizes, [value.name for value in inner.output]).read()


def _sizes(value: Any) -> tuple[int, ...]:
    """The sizes that a graph says of an input, 0 for those that are open."""
    return tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)


class Chain:
    """The operators of a graph, if each reads the one before and nothing else is computed."""

    def __init__(self, graph: Graph, sizes: dict[str, tuple[int, ...]], outputs: list[str]):
        self.graph, self.sizes, self.outputs = graph, sizes, outputs
        self.values = {name: Value(("0", "1", "2"), -1) for name in sizes}
        self.nodes: list[Any] = []
        self.notes: list[str] = []
        self.fixed: dict[str, int] = {}
        self.time, self.batch, self.lengths = "0", "1", ""

    def read(self) -> list[Operator]:
        """All operators that the outputs need."""
        graph = self.graph
        if not any(node.op_type in RECURRENT for node in graph.nodes):
            got = sorted({node.op_type for node in graph.nodes})
            way_out = "give the node, or its arrays"
            graph.refuse("source", f"have one of {list(RECURRENT)}", got, way_out)
        live = graph.below(self.outputs)
        known: set[int] = set()
        for node in graph.nodes:
            recurrent = node.op_type in RECURRENT
            if id(node) not in live:
                if recurrent:
                    self.notes.append(f"{title_of(node)}: left out, no output needs it")
            elif recurrent:
                self.enter(node)
                known |= {id(node)} | graph.below(list(node.input[4:7]))
            else:
                value = self.laid_out(node, known)
                if value is not None:
                    self.values[node.output[0]] = value
                    known.add(id(node))
        states = self.states(live, known)
        for node in graph.nodes:
            if id(node) in live - known and node.op_type != "Constant":
                self.refuse(node, "beside the recurrent operators")
        self.check_outputs(states)
        operators = [graph.operator(node) for node in self.nodes]
        operators[-1] = operators[-1]._replace(notes=(*operators[-1].notes, *self.notes))
        return operators

    def enter(self, node: Any) -> None:
        """Go on with an operator, whose input must be all that the one before gives."""
        graph = self.graph
        graph.check(node)
        where, name = f"as the input of {node.name or node.op_type!r}", node.input[0]
        value = self.values.get(name)
        if value is None or value.below != len(self.nodes) - 1 or value.way is not None:
            self.refuse(self.culprit(name), where, name)
        batch_first = bool(graph.attributes(node).get("layout"))
        time, batch, *rest = (
            value.axes if not batch_first else (*value.axes[1::-1], *value.axes[2:])
        )
        lengths = self.uncast(node.input[4] if len(node.input) > 4 else "")
        if not self.nodes:
            self.time, self.batch, self.lengths = time, batch, lengths
            self.fixed = dict(zip("012", self.sizes.get(name, ()), strict=False))
            if time == "1":
                self.notes.append("source: the inputs have the batch first; here time is first")
        if (time, batch, rest) != (self.time, self.batch, ["features" if self.nodes else "2"]):
            self.refuse(self.culprit(name), where, name)
        if lengths != self.lengths:
            wanted = "take the sequence_lens of the operator below"
            graph.refuse(title_of(node), wanted, repr(lengths), "lengths here are one for all")
        self.check_masked(value, where, name)
        self.nodes.append(node)
        axes = (batch, time, "ways") if batch_first else (time, "ways", batch)
        if node.output and node.output[0]:
            self.values[node.output[0]] = Value((*axes, "features"), len(self.nodes) - 1)

    def check_masked(self, value: Value, where: str, name: str) -> None:
        """Zeros at padding change nothing where the operators have the same lengths."""
        if value.masked not in (None, (self.lengths, self.time, self.batch)):
            self.refuse(self.culprit(name), where, name)

    def check_outputs(self, states: set[str]) -> None:
        """The outputs must be those of the last operator, or states, which the carry has."""
        wanted = "have no outputs but the states and those of its last operator"
        last = False
        for name in self.outputs:
            value = self.values.get(name)
            if value is None and name in states:
                continue
            if value is None or value.below != len(self.nodes) - 1:
                self.graph.refuse("source", wanted, repr(name), AGAIN)
            axes = [axis for axis in value.axes if axis != "ways"]
            plain = [self.time, self.batch, "features"]
            if (
                value.way is not None
                or sorted(axes[:2]) != sorted(plain[:2])
                or axes[2:] != plain[2:]
            ):
                self.refuse(self.culprit(name), "as an output", name)
            self.check_masked(value, "as an output", name)
            if axes != plain:
                self.notes.append(f"source: {name!r} has the batch first; here time is first")
            last = True
        if not last:
            self.notes.append("source: answers with final states; take them from the carry")

    # What only lays the axes out anew.

    def laid_out(self, node: Any, known: set[int]) -> Value | None:
        """What comes out of such a node; None for any other."""
        if node.domain not in OWN or not node.input or not node.output:
            return None
        value = self.values.get(node.input[1 if node.op_type == "Where" and node.input[1:] else 0])
        if value is None:
            return None
        told = self.graph.attributes(node)
        match node.op_type:
            case "Identity":
                return value
            case "Dropout":
                return self.dropped(node, value)
            case "Transpose":
                order = list(range(len(value.axes)))
                perm = list(told.get("perm", order[::-1]))
                fits = sorted(perm) == order
                return value._replace(axes=tuple(value.axes[k] for k in perm)) if fits else None
            case "Squeeze":
                axes = self.graph.axes(node) or []
                one = len(axes) == 1 and self.num_ways(value) == 1
                return self.one_way(value, axes[0], 0) if one else None
            case "Gather":
                index = self.graph.array(node.input[1]) if node.input[1:] else None
                if index is None or index.ndim:
                    return None
                return self.one_way(value, told.get("axis", 0), int(index))
            case "Concat":
                return self.joined(node, told.get("axis"))
            case "Reshape":
                return self.reshaped(node, value, known)
            case "Where":
                return self.zeroed(node, value, known)
        return None

    def dropped(self, node: Any, value: Value) -> Value | None:
        """Dropout, which is off at inference unless it is told otherwise."""
        if [*node.input, "", ""][2] and self.graph.constant(node, 2) != [False]:
            return None
        note = f"source: without dropout {node.name!r}, which is off at inference"
        self.notes.append(note.replace(" ''", ""))
        return value

    def num_ways(self, value: Value) -> int:
        """How many directions the operator below has; 0 for none."""
        if value.below < 0:
            return 0
        told = self.graph.attributes(self.nodes[value.below])
        return 2 if told.get("direction") == b"bidirectional" else 1

    def one_way(self, value: Value, axis: int, index: int) -> Value | None:
        """One direction alone, or the only one."""
        num_ways, num_axes = self.num_ways(value), len(value.axes)
        if not -num_axes <= axis < num_axes or value.axes[axis] != "ways":
            return None
        if not -num_ways <= index < num_ways:
            return None
        axes = tuple(name for name in value.axes if name != "ways")
        return value._replace(axes=axes, way=index % num_ways if num_ways == 2 else None)

    def joined(self, node: Any, axis: int | None) -> Value | None:
        """Both directions, forwards first, one behind the other."""
        ways = [self.values.get(name) for name in node.input]
        if len(ways) != 2 or ways[0] is None or ways[1] is None:
            return None
        both, num_axes = ways[0]._replace(way=None), len(ways[0].axes)
        if ways != [both._replace(way=0), both._replace(way=1)] or axis is None:
            return None
        fits = -num_axes <= axis < num_axes and both.axes[axis] == "features"
        return both if fits else None

    def reshaped(self, node: Any, value: Value, known: set[int]) -> Value | None:
        """Directions and features as one axis, where the shape says so."""
        *front, ways, last = value.axes
        if (ways, last) != ("ways", "features") or len(node.input) < 2:
            return None
        shape, below = self.graph.constant(node, 1), self.nodes[value.below]
        if shape is None:
            note = f"source: Reshape {node.name!r} computes its shape; taken to join directions"
            self.notes.append(note.replace(" ''", ""))
            known |= self.graph.below([node.input[1]])
            return value._replace(axes=(*front, "features"))
        r = self.graph.array(below.input[2])
        width = 0 if r is None else self.num_ways(value) * r.shape[-1]
        wanted = [self.fixed.get(axis, 0) for axis in front] + [width]
        fits = len(shape) == 3 and shape.count(-1) <= 1
        for place, (got, size) in enumerate(zip(shape, wanted, strict=False)):
            kept = got == 0 and place < 2 and not self.graph.attributes(node).get("allowzero")
            fits = fits and (got == -1 or kept or (got == size and got > 0))
        return value._replace(axes=(*front, "features")) if fits else None

    # What stands for lengths.

    def zeroed(self, node: Any, value: Value, known: set[int]) -> Value | None:
        """Zero behind the lengths: steps < lengths as `(T, B, 1)`."""
        graph = self.graph
        zero, less = self.constant(node, 2), self.inside(node.input[0], "Unsqueeze", 2)
        if zero != [0] or less is None or less.op_type != "Less" or len(value.axes) != 3:
            return None
        steps = self.inside(less.input[0], "Unsqueeze", 1)
        if steps is None or steps.op_type != "Range" or len(steps.input) != 3:
            return None
        if graph.constant(steps, 0) != [0] or graph.constant(steps, 2) != [1]:
            return None
        known |= graph.below([node.input[0]])
        return value._replace(masked=(self.uncast(less.input[1]), *value.axes[:2]))

    def inside(self, name: str, op_type: str, axis: int) -> Any:
        """The node under one of this kind and axis."""
        node = self.graph.maker.get(name)
        if node is None or node.op_type != op_type or self.graph.axes(node) != [axis]:
            return None
        return self.graph.maker.get(node.input[0])

    def uncast(self, name: str) -> str:
        """What stands under casts."""
        node = self.graph.maker.get(name)
        while node is not None and node.op_type == "Cast" and node.input:
            name = node.input[0]
            node = self.graph.maker.get(name)
        return name

    def constant(self, node: Any, place: int) -> list[Any] | None:
        """A constant of one axis or none, which broadcasts alone."""
        array = self.graph.array(node.input[place]) if len(node.input) > place else None
        return None if array is None or array.size != 1 else np.ravel(array).tolist()

    # What gathers the final states.

    def states(self, live: set[int], known: set[int]) -> set[str]:
        """The names of final states; what gathers them becomes known."""
        names = {out for node in self.nodes for out in node.output[1:] if out}
        starts = {start for node in self.nodes for start in node.input[5:7] if start}
        for node in self.graph.nodes:
            if id(node) not in live or node.domain not in OWN or not node.input:
                continue
            data = node.input if node.op_type == "Concat" else node.input[:1]
            gathers = node.op_type in STATES and names.issuperset(data)
            if gathers or (node.op_type == "Where" and self.begun(node, names, starts)):
                known |= {id(node)} | self.graph.below(list(node.input[:1]) if not gathers else [])
                names.update(node.output)
        return names

    def begun(self, node: Any, names: set[str], starts: set[str]) -> bool:
        """Whether rows without a step keep the state that they began with."""
        if len(node.input) != 3 or node.input[1] not in names:
            return False
        more = self.inside(node.input[0], "Unsqueeze", 1)
        if more is None or more.op_type != "Greater" or self.constant(more, 1) != [0]:
            return False
        same = self.uncast(more.input[0]) == self.lengths
        return same and (node.input[2] in starts or self.constant(node, 2) == [0])

    # What is refused.

    def culprit(self, name: str) -> Any:
        """The lowest node above what is understood."""
        node = self.graph.maker.get(name)
        while node is not None and not self.values.keys() & {*node.input, *node.output}:
            below = [one for one in node.input if one in self.graph.maker]
            if not below:
                break
            node = self.graph.maker[below[0]]
        return node

    def refuse(self, node: Any, where: str, name: str = "") -> NoReturn:
        """Say what a graph does that is no recurrent operator."""
        got = f"{node.op_type} {node.name!r}" if node is not None else repr(name)
        wanted = f"have only recurrent operators in a chain, {where}"
        self.graph.refuse("source", wanted, got, AGAIN)

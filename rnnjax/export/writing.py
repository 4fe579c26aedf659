"""Networks as graphs of ONNX, part by part."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax.export.functions import writer_of
from rnnjax.export.graph import Graph, Port
from rnnjax.export.operators import Recurrent, as_float32, in_features, recurrent_of
from rnnjax.interop.onnx_layout import OPERATORS
from rnnjax.sequence import merge
from rnnjax.sequence.parts import Part

TIME, BATCH = "T", "B"
Width = int | str


class Padding(NamedTuple):
    """Which steps count, in the shapes in which it is asked.

    Attributes:
        lengths: within 0..T, `(B,)` int32, as recurrent operators take it.
        valid: `(T, B)` bool.
        begun: whether a row has a step at all, `(B, 1)` bool.
    """

    lengths: str
    valid: str
    begun: str


class Writer:
    """Writes one network; the names of tensors go from part to part."""

    def __init__(self, *, lengths: bool, carry: bool, time_major: bool):
        self.graph = Graph()
        self.with_lengths, self.with_carry, self.time_major = lengths, carry, time_major
        self.padding: Padding | None = None

    def write(self, parts: list[Part], tokens: bool) -> Graph:
        """All parts from bottom to top, between inputs and outputs."""
        graph = self.graph
        width = next((in_features(part) for part in parts if part.factory != "pointwise"), "D")
        x = self._inputs(() if tokens else (width,), "int32" if tokens else "float32")
        for part in parts:
            graph.part = part.name
            if part.factory in OPERATORS:
                x, width = self._recurrent(part, x)
            elif part.factory == "embedding":
                x, width = self._embedding(part, x), part.params.w.shape[1]
            elif part.factory == "dense":
                x, width = self._dense(part, x), part.params.w.shape[1]
            else:
                x = self._blank(self._apply(part.options["function"], x))
        graph.part = None
        if self.time_major:
            graph.add("Identity", x, outputs=("ys",))
        else:
            graph.add("Transpose", x, attributes={"perm": [1, 0, 2]}, outputs=("ys",))
        graph.outputs.insert(0, Port("ys", "float32", (*self._lead(), width)))
        return graph

    def _lead(self) -> tuple[str, str]:
        return (TIME, BATCH) if self.time_major else (BATCH, TIME)

    def _inputs(self, features: tuple[Width, ...], dtype: str) -> str:
        """The inputs, time first and zero at padding."""
        graph = self.graph
        x = graph.input(Port("xs", dtype, (*self._lead(), *features)))
        if self.with_lengths:
            graph.input(Port("lengths", "int32", (BATCH,)))
        if not self.time_major:
            perm = [1, 0, 2][: 2 + len(features)]
            x = graph.add("Transpose", x, attributes={"perm": perm})
        self.sizes = graph.add("Shape", x)
        if self.with_lengths:
            self.padding = self._padding()
        return self._blank(x, tokens=dtype == "int32")

    def _padding(self) -> Padding:
        """What lengths say; those outside 0..T are clipped."""
        graph = self.graph
        num_steps = graph.add("Squeeze", self._size(0), graph.numbers(0))
        count = graph.add("Cast", "lengths", attributes={"to": "int64"})
        zero = graph.constant("zero", np.int64(0))
        count = graph.add("Min", graph.add("Max", count, zero), num_steps)
        steps = graph.add("Range", zero, num_steps, graph.constant("one", np.int64(1)))
        valid = graph.add("Less", graph.add("Unsqueeze", steps, graph.numbers(1)), count)
        begun = graph.add("Unsqueeze", graph.add("Greater", count, zero), graph.numbers(1))
        return Padding(graph.add("Cast", count, attributes={"to": "int32"}), valid, begun)

    def _size(self, axis: int) -> str:
        """The size of an axis of time-major inputs, `(1,)`."""
        return self.graph.add("Gather", self.sizes, self.graph.numbers(axis))

    def _blank(self, x: str, *, tokens: bool = False) -> str:
        """Zero what stands at padding."""
        if self.padding is None:
            return x
        graph = self.graph
        if tokens:
            return graph.add("Where", self.padding.valid, x, graph.constant("zero", np.int32(0)))
        valid = graph.add("Unsqueeze", self.padding.valid, graph.numbers(2))
        return graph.add("Where", valid, x, graph.scalar(0.0))

    def _apply(self, function: Any, x: str) -> str:
        writer = writer_of(function)
        assert writer is not None  # it was checked
        return writer(self.graph, x)

    def _embedding(self, part: Part, x: str) -> str:
        """Negative tokens, which would count from the end, are out of range."""
        graph = self.graph
        w = as_float32(part.params.w)
        negative = graph.add("Less", x, graph.constant("zero", np.int32(0)))
        beyond = graph.constant("count", np.int32(len(w)))
        tokens = graph.add("Where", negative, beyond, x)
        return self._blank(graph.add("Gather", graph.constant("w", w), tokens))

    def _dense(self, part: Part, x: str) -> str:
        graph, params = self.graph, part.params
        x = graph.add("MatMul", x, graph.constant("w", as_float32(params.w)))
        if params.b is not None:
            x = graph.add("Add", x, graph.constant("b", as_float32(params.b)))
        if part.options["activation"] is not None:
            x = self._apply(part.options["activation"], x)
        return self._blank(x)

    def _recurrent(self, part: Part, x: str) -> tuple[str, int]:
        """The operator of a cell, its states, and one output of both ways."""
        graph, found = self.graph, recurrent_of(part)
        num_ways = len(part.directions)
        starts = {name: self._start(part, found, name) for name in found.states}
        names = {name: graph.constant(name.lower(), array) for name, array in found.weights.items()}
        lengths = self.padding.lengths if self.padding else ""
        inputs = [x, names["W"], names["R"], names.get("B", ""), lengths, *starts.values()]
        finals = tuple(graph.fresh(f"last_{name}") for name in found.states)
        y = graph.add(
            found.operator,
            *inputs,
            *([names["P"]] if "P" in names else []),
            attributes=found.attributes,
            outputs=(graph.fresh("y"), *finals),
        )
        for name, last in zip(found.states, finals, strict=True):
            self._final(part, found, (name, last, starts[name]))
        if part.merge is None:
            return graph.add("Squeeze", y, graph.numbers(1)), found.hidden_features
        width = found.hidden_features * (num_ways if part.merge is merge.concatenate else 1)
        return self._merge(part.merge, y), width

    def _start(self, part: Part, found: Recurrent, state: str) -> str:
        """Where a state begins, `(directions, B, H)`; empty for zeros."""
        graph, learned = self.graph, found.states[state]
        num_ways, width = len(part.directions), found.hidden_features
        if not self.with_carry and learned is None:
            return ""
        fresh = np.zeros((num_ways, 1, width), np.float32) if learned is None else learned
        if self.with_carry:
            one_way = part.merge is None
            shape = (None, width) if one_way else (num_ways, None, width)
            name = state_name("initial", part, state)
            given = graph.input(Port(name, "float32", shape), fresh[0] if one_way else fresh)
            start = graph.add("Unsqueeze", given, graph.numbers(0)) if one_way else given
        else:
            start = graph.constant(f"initial_{state}", fresh)
        wanted = (graph.numbers(num_ways), self._size(1), graph.numbers(width))
        return graph.add("Expand", start, graph.add("Concat", *wanted, attributes={"axis": 0}))

    def _final(self, part: Part, found: Recurrent, state: tuple[str, str, str]) -> None:
        """The last of a state. ONNX does not say that a row of length 0 ends where it began."""
        graph, (name, last, start) = self.graph, state
        if self.padding is not None:
            start = start or graph.scalar(0.0)
            last = graph.add("Where", self.padding.begun, last, start)
        output, width = state_name("final", part, name), found.hidden_features
        if part.merge is None:
            graph.add("Squeeze", last, graph.numbers(0), outputs=(output,))
            graph.outputs.append(Port(output, "float32", (BATCH, width)))
        else:
            graph.add("Identity", last, outputs=(output,))
            graph.outputs.append(Port(output, "float32", (2, BATCH, width)))

    def _merge(self, how: Any, y: str) -> str:
        """One output `(T, B, H)` of `(T, 2, B, H)`."""
        graph = self.graph
        numbers = [graph.constant("way", np.int64(way)) for way in range(2)]
        ways = [graph.add("Gather", y, number, attributes={"axis": 1}) for number in numbers]
        if how is merge.concatenate:
            return graph.add("Concat", *ways, attributes={"axis": 2})
        if how is merge.multiply:
            return graph.add("Mul", *ways)
        total = graph.add("Add", *ways)
        return total if how is merge.add else graph.add("Mul", total, graph.scalar(0.5))


def state_name(which: str, part: Part, state: str) -> str:
    """`final_layers_0_h` of the part `layers_0`, `final_h` of a network that is one cell."""
    return "_".join(filter(None, (which, part.name.replace(".", "_"), state)))


def reads_tokens(spec: Any) -> bool:
    """Whether inputs are whole numbers."""
    return spec.kind is jnp.integer

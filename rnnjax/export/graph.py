"""A graph of ONNX as plain data: it is checked and described without that package."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np


class Port(NamedTuple):
    """What goes into a network, or comes out of it.

    Attributes:
        name: of the tensor.
        dtype: `float32` or `int32`.
        shape: sizes; words where any size will do, equal words for equal sizes, and None where
            the size is 1 or B.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Node(NamedTuple):
    """One operator; an input that is empty is left out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    part: str | None


class Graph:
    """Operators in order, and the arrays that they read.

    Attributes:
        nodes: in the order in which they run.
        constants: arrays of NumPy by name; those named as an input are its default.
        inputs: of the network.
        outputs: of the network.
        part: which part of the network is being written, whose name begins those of what is added;
            None before the first and after the last.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.part: str | None = None
        self._taken: Counter[str] = Counter()
        self._small: dict[tuple[Any, ...], str] = {}

    def input(self, port: Port, default: np.ndarray | None = None) -> str:
        """Let the network read something."""
        self.inputs.append(port)
        if default is not None:
            self.constants[port.name] = default
        return port.name

    def add(
        self,
        operator: str,
        *inputs: str,
        attributes: dict[str, Any] | None = None,
        outputs: tuple[str, ...] = (),
    ) -> str:
        """Add an operator, and return the name of its first output."""
        outputs = outputs or (self.fresh(operator.lower()),)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(Node(operator, inputs, outputs, attributes or {}, self.part))
        return outputs[0]

    def constant(self, name: str, array: Any) -> str:
        """Keep an array under a new name, small ones only once."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 4 else ()
        if key not in self._small or not key:
            self._small[key] = self.fresh(name)
            self.constants[self._small[key]] = array
        return self._small[key]

    def numbers(self, *values: int) -> str:
        """Sizes or axes, as operators read them."""
        return self.constant("numbers", np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """One number in float32."""
        return self.constant("scalar", np.array(value, np.float32))

    def fresh(self, name: str) -> str:
        """A name that nothing has; an identifier of C, as the standard wants it."""
        name = f"{self.part or ''}_{name}".lstrip("_").replace(".", "_")
        self._taken[name] += 1
        return name if self._taken[name] == 1 else f"{name}_{self._taken[name]}"

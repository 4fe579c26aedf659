"""The trees of arrays that the cells of Flax Linen and NNX keep: names, and what stands there."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.elman import ElmanParams
from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams
from rnnjax.cells.mgu import MGUParams
from rnnjax.interop import layouts
from rnnjax.interop.arrays import Arrays

USUAL = {"gate_activation": jax.nn.sigmoid, "activation": jnp.tanh}
THEIRS = {"gate_activation": "gate_fn", "activation": "activation_fn"}


class Tree(NamedTuple):
    """Where a cell of Flax keeps its weights: dense layers, one a gate or one for all of them.

    Attributes:
        module: the name of its class.
        params: what these weights are here.
        gates: in our order, which is theirs where one layer serves all.
        inputs: names of the layers that read the input.
        recurrent: names of the layers that read the state.
        biased: which of the two have the biases.
        b_hn: the layer whose bias is `b_hn`; empty where there is none.
    """

    module: str
    params: type
    gates: str
    inputs: tuple[str, ...]
    recurrent: tuple[str, ...]
    biased: Literal["inputs", "recurrent"]
    b_hn: str = ""

    @property
    def functions(self) -> tuple[str, ...]:
        """The activations that its constructor takes."""
        usual = tuple(THEIRS.values())
        return usual[1:] if self.module == "SimpleCell" else usual

    @property
    def names(self) -> set[str]:
        """All dense layers of the cell."""
        return {*self.inputs, *self.recurrent}


def by_gate(
    module: str, params: type, gates: str, biased: Literal["inputs", "recurrent"], b_hn: str = ""
) -> Tree:
    """A tree with one dense layer for each gate and side."""
    inputs, recurrent = (tuple(side + gate for gate in gates) for side in "ih")
    return Tree(module, params, gates, inputs, recurrent, biased, b_hn)


def together(module: str, params: type, gates: str, biased: Literal["inputs", "recurrent"]) -> Tree:
    """A tree with one dense layer for each side."""
    return Tree(module, params, gates, ("dense_i",), ("dense_h",), biased)


LINEN = {
    "lstm": by_gate("LSTMCell", LSTMParams, layouts.LSTM, "recurrent"),
    "gru": by_gate("GRUCell", GRUParams, layouts.GRU, "inputs", "hn"),
    "mgu": by_gate("MGUCell", MGUParams, layouts.MGU, "inputs", "hn"),
    "elman": Tree("SimpleCell", ElmanParams, "h", ("i",), ("h",), "inputs"),
}
# A forget gate cannot be called `if` where it is an attribute.
NNX_LSTM = LINEN["lstm"]._replace(
    inputs=tuple({"if": "if_"}.get(name, name) for name in LINEN["lstm"].inputs)
)
NNX = {
    "lstm": NNX_LSTM,
    "optimized": together("OptimizedLSTMCell", LSTMParams, layouts.LSTM, "recurrent"),
    "gru": together("GRUCell", GRUParams, layouts.GRU, "inputs"),
    "elman": together("SimpleCell", ElmanParams, "h", "inputs"),
}


def size_of(arrays: Arrays, name: str, axis: int = 0) -> int | None:
    """The size of an axis of a matrix that has not been taken yet; None where it cannot be told."""
    array = arrays.left.get(name)
    return array.shape[axis] if array is not None and array.ndim == 2 else None


def read_cell(arrays: Arrays, start: str, tree: Tree, target: str, way: str = "") -> Any:
    """The params of one cell, whose names there begin with `start`."""
    width = size_of(arrays, f"{start}{tree.recurrent[0]}.kernel")
    rows = size_of(arrays, f"{start}{tree.inputs[0]}.kernel")
    columns = None if width is None else width * len(tree.gates) // len(tree.inputs)

    def take(layers: Sequence[str], leaf: str, field: str, shape: tuple[int | None, ...]) -> Any:
        gates = tree.gates if len(layers) > 1 else [""]
        blocks = [
            arrays.take(
                f"{start}{layer}.{leaf}",
                shape,
                target=f"{target}{field}{way}",
                how=f"block {gate}" if gate else "as it is",
            )
            for layer, gate in zip(layers, gates, strict=True)
        ]
        return np.concatenate(blocks, axis=-1)

    w_ih = take(tree.inputs, "kernel", "w_ih", (rows, columns))
    w_hh = take(tree.recurrent, "kernel", "w_hh", (width, columns))
    b = take(getattr(tree, tree.biased), "bias", "b", (columns,))
    if tree.params is GRUParams and not tree.b_hn:
        arrays.notes.append(f"{target}b_hn{way} is zero: there is none there")
        return GRUParams(w_ih, w_hh, b, np.zeros_like(b[:width]))
    if tree.b_hn:
        return tree.params(w_ih, w_hh, b, take([tree.b_hn], "bias", "b_hn", (width,)))
    return tree.params(w_ih, w_hh, b)


def write_cell(tree: Tree, params: Any) -> list[tuple[str, np.ndarray, str, str]]:
    """Name there, array, name here and what was done, of one cell."""

    def put(layers: Sequence[str], leaf: str, field: str, array: np.ndarray) -> Any:
        blocks = np.split(array, len(layers), axis=-1)
        gates = tree.gates if len(layers) > 1 else [""]
        for layer, gate, block in zip(layers, gates, blocks, strict=True):
            yield f"{layer}.{leaf}", block, field, f"block {gate}" if gate else "as it is"

    zeros = np.zeros_like(params.w_ih[0])
    b, b_hn = (getattr(params, name, None) for name in ("b", "b_hn"))
    out = [
        *put(tree.inputs, "kernel", "w_ih", params.w_ih),
        *put(tree.recurrent, "kernel", "w_hh", params.w_hh),
        *put(getattr(tree, tree.biased), "bias", "b", zeros if b is None else b),
    ]
    if tree.b_hn:
        width = params.w_hh.shape[0]
        out += put([tree.b_hn], "bias", "b_hn", zeros[:width] if b_hn is None else b_hn)
    return out


def nested(named: Sequence[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """A tree of dictionaries of names that are joined by dots."""
    out: dict[str, Any] = {}
    for name, array in named:
        *parents, leaf = name.split(".")
        inner = out
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[leaf] = array
    return out

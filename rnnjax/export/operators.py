"""Cells as ONNX's LSTM, GRU and RNN, with weights in float32."""

from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax.interop.onnx_layout import OPERATORS, pack
from rnnjax.sequence.parts import Part


class Recurrent(NamedTuple):
    """An operator with its weights, which lead with an axis of directions.

    Attributes:
        operator: its name.
        attributes: of the operator.
        weights: W, R, B where there is a bias, and P where there are peepholes.
        states: the fields of the carry, each with its learned start `(directions, 1, H)` or None.
        hidden_features: H.
    """

    operator: str
    attributes: dict[str, Any]
    weights: dict[str, np.ndarray]
    states: dict[str, np.ndarray | None]
    hidden_features: int


def as_float32(array: Any) -> np.ndarray:
    """Weights as the operator reads them."""
    return np.asarray(array).astype(np.float32)


def recurrent_of(part: Part) -> Recurrent:
    """The operator of a part whose factory is in `OPERATORS`."""
    directions = jax.tree.map(as_float32, part.directions)
    arrays, attributes = pack(part.factory, directions, part.options, reverse=part.reverse)
    operator = OPERATORS[part.factory]
    fields = ("h", "c") if operator == "LSTM" else ("h",)
    states = {name: arrays.pop(f"initial_{name}", None) for name in fields}
    return Recurrent(operator, attributes, arrays, states, attributes["hidden_size"])


def in_features(part: Part) -> int:
    """The width of the inputs of a part that has weights."""
    params = part.directions[0]
    return (params.w_ih if part.factory in OPERATORS else params.w).shape[0]

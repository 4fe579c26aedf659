"""Cells as ONNX's LSTM, GRU and RNN: weights in its gate orders, activations by its names."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.export.functions import ACTIVATIONS
from rnnjax.interop.layouts import GRU, LSTM, blocks, reorder
from rnnjax.sequence.parts import Part

ONNX_LSTM, ONNX_GRU = "iofg", "zrn"
Gates = Callable[[np.ndarray], np.ndarray]


class Kind(NamedTuple):
    """How the cells of one factory become an operator.

    Attributes:
        operator: its name.
        gates: brings the last axis of weights into its gate order.
        states: the fields of the carry that it has.
        w_hh: makes the recurrent weights, `(H, G)` in our order, of params.
        options: the names of options that are its activations, in its order.
    """

    operator: str
    gates: Gates
    states: tuple[str, ...] = ("h",)
    w_hh: Callable[[Any], np.ndarray] = lambda params: as_float32(params.w_hh)
    options: tuple[str, ...] = ()


class Recurrent(NamedTuple):
    """An operator with its weights, which lead with an axis of directions.

    Attributes:
        operator: its name.
        attributes: of the operator.
        weights: W, R, B, and P where there are peepholes.
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


def _coupled(w: np.ndarray) -> np.ndarray:
    """ONNX makes f = 1 - i of i, so i is the negative of our f; its own f is not read."""
    gate = blocks(w, "fgo")
    parts = {"i": -gate["f"], "o": gate["o"], "f": np.zeros_like(gate["f"]), "g": gate["g"]}
    return np.concatenate([parts[name] for name in ONNX_LSTM], axis=-1)


def _minimal(w: np.ndarray) -> np.ndarray:
    """A GRU whose gates are one."""
    gate = blocks(w, "fn")
    return np.concatenate([gate["f"], gate["f"], gate["n"]], axis=-1)


def _minimal_before(w: np.ndarray) -> np.ndarray:
    """There f takes the new state, and z keeps the old one."""
    gate = blocks(w, "fn")
    return np.concatenate([-gate["f"], gate["f"], gate["n"]], axis=-1)


def _by_heads(params: Any) -> np.ndarray:
    """Recurrent weights of heads, `(N, J, K)`, as one block-diagonal matrix a gate."""
    w = as_float32(params.w_hh)
    heads, units, columns = w.shape
    dense = np.zeros((heads, units, columns // units, heads, units), np.float32)
    for head in range(heads):
        dense[head, :, :, head] = w[head].reshape(units, columns // units, units)
    return dense.reshape(heads * units, columns * heads)


_lstm: Gates = lambda w: reorder(w, LSTM, ONNX_LSTM)
_gru: Gates = lambda w: reorder(w, GRU, ONNX_GRU)
_H_C = ("h", "c")
_GATED = ("gate_activation", "activation")

KINDS: dict[str, Kind] = {
    "lstm": Kind("LSTM", _lstm, _H_C, options=(*_GATED, "activation")),
    "peephole_lstm": Kind("LSTM", _lstm, _H_C),
    "coupled_lstm": Kind("LSTM", _coupled, _H_C),
    "multihead_lstm": Kind("LSTM", _lstm, _H_C, w_hh=_by_heads),
    "gru": Kind("GRU", _gru, options=_GATED),
    "multihead_gru": Kind("GRU", _gru, w_hh=_by_heads),
    "mgu": Kind("GRU", _minimal),
    "elman": Kind("RNN", lambda w: w, options=("activation",)),
    "indrnn": Kind(
        "RNN", lambda w: w, w_hh=lambda p: np.diag(as_float32(p.u)), options=("activation",)
    ),
}


def recurrent_of(part: Part) -> Recurrent:
    """The operator of a part whose factory is in `KINDS`."""
    kind = KINDS[part.factory]
    before = part.options.get("reset") == "before"
    if part.factory == "mgu" and before:
        kind = kind._replace(gates=_minimal_before)
    ways = [_weights(kind, params) for params in part.directions]
    weights = {name: np.stack([way[name] for way in ways]) for name in ways[0]}
    hidden = weights["R"].shape[-1]
    direction = "reverse" if part.reverse else "forward"
    if part.merge is not None:
        direction = "bidirectional"
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    attributes |= _activations(kind, part)
    if kind.operator == "GRU":
        attributes["linear_before_reset"] = int(not before)
    if part.factory == "coupled_lstm":
        attributes["input_forget"] = 1
    starts = [getattr(params, "initial", None) for params in part.directions]
    states = {
        name: None
        if starts[0] is None
        else np.stack([as_float32(getattr(start, name))[None] for start in starts])
        for name in kind.states
    }
    return Recurrent(kind.operator, attributes, weights, states, hidden)


def in_features(part: Part) -> int:
    """The width of the inputs of a part that has weights."""
    params = part.directions[0]
    return (params.w_ih if part.factory in KINDS else params.w).shape[0]


def _weights(kind: Kind, params: Any) -> dict[str, np.ndarray]:
    """What the operator reads, of one direction."""
    w_ih, w_hh = kind.gates(as_float32(params.w_ih)), kind.gates(kind.w_hh(params))
    b = np.zeros(w_ih.shape[-1], np.float32)
    if params.b is not None:
        b = kind.gates(as_float32(params.b))
    b_hh = np.zeros_like(b)
    b_hn = getattr(params, "b_hn", None)
    if b_hn is not None:  # inside the product with r
        b_hh[-b_hn.shape[-1] :] = as_float32(b_hn)
    out = {"W": w_ih.T, "R": w_hh.T, "B": np.concatenate([b, b_hh])}
    p = getattr(params, "p", None)
    if p is not None:
        out["P"] = reorder(as_float32(p).ravel(), "ifo", "iof")
    return out


def activations_of(part: Part) -> list[Any]:
    """The functions inside the operator, in its order; none where they are its own."""
    return [part.options[name] for name in KINDS[part.factory].options]


def _activations(kind: Kind, part: Part) -> dict[str, Any]:
    """The attributes that name them, once a direction; none where they are the default."""
    functions = activations_of(part)
    plain = [jax.nn.sigmoid, jnp.tanh] if len(functions) > 1 else [jnp.tanh]
    if all(f is g for f, g in zip(functions, [*plain, jnp.tanh], strict=False)):
        return {}
    found = [ACTIVATIONS[function] for function in functions] * len(part.directions)
    out: dict[str, Any] = {"activations": [one.name for one in found]}
    alphas = [one.alpha for one in found if one.alpha is not None]
    betas = [one.beta for one in found if one.beta is not None]
    out |= {"activation_alpha": alphas} if alphas else {}
    return out | ({"activation_beta": betas} if betas else {})

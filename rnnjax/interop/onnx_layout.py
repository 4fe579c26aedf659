"""One level of a network as the inputs and attributes of ONNX's LSTM, GRU or RNN, and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.coupled import CoupledLSTMParams
from rnnjax.cells.elman import ElmanCarry, ElmanParams
from rnnjax.cells.gru import GRUCarry, GRUParams
from rnnjax.cells.lstm import LSTMCarry, LSTMParams
from rnnjax.cells.peephole import PeepholeLSTMParams
from rnnjax.interop import layouts
from rnnjax.interop.onnx_activations import attributes_of, by_function

OPERATORS = {
    "lstm": "LSTM",
    "peephole_lstm": "LSTM",
    "coupled_lstm": "LSTM",
    "multihead_lstm": "LSTM",
    "gru": "GRU",
    "multihead_gru": "GRU",
    "mgu": "GRU",
    "elman": "RNN",
    "indrnn": "RNN",
}
ORDERS = {"LSTM": layouts.ONNX_LSTM, "GRU": layouts.ONNX_GRU, "RNN": "n"}
OURS = {"LSTM": layouts.LSTM, "GRU": layouts.GRU, "RNN": "n"}
SLOTS = {  # what the operator's activations are called in our options
    "LSTM": ("gate_activation", "activation", "activation"),
    "GRU": ("gate_activation", "activation"),
    "RNN": ("activation",),
}


def activations_of(kind: str, options: Mapping[str, Any]) -> list[Callable[..., Any]]:
    """The functions of one direction, in the operator's order.

    Args:
        kind: the factory of the cell, a key of `OPERATORS`.
        options: of its recipe.
    """
    usual = {"gate_activation": jax.nn.sigmoid, "activation": jnp.tanh}
    return [options.get(slot, usual[slot]) for slot in SLOTS[OPERATORS[kind]]]


def pack(
    kind: str, directions: Sequence[Any], options: Mapping[str, Any], *, reverse: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The inputs and attributes of the operator that computes one level.

    Args:
        kind: the factory of the cell, a key of `OPERATORS`, which names the operator.
        directions: its params, arrays of NumPy: one, or two for both directions.
        options: of the cell's recipe; where a GRU resets, and activations, which must be known to
            `by_function`: ask it about `activations_of` before.
        reverse: whether a single direction reads from the end.

    Returns:
        Arrays by the names of the operator's inputs: `W`, `R`, with a bias `B`, with peepholes
        `P`, and `initial_h` and `initial_c` with a batch of 1 where the carry is learned. The
        attributes, without those at ONNX's defaults except `hidden_size` and `direction`.
    """
    operator = OPERATORS[kind]
    before = options.get("reset") == "before"
    directions = [_plain(kind, params, before) for params in directions]
    ways = [_pack_way(operator, params) for params in directions]
    arrays = {name: np.stack([way[name] for way in ways]) for name in ways[0]}
    direction = "bidirectional" if len(ways) == 2 else "reverse" if reverse else "forward"
    attributes = {"hidden_size": directions[0].w_hh.shape[0], "direction": direction}
    found = [one for one in map(by_function, activations_of(kind, options)) if one is not None]
    attributes |= attributes_of(operator, found, len(ways))
    if kind == "coupled_lstm":
        attributes["input_forget"] = 1
    if operator == "GRU" and not before:
        attributes["linear_before_reset"] = 1
    return arrays, attributes


def _plain(kind: str, params: Any, before: bool) -> Any:
    """The same function as params of an LSTM, GRU or Elman cell."""
    match kind:
        case "coupled_lstm":
            leaf = _from_coupled
            return LSTMParams(leaf(params.w_ih), leaf(params.w_hh), leaf(params.b), params.initial)
        case "multihead_lstm" | "multihead_gru":
            cell = LSTMParams if kind == "multihead_lstm" else GRUParams
            fields = {name: a for name, a in params._asdict().items() if name in cell._fields}
            return cell(**(fields | {"w_hh": _from_heads(params.w_hh)}))
        case "mgu":
            arrays = [_from_mgu(a, before) for a in (params.w_ih, params.w_hh, params.b)]
            return GRUParams(arrays[0], arrays[1], arrays[2], params.b_hn, params.initial)
        case "indrnn":
            w_hh: Any = np.diag(params.u)
            return ElmanParams(params.w_ih, w_hh, params.b, params.initial)
    return params


def _pack_way(operator: str, params: Any) -> dict[str, np.ndarray]:
    """The arrays of one direction, without the axis of directions."""
    have, want = OURS[operator], ORDERS[operator]

    def there(array: Any) -> Any:
        return layouts.reorder(array, have, want)

    arrays = {"W": there(params.w_ih).T, "R": there(params.w_hh).T}
    if params.b is not None:
        recurrent = np.zeros_like(params.b)
        b_hn = getattr(params, "b_hn", None)
        if b_hn is not None:
            recurrent[-b_hn.shape[0] :] = b_hn  # n stands last in both orders
        arrays["B"] = np.concatenate([there(params.b), recurrent])
    if isinstance(params, PeepholeLSTMParams):
        arrays["P"] = layouts.reorder(
            params.p.reshape(-1), layouts.PEEPHOLES, layouts.ONNX_PEEPHOLES
        )
    if params.initial is not None:
        for name, value in params.initial._asdict().items():
            arrays[f"initial_{name}"] = np.asarray(value)[None]
    return arrays


def _from_coupled(array: Any) -> Any:
    """The gates of an LSTM with i = 1 - f, and a forget gate that is not used."""
    gates = layouts.blocks(array, layouts.COUPLED_LSTM)
    gates["i"], gates["f"] = -gates["f"], np.zeros_like(gates["f"])
    return np.concatenate([gates[gate] for gate in layouts.LSTM], -1)


def _from_mgu(array: Any, before: bool) -> Any:
    """The gates of a GRU whose gates are one; with reset before, f takes the new state."""
    gates = layouts.blocks(array, layouts.MGU)
    gates["r"], gates["z"] = gates["f"], -gates["f"] if before else gates["f"]
    return np.concatenate([gates[gate] for gate in layouts.GRU], -1)


def _from_heads(w_hh: Any) -> Any:
    """Recurrent weights of heads, `(N, J, K)`, as one block-diagonal matrix a gate."""
    heads, units, columns = w_hh.shape
    dense = np.zeros((heads, units, columns // units, heads, units), w_hh.dtype)
    for head in range(heads):
        dense[head, :, :, head] = w_hh[head].reshape(units, columns // units, units)
    return dense.reshape(heads * units, columns * heads)


def unpack(
    operator: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
) -> list[Any]:
    """Params of each direction, arrays of NumPy; the reverse of `pack`.

    Args:
        operator: `LSTM`, `GRU` or `RNN`.
        arrays: as `pack` returns them, of shapes that fit; initial carries for a batch of 1.
        attributes: those left out have ONNX's defaults; `input_forget` and `linear_before_reset`
            are read.

    Returns:
        Params, one or two. The two biases are summed, but for the GRU's `b_hn`.
    """
    ways = [{name: a[k] for name, a in arrays.items()} for k in range(len(arrays["W"]))]
    return [_unpack_way(operator, way, attributes) for way in ways]


def _unpack_way(
    operator: str, arrays: dict[str, np.ndarray], attributes: Mapping[str, Any]
) -> LSTMParams | PeepholeLSTMParams | CoupledLSTMParams | GRUParams | ElmanParams:
    """The params of one direction."""
    have, want = ORDERS[operator], OURS[operator]

    def here(array: Any) -> Any:
        return layouts.reorder(array, have, want)

    w_ih, w_hh = here(arrays["W"].T), here(arrays["R"].T)
    b: Any = None
    b_hn: Any = None
    if "B" in arrays:
        b, recurrent = (here(half) for half in np.split(arrays["B"], 2))
        if operator == "GRU" and attributes.get("linear_before_reset"):
            b_hn = recurrent[-w_hh.shape[0] :]
            recurrent = np.concatenate([recurrent[: -b_hn.shape[0]], np.zeros_like(b_hn)])
        b = b + recurrent
    states = [arrays[f"initial_{name}"][0] for name in "hc" if f"initial_{name}" in arrays]
    carry = {"LSTM": LSTMCarry, "GRU": GRUCarry, "RNN": ElmanCarry}[operator]
    initial: Any = carry(*states) if states else None
    if operator == "GRU":
        return GRUParams(w_ih, w_hh, b, b_hn, initial)
    if operator == "RNN":
        return ElmanParams(w_ih, w_hh, b, initial)
    # These two have a bias always.
    always: Any = np.zeros_like(w_ih[0]) if b is None else b
    if "P" in arrays:
        p: Any = layouts.reorder(arrays["P"], layouts.ONNX_PEEPHOLES, layouts.PEEPHOLES)
        return PeepholeLSTMParams(w_ih, w_hh, p.reshape(3, -1), always, initial)
    if attributes.get("input_forget"):
        coupled = [_to_coupled(array) for array in (w_ih, w_hh, always)]
        return CoupledLSTMParams(coupled[0], coupled[1], coupled[2], initial)
    return LSTMParams(w_ih, w_hh, b, initial)


def _to_coupled(array: Any) -> Any:
    """The gates of a coupled LSTM, f = 1 - i; the forget gate that stood there is not used."""
    gates = layouts.blocks(array, layouts.LSTM)
    gates["f"] = -gates["i"]
    return np.concatenate([gates[gate] for gate in layouts.COUPLED_LSTM], -1)

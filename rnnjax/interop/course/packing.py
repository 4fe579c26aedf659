"""Between the course's weights, one matrix a gate, and ours, packed."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams
from rnnjax.interop import layouts

Update = Literal["new", "old"]

# By kind: the names of weights and bias there of every gate, in our order.
NAMES = {
    "lstm": {gate: (f"W{name}", f"b{name}") for gate, name in layouts.COURSE_LSTM.items()},
    "gru": {gate: (f"W_{name}", f"b_{name}") for gate, name in layouts.COURSE_GRU.items()},
}


def sign(gate: str, update: Update) -> int:
    """What makes our z, which keeps the old state, of one that takes the new value."""
    return -1 if gate == "z" and update == "new" else 1


def pack(kind: str, weights: Mapping[str, Any], xp: ModuleType, update: Update = "new") -> Any:
    """Params of ours from checked weights, in NumPy or in JAX, where they may be traced."""
    gates = NAMES[kind]
    matrices = [sign(gate, update) * weights[w].T for gate, (w, _) in gates.items()]
    biases = [sign(gate, update) * weights[b][:, 0] for gate, (_, b) in gates.items()]
    width = matrices[0].shape[1]
    w_hh = xp.concatenate([m[:width] for m in matrices], axis=1)
    w_ih = xp.concatenate([m[width:] for m in matrices], axis=1)
    return (LSTMParams if kind == "lstm" else GRUParams)(w_ih, w_hh, xp.concatenate(biases))


def unpack(kind: str, params: Any, xp: ModuleType, update: Update = "new") -> dict[str, Any]:
    """The course's weights from params of ours that have a bias."""
    out = {}
    gates = NAMES[kind]
    blocks = [xp.split(array, len(gates), axis=-1) for array in params[:3]]
    for k, (gate, (w, b)) in enumerate(gates.items()):
        w_ih, w_hh, bias = (sign(gate, update) * block[k] for block in blocks)
        out[w] = xp.concatenate([w_hh, w_ih]).T
        out[b] = bias[:, None]
    return out

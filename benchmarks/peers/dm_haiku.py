"""Haiku: its cores under `hk.dynamic_unroll`.

Its GRU resets before the product, a different function with two dependent products a step, and
its z is 1 minus ours.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from cases import Case, Data, Weights
from peers import Program
from peers.in_jax import JaxProgram, Network, join
from peers.in_jax import device as device


def why_not(case: Case) -> str | None:
    return "has no lengths" if case.variant == "lengths" else None


def build(case: Case, data: Data) -> Program:
    def unrolled(xs):
        kind, carries = hk.LSTM if case.cell == "lstm" else hk.GRU, []
        for layer in range(case.num_layers):
            halves = []
            for way in range(case.num_directions):
                core = kind(case.H, name=_name(layer * case.num_directions + way))
                start = core.initial_state(case.B)
                ys, carry = hk.dynamic_unroll(core, xs, start, reverse=way == 1)
                halves.append(ys)
                carries.append(carry)
            xs = jnp.concatenate(halves, axis=-1)
        return carries, xs

    network = hk.without_apply_rng(hk.transform(unrolled))
    params = {}
    for place, given in enumerate(data.weights):
        params |= _tree(case, place, given)
    return JaxProgram(
        case,
        data,
        Network(
            jax.tree.map(np.ascontiguousarray, params),
            forward=lambda params, xs, lengths: network.apply(params, xs),
            states=lambda carries: [c.hidden if case.cell == "lstm" else c for c in carries],
            weights=lambda grads: [_weights(case, grads, p) for p in range(len(data.weights))],
        ),
    )


def _name(place: int) -> str:
    return f"core_{place}"


def _tree(case: Case, place: int, given: Weights) -> dict[str, Any]:
    if case.cell == "gru":
        w_i, w_h, b = (_to_gru(a) for a in given[:3])
        return {_name(place): {"w_i": w_i, "w_h": w_h, "b": b}}
    w, b = _igfo(np.concatenate([given.w_ih, given.w_hh])), given.b.copy()
    b[case.H : 2 * case.H] -= 1  # it adds 1 to the forget gate at run time
    return {f"{_name(place)}/linear": {"w": w, "b": _igfo(b)}}


def _weights(case: Case, gradients: Any, place: int) -> Weights:
    if case.cell == "gru":
        tree = gradients[_name(place)]
        return Weights(*(_from_gru(tree[name]) for name in ("w_i", "w_h", "b")))
    tree = gradients[f"{_name(place)}/linear"]
    w = _igfo(np.asarray(tree["w"]))
    rows = w.shape[0] - case.H
    return Weights(w[:rows], w[rows:], _igfo(np.asarray(tree["b"])))


def _igfo(a: np.ndarray) -> np.ndarray:
    """From i, f, g, o to i, g, f, o and back."""
    i, f, g, o = np.split(a, 4, axis=-1)
    return join([i, g, f, o])


def _to_gru(a: np.ndarray) -> np.ndarray:
    r, z, n = np.split(a, 3, axis=-1)
    return join([-z, r, n])


def _from_gru(a: Any) -> np.ndarray:
    z, r, n = np.split(np.asarray(a), 3, axis=-1)
    return join([r, -z, n])

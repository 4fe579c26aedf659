"""rnnjax, with the method it picks by itself unless one is named."""

from typing import Any

import jax
import numpy as np

import rnnjax
from cases import Case, Data, Weights
from peers import Program
from peers.in_jax import JaxProgram, Network
from peers.in_jax import device as device


def why_not(case: Case) -> str | None:
    return None


def build(case: Case, data: Data, option: str = "") -> Program:
    """`option` names a method and its integers, such as `Scan` or `Chunked:100`."""
    name, *sizes = option.split(":")
    method = getattr(rnnjax, name)(*map(int, sizes)) if name else None
    return JaxProgram(case, data, network(case, data, method=method))


def network(case: Case, data: Data, *, method: Any = None, reset: Any = "after") -> Network:
    cell = rnnjax.lstm(case.H) if case.cell == "lstm" else rnnjax.gru(case.H, reset=reset)
    both = case.num_directions == 2
    one = rnnjax.bidirectional(cell) if both else rnnjax.recurrent(cell)
    layer = rnnjax.stack(*(one,) * case.num_layers)
    sides = [as_params(case, weights, reset) for weights in data.weights]
    per_layer = [jax.tree.map(lambda *a: np.stack(a), *sides)] if both else sides

    def forward(params, xs, lengths):
        return layer.apply(params, xs, lengths=lengths, method=method)

    def states(carries):
        return [h for carry in carries for h in (carry.h if both else [carry.h])]

    def weights(gradients):
        split = [jax.tree.map(lambda a, k=k: a[k], gradients[0]) for k in (0, 1)] if both else None
        return [Weights(g.w_ih, g.w_hh, g.b, getattr(g, "b_hn", None)) for g in split or gradients]

    return Network(tuple(per_layer), forward, states, weights)


def as_params(case: Case, weights: Any, reset: str) -> Any:
    if case.cell == "lstm":
        return rnnjax.LSTMParams(*weights[:3])
    return rnnjax.GRUParams(*weights[:3], b_hn=weights.b_hn if reset == "after" else None)

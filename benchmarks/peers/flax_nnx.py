"""Flax NNX: `nnx.RNN` over its cell with one matmul for all gates.

Its parameters go in as a plain dict and the module is put together while tracing, which spares
each call the costly flattening of modules that `nnx.jit` does.
"""

from typing import Any

import jax
import numpy as np
from flax import nnx

from cases import Case, Data, Weights
from peers import Program
from peers.in_jax import JaxProgram, Network
from peers.in_jax import device as device


def why_not(case: Case) -> str | None:
    return None


def build(case: Case, data: Data) -> Program:
    graph, state = nnx.split(layers(case))

    def forward(params, xs, lengths):
        traced = jax.tree.map(lambda a: a, state)  # a copy: tracers must not stay in `state`
        nnx.replace_by_pure_dict(traced, params)
        carries = []
        for layer in nnx.merge(graph, traced):
            out = layer(xs, seq_lengths=lengths, rngs=nnx.Rngs(0))  # for the first carry, zeros
            carry, xs = out if case.mode == "inference" else (None, out)
            carries.append(carry)
        return carries, xs

    def states(carries):
        sides = [side for carry in carries for side in (carry if _both(case) else [carry])]
        return [side[1] if case.cell == "lstm" else side for side in sides]

    def weights(gradients):
        return [_weights(case, cell) for layer in _in_order(gradients) for cell in _cells(layer)]

    params = nnx.to_pure_dict(state)
    places = [cell for layer in _in_order(params) for cell in _cells(layer)]
    for cell, given in zip(places, data.weights, strict=True):
        cell["dense_i"]["kernel"], cell["dense_h"]["kernel"] = given.w_ih, given.w_hh
        cell[_biased(case)]["bias"] = given.b
    return JaxProgram(case, data, Network(params, forward, states, weights))


def layers(case: Case) -> Any:
    """One RNN a layer, or two side by side; training asks for no carry."""
    rngs = nnx.Rngs(0)
    kind = nnx.OptimizedLSTMCell if case.cell == "lstm" else nnx.GRUCell
    options: Any = {
        "time_major": True,
        "return_carry": case.mode == "inference",
        "rngs": False,
    }
    out = []
    for k in range(case.num_layers):
        ways = [
            nnx.RNN(kind(case.in_features(k), case.H, rngs=rngs), **options)
            for _ in range(case.num_directions)
        ]
        out.append(nnx.Bidirectional(*ways, **options) if _both(case) else ways[0])
    return nnx.List(out)


def _both(case: Case) -> bool:
    return case.num_directions == 2


def _biased(case: Case) -> str:
    return "dense_h" if case.cell == "lstm" else "dense_i"


def _in_order(params: Any) -> list[Any]:
    return [params[k] for k in sorted(params)]


def _cells(layer: Any) -> list[Any]:
    if "cell" in layer:
        return [layer["cell"]]
    return [layer[side]["cell"] for side in ("forward_rnn", "backward_rnn")]


def _weights(case: Case, cell: Any) -> Weights:
    w_ih, w_hh = cell["dense_i"]["kernel"], cell["dense_h"]["kernel"]
    return Weights(*map(np.asarray, (w_ih, w_hh, cell[_biased(case)]["bias"])))

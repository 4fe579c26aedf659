"""Flax Linen: `nn.RNN` over the cells it recommends."""

from typing import Any

import numpy as np
from flax import linen as nn

from cases import Case, Data, Weights
from peers import Program
from peers.in_jax import JaxProgram, Network, join
from peers.in_jax import device as device


def why_not(case: Case) -> str | None:
    return None


def build(case: Case, data: Data) -> Program:
    both, modules = case.num_directions == 2, layers(case)

    def forward(params, xs, lengths):
        carries = []
        for module, layer in zip(modules, params, strict=True):
            out = module.apply({"params": layer}, xs, seq_lengths=lengths)
            carry, xs = out if case.mode == "inference" else (None, out)
            carries.append(carry)
        return carries, xs

    def states(carries):
        sides = [side for carry in carries for side in (carry if both else [carry])]
        return [side[1] if case.cell == "lstm" else side for side in sides]

    def weights(gradients):
        return [
            _weights(case, layer[name]["cell"] if name else layer["cell"])
            for layer in gradients
            for name in (("forward_rnn", "backward_rnn") if both else ("",))
        ]

    cells = [{"cell": _tree(case, given)} for given in data.weights]
    params = [dict(zip(("forward_rnn", "backward_rnn"), cells, strict=True))] if both else cells
    return JaxProgram(case, data, Network(params, forward, states, weights))


def layers(case: Case) -> list[nn.Module]:
    options: Any = {"time_major": True, "return_carry": case.mode == "inference"}

    def one() -> Any:
        kind = nn.OptimizedLSTMCell if case.cell == "lstm" else nn.GRUCell
        return nn.RNN(kind(case.H), **options)

    if case.num_directions == 2:
        return [nn.Bidirectional(one(), one(), **options)]
    return [one() for _ in range(case.num_layers)]


def _tree(case: Case, given: Weights) -> dict[str, Any]:
    """One kernel a gate; biases of an LSTM stand on the hidden side, a GRU's on the input side."""
    names = "ifgo" if case.cell == "lstm" else "rzn"
    w_ih, w_hh, b = (np.split(a, len(names), axis=-1) for a in given[:3])
    tree: dict[str, Any] = {}
    for k, gate in enumerate(names):
        tree[f"i{gate}"], tree[f"h{gate}"] = {"kernel": w_ih[k]}, {"kernel": w_hh[k]}
        tree[_biased(case) + gate]["bias"] = b[k]
    if case.cell == "gru":
        tree["hn"]["bias"] = given.b_hn
    return tree


def _weights(case: Case, tree: Any) -> Weights:
    names = "ifgo" if case.cell == "lstm" else "rzn"
    return Weights(
        w_ih=join([tree[f"i{gate}"]["kernel"] for gate in names]),
        w_hh=join([tree[f"h{gate}"]["kernel"] for gate in names]),
        b=join([tree[_biased(case) + gate]["bias"] for gate in names]),
        b_hn=np.asarray(tree["hn"]["bias"]) if case.cell == "gru" else None,
    )


def _biased(case: Case) -> str:
    return "h" if case.cell == "lstm" else "i"

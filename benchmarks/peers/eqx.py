"""Equinox: its cells, which take one step of one row, mapped over rows inside a scan."""

from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from cases import Case, Data, Weights
from peers import Program
from peers.in_jax import JaxProgram, Network
from peers.in_jax import device as device


def why_not(case: Case) -> str | None:
    return "has no lengths" if case.variant == "lengths" else None


def build(case: Case, data: Data) -> Program:
    def unrolled(cell, xs, reverse):
        def step(carry, x):
            carry = jax.vmap(cell)(x, carry)
            return carry, _hidden(carry)

        zeros = jnp.zeros((case.B, case.H))
        start = (zeros, zeros) if case.cell == "lstm" else zeros
        return jax.lax.scan(step, start, xs, reverse=reverse)

    def forward(cells, xs, lengths):
        carries = []
        for layer in range(case.num_layers):
            ways = range(case.num_directions)
            place = layer * case.num_directions
            outs = [unrolled(cells[place + way], xs, way == 1) for way in ways]
            carries += [carry for carry, _ in outs]
            xs = jnp.concatenate([ys for _, ys in outs], axis=-1)
        return carries, xs

    def _hidden(carry):
        return carry[0] if case.cell == "lstm" else carry

    return JaxProgram(
        case,
        data,
        Network(
            [_cell(case, given) for given in data.weights],
            forward,
            states=lambda carries: [_hidden(carry) for carry in carries],
            weights=lambda gradients: [_weights(cell) for cell in gradients],
        ),
    )


def _cell(case: Case, given: Weights) -> Any:
    kind = equinox.nn.LSTMCell if case.cell == "lstm" else equinox.nn.GRUCell
    blank = kind(given.w_ih.shape[0], case.H, key=jax.random.key(0))

    def leaves(cell):
        biases = (cell.bias,) if case.cell == "lstm" else (cell.bias, cell.bias_n)
        return (cell.weight_ih, cell.weight_hh, *biases)

    w_ih, w_hh = (np.ascontiguousarray(a.T) for a in given[:2])
    biases = [b for b in (given.b, given.b_hn) if b is not None]
    return equinox.tree_at(leaves, blank, tuple(map(jnp.asarray, (w_ih, w_hh, *biases))))


def _weights(cell: Any) -> Weights:
    b_hn = getattr(cell, "bias_n", None)
    w_ih, w_hh = (np.asarray(a).T for a in (cell.weight_ih, cell.weight_hh))
    return Weights(w_ih, w_hh, np.asarray(cell.bias), None if b_hn is None else np.asarray(b_hn))

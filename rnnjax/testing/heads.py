"""Oracles of the cells whose recurrent weights are a block for every head."""

from typing import Any

import numpy as np

from rnnjax.cells import GRUCarry, LSTMCarry, SLSTMCarry
from rnnjax.testing.oracle import Oracle, dot, sigmoid


def multihead_lstm() -> Oracle:
    """The oracle of `rnnjax.multihead_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        a, q = np.split(dot(x, p.w_ih) + p.b, 4, axis=-1), from_heads(carry.h, p.w_hh, 4)
        i, f, o = (sigmoid(a[gate] + q[gate]) for gate in (0, 1, 3))
        c = f * carry.c + i * np.tanh(a[2] + q[2])
        h = o * np.tanh(c)
        return LSTMCarry(h, c), h

    def fresh(p: Any, x: Any) -> Any:
        zeros = np.zeros_like(p.b[:, : p.b.shape[1] // 4])
        return p.initial or LSTMCarry(zeros, zeros)

    return Oracle(step, fresh)


def multihead_gru() -> Oracle:
    """The oracle of `rnnjax.multihead_gru`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        a, q = np.split(dot(x, p.w_ih) + p.b, 3, axis=-1), from_heads(carry.h, p.w_hh, 3)
        r, z = (sigmoid(a[gate] + q[gate]) for gate in (0, 1))
        h = (1 - z) * np.tanh(a[2] + r * (q[2] + p.b_hn)) + z * carry.h
        return GRUCarry(h), h

    return Oracle(step, lambda p, x: p.initial or GRUCarry(np.zeros_like(p.b_hn)))


def slstm(*, exponential_forget: bool = False) -> Oracle:
    """The oracle of `rnnjax.slstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        a, q = np.split(dot(x, p.w_ih) + p.b, 4, axis=-1), from_heads(carry.h, p.w_hh, 4)
        s_i, s_f, s_g, s_o = (a[gate] + q[gate] for gate in range(4))
        kept = carry.m + (s_f if exponential_forget else np.log(sigmoid(s_f)))
        m = np.where(kept.real > s_i.real, kept, s_i)
        i, f = np.exp(s_i - m), np.exp(kept - m)
        c = f * carry.c + i * np.tanh(s_g)
        n = f * carry.n + i
        h = sigmoid(s_o) * c / n
        return SLSTMCarry(h, c, n, m), h

    def fresh(p: Any, x: Any) -> Any:
        zeros = np.zeros_like(p.b[:, : p.b.shape[1] // 4])
        return SLSTMCarry(zeros, zeros, zeros, np.full_like(zeros, -np.inf))

    return Oracle(step, fresh)


def from_heads(h: Any, w: Any, num_gates: int) -> list[Any]:
    """Every head's product with its own weights; one array a gate, its heads side by side."""
    num_heads = w.shape[1]
    parts = np.split(h, num_heads, axis=-1)
    products = [np.split(dot(part, w[:, n]), num_gates, axis=-1) for n, part in enumerate(parts)]
    return [np.concatenate(gate, axis=-1) for gate in zip(*products, strict=True)]

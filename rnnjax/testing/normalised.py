"""Oracles of the cells that normalise what their gates read."""

from typing import Any

import numpy as np

from rnnjax.cells import GRUCarry, LSTMCarry
from rnnjax.testing.oracle import Oracle, begin_with, dot, sigmoid


def layer_norm_lstm(*, epsilon: float = 1e-5) -> Oracle:
    """The oracle of `rnnjax.layer_norm_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        from_x = p.scale_x * normal(dot(x, p.w_ih), epsilon)
        from_h = p.scale_h * normal(dot(carry.h, p.w_hh), epsilon)
        i, f, g, o = np.split(from_x + from_h + p.b, 4, axis=-1)
        c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(p.scale_c * normal(c, epsilon) + p.shift_c)
        return LSTMCarry(h, c), h

    return Oracle(step, begin_with(LSTMCarry))


def layer_norm_gru(*, epsilon: float = 1e-5) -> Oracle:
    """The oracle of `rnnjax.layer_norm_gru`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        width = carry.h.shape[-1]
        a, q = dot(x, p.w_ih), dot(carry.h, p.w_hh)
        a_rz, q_rz = (normal(v[:, : 2 * width], epsilon) for v in (a, q))
        a_n, q_n = (normal(v[:, 2 * width :], epsilon) for v in (a, q))
        g_x, g_h, b = (np.split(v, [2 * width], axis=-1) for v in (p.scale_x, p.scale_h, p.b))
        r, z = np.split(sigmoid(g_x[0] * a_rz + g_h[0] * q_rz + b[0]), 2, axis=-1)
        n = np.tanh(g_x[1] * a_n + b[1] + r * (g_h[1] * q_n + p.b_hn))
        h = (1 - z) * n + z * carry.h
        return GRUCarry(h), h

    return Oracle(step, begin_with(GRUCarry))


def normal(v: Any, epsilon: float) -> Any:
    """Mean 0 and variance 1 over the last axis."""
    v = v - v.mean(-1, keepdims=True)
    return v / np.sqrt((v * v).mean(-1, keepdims=True) + epsilon)

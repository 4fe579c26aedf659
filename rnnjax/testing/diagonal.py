"""Oracles of the cells whose recurrences are diagonal."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnjax.cells import GRUCarry, LSTMCarry
from rnnjax.testing.oracle import Oracle, dot, sigmoid


def para_gru() -> Oracle:
    """The oracle of `rnnjax.para_gru`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        s_r, s_z, s_n = np.split(dot(x, p.w_ih) + p.b, 3, axis=-1)
        r = sigmoid(p.a[:, 0] * carry.h + s_r)
        z = sigmoid(p.a[:, 1] * carry.h + s_z)
        n = np.tanh(p.a[:, 2] * (carry.h * r) + s_n)
        h = carry.h + z * (n - carry.h)
        return GRUCarry(h), h

    return Oracle(step, _begin_with(GRUCarry))


def para_lstm() -> Oracle:
    """The oracle of `rnnjax.para_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        s_f, s_g, s_o = np.split(dot(x, p.w_ih) + p.b, 3, axis=-1)
        f = sigmoid(p.a[:, 0] * carry.h + s_f + p.p[:, 0] * carry.c)
        g = np.tanh(p.a[:, 1] * carry.h + s_g)
        c = g + f * (carry.c - g)
        o = sigmoid(p.a[:, 2] * carry.h + s_o + p.p[:, 1] * c)
        h = o * np.tanh(c)
        return LSTMCarry(h, c), h

    return Oracle(step, _begin_with(LSTMCarry))


def _begin_with(carry_type: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The learned initial carry, or zeros as wide as the rows of `a`."""

    def fresh(params: Any, x: Any) -> Any:
        if params.initial is not None:
            return params.initial
        return carry_type(*(np.zeros_like(params.a[:, 0]) for _ in carry_type._fields))

    return fresh

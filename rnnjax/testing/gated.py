"""Oracles of the relatives of the LSTM and the GRU."""

from typing import Any

import numpy as np

from rnnjax.cells import LSTMCarry
from rnnjax.testing.oracle import Oracle, begin_with, dot, sigmoid


def peephole_lstm() -> Oracle:
    """The oracle of `rnnjax.peephole_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        s_i, s_f, s_g, s_o = np.split(dot(x, p.w_ih) + dot(carry.h, p.w_hh) + p.b, 4, axis=-1)
        i = sigmoid(s_i + p.p[:, 0] * carry.c)
        f = sigmoid(s_f + p.p[:, 1] * carry.c)
        c = i * np.tanh(s_g) + f * carry.c
        h = sigmoid(s_o + p.p[:, 2] * c) * np.tanh(c)
        return LSTMCarry(h, c), h

    return Oracle(step, begin_with(LSTMCarry))

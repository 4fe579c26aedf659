"""Oracles of more relatives of the LSTM, the GRU and the Elman cell."""

from typing import Any

import numpy as np

from rnnjax.cells import LSTMCarry
from rnnjax.testing.oracle import Oracle, begin_with, dot, sigmoid


def coupled_lstm() -> Oracle:
    """The oracle of `rnnjax.coupled_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        s_f, s_g, s_o = np.split(dot(x, p.w_ih) + dot(carry.h, p.w_hh) + p.b, 3, axis=-1)
        f = sigmoid(s_f)
        c = f * carry.c + (1 - f) * np.tanh(s_g)
        h = sigmoid(s_o) * np.tanh(c)
        return LSTMCarry(h, c), h

    return Oracle(step, begin_with(LSTMCarry))

"""Oracles of more relatives of the LSTM, the GRU and the Elman cell."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from rnnjax import _checks
from rnnjax.cells import ElmanCarry, GRUCarry, LowRank, LSTMCarry
from rnnjax.testing.oracle import Oracle, begin_with, dot, relu, sigmoid


def coupled_lstm() -> Oracle:
    """The oracle of `rnnjax.coupled_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        s_f, s_g, s_o = np.split(dot(x, p.w_ih) + dot(carry.h, p.w_hh) + p.b, 3, axis=-1)
        f = sigmoid(s_f)
        c = f * carry.c + (1 - f) * np.tanh(s_g)
        h = sigmoid(s_o) * np.tanh(c)
        return LSTMCarry(h, c), h

    return Oracle(step, begin_with(LSTMCarry))


def projected_lstm() -> Oracle:
    """The oracle of `rnnjax.projected_lstm`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        c, m = _lstm(dot(x, p.w_ih) + dot(carry.h, p.w_hh) + p.b, carry.c)
        h = dot(m, p.w_hr)
        return LSTMCarry(h, c), h

    def fresh(p: Any, x: Any) -> Any:
        if p.initial is not None:
            return p.initial
        return LSTMCarry(np.zeros_like(p.w_hr[:, 0, :]), np.zeros_like(p.w_hr[:, :, 0]))

    return Oracle(step, fresh)


def mgu(*, reset: Literal["after", "before"] = "after") -> Oracle:
    """The oracle of `rnnjax.mgu`."""
    before = _checks.choice("testing.mgu", "reset", reset, ("after", "before")) == "before"

    def step(p: Any, carry: Any, x: Any) -> Any:
        a_f, a_n = np.split(dot(x, p.w_ih) + p.b, 2, axis=-1)
        w_f, w_n = np.split(p.w_hh, 2, axis=-1)
        f = sigmoid(a_f + dot(carry.h, w_f))
        if before:
            h = (1 - f) * carry.h + f * np.tanh(a_n + dot(f * carry.h, w_n))
        else:
            h = f * carry.h + (1 - f) * np.tanh(a_n + f * (dot(carry.h, w_n) + p.b_hn))
        return GRUCarry(h), h

    return Oracle(step, begin_with(GRUCarry))


def indrnn(*, activation: Callable[[Any], Any] = relu) -> Oracle:
    """The oracle of `rnnjax.indrnn`; for tanh give `np.tanh`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        h = activation(dot(x, p.w_ih) + (0.0 if p.b is None else p.b) + p.u * carry.h)
        return ElmanCarry(h), h

    def fresh(p: Any, x: Any) -> Any:
        return ElmanCarry(np.zeros_like(p.u)) if p.initial is None else p.initial

    return Oracle(step, fresh)


def mogrifier_lstm() -> Oracle:
    """The oracle of `rnnjax.mogrifier_lstm`, with the rounds that its params have."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        h = carry.h
        odd, even = _matrices(p.q), _matrices(p.r)
        for i in range(1, len(odd) + len(even) + 1):
            if i % 2 == 1:
                x = 2 * sigmoid(dot(h, odd[i // 2])) * x
            else:
                h = 2 * sigmoid(dot(x, even[i // 2 - 1])) * h
        c, h = _lstm(dot(x, p.w_ih) + dot(h, p.w_hh) + p.b, carry.c)
        return LSTMCarry(h, c), h

    return Oracle(step, begin_with(LSTMCarry))


def _lstm(s: Any, c: Any) -> tuple[Any, Any]:
    """The new cell state, and what an LSTM gives out."""
    i, f, g, o = np.split(s, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def _matrices(stacked: Any) -> list[Any]:
    """Those of each round, the factors of low rank multiplied."""
    if stacked is None:
        return []
    whole = np.matmul(*stacked) if isinstance(stacked, LowRank) else stacked
    return list(np.moveaxis(whole, 1, 0))

"""Oracles of the cells with dense weights."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from rnnjax import _checks
from rnnjax.cells import ElmanCarry, GRUCarry, LSTMCarry
from rnnjax.testing.oracle import Oracle, begin_with, dot, sigmoid

Activation: TypeAlias = Callable[[Any], Any]


def lstm(*, gate_activation: Activation = sigmoid, activation: Activation = np.tanh) -> Oracle:
    """The oracle of `rnnjax.lstm`; activations must take complex numbers, as NumPy's own do."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        i, f, g, o = np.split(_input(p, x) + dot(carry.h, p.w_hh), 4, axis=-1)
        c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
        h = gate_activation(o) * activation(c)
        return LSTMCarry(h, c), h

    return Oracle(step, begin_with(LSTMCarry))


def gru(
    *,
    reset: Literal["after", "before"] = "after",
    gate_activation: Activation = sigmoid,
    activation: Activation = np.tanh,
) -> Oracle:
    """The oracle of `rnnjax.gru`."""
    before = _checks.choice("testing.gru", "reset", reset, ("after", "before")) == "before"

    def step(p: Any, carry: Any, x: Any) -> Any:
        a_r, a_z, a_n = np.split(_input(p, x), 3, axis=-1)
        w_r, w_z, w_n = np.split(p.w_hh, 3, axis=-1)
        r, z = (gate_activation(a + dot(carry.h, w)) for a, w in ((a_r, w_r), (a_z, w_z)))
        if before:
            q = dot(r * carry.h, w_n)
        else:
            q = r * (dot(carry.h, w_n) + (0.0 if p.b_hn is None else p.b_hn))
        h = (1 - z) * activation(a_n + q) + z * carry.h
        return GRUCarry(h), h

    return Oracle(step, begin_with(GRUCarry))


def elman(*, activation: Activation = np.tanh) -> Oracle:
    """The oracle of `rnnjax.elman`; for relu give `rnnjax.testing.relu`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        h = activation(_input(p, x) + dot(carry.h, p.w_hh))
        return ElmanCarry(h), h

    return Oracle(step, begin_with(ElmanCarry))


def _input(p: Any, x: Any) -> Any:
    return dot(x, p.w_ih) if p.b is None else dot(x, p.w_ih) + p.b

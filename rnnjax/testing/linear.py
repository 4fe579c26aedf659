"""Oracles of the cells that are linear in their carry."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnjax.cells import ComplexCarry, LinearCarry, SRUCarry, WindowCarry
from rnnjax.testing.oracle import Oracle, dot, sigmoid


def min_gru() -> Oracle:
    """The oracle of `rnnjax.min_gru`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        z, n = np.split(dot(x, p.w_ih) + p.b, 2, axis=-1)
        h = (1 - sigmoid(z)) * carry.h + sigmoid(z) * n
        return LinearCarry(h), h

    return Oracle(step, _begin(lambda p: p.w_ih.shape[-1] // 2))


def min_lstm() -> Oracle:
    """The oracle of `rnnjax.min_lstm`, for gates that do not underflow."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        f, i, n = np.split(dot(x, p.w_ih) + p.b, 3, axis=-1)
        f, i = sigmoid(f), sigmoid(i)
        h = f / (f + i) * carry.h + i / (f + i) * n
        return LinearCarry(h), h

    return Oracle(step, _begin(lambda p: p.w_ih.shape[-1] // 3))


def rg_lru(*, sharpness: float = 8.0) -> Oracle:
    """The oracle of `rnnjax.rg_lru`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        heads, size = p.w_ih.shape[1:3]
        r, i = np.empty_like(x), np.empty_like(x)
        for n in range(heads):
            units = slice(n * size, (n + 1) * size)
            s = dot(x[:, units], p.w_ih[:, n]) + p.b[:, n]
            r[:, units], i[:, units] = sigmoid(s[:, :size]), sigmoid(s[:, size:])
        a = np.exp(-sharpness * r * np.log(1 + np.exp(p.decay)))
        h = a * carry.h + np.sqrt(1 - a**2) * i * x
        return LinearCarry(h), h

    return Oracle(step, _begin(lambda p: p.decay.shape[-1]))


def lru() -> Oracle:
    """The oracle of `rnnjax.lru`: two real numbers for each complex one."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        u_re, u_im = np.split(dot(x, p.w_ih), 2, axis=-1)
        radius, angle = np.exp(-np.exp(p.decay)), np.exp(p.phase)
        scale = np.exp(p.scale)
        re = radius * (np.cos(angle) * carry.re - np.sin(angle) * carry.im) + scale * u_re
        im = radius * (np.sin(angle) * carry.re + np.cos(angle) * carry.im) + scale * u_im
        c_re, c_im = np.split(p.w_ho, 2, axis=1)
        return ComplexCarry(re, im), dot(re, c_re) - dot(im, c_im) + dot(x, p.w_io)

    return Oracle(step, _begin_complex(lambda p: p.decay))


def hgrn(*, lower_bound: float = 0.0) -> Oracle:
    """The oracle of `rnnjax.hgrn`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        s = dot(x, p.w_ih) + p.b
        f, c_re, c_im, g_re, g_im = np.split(s, 5, axis=-1)
        kept = lower_bound + (1 - lower_bound) * sigmoid(f)
        cos, sin = np.cos(p.phase), np.sin(p.phase)
        re = kept * (cos * carry.re - sin * carry.im) + (1 - kept) * c_re * sigmoid(c_re)
        im = kept * (sin * carry.re + cos * carry.im) + (1 - kept) * c_im * sigmoid(c_im)
        y = np.concatenate([sigmoid(g_re) * re, sigmoid(g_im) * im], axis=-1)
        return ComplexCarry(re, im), y

    return Oracle(step, _begin_complex(lambda p: p.phase))


def sru() -> Oracle:
    """The oracle of `rnnjax.sru`."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        n, f, r, u = np.split(dot(x, p.w_ih) + p.b, 4, axis=-1)
        if p.v is not None:
            f, r = f + p.v[:, 0] * carry.c, r + p.v[:, 1] * carry.c
        c = sigmoid(f) * carry.c + (1 - sigmoid(f)) * n
        return SRUCarry(c), sigmoid(r) * c + (1 - sigmoid(r)) * u

    return Oracle(step, _begin(lambda p: p.w_ih.shape[-1] // 4, SRUCarry))


def qrnn(*, pooling: str = "fo") -> Oracle:
    """The oracle of `rnnjax.qrnn`."""
    gates = {"f": 2, "fo": 3, "ifo": 4}[pooling]

    def step(p: Any, carry: Any, x: Any) -> Any:
        taps = p.w_ih.shape[1]
        adds = [dot(x, p.w_ih[:, k]) for k in range(taps)]
        waiting = [carry.window[:, k] for k in range(taps - 1)] + [0.0]
        sums = [now + then for now, then in zip(adds, waiting, strict=True)]
        n, f, *others = np.split(sums[0] + p.b, gates, axis=-1)
        let_in = sigmoid(others[1]) if pooling == "ifo" else 1 - sigmoid(f)
        c = sigmoid(f) * carry.c + let_in * np.tanh(n)
        window: Any = np.stack(sums[1:], axis=1) if taps > 1 else carry.window
        return WindowCarry(c, window), c if pooling == "f" else sigmoid(others[0]) * c

    def fresh(p: Any, x: Any) -> Any:
        copies, taps, _, width = p.w_ih.shape
        h: Any = np.zeros_like(x, shape=(copies, width // gates))
        window: Any = np.zeros_like(x, shape=(copies, taps - 1, width))
        return WindowCarry(h, window)

    return Oracle(step, fresh)


def _begin(width: Callable[[Any], int], carry_type: Any = LinearCarry) -> Callable[[Any, Any], Any]:
    def fresh(p: Any, x: Any) -> Any:
        if p.initial is not None:
            return p.initial
        h: Any = np.zeros_like(x, shape=(x.shape[0], width(p)))
        return carry_type(h)

    return fresh


def _begin_complex(like: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def fresh(p: Any, x: Any) -> Any:
        if p.initial is not None:
            return p.initial
        return ComplexCarry(np.zeros_like(like(p)), np.zeros_like(like(p)))

    return fresh

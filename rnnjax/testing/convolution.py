"""Oracles of the cells with convolutions: every kernel place is a slice of the padded input."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnjax.cells import GRUCarry, LSTMCarry
from rnnjax.testing.oracle import Oracle, sigmoid

Sizes = int | tuple[int, ...]


def conv_lstm(
    kernel_size: tuple[int, ...],
    *,
    strides: Sizes = 1,
    dilation: Sizes = 1,
    padding: str = "same",
    gate_activation: Callable[[Any], Any] = sigmoid,
    activation: Callable[[Any], Any] = np.tanh,
) -> Oracle:
    """The oracle of `rnnjax.conv_lstm`, for inputs with as many axes of space as kernels have."""
    rank = len(kernel_size)
    convolve_input = _convolution(rank, strides, dilation, padding)
    convolve = _convolution(rank, 1, 1, "same")

    def step(p: Any, carry: Any, x: Any) -> Any:
        s = convolve_input(x, p.w_ih) + convolve(carry.h, p.w_hh)
        s = s if p.b is None else s + _at_every_place(p.b, s)
        s_i, s_f, s_g, s_o = np.split(s, 4, axis=-1)
        peep = np.zeros_like(s, shape=(len(s), 3, carry.c.shape[-1])) if p.p is None else p.p
        p_i, p_f, p_o = (_at_every_place(peep[:, k], s) for k in range(3))
        i = gate_activation(s_i + p_i * carry.c)
        f = gate_activation(s_f + p_f * carry.c)
        c = f * carry.c + i * activation(s_g)
        h = gate_activation(s_o + p_o * c) * activation(c)
        return LSTMCarry(h, c), h

    return Oracle(step, _begin_with(LSTMCarry, convolve_input), input_rank=rank + 1)


def conv_gru(
    kernel_size: tuple[int, ...],
    *,
    strides: Sizes = 1,
    dilation: Sizes = 1,
    padding: str = "same",
    reset: str = "after",
) -> Oracle:
    """The oracle of `rnnjax.conv_gru`."""
    rank = len(kernel_size)
    convolve_input = _convolution(rank, strides, dilation, padding)
    convolve = _convolution(rank, 1, 1, "same")

    def step(p: Any, carry: Any, x: Any) -> Any:
        a = convolve_input(x, p.w_ih)
        a = a if p.b is None else a + _at_every_place(p.b, a)
        a_r, a_z, a_n = np.split(a, 3, axis=-1)
        w_r, w_z, w_n = np.split(p.w_hh, 3, axis=-1)
        r, z = (sigmoid(a + convolve(carry.h, w)) for a, w in ((a_r, w_r), (a_z, w_z)))
        if reset == "before":
            q = convolve(r * carry.h, w_n)
        else:
            b_hn = 0.0 if p.b_hn is None else _at_every_place(p.b_hn, r)
            q = r * (convolve(carry.h, w_n) + b_hn)
        h = (1 - z) * np.tanh(a_n + q) + z * carry.h
        return GRUCarry(h), h

    return Oracle(step, _begin_with(GRUCarry, convolve_input), input_rank=rank + 1)


def _begin_with(carry_type: Callable[..., Any], convolve_input: Any) -> Callable[[Any, Any], Any]:
    """The learned start at every place, or zeros, in the space of the convolved input."""

    def fresh(p: Any, x: Any) -> Any:
        zeros = np.zeros_like(convolve_input(x, p.w_ih)[..., : p.w_hh.shape[-2]])
        if p.initial is None:
            return carry_type(*(zeros for _ in carry_type._fields))
        return carry_type(*(zeros + _at_every_place(leaf, zeros) for leaf in p.initial))

    return fresh


def _convolution(rank: int, strides: Sizes, dilation: Sizes, padding: str) -> Callable[..., Any]:
    """`x (copies, *space, C), w (copies, *kernel, C, G) -> (copies, *space, G)`."""
    steps = np.broadcast_to(strides, rank)
    gaps = np.broadcast_to(dilation, rank)

    def convolve(x: Any, w: Any) -> Any:
        space, kernel = np.array(x.shape[1:-1]), np.array(w.shape[1:-2])
        covered = (kernel - 1) * gaps + 1
        if padding == "same":
            out = np.ceil(space / steps).astype(int)
            zeros = np.maximum((out - 1) * steps + covered - space, 0)
        else:
            out, zeros = (space - covered) // steps + 1, np.zeros_like(space)
        before = zeros // 2  # an odd one comes behind
        edges = [(0, 0), *zip(before, zeros - before, strict=True), (0, 0)]
        x = np.pad(x, edges)
        seen = []
        for offset in np.ndindex(*kernel):
            first = offset * gaps
            last = first + (out - 1) * steps
            places = [slice(a, b + 1, s) for a, b, s in zip(first, last, steps, strict=True)]
            seen.append(x[(slice(None), *places)])
        rows = np.concatenate(seen, axis=-1).reshape(len(x), out.prod(), -1)
        columns = w.reshape(len(w), rows.shape[-1], w.shape[-1])
        return np.matmul(rows, columns).reshape(len(x), *out, -1)

    return convolve


def _at_every_place(row: Any, like: Any) -> Any:
    """`(copies, H)` with axes of space, as `like` has them."""
    return row.reshape(len(row), *(1,) * (like.ndim - 2), row.shape[-1])

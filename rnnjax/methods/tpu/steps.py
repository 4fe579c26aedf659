"""A step of a cell in a kernel: gate by gate, since a TPU cuts at multiples of 128 for nothing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._typing import Array
from rnnjax.cells.gru import GRUCarry, GRUForm
from rnnjax.cells.lstm import LSTMCarry, LSTMForm
from rnnjax.methods.fused import gru, lstm
from rnnjax.methods.fused.equations import Columns, Equations, sigmoid


class KernelCell(NamedTuple):
    """What the kernels must know of a cell.

    Attributes:
        gates: how many parts the projected input has.
        carry: the type of its carry.
        others: how many buffers as wide as the carry a step keeps beside the gates.
        forward: `s, x, start, b_hn -> carry, kept`, of the projected input `x` and the recurrent
            product `s`, `(B, gates H)`; `kept` are columns as those of `Equations`.
        equations: those of the fused method, for the way back.
    """

    gates: int
    carry: Any
    others: int
    forward: Callable[..., tuple[Any, tuple[Columns, ...]]]
    equations: Equations


def cut(x: Array, parts: int) -> list[Array]:
    """Parts of the last axis, which is a multiple of 128 for each."""
    width = x.shape[-1] // parts
    return [x[:, part * width : (part + 1) * width] for part in range(parts)]


def lstm_forward(
    s: Array, x: Array, start: LSTMCarry, b_hn: None
) -> tuple[LSTMCarry, tuple[Columns, ...]]:
    """The LSTM's gates and state; the gates are kept."""
    del b_hn
    i, f, g, o = cut(x + s, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * start.c + i * g
    return LSTMCarry(o * jnp.tanh(c), c), ((i, f, g, o),)


def gru_forward(
    s: Array, x: Array, start: GRUCarry, b_hn: Array | None
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """The GRU's gates, reset after the product; gates and the product with its bias are kept."""
    (x_r, x_z, x_n), (s_r, s_z, h_n) = cut(x, 3), cut(s, 3)
    h_n = h_n if b_hn is None else h_n + b_hn
    r, z = sigmoid(x_r + s_r), sigmoid(x_z + s_z)
    n = jnp.tanh(x_n + r * h_n)
    return GRUCarry(n + z * (start.h - n)), ((r, z, n), (h_n,))


LSTM = KernelCell(4, LSTMCarry, 0, lstm_forward, lstm.EQUATIONS)
GRU = KernelCell(3, GRUCarry, 1, gru_forward, gru.AFTER)


def kernel_cell(form: Any) -> KernelCell | None:
    """The cell of a form; None for those that are not known here."""
    match form:
        case LSTMForm():
            return LSTM
        case GRUForm(reset="after"):
            return GRU
    return None

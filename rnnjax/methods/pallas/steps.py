"""A step of a cell in a kernel: gate by gate, as no chip cuts arrays anywhere for nothing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._typing import Array
from rnnjax.cells.gru import GRUCarry, GRUForm
from rnnjax.cells.lstm import LSTMCarry, LSTMForm
from rnnjax.cells.multihead import MultiheadGRUForm, MultiheadLSTMForm
from rnnjax.methods.fused import gru, lstm
from rnnjax.methods.fused.equations import Columns, sigmoid

Gates = Sequence[Array]
"""One array a gate, `(B, H)`."""


class KernelCell(NamedTuple):
    """What the kernels must know of a cell.

    Attributes:
        gates: how many parts the projected input has.
        carry: the type of its carry.
        others: how many buffers as wide as the carry a step keeps beside the gates.
        forward: `s, x, start, b_hn -> carry, kept`, of the gates of the projected input `x` and of
            the recurrent product `s`; `kept` are columns as those of `Equations`.
        backward: `gates, others, start, dcarry -> dstart, deltas`, all but the recurrent product.
    """

    gates: int
    carry: Any
    others: int
    forward: Callable[..., tuple[Any, tuple[Columns, ...]]]
    backward: Callable[..., tuple[Any, tuple[Columns, ...]]]

    def operand(self, deltas: tuple[Columns, ...]) -> Columns:
        """What the recurrent product multiplies: the last buffer stands for the first's last."""
        *gates, last = deltas[0]
        return (*gates, *(deltas[1] if self.others else (last,)))


def lstm_forward(
    s: Gates, x: Gates, start: LSTMCarry, b_hn: None
) -> tuple[LSTMCarry, tuple[Columns, ...]]:
    """The LSTM's gates and state; the gates are kept."""
    del b_hn
    i, f, g, o = (a + b for a, b in zip(x, s, strict=True))
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * start.c + i * g
    return LSTMCarry(o * jnp.tanh(c), c), ((i, f, g, o),)


def lstm_backward(
    gates: Gates, others: tuple[()], start: LSTMCarry, dcarry: LSTMCarry
) -> tuple[LSTMCarry, tuple[Columns, ...]]:
    """As the fused method has it."""
    del others
    return lstm.backward_by_gate(gates, start, dcarry)


def gru_forward(
    s: Gates, x: Gates, start: GRUCarry, b_hn: Array | None
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """The GRU's gates, reset after the product; gates and the product with its bias are kept."""
    (x_r, x_z, x_n), (s_r, s_z, h_n) = x, s
    h_n = h_n if b_hn is None else h_n + b_hn
    r, z = sigmoid(x_r + s_r), sigmoid(x_z + s_z)
    n = jnp.tanh(x_n + r * h_n)
    return GRUCarry(n + z * (start.h - n)), ((r, z, n), (h_n,))


def gru_backward(
    gates: Gates, others: tuple[Array], start: GRUCarry, dcarry: GRUCarry
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """As the fused method has it."""
    return gru.backward_by_gate(gates, others[0], start, dcarry)


LSTM = KernelCell(4, LSTMCarry, 0, lstm_forward, lstm_backward)
GRU = KernelCell(3, GRUCarry, 1, gru_forward, gru_backward)


def kernel_cell(form: Any) -> KernelCell | None:
    """The cell of a form, also of one of its heads; None for those that are not known here."""
    match form:
        case LSTMForm() | MultiheadLSTMForm():
            return LSTM
        case GRUForm(reset="after") | MultiheadGRUForm():
            return GRU
    return None


def has_heads(form: Any) -> bool:
    """Whether the recurrent weights are a block for each head."""
    return isinstance(form, MultiheadLSTMForm | MultiheadGRUForm)

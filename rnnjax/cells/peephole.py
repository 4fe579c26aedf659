"""The LSTM whose gates look at the cell state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense
from rnnjax.cells.dtypes import matmul, promote
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    lstm_bias,
    orthogonal,
)
from rnnjax.cells.lstm import LSTMCarry


class PeepholeLSTMParams(NamedTuple):
    """Weights of a peephole LSTM; gates are packed in the order i, f, g, o, peepholes i, f, o.

    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    p: Float[Array, "3 H"]
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


@value
def peephole_lstm(
    hidden_features: int,
    *,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM whose gates also read the cell state, unit by unit.

    $$ i, f = \sigma(s_{i,f} + p_{i,f} \odot c), \qquad c' = f \odot c + i \odot \tanh s_g $$
    $$ o = \sigma(s_o + p_o \odot c'), \qquad h' = o \odot \tanh c' $$

    with $s = x W_{ih} + b + h W_{hh}$. The output gate reads the new cell state. Peepholes start
    from zero, so that the cell starts as an LSTM.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `PeepholeLSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not four.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.peephole_lstm(5).init(jax.random.key(0), in_features=3).p.shape
        (3, 5)

    Reference: Gers & Schmidhuber, *Recurrent nets that time and count* (2000).
    """
    parts = dense(
        "peephole_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=4,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    draw_bias = lstm_bias("peephole_lstm", forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        p = jnp.zeros((3, parts.width), parts.dtypes.params)
        b = draw_bias(key_b, parts.width, parts.dtypes.params)
        return PeepholeLSTMParams(w_ih, w_hh, p, b, parts.initial())

    return parts.cell(init, peephole_lstm_step)


def peephole_lstm_step(
    params: Any,
    carry: LSTMCarry,
    z: Float[Array, "*batch G"],
    *,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    product: Callable[..., Array] = matmul,
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """Advance a peephole LSTM by one step; `w_hh` and `p` are read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    s = z.astype(dtype) + product(carry.h, params.w_hh, z.dtype, dtype)
    s_i, s_f, s_g, s_o = jnp.split(s, 4, axis=-1)
    p_i, p_f, p_o = (jnp.expand_dims(row.astype(dtype), range(s.ndim - 1)) for row in params.p)
    c = carry.c.astype(dtype)
    i, f = gate_activation(s_i + p_i * c), gate_activation(s_f + p_f * c)
    c = f * c + i * activation(s_g)
    h = gate_activation(s_o + p_o * c) * activation(c)
    return LSTMCarry(h.astype(carry.h.dtype), c.astype(carry.c.dtype)), h.astype(z.dtype)

"""The LSTM whose input gate is what its forget gate leaves over."""

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
    gate_bias,
    glorot_uniform,
    orthogonal,
)
from rnnjax.cells.lstm import LSTMCarry


class CoupledLSTMParams(NamedTuple):
    """Weights of a coupled LSTM; gates are packed along the last axis in the order f, g, o.

    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


@value
def coupled_lstm(
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
    r"""Make the LSTM with coupled input and forget gates, CIFG for short.

    $$ c' = f \odot c + (1 - f) \odot g, \qquad h' = o \odot \tanh c' $$

    with $f, o = \sigma(\cdot)$ and $g = \tanh(\cdot)$ of $x W_{ih} + b + h W_{hh}$. It has three
    quarters of the weights of an LSTM, and its cell state stays within -1 and 1 where it began
    there. ONNX's `input_forget` computes i and makes f of it, so there the weights of this gate
    are negated.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `CoupledLSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not three.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.coupled_lstm(5).init(jax.random.key(0), in_features=3).w_ih.shape
        (3, 15)

    Reference: Greff, Srivastava, Koutnik, Steunebrink & Schmidhuber, *LSTM: a search space
    odyssey* (2017).
    """
    parts = dense(
        "coupled_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=3,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    draw_forget = gate_bias("coupled_lstm", "forget_bias", forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        forget = draw_forget(key_b, (parts.width,), jnp.float32)
        zeros = jnp.zeros_like(forget)
        b = jnp.concatenate([forget, zeros, zeros]).astype(parts.dtypes.params)
        return CoupledLSTMParams(w_ih, w_hh, b, parts.initial())

    return parts.cell(init, coupled_lstm_step)


def coupled_lstm_step(
    params: CoupledLSTMParams, carry: LSTMCarry, z: Float[Array, "*batch G"]
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """Advance a coupled LSTM by one step; only `w_hh` is read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    s = z.astype(dtype) + matmul(carry.h, params.w_hh, z.dtype, dtype)
    s_f, s_g, s_o = jnp.split(s, 3, axis=-1)
    forget = jax.nn.sigmoid(s_f)
    c = forget * carry.c.astype(dtype) + (1 - forget) * jnp.tanh(s_g)
    h = jax.nn.sigmoid(s_o) * jnp.tanh(c)
    return LSTMCarry(h.astype(carry.h.dtype), c.astype(carry.c.dtype)), h.astype(z.dtype)

"""The long short-term memory."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
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


class LSTMCarry(NamedTuple):
    """What an LSTM hands from one step to the next."""

    h: Float[Array, "*batch H"]
    c: Float[Array, "*batch H"]


class LSTMParams(NamedTuple):
    """LSTM weights; gates are packed along the last axis in the order i, f, g, o.

    `b` is None without bias, `initial` without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    b: Float[Array, " G"] | None = None
    initial: LSTMCarry | None = None


class LSTMForm(NamedTuple):
    """The plain LSTM, as fast methods may restate it: sigmoid gates, tanh twice."""

    hidden_features: int


@value
def lstm(
    hidden_features: int,
    *,
    forget_bias: float | Chrono = 1.0,
    bias: bool = True,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM with forget gates, equal to PyTorch's with its two biases added.

    $$ c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh c' $$

    with $i, f, o = \sigma(\cdot)$ and $g = \tanh(\cdot)$ of $x W_{ih} + b + h W_{hh}$.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        forget_bias: what the forget gate's bias starts from (it is stored, not added at run
            time), or `chrono(max_steps)`.
        bias: whether there is a bias; without one, leave `forget_bias` alone.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        gate_activation: of i, f and o.
        activation: of g, and of `c'` in the output.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `LSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for a width below 1, a number of initialisers that is not four, or a
            `forget_bias` that has no bias to live in.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.lstm(5).init(jax.random.key(0), in_features=3)
        >>> params.w_ih.shape, params.w_hh.shape, params.b.shape
        ((3, 20), (5, 20), (20,))

    Reference: Hochreiter & Schmidhuber, *Long short-term memory* (1997); Gers, Schmidhuber &
    Cummins, *Learning to forget* (2000); the bias of 1, Jozefowicz, Zaremba & Sutskever (2015).
    """
    parts = dense(
        "lstm",
        hidden_features,
        LSTMCarry,
        num_gates=4,
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    draw_bias = lstm_bias("lstm", forget_bias)
    gate = _checks.activation("lstm", "gate_activation", gate_activation)
    squash = _checks.activation("lstm", "activation", activation)
    if not bias and forget_bias not in (0.0, 1.0):
        way_out = "leave one of the two out"
        _checks.refuse("lstm", "forget_bias", "be left out where bias=False", forget_bias, way_out)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        b = draw_bias(key_b, parts.width, parts.dtypes.params) if bias else None
        return LSTMParams(w_ih, w_hh, b, parts.initial())

    plain = gate is jax.nn.sigmoid and squash is jnp.tanh
    step = functools.partial(lstm_step, gate_activation=gate, activation=squash)
    return parts.cell(init, step, LSTMForm(parts.width) if plain else None)


def lstm_step(
    params: Any,
    carry: LSTMCarry,
    z: Float[Array, "*batch G"],
    *,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    product: Callable[..., Array] = matmul,
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """Advance an LSTM by one step; only `w_hh` is read of the params.

    The `product` of h and `w_hh` takes its inputs in the dtype of `z`; gates are computed in
    that of the carry where it is wider.
    """
    dtype = promote(z.dtype, carry.h.dtype)
    s = z.astype(dtype) + product(carry.h, params.w_hh, z.dtype, dtype)
    carry, h = lstm_gates(s, carry, gate_activation=gate_activation, activation=activation)
    return carry, h.astype(z.dtype)


def lstm_gates(
    s: Float[Array, "*batch G"],
    carry: LSTMCarry,
    *,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """What an LSTM does with its pre-activations, packed i, f, g, o; h in their dtype."""
    i, f, g, o = jnp.split(s, 4, axis=-1)
    c = gate_activation(f) * carry.c.astype(s.dtype) + gate_activation(i) * activation(g)
    h = gate_activation(o) * activation(c)
    return LSTMCarry(h.astype(carry.h.dtype), c.astype(carry.c.dtype)), h

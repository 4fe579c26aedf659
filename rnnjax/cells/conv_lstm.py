"""The LSTM whose products are convolutions over space."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.conv import Padding, conv, convolve
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    lstm_bias,
    orthogonal,
)
from rnnjax.cells.lstm import LSTMCarry, lstm_step
from rnnjax.cells.peephole import peephole_lstm_step


class ConvLSTMParams(NamedTuple):
    """Weights of a convolutional LSTM; gates are packed along the last axis as i, f, g, o.

    `b` is None without bias, `p` (gates i, f, o) without peepholes, `initial` without a learned
    initial carry, which is one number a channel.
    """

    w_ih: Float[Array, "*kernel C G"]
    w_hh: Float[Array, "*kernel H G"]
    b: Float[Array, " G"] | None = None
    p: Float[Array, "3 H"] | None = None
    initial: LSTMCarry | None = None


@value
def conv_lstm(
    features: int,
    *,
    kernel_size: tuple[int, ...],
    strides: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    padding: Padding = "same",
    forget_bias: float | Chrono = 1.0,
    bias: bool = True,
    peepholes: bool = False,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the convolutional LSTM, for sequences of lines, images or volumes.

    $$ s = x * W_{ih} + b + h * W_{hh}, \qquad c' = f \odot c + i \odot g, \qquad
       h' = o \odot \tanh c' $$

    with $i, f, o = \sigma(s_{i,f,o})$ and $g = \tanh s_g$ at every place. Channels come last: a
    step's input is `(*batch, *space, C)`, its output and carry are `(*batch, *space, features)`.
    The input is convolved for all steps at once. The recurrent convolution keeps the space it
    finds, so strides, dilation and padding are of the input convolution alone, as in Keras.

    Args:
        features: H, the channels of `h`, `c` and the output.
        kernel_size: places that a kernel covers, one number an axis of space: one, two or three.
        strides: steps of the input convolution, one for all axes or one an axis; the carry has
            the smaller space.
        dilation: distance of the places that the input convolution reads, given likewise.
        padding: of the input convolution: `"same"` reads zeros beyond the edge, `"valid"` reads
            nothing there, so that space shrinks.
        forget_bias: what the forget gate's bias starts from (it is stored, not added at run
            time as in Flax), or `chrono(max_steps)`.
        bias: whether there is a bias; without one, leave `forget_bias` alone.
        peepholes: whether gates also read `c`, with one weight a channel (those of Shi et al.
            have one a place, which fixes the space); they start from zero.
        learned_carry: whether the initial carry is a parameter, one number a channel; it starts
            from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape
            `(*kernel_size, C, H)`, or a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(*kernel_size, H, H)`.
        gate_activation: of i, f and o.
        activation: of g, and of `c'` in the output.
        dtype: of the inputs of convolutions, and of outputs; None takes it from inputs and
            weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `ConvLSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for sizes below 1, more than three axes of space, strides or dilation of
            another number of axes, a number of initialisers that is not four, or a `forget_bias`
            that has no bias to live in.
        TypeError: for an option of the wrong kind, a `kernel_size` that is no tuple among them.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.conv_lstm(5, kernel_size=(3, 3), strides=2)
        >>> params = cell.init(jax.random.key(0), in_features=1)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 8, 6, 1)))
        >>> params.w_ih.shape, carry.c.shape, ys.shape
        ((3, 3, 1, 20), (2, 4, 3, 5), (7, 2, 4, 3, 5))

    Reference: Shi et al., *Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting* (2015).
    """
    parts = conv(
        "conv_lstm",
        features,
        LSTMCarry,
        num_gates=4,
        kernel_size=kernel_size,
        strides=strides,
        dilation=dilation,
        padding=padding,
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    draw_bias = lstm_bias("conv_lstm", forget_bias)
    _checks.flag("conv_lstm", "peepholes", peepholes)
    gate = _checks.activation("conv_lstm", "gate_activation", gate_activation)
    squash = _checks.activation("conv_lstm", "activation", activation)
    if not bias and forget_bias not in (0.0, 1.0):
        wanted, way_out = "be left out where bias=False", "leave one of the two out"
        _checks.refuse("conv_lstm", "forget_bias", wanted, forget_bias, way_out)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        b = draw_bias(key_b, parts.width, parts.dtypes.params) if bias else None
        p = jnp.zeros((3, parts.width), parts.dtypes.params) if peepholes else None
        return ConvLSTMParams(w_ih, w_hh, b, p, parts.initial())

    advance = peephole_lstm_step if peepholes else lstm_step
    step = functools.partial(advance, gate_activation=gate, activation=squash, product=convolve)
    return parts.cell(init, step)

"""The GRU whose products are convolutions over space."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.conv import Padding, conv, convolve
from rnnjax.cells.gru import GRUCarry, gru_step, gru_step_reset_before
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    gru_bias,
    orthogonal,
)


class ConvGRUParams(NamedTuple):
    """Weights of a convolutional GRU; gates are packed along the last axis as r, z, n.

    What is None is so where it is in `GRUParams`; `initial` is one number a channel.
    """

    w_ih: Float[Array, "*kernel C G"]
    w_hh: Float[Array, "*kernel H G"]
    b: Float[Array, " G"] | None = None
    b_hn: Float[Array, " H"] | None = None
    initial: GRUCarry | None = None


@value
def conv_gru(
    features: int,
    *,
    kernel_size: tuple[int, ...],
    strides: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    padding: Padding = "same",
    reset: Literal["after", "before"] = "after",
    update_bias: float | Chrono = 0.0,
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
    r"""Make the convolutional GRU, for sequences of lines, images or volumes.

    $$ h' = (1 - z) \odot n + z \odot h $$

    with $r, z = \sigma(\cdot)$ of $x * W_{ih} + b + h * W_{hh}$, and the candidate

    $$ n = \tanh(x * W_{in} + b_n + r \odot (h * W_{hn} + b_{hn})) \quad \text{reset after} $$
    $$ n = \tanh(x * W_{in} + b_n + (r \odot h) * W_{hn}) \quad \text{reset before} $$

    at every place. The paper resets before, which costs two dependent convolutions a step; reset
    after is one. Space and shapes are those of `conv_lstm`.

    Args:
        features: H, the channels of `h` and the output.
        kernel_size: places that a kernel covers, one number an axis of space: one, two or three.
        strides: steps of the input convolution, one for all axes or one an axis; the carry has
            the smaller space.
        dilation: distance of the places that the input convolution reads, given likewise.
        padding: of the input convolution: `"same"` reads zeros beyond the edge, `"valid"` reads
            nothing there, so that space shrinks.
        reset: where the reset gate acts.
        update_bias: what the bias of z starts from, or `chrono(max_steps)`; larger remembers
            longer.
        bias: whether there are biases; without them, leave `update_bias` alone.
        learned_carry: whether the initial carry is a parameter, one number a channel; it starts
            from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape
            `(*kernel_size, C, H)`, or a tuple of three in the order r, z, n.
        w_hh_init: the same for the recurrent weights, shape `(*kernel_size, H, H)`.
        gate_activation: of r and z.
        activation: of n.
        dtype: of the inputs of convolutions, and of outputs; None takes it from inputs and
            weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `ConvGRUParams` and carry `GRUCarry`.

    Raises:
        ValueError: for sizes below 1, more than three axes of space, strides or dilation of
            another number of axes, an unknown `reset`, a number of initialisers that is not
            three, or an `update_bias` that has no bias to live in.
        TypeError: for an option of the wrong kind, a `kernel_size` that is no tuple among them.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.conv_gru(5, kernel_size=(3, 3))
        >>> params = cell.init(jax.random.key(0), in_features=1)
        >>> rnnjax.unroll(cell, params, jnp.ones((7, 2, 8, 6, 1)))[1].shape
        (7, 2, 8, 6, 5)

    Reference: Ballas, Yao, Pal & Courville, *Delving deeper into convolutional networks for
    learning video representations* (2016).
    """
    parts = conv(
        "conv_gru",
        features,
        GRUCarry,
        num_gates=3,
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
    after = _checks.choice("conv_gru", "reset", reset, ("after", "before")) == "after"
    draw_bias = gru_bias("conv_gru", update_bias)
    gate = _checks.activation("conv_gru", "gate_activation", gate_activation)
    squash = _checks.activation("conv_gru", "activation", activation)
    if not bias and update_bias != 0.0:
        wanted, way_out = "be left out where bias=False", "leave one of the two out"
        _checks.refuse("conv_gru", "update_bias", wanted, update_bias, way_out)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        b = draw_bias(key_b, parts.width, parts.dtypes.params) if bias else None
        b_hn = jnp.zeros(parts.width, parts.dtypes.params) if bias and after else None
        return ConvGRUParams(w_ih, w_hh, b, b_hn, parts.initial())

    advance = gru_step if after else gru_step_reset_before
    step = functools.partial(advance, gate_activation=gate, activation=squash, product=convolve)
    return parts.cell(init, step)

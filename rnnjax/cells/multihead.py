"""The LSTM and the GRU whose recurrent weights are block-diagonal: heads that do not mix."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, Key
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import DenseParts, dense
from rnnjax.cells.gru import GRUCarry, gru_step
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    gru_bias,
    lstm_bias,
    orthogonal,
    packed,
)
from rnnjax.cells.lstm import LSTMCarry, lstm_step


class MultiheadLSTMParams(NamedTuple):
    """Weights of a multi-head LSTM; gates are packed along the last axis in the order i, f, g, o.

    `w_hh` has a block for each of the N heads, whose J = H / N units read each other. Gates of
    `w_ih` and `b` are those of all H units, head after head, as in an LSTM. `initial` is None
    without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "N J K"]
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


class MultiheadGRUParams(NamedTuple):
    """Weights of a multi-head GRU; gates are packed along the last axis in the order r, z, n.

    `w_hh` has a block for each of the N heads, whose J = H / N units read each other. Gates of
    `w_ih` and `b` are those of all H units, head after head, as in a GRU; `b_hn` stands inside
    the product with r. `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "N J K"]
    b: Float[Array, " G"]
    b_hn: Float[Array, " H"]
    initial: GRUCarry | None = None


class MultiheadLSTMForm(NamedTuple):
    """The LSTM of heads, as fast methods may restate it."""

    hidden_features: int
    num_heads: int


class MultiheadGRUForm(NamedTuple):
    """The GRU of heads that resets after the product, as fast methods may restate it."""

    hidden_features: int
    num_heads: int


@value
def multihead_lstm(
    hidden_features: int,
    *,
    num_heads: int,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM whose units read only the h of their own head.

    $$ s = x W_{ih} + b + (h_1 R_1, \dots, h_N R_N) $$

    with $h_n$ the part of h that belongs to head n, and i, f, g, o, c and h of s as in `lstm`.
    It is the LSTM whose recurrent weights are block-diagonal, with an N-th of the recurrent
    weights and of the work of a step. The heads meet in the next layer.

    Args:
        hidden_features: H, the width of `h`, `c` and the output, of all heads together.
        num_heads: N, which divides H.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, called once a head and gate with shape
            `(H / N, H / N)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MultiheadLSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for a width below 1, a number of heads that does not divide it, or a number of
            initialisers that is not four.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.multihead_lstm(6, num_heads=2)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> params.w_ih.shape, params.w_hh.shape, params.b.shape
        ((3, 24), (2, 3, 12), (24,))

    Reference: Beck et al., *xLSTM: Extended long short-term memory* (2024), for the heads.
    """
    parts = dense(
        "multihead_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=4,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    heads = _checks.heads("multihead_lstm", num_heads, parts.width)
    draw_bias = lstm_bias("multihead_lstm", forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = weights(parts, heads, key, in_features)
        b = draw_bias(key_b, parts.width, parts.dtypes.params)
        return MultiheadLSTMParams(w_ih, w_hh, b, parts.initial())

    step = functools.partial(lstm_step, product=head_matmul)
    return parts.cell(init, step, MultiheadLSTMForm(parts.width, heads))


@value
def multihead_gru(
    hidden_features: int,
    *,
    num_heads: int,
    update_bias: float | Chrono = 0.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the GRU, with reset after the product, whose units read only the h of their own head.

    $$ q = (h_1 R_1, \dots, h_N R_N) $$

    with $h_n$ the part of h that belongs to head n, and r, z, n and h of $x W_{ih} + b$ and q as
    in `gru`. It is the GRU whose recurrent weights are block-diagonal, with an N-th of the
    recurrent weights and of the work of a step. The heads meet in the next layer.

    Args:
        hidden_features: H, the width of `h` and the output, of all heads together.
        num_heads: N, which divides H.
        update_bias: what the bias of z starts from, or `chrono(max_steps)`; larger remembers
            longer.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order r, z, n.
        w_hh_init: the same for the recurrent weights, called once a head and gate with shape
            `(H / N, H / N)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MultiheadGRUParams` and carry `GRUCarry`.

    Raises:
        ValueError: for a width below 1, a number of heads that does not divide it, or a number of
            initialisers that is not three.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.multihead_gru(6, num_heads=2)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> params.w_ih.shape, params.w_hh.shape, params.b_hn.shape
        ((3, 18), (2, 3, 9), (6,))

    Reference: Beck et al., *xLSTM: Extended long short-term memory* (2024), for the heads.
    """
    parts = dense(
        "multihead_gru",
        hidden_features,
        GRUCarry,
        num_gates=3,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    heads = _checks.heads("multihead_gru", num_heads, parts.width)
    draw_bias = gru_bias("multihead_gru", update_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = weights(parts, heads, key, in_features)
        b = draw_bias(key_b, parts.width, parts.dtypes.params)
        b_hn = jnp.zeros(parts.width, parts.dtypes.params)
        return MultiheadGRUParams(w_ih, w_hh, b, b_hn, parts.initial())

    step = functools.partial(gru_step, product=head_matmul)
    return parts.cell(init, step, MultiheadGRUForm(parts.width, heads))


def head_matmul(
    h: Float[Array, "*batch H"], w: Float[Array, "N J K"], dtype: Any, out_dtype: Any
) -> Float[Array, "*batch G"]:
    """One product a head, in one batched matmul, packed gate by gate as in the dense cells.

    Heads stand in front, since XLA on CPU runs no other bfloat16 product of heads outside a loop.
    """
    (heads, units, columns), batch = w.shape, h.shape[:-1]
    by_head = jnp.moveaxis(h.astype(dtype).reshape(*batch, heads, units), -2, 0)
    q = jnp.einsum("n...j,njk->n...k", by_head, w.astype(dtype), preferred_element_type=out_dtype)
    q = q.reshape(heads, *batch, columns // units, units)
    return jnp.moveaxis(q, 0, -2).reshape(*batch, heads * columns)


def weights(
    parts: DenseParts, heads: int, key: Key[Array, ""], in_features: int
) -> tuple[Float[Array, "D G"], Float[Array, "N J K"], Key[Array, ""]]:
    """Draw `w_ih`, and `w_hh` head by head and gate by gate; hand on a key for the biases."""
    w_ih, key_hh, key_b = parts.input_weights(key, in_features)
    units = parts.width // heads
    blocks = [
        packed(k, parts.hh_inits, (units, units), parts.dtypes.params)
        for k in jax.random.split(key_hh, heads)
    ]
    return w_ih, jnp.stack(blocks), key_b

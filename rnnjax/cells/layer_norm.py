"""The LSTM and the GRU whose pre-activations are normalised over the units of a step."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense
from rnnjax.cells.dtypes import at_least_float32, matmul, promote
from rnnjax.cells.gru import GRUCarry, gru_gates
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    gru_bias,
    lstm_bias,
    orthogonal,
)
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.cells.norm import check_epsilon, input_product, layer_norm


class LayerNormLSTMParams(NamedTuple):
    """Weights of a layer-norm LSTM; gates are packed in the order i, f, g, o.

    `scale_x` and `scale_h` multiply the normalised products with the input and with h;
    `scale_c` and `shift_c` follow the normalised c. `initial` is None without a learned initial
    carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    scale_x: Float[Array, " G"]
    scale_h: Float[Array, " G"]
    scale_c: Float[Array, " H"]
    shift_c: Float[Array, " H"]
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


class LayerNormGRUParams(NamedTuple):
    """Weights of a layer-norm GRU; gates are packed in the order r, z, n.

    `scale_x` and `scale_h` multiply the normalised products with the input and with h. `b_hn`
    stands inside the product with r. `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    scale_x: Float[Array, " G"]
    scale_h: Float[Array, " G"]
    b: Float[Array, " G"]
    b_hn: Float[Array, " H"]
    initial: GRUCarry | None = None


@value
def layer_norm_lstm(
    hidden_features: int,
    *,
    epsilon: float = 1e-5,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM with layer normalisation.

    $$ s = \gamma_x \odot N(x W_{ih}) + \gamma_h \odot N(h W_{hh}) + b, \qquad
       N(v) = \frac{v - \bar v}{\sqrt{\mathrm{var}(v) + \varepsilon}} $$
    $$ c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh(\gamma_c \odot N(c') + \beta_c) $$

    with i, f, o sigmoids of their parts of s, and g the tanh. As in the paper, mean and variance
    are those of all four gates together, and of the units of one row at one step alone; cells
    that normalise each gate by itself are another function. The carry holds c as it is, not
    normalised. The input half is normalised outside the loop.

    Statistics are taken in float32 at least, of numbers shifted and divided so that no square
    overflows. Equal numbers become zeros, with a large derivative: $1 / \sqrt\varepsilon$.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        epsilon: what is added to the variance, at least 1e-30.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `LayerNormLSTMParams`, whose scales start from 1 and `shift_c` from 0,
        and carry `LSTMCarry`.

    Raises:
        ValueError: for a width below 1, an `epsilon` below 1e-30, or a number of
            initialisers that is not four.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.layer_norm_lstm(5).init(jax.random.key(0), in_features=3)
        >>> params.scale_x.shape, params.scale_h.shape, params.scale_c.shape
        ((20,), (20,), (5,))

    Reference: Ba, Kiros & Hinton, *Layer normalization* (2016), eqs. 20 to 22.
    """
    parts = dense(
        "layer_norm_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=4,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    epsilon = check_epsilon("layer_norm_lstm", epsilon)
    draw_bias = lstm_bias("layer_norm_lstm", forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        width, dtype = parts.width, parts.dtypes.params
        return LayerNormLSTMParams(
            w_ih,
            w_hh,
            scale_x=jnp.ones(4 * width, dtype),
            scale_h=jnp.ones(4 * width, dtype),
            scale_c=jnp.ones(width, dtype),
            shift_c=jnp.zeros(width, dtype),
            b=draw_bias(key_b, width, dtype),
            initial=parts.initial(),
        )

    def project(params, xs):
        v, dtype = input_product(parts, params, xs)
        return layer_norm(v, params.scale_x, params.b, epsilon=epsilon).astype(dtype)

    step = functools.partial(layer_norm_lstm_step, epsilon=epsilon)
    return parts.cell(init, step)._replace(project=project)


@value
def layer_norm_gru(
    hidden_features: int,
    *,
    epsilon: float = 1e-5,
    update_bias: float | Chrono = 0.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the GRU with layer normalisation and the reset gate after the recurrent product.

    $$ r, z = \sigma(\gamma_x \odot N(x W_{rz}) + \gamma_h \odot N(h R_{rz}) + b) $$
    $$ n = \tanh(\gamma_x \odot N(x W_n) + b_n + r \odot (\gamma_h \odot N(h R_n) + b_{hn})),
       \qquad h' = (1 - z) \odot n + z \odot h $$

    with N as in `layer_norm_lstm`. As in the paper, r and z are normalised together, and n by
    itself, for the input and for h. Here z keeps the old state; in the paper it takes the new
    one, so theirs is 1 minus ours. The input half is normalised outside the loop.

    Args:
        hidden_features: H, the width of `h` and the output.
        epsilon: what is added to the variance, at least 1e-30.
        update_bias: what the bias of z starts from, or `chrono(max_steps)`; larger remembers
            longer.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order r, z, n.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `LayerNormGRUParams`, whose scales start from 1, and carry `GRUCarry`.

    Raises:
        ValueError: for a width below 1, an `epsilon` below 1e-30, or a number of
            initialisers that is not three.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.layer_norm_gru(5).init(jax.random.key(0), in_features=3)
        >>> params.scale_x.shape, params.scale_h.shape, params.b_hn.shape
        ((15,), (15,), (5,))

    Reference: Ba, Kiros & Hinton, *Layer normalization* (2016), supplement.
    """
    parts = dense(
        "layer_norm_gru",
        hidden_features,
        GRUCarry,
        num_gates=3,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    epsilon = check_epsilon("layer_norm_gru", epsilon)
    draw_bias = gru_bias("layer_norm_gru", update_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        width, dtype = parts.width, parts.dtypes.params
        return LayerNormGRUParams(
            w_ih,
            w_hh,
            scale_x=jnp.ones(3 * width, dtype),
            scale_h=jnp.ones(3 * width, dtype),
            b=draw_bias(key_b, width, dtype),
            b_hn=jnp.zeros(width, dtype),
            initial=parts.initial(),
        )

    def project(params, xs):
        v, dtype = input_product(parts, params, xs)
        return by_slab(v, params.scale_x, params.b, epsilon=epsilon).astype(dtype)

    step = functools.partial(layer_norm_gru_step, epsilon=epsilon)
    return parts.cell(init, step)._replace(project=project)


def layer_norm_lstm_step(
    params: LayerNormLSTMParams,
    carry: LSTMCarry,
    z: Float[Array, "*batch G"],
    *,
    epsilon: float = 1e-5,
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """Advance a layer-norm LSTM by one step; `z` is the normalised input half with the bias."""
    dtype = promote(z.dtype, carry.h.dtype)
    v = matmul(carry.h, params.w_hh, z.dtype, at_least_float32(dtype))
    s = z.astype(dtype) + layer_norm(v, params.scale_h, epsilon=epsilon).astype(dtype)
    i, f, g, o = jnp.split(s, 4, axis=-1)
    c = jax.nn.sigmoid(f) * carry.c.astype(dtype) + jax.nn.sigmoid(i) * jnp.tanh(g)
    seen = layer_norm(c, params.scale_c, params.shift_c, epsilon=epsilon).astype(dtype)
    h = jax.nn.sigmoid(o) * jnp.tanh(seen)
    return LSTMCarry(h.astype(carry.h.dtype), c.astype(carry.c.dtype)), h.astype(z.dtype)


def layer_norm_gru_step(
    params: LayerNormGRUParams,
    carry: GRUCarry,
    z: Float[Array, "*batch G"],
    *,
    epsilon: float = 1e-5,
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """Advance a layer-norm GRU by one step; `z` is the normalised input half with the bias."""
    dtype = promote(z.dtype, carry.h.dtype)
    v = matmul(carry.h, params.w_hh, z.dtype, at_least_float32(dtype))
    q = by_slab(v, params.scale_h, epsilon=epsilon).astype(dtype)
    carry, h = gru_gates(z.astype(dtype), q, carry, params.b_hn)
    return carry, h.astype(z.dtype)


def by_slab(
    v: Float[Array, "*batch G"],
    scale: Float[Array, " G"],
    shift: Float[Array, " G"] | None = None,
    *,
    epsilon: float,
) -> Float[Array, "*batch G"]:
    """`layer_norm` of r and z together, and of n by itself."""
    gates = 2 * (v.shape[-1] // 3)
    slabs = [
        layer_norm(
            v[..., part], scale[part], None if shift is None else shift[part], epsilon=epsilon
        )
        for part in (slice(gates), slice(gates, None))
    ]
    return jnp.concatenate(slabs, axis=-1)

"""Gated cells whose recurrences are diagonal: made to be evaluated parallel in time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float, Key
from rnnjax.cells.base import Cell, DiagonalForm, value
from rnnjax.cells.dense import DenseParts, dense
from rnnjax.cells.dtypes import at_least_float32, promote
from rnnjax.cells.gru import GRUCarry
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    gate_bias,
    glorot_uniform,
    per_gate,
)
from rnnjax.cells.lstm import LSTMCarry


def contracting(key: Any, shape: Any, dtype: Any = jnp.float32) -> Any:
    r"""Draw recurrent weights from U(-1/4, 1/4), with which both cells below forget their start.

    Let $\alpha$ bound the weights. For $|h| \le 1$, which every step keeps, a ParaGRU has
    $|J| \le 1 - z (1 - 3 \alpha - \alpha^2 / 4) < 1$. In a ParaLSTM without peepholes the larger
    of $|c|$ and $|h| / 1.2$ shrinks while $3.6 \alpha < 1$.
    """
    return jax.random.uniform(key, shape, dtype, -0.25, 0.25)


class ParaGRUParams(NamedTuple):
    """Weights of a ParaGRU; gates are packed, and stand in `a`, in the order r, z, n.

    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    a: Float[Array, "3 H"]
    b: Float[Array, " G"]
    initial: GRUCarry | None = None


class ParaLSTMParams(NamedTuple):
    """Weights of a ParaLSTM; gates stand in the order f, g, o, the peepholes `p` f, o.

    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    a: Float[Array, "3 H"]
    p: Float[Array, "2 H"]
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


@value
def para_gru(
    hidden_features: int,
    *,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    a_init: Initializer | tuple[Initializer, ...] = contracting,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the GRU whose units read no other unit, so that `Newton` runs it parallel in time.

    $$ r, z = \sigma(x W_{r,z} + b_{r,z} + a_{r,z} \odot h), \qquad
       n = \tanh(x W_n + b_n + a_n \odot r \odot h) $$
    $$ h' = (1 - z) \odot h + z \odot n $$

    Units meet in the input weights alone, so stack layers. Here z gives the share of the *new*
    state, the opposite of `gru`. The step is a contraction at the start and stays one while the
    weights `a` are small (below 0.32 in size is enough).

    Args:
        hidden_features: H, the width of `h` and the output.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order r, z, n.
        a_init: the same for the recurrent weights, shape `(H,)`; the default is U(-1/4, 1/4).
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `ParaGRUParams` and carry `GRUCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not three.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.para_gru(5).init(jax.random.key(0), in_features=3).a.shape
        (3, 5)

    Reference: Danieli et al., *ParaRNN: unlocking parallel training of nonlinear RNNs for large
    language models* (2025); there the input weights are block-diagonal.
    """
    parts = dense(
        "para_gru",
        hidden_features,
        GRUCarry,
        num_gates=3,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        recurrent=False,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    a_inits = per_gate("para_gru", "a_init", a_init, 3)

    def init(key, in_features):
        w_ih, a, _ = _weights(parts, a_inits, key, in_features)
        b = jnp.zeros(3 * parts.width, parts.dtypes.params)
        return ParaGRUParams(w_ih, a, b, parts.initial())

    return parts.cell(init, para_gru_step, DiagonalForm(parts.width))


@value
def para_lstm(
    hidden_features: int,
    *,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    a_init: Initializer | tuple[Initializer, ...] = contracting,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM whose units read no other unit, so that `Newton` runs it parallel in time.

    $$ f = \sigma(s_f + p_f \odot c), \qquad
       c' = f \odot c + (1 - f) \odot \tanh s_g, \qquad
       h' = \sigma(s_o + p_o \odot c') \odot \tanh c' $$

    with $s = x W_{ih} + b + a \odot h$, gate by gate. The input gate is what the forget gate
    leaves; the output gate reads the new cell state. Peepholes start from zero. Units meet in
    the input weights alone, so stack layers. The step is a contraction at the start.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order f, g, o.
        a_init: the same for the recurrent weights, shape `(H,)`; the default is U(-1/4, 1/4).
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `ParaLSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not three.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.para_lstm(5).init(jax.random.key(0), in_features=3)
        >>> params.a.shape, params.p.shape
        ((3, 5), (2, 5))

    Reference: Danieli et al., *ParaRNN: unlocking parallel training of nonlinear RNNs for large
    language models* (2025); the coupled gates, Greff et al., *LSTM: a search space odyssey* (2017).
    """
    parts = dense(
        "para_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=3,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        recurrent=False,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    a_inits = per_gate("para_lstm", "a_init", a_init, 3)
    draw_forget = gate_bias("para_lstm", "forget_bias", forget_bias)

    def init(key, in_features):
        w_ih, a, key_b = _weights(parts, a_inits, key, in_features)
        forget = draw_forget(key_b, (parts.width,), jnp.float32)
        b = jnp.concatenate([forget, jnp.zeros_like(forget), jnp.zeros_like(forget)])
        p = jnp.zeros((2, parts.width), parts.dtypes.params)
        return ParaLSTMParams(w_ih, a, p, b.astype(parts.dtypes.params), parts.initial())

    return parts.cell(init, para_lstm_step, DiagonalForm(parts.width))


def para_gru_step(
    params: ParaGRUParams, carry: GRUCarry, z: Float[Array, "*batch G"]
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """Advance a ParaGRU by one step, unit by unit; only `a` is read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    x_r, x_z, x_n = jnp.split(z.astype(dtype), 3, axis=-1)
    a_r, a_z, a_n = _rows(params.a, z.ndim, dtype)
    h = carry.h.astype(dtype)
    reset, update = jax.nn.sigmoid(x_r + a_r * h), jax.nn.sigmoid(x_z + a_z * h)
    candidate = jnp.tanh(x_n + a_n * (reset * h))
    h = (1 - update) * h + update * candidate
    return GRUCarry(h.astype(carry.h.dtype)), h.astype(z.dtype)


def para_lstm_step(
    params: ParaLSTMParams, carry: LSTMCarry, z: Float[Array, "*batch G"]
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """Advance a ParaLSTM by one step, unit by unit; `a` and `p` are read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    x_f, x_g, x_o = jnp.split(z.astype(dtype), 3, axis=-1)
    a_f, a_g, a_o = _rows(params.a, z.ndim, dtype)
    p_f, p_o = _rows(params.p, z.ndim, dtype)
    h, c = carry.h.astype(dtype), carry.c.astype(dtype)
    forget = jax.nn.sigmoid(x_f + a_f * h + p_f * c)
    c = forget * c + (1 - forget) * jnp.tanh(x_g + a_g * h)
    h = jax.nn.sigmoid(x_o + a_o * h + p_o * c) * jnp.tanh(c)
    return LSTMCarry(h.astype(carry.h.dtype), c.astype(carry.c.dtype)), h.astype(z.dtype)


def _rows(vectors: Float[Array, "N H"], ndim: int, dtype: Any) -> list[Array]:
    """One vector a gate, with as many axes as what it multiplies."""
    return [jnp.expand_dims(vector.astype(dtype), range(ndim - 1)) for vector in vectors]


def _weights(
    parts: DenseParts, a_inits: tuple[Initializer, ...], key: Any, in_features: Any
) -> tuple[Float[Array, "D G"], Float[Array, "3 H"], Key[Array, ""]]:
    """Draw `w_ih` and `a`, and hand on a key for the biases."""
    w_ih, key_a, key_b = parts.input_weights(key, in_features)
    wide = at_least_float32(parts.dtypes.params)
    keys = jax.random.split(key_a, len(a_inits))
    a = [init(k, (parts.width,), wide) for k, init in zip(keys, a_inits, strict=True)]
    return w_ih, jnp.stack(a).astype(parts.dtypes.params), key_b

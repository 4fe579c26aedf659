"""The LSTM with exponential gates and a normaliser: sLSTM, the scalar half of xLSTM."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense, fresh
from rnnjax.cells.dtypes import promote
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    lstm_bias,
    orthogonal,
)
from rnnjax.cells.multihead import head_matmul, weights


class SLSTMCarry(NamedTuple):
    """What an sLSTM hands from one step to the next.

    What `c` and `n` stand for is $c e^m$ and $n e^m$. A fresh row has an `m` of minus infinity;
    after a step from there `m` is finite, and `n` at least 1.
    """

    h: Float[Array, "*batch H"]
    c: Float[Array, "*batch H"]
    n: Float[Array, "*batch H"]
    m: Float[Array, "*batch H"]


class SLSTMParams(NamedTuple):
    """Weights of an sLSTM; gates are packed along the last axis in the order i, f, g, o.

    `w_hh` has a block for each of the N heads, whose J = H / N units read each other. Gates of
    `w_ih` and `b` are those of all H units, head after head.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "N J K"]
    b: Float[Array, " G"]


@value
def slstm(
    hidden_features: int,
    *,
    num_heads: int = 1,
    exponential_forget: bool = False,
    forget_bias: float | Chrono = 1.0,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the sLSTM: an LSTM whose input gate is an exponential, and whose memory is an average.

    $$ c' = f \odot c + i \odot \tanh s_g, \qquad n' = f \odot n + i, \qquad
       h' = \sigma(s_o) \odot c' / n' $$
    $$ i = e^{s_i - m'}, \qquad f = e^{\ell + m - m'}, \qquad m' = \max(s_i, \ell + m) $$

    with $s = x W_{ih} + b + (h_1 R_1, \dots, h_N R_N)$, where $h_n$ is the part of h that
    belongs to head n, and $\ell = \log \sigma(s_f)$. As m keeps the exponents at or below 0,
    nothing overflows, and h does not depend on it. A row begins with $m = -\infty$, by itself:
    its first step has i = 1 and f = 0 whenever it comes, after padding or a reset too. No `n` is
    raised to 1, as some implementations do: from a fresh start it is never below.

    All of the carry can be differentiated, m too; where both sides of the maximum are equal, the
    derivative of h is still right. A carry of your own needs n above 0 where m is finite.

    Args:
        hidden_features: H, the width of the carry's leaves and the output, of all heads together.
        num_heads: N, which divides H.
        exponential_forget: whether the forget gate is an exponential too, $\ell = s_f$; else it
            is a sigmoid.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, called once a head and gate with shape
            `(H / N, H / N)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of the carry; None is `dtype`, but at least float32.

    Returns:
        A cell with params `SLSTMParams` and carry `SLSTMCarry`.

    Raises:
        ValueError: for a width below 1, a number of heads that does not divide it, or a number of
            initialisers that is not four.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.slstm(6, num_heads=2)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)), lengths=[7, 0])
        >>> float(carry.n[0].min()) >= 1, float(carry.m[1].max())
        (True, -inf)

    Reference: Beck et al., *xLSTM: Extended long short-term memory* (2024).
    """
    parts = dense(
        "slstm",
        hidden_features,
        SLSTMCarry,
        num_gates=4,
        learned_carry=False,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    heads = _checks.heads("slstm", num_heads, parts.width)
    exponential = _checks.flag("slstm", "exponential_forget", exponential_forget)
    draw_bias = lstm_bias("slstm", forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = weights(parts, heads, key, in_features)
        return SLSTMParams(w_ih, w_hh, draw_bias(key_b, parts.width, parts.dtypes.params))

    def init_carry(params, like):
        dtype = parts.dtypes.of_carry(like, params.w_ih)
        h, c, n, m = (fresh(None, like, parts.width, dtype) for _ in SLSTMCarry._fields)
        return SLSTMCarry(h, c, n, m - jnp.inf)

    step = functools.partial(slstm_step, exponential_forget=exponential)
    return parts.cell(init, step)._replace(init_carry=init_carry)


def slstm_step(
    params: SLSTMParams,
    carry: SLSTMCarry,
    z: Float[Array, "*batch G"],
    *,
    exponential_forget: bool = False,
) -> tuple[SLSTMCarry, Float[Array, "*batch H"]]:
    """Advance an sLSTM by one step; only `w_hh` is read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    s = z.astype(dtype) + head_matmul(carry.h, params.w_hh, z.dtype, dtype)
    s_i, s_f, s_g, s_o = jnp.split(s, 4, axis=-1)
    c, n, m = (leaf.astype(dtype) for leaf in (carry.c, carry.n, carry.m))
    kept = m + (s_f if exponential_forget else jax.nn.log_sigmoid(s_f))
    # Finite, so that no infinity is taken from another; and rounded as it is handed on, since c and
    # n are relative to it.
    m = jnp.maximum(s_i, kept).astype(carry.m.dtype).astype(dtype)
    i, f = jnp.exp(s_i - m), jnp.exp(kept - m)
    c = f * c + i * jnp.tanh(s_g)
    n = f * n + i
    h = jax.nn.sigmoid(s_o) * (c / n)
    leaves = (leaf.astype(carry.h.dtype) for leaf in (h, c, n, m))
    return SLSTMCarry(*leaves), h.astype(z.dtype)

"""The LSTM whose input and state modulate each other first."""

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
    packed,
    per_gate,
)
from rnnjax.cells.lstm import LSTMCarry, lstm_gates


class LowRank(NamedTuple):
    """Matrices of low rank K, as products `left right`, one pair for each of N rounds."""

    left: Float[Array, "N rows K"]
    right: Float[Array, "N K columns"]


class MogrifierLSTMParams(NamedTuple):
    """Weights of a mogrifier LSTM; gates are packed along the last axis in the order i, f, g, o.

    `q` holds a matrix for each odd round, by which h modulates x, and `r` one for each even
    round, by which x modulates h. Each is None without such rounds, and `LowRank` with a rank.
    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    q: Float[Array, "N H D"] | LowRank | None
    r: Float[Array, "N D H"] | LowRank | None
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


@value
def mogrifier_lstm(
    hidden_features: int,
    *,
    rounds: int = 5,
    rank: int | None = None,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    modulation_init: Initializer = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM whose input and state modulate each other in rounds before each step.

    $$ x^i = 2 \sigma(h^{i-1} Q^i) \odot x^{i-2} \quad \text{for odd } i, \qquad
       h^i = 2 \sigma(x^{i-1} R^i) \odot h^{i-2} \quad \text{for even } i $$

    from $x^{-1} = x$ and $h^0 = h$, and then the step of an LSTM on the last x and h. Small
    weights modulate by about 1, and no rounds are the LSTM. As the state reaches the input, no
    product stands outside the loop over time: a step has `rounds + 2` of them, `2 rounds + 2`
    with a rank.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        rounds: how often one modulates the other, x first; 0 is the LSTM.
        rank: K, of the matrices Q and R, each a product of two factors; None means full
            matrices.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        modulation_init: initialiser of every Q, shape `(H, D)`, and R, shape `(D, H)`, or of
            each of their factors, such as `(H, K)` and `(K, D)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MogrifierLSTMParams` and carry `LSTMCarry`.

    Raises:
        ValueError: for a width or `rank` below 1, `rounds` below 0, or a number of initialisers
            that is not four (for `modulation_init`, not one).
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.mogrifier_lstm(5, rounds=3).init(jax.random.key(0), in_features=4)
        >>> params.q.shape, params.r.shape
        ((2, 5, 4), (1, 4, 5))

    Reference: Melis, Kocisky & Blunsom, *Mogrifier LSTM* (2020).
    """
    parts = dense(
        "mogrifier_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=4,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    rounds = _checks.size("mogrifier_lstm", "rounds", rounds, least=0)
    rank = None if rank is None else _checks.size("mogrifier_lstm", "rank", rank)
    inits = per_gate("mogrifier_lstm", "modulation_init", modulation_init, 1)
    draw_bias = lstm_bias("mogrifier_lstm", forget_bias)

    def stacked(key, count, *shape):
        each = [packed(k, inits, shape, parts.dtypes.params) for k in jax.random.split(key, count)]
        return jnp.stack(each)

    def matrices(key, count, rows, columns):
        if count == 0:
            return None
        if rank is None:
            return stacked(key, count, rows, columns)
        left, right = jax.random.split(key)
        return LowRank(stacked(left, count, rows, rank), stacked(right, count, rank, columns))

    def init(key, in_features):
        w_ih, w_hh, key = parts.weights(key, in_features)
        key_b, key_q, key_r = jax.random.split(key, 3)
        q = matrices(key_q, (rounds + 1) // 2, parts.width, w_ih.shape[0])
        r = matrices(key_r, rounds // 2, w_ih.shape[0], parts.width)
        b = draw_bias(key_b, parts.width, parts.dtypes.params)
        return MogrifierLSTMParams(w_ih, w_hh, q, r, b, parts.initial())

    def project(params, xs):
        return xs.astype(parts.dtypes.of_compute(xs, params.w_ih))

    return parts.cell(init, mogrifier_lstm_step)._replace(project=project)


def mogrifier_lstm_step(
    params: MogrifierLSTMParams, carry: LSTMCarry, z: Float[Array, "*batch D"]
) -> tuple[LSTMCarry, Float[Array, "*batch H"]]:
    """Advance a mogrifier LSTM by one step; `z` is the input itself, and all params are read."""
    dtype = promote(z.dtype, carry.h.dtype)
    x, h = z.astype(dtype), carry.h.astype(dtype)
    for number in range(_count(params.q) + _count(params.r)):
        if number % 2 == 0:
            x = 2 * jax.nn.sigmoid(_times(h, params.q, number // 2, z.dtype)) * x
        else:
            h = 2 * jax.nn.sigmoid(_times(x, params.r, number // 2, z.dtype)) * h
    s = matmul(x, params.w_ih, z.dtype, dtype) + matmul(h, params.w_hh, z.dtype, dtype)
    s = s + jnp.expand_dims(params.b.astype(dtype), range(s.ndim - 1))
    carry, h = lstm_gates(s, carry)
    return carry, h.astype(z.dtype)


def _count(matrices: Array | LowRank | None) -> int:
    """How many rounds they are for."""
    leaves = jax.tree.leaves(matrices)
    return leaves[0].shape[0] if leaves else 0


def _times(
    x: Float[Array, "*batch rows"], matrices: Any, index: int, dtype: Any
) -> Float[Array, "*batch columns"]:
    """The product with the matrix of one round, its inputs in `dtype`."""
    for matrix in matrices if isinstance(matrices, LowRank) else (matrices,):
        x = matmul(x, matrix[index], dtype, x.dtype)
    return x

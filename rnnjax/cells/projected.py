"""The LSTM that hands on a projection of its output."""

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


class ProjectedLSTMParams(NamedTuple):
    """Weights of a projected LSTM; gates are packed along the last axis in the order i, f, g, o.

    J is the width of `h` and of the output, G is 4H. `initial` is None without a learned
    initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "J G"]
    w_hr: Float[Array, "H J"]
    b: Float[Array, " G"]
    initial: LSTMCarry | None = None


@value
def projected_lstm(
    hidden_features: int,
    *,
    out_features: int,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    w_hr_init: Initializer = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM whose output is projected, equal to PyTorch's with `proj_size`.

    $$ c' = f \odot c + i \odot g, \qquad h' = (o \odot \tanh c') W_{hr} $$

    with $i, f, o = \sigma(\cdot)$ and $g = \tanh(\cdot)$ of $x W_{ih} + b + h W_{hh}$. A narrow
    `h` makes many cells cheap, since the recurrent weights are as small as it is. The two
    products of a step wait for each other. Unlike that of an LSTM, `h` may leave -1 and 1.

    Args:
        hidden_features: H, the width of `c`.
        out_features: J, the width of `h` and the output; PyTorch's must be below H, ours not.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(J, H)`.
        w_hr_init: initialiser of the projection, shape `(H, J)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h` and `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `ProjectedLSTMParams` and carry `LSTMCarry`, whose `h` is J wide and
        whose `c` is H wide.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not four (for
            `w_hr_init`, not one).
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.projected_lstm(5, out_features=2)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 3)))
        >>> params.w_hh.shape, params.w_hr.shape, ys.shape, carry.h.shape, carry.c.shape
        ((2, 20), (5, 2), (7, 2), (2,), (5,))

    Reference: Sak, Senior & Beaufays, *Long short-term memory recurrent neural network
    architectures for large scale acoustic modeling* (2014).
    """
    narrow = _checks.size("projected_lstm", "out_features", out_features)
    parts = dense(
        "projected_lstm",
        hidden_features,
        LSTMCarry,
        num_gates=4,
        hh_rows=(narrow,),
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    hr_inits = per_gate("projected_lstm", "w_hr_init", w_hr_init, 1)
    draw_bias = lstm_bias("projected_lstm", forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key = parts.weights(key, in_features)
        key_b, key_hr = jax.random.split(key)
        w_hr = packed(key_hr, hr_inits, (parts.width, narrow), parts.dtypes.params)
        b = draw_bias(key_b, parts.width, parts.dtypes.params)
        return ProjectedLSTMParams(w_ih, w_hh, w_hr, b, parts.initial())

    return parts.cell(init, projected_lstm_step)


def projected_lstm_step(
    params: ProjectedLSTMParams, carry: LSTMCarry, z: Float[Array, "*batch G"]
) -> tuple[LSTMCarry, Float[Array, "*batch J"]]:
    """Advance a projected LSTM by one step; `w_hh` and `w_hr` are read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    s = z.astype(dtype) + matmul(carry.h, params.w_hh, z.dtype, dtype)
    inner, wide = lstm_gates(s, carry)
    h = matmul(wide, params.w_hr, z.dtype, dtype)
    return LSTMCarry(h.astype(carry.h.dtype), inner.c), h.astype(z.dtype)

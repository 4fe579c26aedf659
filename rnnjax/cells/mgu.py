"""The minimal gated unit, in both of its published forms."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense
from rnnjax.cells.dtypes import matmul, promote
from rnnjax.cells.gru import GRUCarry
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    gate_bias,
    glorot_uniform,
    orthogonal,
)


class MGUParams(NamedTuple):
    """MGU weights; gates are packed along the last axis in the order f, n.

    `b_hn` stands inside the product with f, so it cannot be folded into `b`; it is None with
    `reset="before"`. `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    b: Float[Array, " G"]
    b_hn: Float[Array, " H"] | None = None
    initial: GRUCarry | None = None


@value
def mgu(
    hidden_features: int,
    *,
    reset: Literal["after", "before"] = "after",
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the minimal gated unit: a GRU whose two gates are one.

    With $f = \sigma(x W_{if} + b_f + h W_{hf})$, and the reset after the recurrent product,

    $$ n = \tanh(x W_{in} + b_n + f \odot (h W_{hn} + b_{hn})), \quad
       h' = (1 - f) \odot n + f \odot h $$

    or before it,

    $$ n = \tanh(x W_{in} + b_n + (f \odot h) W_{hn}), \quad
       h' = (1 - f) \odot h + f \odot n $$

    Reset after is the `MGUCell` of Flax, before is that of the paper. Mind that f keeps the old
    state in the first and takes the new one in the second: they are different functions, and no
    choice of weights turns one into the other.

    Args:
        hidden_features: H, the width of `h` and the output.
        reset: where the gate acts on the candidate; `"before"` costs two dependent matmuls a
            step.
        forget_bias: what the bias of f starts from. Larger remembers longer with reset after, and
            shorter with reset before. Or `chrono(max_steps)`, which remembers in both, negated
            where f takes the new state.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of two in the order f, n.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MGUParams` and carry `GRUCarry`.

    Raises:
        ValueError: for a width below 1, an unknown `reset`, or a number of initialisers that is
            not two.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.mgu(5).init(jax.random.key(0), in_features=3)
        >>> params.w_ih.shape, params.w_hh.shape, params.b_hn.shape
        ((3, 10), (5, 10), (5,))

    Reference: Zhou, Wu, Zhang & Zhou, *Minimal gated unit for recurrent neural networks* (2016).
    """
    parts = dense(
        "mgu",
        hidden_features,
        GRUCarry,
        num_gates=2,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    after = _checks.choice("mgu", "reset", reset, ("after", "before")) == "after"
    draw_forget = gate_bias("mgu", "forget_bias", forget_bias)
    negate = isinstance(forget_bias, Chrono) and not after

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        forget = draw_forget(key_b, (parts.width,), jnp.float32)
        halves = [-forget if negate else forget, jnp.zeros_like(forget)]
        b = jnp.concatenate(halves).astype(parts.dtypes.params)
        b_hn = jnp.zeros(parts.width, parts.dtypes.params) if after else None
        return MGUParams(w_ih, w_hh, b, b_hn, parts.initial())

    return parts.cell(init, mgu_step if after else mgu_step_reset_before)


def mgu_step(
    params: MGUParams, carry: GRUCarry, z: Float[Array, "*batch G"]
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """Advance an MGU with reset after the product by one step; one matmul."""
    dtype = promote(z.dtype, carry.h.dtype)
    x_f, x_n = jnp.split(z.astype(dtype), 2, axis=-1)
    h_f, h_n = jnp.split(matmul(carry.h, params.w_hh, z.dtype, dtype), 2, axis=-1)
    if params.b_hn is not None:
        h_n = h_n + jnp.expand_dims(params.b_hn.astype(dtype), range(h_n.ndim - 1))
    f = jax.nn.sigmoid(x_f + h_f)
    h = (1 - f) * jnp.tanh(x_n + f * h_n) + f * carry.h.astype(dtype)
    return GRUCarry(h.astype(carry.h.dtype)), h.astype(z.dtype)


def mgu_step_reset_before(
    params: MGUParams, carry: GRUCarry, z: Float[Array, "*batch G"]
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """Advance an MGU with reset before the product by one step; two dependent matmuls."""
    dtype = promote(z.dtype, carry.h.dtype)
    x_f, x_n = jnp.split(z.astype(dtype), 2, axis=-1)
    width = carry.h.shape[-1]
    w_f, w_n = params.w_hh[..., :width], params.w_hh[..., width:]
    old = carry.h.astype(dtype)
    f = jax.nn.sigmoid(x_f + matmul(old, w_f, z.dtype, dtype))
    h = (1 - f) * old + f * jnp.tanh(x_n + matmul(f * old, w_n, z.dtype, dtype))
    return GRUCarry(h.astype(carry.h.dtype)), h.astype(z.dtype)

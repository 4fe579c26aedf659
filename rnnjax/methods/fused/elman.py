"""The Elman cell for the fused loops."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.dtypes import matmul
from rnnjax.cells.elman import ElmanCarry, ElmanParams
from rnnjax.methods.fused.equations import Columns, Equations, outer, plus

Activation = Callable[[Array], Array]


class Weights(NamedTuple):
    """What an Elman cell's loops read."""

    w_hh: Float[Array, "H H"]
    b: Float[Array, " H"] | None


def weights(params: ElmanParams, dtype: Any) -> Weights:
    """The recurrent weights in the dtype of the products."""
    return Weights(params.w_hh.astype(dtype), params.b)


def forward(
    w: Weights, start: ElmanCarry, z: Float[Array, "*batch H"], *, activation: Activation
) -> tuple[ElmanCarry, tuple[Columns, ...]]:
    """One step; the pre-activation is kept, so that any activation can be differentiated."""
    s = plus(z, w.b) + matmul(start.h, w.w_hh, w.w_hh.dtype, z.dtype)
    return ElmanCarry(activation(s)), ((s,),)


def backward(
    w: Weights,
    kept: tuple[Array, ...],
    start: ElmanCarry,
    dcarry: ElmanCarry,
    *,
    activation: Activation,
) -> tuple[ElmanCarry, tuple[Columns, ...]]:
    """The cotangent of the pre-activation."""
    del w, start
    (delta,) = jax.vjp(activation, kept[0])[1](dcarry.h)
    return ElmanCarry(jnp.zeros_like(delta)), ((delta,),)


def gradients(
    xs: Array, deltas: tuple[Array, ...], starts: ElmanCarry, params: ElmanParams, dtype: Any
) -> ElmanParams:
    """The gradients of the weights and of the bias."""
    db = None if params.b is None else deltas[0].sum((0, 1))
    dw_ih, dw_hh = (outer(x, deltas[0], dtype) for x in (xs, starts.h))
    return ElmanParams(dw_ih, dw_hh, db)


@functools.lru_cache(maxsize=64)
def equations(activation: Activation) -> Equations:
    """The equations for one activation."""
    return Equations(
        weights=weights,
        forward=functools.partial(forward, activation=activation),
        backward=functools.partial(backward, activation=activation),
        recurrent=lambda w: w.w_hh.T,
        operand=lambda deltas: deltas[0],
        gradients=gradients,
        reads_ahead=True,
    )

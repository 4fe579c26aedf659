"""The Elman cell for the fused loops."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.dtypes import matmul
from rnnjax.cells.elman import ElmanCarry
from rnnjax.methods.fused.equations import (
    Columns,
    DenseWeights,
    Equations,
    dense_gradients,
    dense_weights,
    plus,
)

Activation = Callable[[Array], Array]


def forward(
    w: DenseWeights, start: ElmanCarry, z: Float[Array, "*batch H"], *, activation: Activation
) -> tuple[ElmanCarry, tuple[Columns, ...]]:
    """One step; the pre-activation is kept, so that any activation can be differentiated."""
    s = plus(z, w.b) + matmul(start.h, w.w_hh, w.w_hh.dtype, z.dtype)
    return ElmanCarry(activation(s)), ((s,),)


def backward(
    w: DenseWeights,
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


@functools.lru_cache(maxsize=64)
def equations(activation: Activation) -> Equations:
    """The equations for one activation."""
    return Equations(
        weights=dense_weights,
        forward=functools.partial(forward, activation=activation),
        backward=functools.partial(backward, activation=activation),
        recurrent=lambda w: w.w_hh.T,
        operand=lambda deltas: deltas[0],
        gradients=dense_gradients,
        reads_ahead=True,
    )

"""The plain LSTM for the fused loops."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from rnnjax._typing import Array, Float
from rnnjax.cells.dtypes import matmul
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.methods.fused.equations import (
    Columns,
    DenseWeights,
    Equations,
    dense_gradients,
    dense_weights,
    plus,
)


def gates(s: Float[Array, "*batch G"]) -> Float[Array, "*batch G"]:
    r"""All four gates in one wide tanh, since $\sigma(x) = (1 + \tanh(x / 2)) / 2$."""
    scale = np.repeat(np.asarray([0.5, 0.5, 1.0, 0.5], s.dtype), s.shape[-1] // 4)
    scale = np.reshape(scale, (1,) * (s.ndim - 1) + scale.shape)
    return jnp.tanh(s * scale) * scale + (1 - scale)


def forward(
    w: DenseWeights,
    start: LSTMCarry,
    z: Float[Array, "*batch G"],
    *,
    product: Callable[..., Array] = matmul,
) -> tuple[LSTMCarry, tuple[Columns, ...]]:
    """One step; the activated gates are kept."""
    a = gates(plus(z, w.b) + product(start.h, w.w_hh, w.w_hh.dtype, z.dtype))
    i, f, g, o = jnp.split(a, 4, axis=-1)
    c = f * start.c.astype(a.dtype) + i * g
    return LSTMCarry(o * jnp.tanh(c), c), ((a,),)


def backward(
    w: DenseWeights, kept: tuple[Array, ...], start: LSTMCarry, dcarry: LSTMCarry
) -> tuple[LSTMCarry, tuple[Columns, ...]]:
    """Cotangents of the pre-activations, and what reaches the old cell state."""
    del w
    return backward_by_gate(jnp.split(kept[0], 4, axis=-1), start, dcarry)


def backward_by_gate(
    gates: Sequence[Array], start: LSTMCarry, dcarry: LSTMCarry
) -> tuple[LSTMCarry, tuple[Columns, ...]]:
    """The same of gates that stand apart; of `start`, c alone is read."""
    i, f, g, o = gates
    old = start.c.astype(f.dtype)
    tanh_c = jnp.tanh(f * old + i * g)
    dc = dcarry.c + dcarry.h * o * (1 - tanh_c * tanh_c)
    deltas = (
        dc * g * i * (1 - i),
        dc * old * f * (1 - f),
        dc * i * (1 - g * g),
        dcarry.h * tanh_c * o * (1 - o),
    )
    return LSTMCarry(jnp.zeros_like(dc), dc * f), (deltas,)


EQUATIONS = Equations(
    weights=dense_weights,
    forward=forward,
    backward=backward,
    recurrent=lambda w: w.w_hh.T,
    operand=lambda deltas: deltas[0],
    gradients=dense_gradients,
)

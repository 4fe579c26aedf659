"""The GRU for the fused loops, with the reset gate after or before the product."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.dtypes import matmul
from rnnjax.cells.gru import GRUCarry, GRUParams
from rnnjax.methods.fused.equations import (
    Columns,
    Equations,
    bias_gradient,
    outer,
    plus,
    sigmoid,
)


class Weights(NamedTuple):
    """What a GRU's loops read: `w_hh` cut into the gates' part and the candidate's."""

    w_hh: Float[Array, "H G"]
    w_gates: Float[Array, "H gates"]
    w_n: Float[Array, "H H"]
    w_n_transposed: Float[Array, "H H"]
    b_gates: Float[Array, " gates"] | None
    b_n: Float[Array, " H"] | None
    b_hn: Float[Array, " H"] | None


def weights(params: GRUParams, dtype: Any) -> Weights:
    """The recurrent weights in the dtype of the products."""
    w_hh = params.w_hh.astype(dtype)
    cut = 2 * w_hh.shape[0]
    b = (None, None) if params.b is None else (params.b[:cut], params.b[cut:])
    w_gates, w_n = w_hh[:, :cut], w_hh[:, cut:]
    return Weights(w_hh, w_gates, w_n, w_n.T, *b, params.b_hn)


def split(x: Float[Array, "*batch G"]) -> tuple[Array, Array]:
    """The part of r and z, and that of n."""
    cut = x.shape[-1] // 3 * 2
    return x[..., :cut], x[..., cut:]


def activate(w: Weights, s: Float[Array, "*batch gates"]) -> tuple[Array, Array]:
    """r and z, each on its own: XLA computes a wide array anew, element by element, if cut."""
    r, z = jnp.split(plus(s, w.b_gates), 2, axis=-1)
    return sigmoid(r), sigmoid(z)


def forward(
    w: Any,
    start: GRUCarry,
    z: Float[Array, "*batch G"],
    *,
    product: Callable[..., Array] = matmul,
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """One step, reset after the product; gates and the product with its bias are kept."""
    x_gates, x_n = split(z)
    h_gates, h_n = split(product(start.h, w.w_hh, w.w_hh.dtype, z.dtype))
    h_n = plus(h_n, w.b_hn)
    reset, update = activate(w, x_gates + h_gates)
    n = jnp.tanh(plus(x_n + reset * h_n, w.b_n))
    h = n + update * (start.h.astype(n.dtype) - n)
    return GRUCarry(h), ((reset, update, n), (h_n,))


def forward_reset_before(
    w: Weights, start: GRUCarry, z: Float[Array, "*batch G"]
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """One step, reset before the product; gates and what the product reads are kept."""
    x_gates, x_n = split(z)
    reset, update = activate(w, x_gates + matmul(start.h, w.w_gates, w.w_gates.dtype, z.dtype))
    h = start.h.astype(z.dtype)
    passed = reset * h
    n = jnp.tanh(plus(x_n + matmul(passed, w.w_n, w.w_n.dtype, z.dtype), w.b_n))
    return GRUCarry(n + update * (h - n)), ((reset, update, n), (passed,))


class Slopes(NamedTuple):
    """What both backward steps begin with; `dn` and `dz` are of the pre-activations."""

    reset: Array
    update: Array
    h: Array
    dn: Array
    dz: Array


def slopes(gates: Sequence[Array], start: GRUCarry, dh: Array) -> Slopes:
    """Back through the blend of the candidate and the old carry."""
    reset, update, n = gates
    h = start.h.astype(n.dtype)
    dn = dh * (1 - update) * (1 - n * n)
    return Slopes(reset, update, h, dn, dh * (h - n) * update * (1 - update))


def backward(
    w: Weights, kept: tuple[Array, ...], start: GRUCarry, dcarry: GRUCarry
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """Cotangents of r, z, n and of the candidate's product."""
    del w
    return backward_by_gate(jnp.split(kept[0], 3, axis=-1), kept[1], start, dcarry)


def backward_by_gate(
    gates: Sequence[Array], h_n: Array, start: GRUCarry, dcarry: GRUCarry
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """The same of gates that stand apart."""
    reset, update, _, dn, dz = slopes(gates, start, dcarry.h)
    dr = dn * h_n * reset * (1 - reset)
    return GRUCarry(dcarry.h * update), ((dr, dz, dn), (dn * reset,))


def backward_reset_before(
    w: Weights, kept: tuple[Array, ...], start: GRUCarry, dcarry: GRUCarry
) -> tuple[GRUCarry, tuple[Columns, ...]]:
    """Cotangents of r, z and n; what the candidate's product read stays where it is."""
    reset, update, h, dn, dz = slopes(jnp.split(kept[0], 3, axis=-1), start, dcarry.h)
    dpassed = matmul(dn, w.w_n_transposed, w.w_n.dtype, dn.dtype)
    dr = dpassed * h * reset * (1 - reset)
    return GRUCarry(dcarry.h * update + dpassed * reset), ((dr, dz, dn), ())


def operand(deltas: tuple[Array, ...]) -> Array:
    """What the recurrent product multiplies, reset after it."""
    return jnp.concatenate([split(deltas[0])[0], deltas[1]], axis=-1)


def gradients(
    xs: Array, deltas: tuple[Array, ...], starts: GRUCarry, params: GRUParams, dtype: Any
) -> GRUParams:
    """The gradients of the weights and of both biases."""
    # The whole of the first product, since to cut its operand would copy it.
    d_gates, _ = split(outer(starts.h, deltas[0], dtype))
    dw_hh = [d_gates, outer(starts.h, deltas[1], dtype)]
    db, db_hn = bias_gradient(deltas[0], params.b), bias_gradient(deltas[1], params.b_hn)
    dw_ih = outer(xs, deltas[0], dtype)
    return GRUParams(dw_ih, jnp.concatenate(dw_hh, axis=-1), db, db_hn)


def gradients_reset_before(
    xs: Array, deltas: tuple[Array, ...], starts: GRUCarry, params: GRUParams, dtype: Any
) -> GRUParams:
    """The gradients of the weights and of the bias."""
    d_gates, d_n = split(deltas[0])
    dw_hh = [outer(starts.h, d_gates, dtype), outer(deltas[1], d_n, dtype)]
    db = bias_gradient(deltas[0], params.b)
    dw_ih = outer(xs, deltas[0], dtype)
    return GRUParams(dw_ih, jnp.concatenate(dw_hh, axis=-1), db)


AFTER = Equations(
    weights=weights,
    forward=forward,
    backward=backward,
    recurrent=lambda w: w.w_hh.T,
    operand=operand,
    gradients=gradients,
    reads_ahead=True,
)

BEFORE = Equations(
    weights=weights,
    forward=forward_reset_before,
    backward=backward_reset_before,
    recurrent=lambda w: w.w_gates.T,
    operand=lambda deltas: split(deltas[0])[0],
    gradients=gradients_reset_before,
    reads_ahead=True,
)

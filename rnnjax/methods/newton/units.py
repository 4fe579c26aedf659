"""Steps in which every unit moves alone: what Newton's iteration linearises.

Of a cell whose units do not read one another this is the step itself. In a dense cell a unit sees
what all units were at some carry, and moves from there as if only its own state moved, so that
the diagonal of the Jacobian there is kept, exactly, and the rest of it is left out.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.base import DiagonalForm
from rnnjax.cells.dtypes import matmul, promote
from rnnjax.cells.elman import ElmanCarry, ElmanForm, ElmanParams
from rnnjax.cells.gru import GRUCarry, GRUForm, GRUParams
from rnnjax.cells.lstm import LSTMCarry, LSTMForm, LSTMParams, lstm_gates

Alone: TypeAlias = Callable[[PyTree], PyTree]
"""From a carry to the next, unit by unit."""

Units: TypeAlias = Callable[[PyTree, PyTree, PyTree], Alone]
"""`params, zs, at -> Alone`, of any number of steps at once; `at` is where it equals the step."""


def units_of(cell: Any) -> Units | None:
    """How the units of a cell move alone; None where its form does not tell."""
    match cell.form:
        case DiagonalForm():
            return lambda params, zs, at: lambda carry: cell.step(params, carry, zs)[0]
        case LSTMForm():
            return lstm
        case GRUForm(reset="after"):
            return gru
        case GRUForm(reset="before"):
            return gru_reset_before
        case ElmanForm(activation=activation):
            return functools.partial(elman, activation)
    return None


def is_exact(cell: Any) -> bool:
    """Whether the Jacobian of units that move alone is all of it."""
    return isinstance(cell.form, DiagonalForm)


def lstm(params: LSTMParams, zs: Float[Array, "*batch G"], at: LSTMCarry) -> Alone:
    """The LSTM; its gates stand in `cells/lstm.py`."""
    dtype = promote(zs.dtype, at.h.dtype)
    s = zs.astype(dtype) + matmul(at.h, params.w_hh, zs.dtype, dtype)
    own = own_weights(params.w_hh, zs, dtype)

    def alone(carry: LSTMCarry) -> LSTMCarry:
        moved = jnp.concatenate([(carry.h - at.h).astype(dtype)] * 4, axis=-1)
        return lstm_gates(s + moved * own, carry)[0]

    return alone


def gru(params: GRUParams, zs: Float[Array, "*batch G"], at: GRUCarry) -> Alone:
    """The GRU that resets after the product."""
    dtype = promote(zs.dtype, at.h.dtype)
    x_r, x_z, x_n = jnp.split(zs.astype(dtype), 3, axis=-1)
    h_r, h_z, h_n = jnp.split(matmul(at.h, params.w_hh, zs.dtype, dtype), 3, axis=-1)
    own_r, own_z, own_n = jnp.split(own_weights(params.w_hh, zs, dtype), 3, axis=-1)
    if params.b_hn is not None:
        h_n = h_n + jnp.expand_dims(params.b_hn.astype(dtype), range(h_n.ndim - 1))

    def alone(carry: GRUCarry) -> GRUCarry:
        moved = (carry.h - at.h).astype(dtype)
        reset = jax.nn.sigmoid(x_r + h_r + moved * own_r)
        update = jax.nn.sigmoid(x_z + h_z + moved * own_z)
        candidate = jnp.tanh(x_n + reset * (h_n + moved * own_n))
        return blend(carry, update, candidate)

    return alone


def gru_reset_before(params: GRUParams, zs: Float[Array, "*batch G"], at: GRUCarry) -> Alone:
    r"""The GRU that resets before the product.

    There a unit reaches its own candidate through the resets of all units, too:

    $$ \frac{d}{dh_j} \sum_i r_i h_i N_{ij} = r_j N_{jj}
       + \sum_i h_i r_i (1 - r_i) R_{ji} N_{ij} $$

    with R and N the recurrent weights of r and n.
    """
    dtype, width = promote(zs.dtype, at.h.dtype), at.h.shape[-1]
    w_r, w_z, w_n = jnp.split(params.w_hh.astype(zs.dtype), 3, axis=-1)
    x_r, x_z, x_n = jnp.split(zs.astype(dtype), 3, axis=-1)
    gates = matmul(at.h, params.w_hh[:, : 2 * width], zs.dtype, dtype)
    h_r, h_z = jnp.split(gates, 2, axis=-1)
    h, reset = at.h.astype(dtype), jax.nn.sigmoid(x_r + h_r)
    s_n = x_n + matmul(reset * h, w_n, zs.dtype, dtype)
    through_resets = matmul(h * reset * (1 - reset), w_r.T * w_n, zs.dtype, dtype)
    slope = reset * own_weights(w_n, zs, dtype) + through_resets
    own_z = own_weights(w_z, zs, dtype)

    def alone(carry: GRUCarry) -> GRUCarry:
        moved = (carry.h - at.h).astype(dtype)
        update = jax.nn.sigmoid(x_z + h_z + moved * own_z)
        return blend(carry, update, jnp.tanh(s_n + moved * slope))

    return alone


def elman(
    activation: Callable[[Array], Array],
    params: ElmanParams,
    zs: Float[Array, "*batch H"],
    at: ElmanCarry,
) -> Alone:
    """The Elman cell."""
    dtype = promote(zs.dtype, at.h.dtype)
    s = zs.astype(dtype) + matmul(at.h, params.w_hh, zs.dtype, dtype)
    own = own_weights(params.w_hh, zs, dtype)

    def alone(carry: ElmanCarry) -> ElmanCarry:
        h = activation(s + (carry.h - at.h).astype(dtype) * own)
        return ElmanCarry(h.astype(carry.h.dtype))

    return alone


def blend(carry: GRUCarry, update: Array, candidate: Array) -> GRUCarry:
    """What a GRU makes of its gates."""
    h = (1 - update) * candidate + update * carry.h.astype(update.dtype)
    return GRUCarry(h.astype(carry.h.dtype))


def own_weights(w_hh: Float[Array, "H G"], zs: Array, dtype: Any) -> Float[Array, "... G"]:
    """The weight of every unit to each of its own gates, rounded as the product rounds it."""
    width, packed = w_hh.shape
    own = [jnp.diagonal(gate) for gate in jnp.split(w_hh, packed // width, axis=-1)]
    vector = jnp.concatenate(own).astype(zs.dtype).astype(dtype)
    return jnp.expand_dims(vector, range(zs.ndim - 1))

"""The LSTM and the GRU whose recurrent weights are a block for each head, for the fused loops.

Gates are packed as in the dense cells, and a step differs from theirs in its product alone.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.multihead import MultiheadGRUParams, head_matmul
from rnnjax.methods import manual
from rnnjax.methods.fused import gru, lstm
from rnnjax.methods.fused.equations import Equations, bias_gradient, dense_weights, outer


def by_head(deltas: Float[Array, "*steps G"], heads: int, units: int) -> Float[Array, "N *steps K"]:
    """All gates of a head side by side; heads stand in front, as XLA on CPU wants them."""
    gates = deltas.shape[-1] // (heads * units)
    apart = deltas.reshape(*deltas.shape[:-1], gates, heads, units)
    return jnp.moveaxis(apart, -2, 0).reshape(heads, *deltas.shape[:-1], gates * units)


def product_back(
    deltas: Float[Array, "*batch G"], w: Float[Array, "N K J"], dtype: Any, out_dtype: Any
) -> Float[Array, "*batch H"]:
    """What reaches h through the recurrent product."""
    heads, _, units = w.shape
    own = by_head(deltas.astype(dtype), heads, units)
    dh = jnp.einsum("n...k,nkj->n...j", own, w, preferred_element_type=out_dtype)
    return jnp.moveaxis(dh, 0, -2).reshape(*deltas.shape[:-1], heads * units)


def head_outer(
    starts: Float[Array, "T *rows H"],
    deltas: Float[Array, "T *rows G"],
    w: Float[Array, "N J K"],
    dtype: Any,
) -> Float[Array, "N J K"]:
    """The gradient of the recurrent weights: one product over all steps and rows a head."""
    heads, units, _ = w.shape
    rows, columns = (by_head(x.astype(dtype), heads, units) for x in (starts, deltas))
    if manual.rows_are_here():
        rows, columns = (x.reshape(heads, -1, x.shape[-1]) for x in (rows, columns))
    contracted = tuple(range(1, rows.ndim - 1))
    dimensions = ((contracted, contracted), ((0,), (0,)))
    return jax.lax.dot_general(rows, columns, dimensions, preferred_element_type=deltas.dtype)


def gradients(
    xs: Array, deltas: tuple[Array, ...], starts: PyTree, params: PyTree, dtype: Any
) -> PyTree:
    """The gradients of the LSTM's weights and bias."""
    dw_ih, dw_hh = outer(xs, deltas[0], dtype), head_outer(starts.h, deltas[0], params.w_hh, dtype)
    return params._replace(w_ih=dw_ih, w_hh=dw_hh, b=bias_gradient(deltas[0], params.b))


def gru_gradients(
    xs: Array, deltas: tuple[Array, ...], starts: PyTree, params: PyTree, dtype: Any
) -> PyTree:
    """The gradients of the GRU's weights and biases."""
    dw_hh = head_outer(starts.h, gru.operand(deltas), params.w_hh, dtype)
    db, db_hn = bias_gradient(deltas[0], params.b), bias_gradient(deltas[1], params.b_hn)
    return params._replace(w_ih=outer(xs, deltas[0], dtype), w_hh=dw_hh, b=db, b_hn=db_hn)


class GRUWeights(NamedTuple):
    """What a GRU's loops read."""

    w_hh: Float[Array, "N J K"]
    b_gates: Float[Array, " gates"]
    b_n: Float[Array, " H"]
    b_hn: Float[Array, " H"]


def gru_weights(params: MultiheadGRUParams, dtype: Any) -> GRUWeights:
    """The recurrent weights in the dtype of the products, and the biases as a step reads them."""
    cut = 2 * params.b_hn.shape[-1]
    w_hh = params.w_hh.astype(dtype)
    return GRUWeights(w_hh, params.b[:cut], params.b[cut:], params.b_hn)


def transposed(w: Any) -> Float[Array, "N K J"]:
    """The weights of the recurrent product on the way back."""
    return jnp.swapaxes(w.w_hh, 1, 2)


LSTM = Equations(
    weights=dense_weights,
    forward=functools.partial(lstm.forward, product=head_matmul),
    backward=lstm.backward,
    recurrent=transposed,
    operand=lambda deltas: deltas[0],
    gradients=gradients,
    product=product_back,
)

GRU = Equations(
    weights=gru_weights,
    forward=functools.partial(gru.forward, product=head_matmul),
    backward=gru.backward,
    recurrent=transposed,
    operand=gru.operand,
    gradients=gru_gradients,
    product=product_back,
    reads_ahead=True,
)

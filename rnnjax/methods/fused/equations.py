"""What the fused loops must know of a cell, and the pieces that its equations share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods import manual

Columns = tuple[Array, ...]
"""Arrays that stand side by side in one buffer."""


class Equations(NamedTuple):
    """A cell's step and its gradient, written out for loops over buffers.

    What a step keeps for the backward pass are *columns*: one tuple of arrays a buffer, side
    by side along the last axis. The first buffer is as wide as the projected input, whose place
    it takes. The backward step overwrites them, step by step, with the cotangents that the
    weight gradients need.

    Attributes:
        weights: `params, dtype -> weights`: what the loops read, in the dtype of the products.
        forward: `weights, start, z -> carry, kept`; any leading axes, so that it also
            recomputes all steps at once.
        backward: `weights, kept, start, dcarry -> dstart, deltas`, all but the recurrent product.
        recurrent: `weights -> matrix` of that product in the backward pass.
        operand: `deltas -> array`, what the product multiplies.
        gradients: `xs, deltas, starts, params, dtype -> params`, products and sums over all steps.
        product: `operand, matrix, dtype, out_dtype -> dh`, that product.
        reads_ahead: whether the forward step wants its projected input as an array of its own.
            That costs a copy of one step. It lets XLA vectorise a step that reads it in several
            places, and write to the buffer in place where one of them may come after the write.
    """

    weights: Callable[[PyTree, Any], Any]
    forward: Callable[[Any, Any, Array], tuple[Any, tuple[Columns, ...]]]
    backward: Callable[..., tuple[Any, tuple[Columns, ...]]]
    recurrent: Callable[[Any], Array]
    operand: Callable[[tuple[Array, ...]], Array]
    gradients: Callable[..., Any]
    product: Callable[..., Array] = matmul
    reads_ahead: bool = False


class DenseWeights(NamedTuple):
    """What the loops of a cell with one recurrent product read."""

    w_hh: Float[Array, "H G"]
    b: Float[Array, " G"] | None


def dense_weights(params: PyTree, dtype: Any) -> DenseWeights:
    """The recurrent weights in the dtype of the products."""
    return DenseWeights(params.w_hh.astype(dtype), params.b)


def dense_gradients(
    xs: Array, deltas: tuple[Array, ...], starts: PyTree, params: PyTree, dtype: Any
) -> PyTree:
    """The gradients of params with `w_ih`, `w_hh` and `b`, all from the first buffer."""
    dw_ih, dw_hh = (outer(x, deltas[0], dtype) for x in (xs, starts.h))
    return params._replace(w_ih=dw_ih, w_hh=dw_hh, b=bias_gradient(deltas[0], params.b))


def bias_gradient(
    deltas: Float[Array, "T *rows G"], bias: Array | None
) -> Float[Array, " G"] | None:
    """The sum over all steps and rows, if there is a bias."""
    return None if bias is None else deltas.sum(tuple(range(deltas.ndim - 1)))


def sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The logistic function by way of tanh, which XLA vectorises better."""
    half = np.asarray(0.5, x.dtype)
    return jnp.tanh(x * half) * half + half


def plus(x: Float[Array, "*batch G"], bias: Float[Array, " G"] | None) -> Float[Array, "*batch G"]:
    """Add a bias, if there is one."""
    if bias is None:
        return x
    return x + jnp.expand_dims(bias.astype(x.dtype), range(x.ndim - 1))


def outer(
    xs: Float[Array, "T *rows D"], deltas: Float[Array, "T *rows G"], dtype: Any
) -> Float[Array, "D G"]:
    """The gradient of a weight: one product over all steps and rows, inputs in `dtype`."""
    rows, columns = xs.astype(dtype), deltas.astype(dtype)
    if manual.rows_are_here():
        # Both axes as one before the product: XLA would order them otherwise, and copy `deltas`.
        rows, columns = (x.reshape(-1, x.shape[-1]) for x in (rows, columns))
    # Where rows stand on several devices, an axis of steps and rows would have to be gathered.
    contracted = tuple(range(rows.ndim - 1))
    dimensions = ((contracted, contracted), ((), ()))
    return jax.lax.dot_general(rows, columns, dimensions, preferred_element_type=deltas.dtype)

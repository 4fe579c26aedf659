"""The layer between and above recurrent ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import InputSpec, value
from rnnjax.cells.dtypes import check_init, matmul, precision
from rnnjax.cells.initializers import Initializer, glorot_uniform, packed
from rnnjax.sequence.layer import Layer, blank


class DenseParams(NamedTuple):
    """Weights of a dense layer; `b` is None without bias."""

    w: Float[Array, "D H"]
    b: Float[Array, " H"] | None = None


@value
def dense(
    out_features: int,
    *,
    activation: Callable[[Array], Array] | None = None,
    bias: bool = True,
    w_init: Initializer = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    r"""Make a layer that maps the features of every step alike.

    $$ y_t = \phi(x_t W + b) $$

    Args:
        out_features: the width of the outputs.
        activation: $\phi$; None means none.
        bias: whether there is a bias; it starts from zero.
        w_init: initialiser of the weights, shape `(D, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.

    Returns:
        A layer with params `DenseParams` and an empty carry.

    Raises:
        TypeError: for an option of the wrong kind.
        ValueError: if `out_features` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.stack(rnnjax.gru(5), rnnjax.dense(2))
        >>> params = layer.init(jax.random.key(0), in_features=3)
        >>> layer.apply(params, jnp.ones((7, 3)))[1].shape
        (7, 2)
    """
    width = _checks.size("dense", "out_features", out_features)
    _checks.flag("dense", "bias", bias)
    _checks.function("dense", "w_init", w_init, such_as="jax.nn.initializers.orthogonal()")
    dtypes = precision("dense", dtype, param_dtype, None)
    if activation is not None:
        _checks.activation("dense", "activation", activation)

    def init(key, in_features):
        rows = check_init("dense.init", key, dtypes, in_features)
        w = packed(key, (w_init,), (rows, width), dtypes.params)
        return DenseParams(w, jnp.zeros(width, dtypes.params) if bias else None)

    def run(params, sequence, carry, *, key, method):
        xs = blank(sequence.xs, sequence.mask)
        compute = dtypes.of_compute(xs, params.w)
        ys = matmul(xs, params.w, compute, dtypes.of_carry(xs, params.w))
        if params.b is not None:
            ys = ys + jnp.expand_dims(params.b.astype(ys.dtype), range(ys.ndim - 1))
        ys = ys.astype(compute) if activation is None else activation(ys).astype(compute)
        return (), blank(ys, sequence.mask)

    def in_spec(params):
        return InputSpec((params.w.shape[0],))

    return Layer("dense", init, run, lambda in_features: width, in_spec)

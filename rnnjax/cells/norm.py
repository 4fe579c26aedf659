"""What normalised cells share, and layer normalisation, of pre-activations and of outputs."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.dense import DenseParts
from rnnjax.cells.dtypes import at_least_float32, matmul


def check_epsilon(function: str, epsilon: Any) -> float:
    """A number above 0, also in float32."""
    number = _checks.real(function, "epsilon", epsilon)
    if number < 1e-30:
        _checks.refuse(function, "epsilon", "be at least 1e-30", number, "1e-5 is usual")
    return number


def input_product(
    parts: DenseParts, params: Any, xs: Float[Array, "*steps D"]
) -> tuple[Float[Array, "*steps G"], Any]:
    """`x W` as wide as statistics want it, and the dtype in which it is handed on."""
    dtype = parts.dtypes.of_compute(xs, params.w_ih)
    out_dtype = at_least_float32(parts.dtypes.of_carry(xs, params.w_ih))
    return matmul(xs, params.w_ih, dtype, out_dtype), dtype


def layer_norm(
    v: Float[Array, "*batch G"],
    scale: Float[Array, " G"],
    shift: Float[Array, " G"] | None = None,
    *,
    epsilon: float,
) -> Float[Array, "*batch G"]:
    """Mean 0 and variance 1 over the last axis, then scale and shift; in float32 at least.

    The result depends neither on a shift nor, epsilon apart, on a scale of `v`, so both are taken
    off first, as constants to derivatives: no square overflows, and equal numbers become zeros.
    """
    dtype = at_least_float32(v.dtype)
    v = v.astype(dtype)
    still = jax.lax.stop_gradient(v)
    top = still.max(-1, keepdims=True)
    size = jnp.maximum(top - still.min(-1, keepdims=True), 1)
    v = (v - top) / size
    v = v - v.mean(-1, keepdims=True)
    variance = jnp.square(v).mean(-1, keepdims=True) + jnp.square(math.sqrt(epsilon) / size)
    v = v * jax.lax.rsqrt(variance) * jnp.expand_dims(scale.astype(dtype), range(v.ndim - 1))
    return v if shift is None else v + jnp.expand_dims(shift.astype(dtype), range(v.ndim - 1))

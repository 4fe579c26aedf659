"""The precision contract: parameters, computation and carry have separate dtypes."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float


class Precision(NamedTuple):
    """The dtypes of a cell.

    Attributes:
        compute: of the inputs of matmuls, and of outputs; None takes it from inputs and weights.
        params: of the weights.
        carry: of what travels over time; None is the compute dtype, but at least float32.
    """

    compute: Any
    params: Any
    carry: Any

    def of_compute(self, x: Any, w: Any) -> Any:
        """The dtype that matmuls of arrays like `x` with arrays like `w` take their inputs in."""
        return self.compute or promote(x.dtype, w.dtype)

    def of_carry(self, x: Any, w: Any) -> Any:
        """The dtype in which the carry is kept."""
        return self.carry or at_least_float32(self.of_compute(x, w))


def precision(function: str, dtype: Any, param_dtype: Any, carry_dtype: Any) -> Precision:
    """Check the three dtype options of a factory."""

    def check(name: str, value: Any) -> Any:
        return None if value is None else _checks.float_dtype(function, name, value)

    params = _checks.float_dtype(function, "param_dtype", param_dtype)
    return Precision(check("dtype", dtype), params, check("carry_dtype", carry_dtype))


def check_init(function: str, key: Any, dtypes: Precision, in_features: Any) -> int:
    """Check what parameters are made from; float64 only where JAX does not make float32 of it."""
    _checks.prng_key(function, key)
    _checks.usable_dtype(function, "dtype", dtypes.compute)
    _checks.usable_dtype(function, "param_dtype", dtypes.params)
    _checks.usable_dtype(function, "carry_dtype", dtypes.carry)
    return _checks.size(function, "in_features", in_features)


def promote(a: Any, b: Any) -> Any:
    """The wider dtype, also where the user has switched implicit promotion off."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(a, b)


def at_least_float32(dtype: Any) -> Any:
    """What is drawn, summed up or carried over many steps is no narrower than float32."""
    return promote(dtype, jnp.dtype("float32"))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DroppedRows:
    """Weights with a mask on what goes through them; it stands in the place of `w_hh`.

    Columns are cut out of it as of the weights themselves.

    Attributes:
        w: `(rows, G)`, or weights that have a mask already.
        kept: `(*batch, rows)`, False where an input is dropped.
    """

    w: Any
    kept: Any

    def __getitem__(self, index: tuple[Any, slice]) -> "DroppedRows":
        assert index[0] is ...
        return dataclasses.replace(self, w=self.w[index])


def matmul(
    x: Float[Array, "*batch rows"],
    w: Float[Array, "rows G"] | DroppedRows,
    dtype: Any,
    out_dtype: Any,
) -> Float[Array, "*batch G"]:
    """`x @ w` with inputs in `dtype`, accumulated and returned in `out_dtype`."""
    if isinstance(w, DroppedRows):
        return matmul(jnp.where(w.kept, x, jnp.zeros_like(x)), w.w, dtype, out_dtype)
    return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=out_dtype)

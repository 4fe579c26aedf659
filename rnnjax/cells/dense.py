"""What the cells with dense weights share: drawing, projecting, and the fresh carry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, Key
from rnnjax.cells.base import Cell, InputSpec
from rnnjax.cells.dtypes import Precision, check_usable, matmul
from rnnjax.cells.initializers import Initializer, packed, per_gate


class DenseParts(NamedTuple):
    """The checked options of a cell whose params have `w_ih`, `w_hh`, `b` and `initial`."""

    name: str
    width: int
    carry_type: Callable[..., Any]
    bias: bool
    learned_carry: bool
    ih_inits: tuple[Initializer, ...]
    hh_inits: tuple[Initializer, ...]
    dtypes: Precision

    def weights(
        self, key: Key[Array, ""], in_features: int
    ) -> tuple[Float[Array, "D G"], Float[Array, "H G"], Key[Array, ""]]:
        """Draw `w_ih` and `w_hh`, and hand on a key for the biases."""
        function = f"{self.name}.init"
        _checks.prng_key(function, key)
        check_usable(function, self.dtypes)
        rows = _checks.size(function, "in_features", in_features)
        key_ih, key_hh, key_b = jax.random.split(key, 3)
        w_ih = packed(key_ih, self.ih_inits, (rows, self.width), self.dtypes.params)
        w_hh = packed(key_hh, self.hh_inits, (self.width, self.width), self.dtypes.params)
        return w_ih, w_hh, key_b

    def initial(self) -> Any:
        """The learned start, zero at first; None where it is not learned."""
        if not self.learned_carry:
            return None
        zeros = jnp.zeros(self.width, self.dtypes.params)
        return self.carry_type(*(zeros for _ in self.carry_type._fields))

    def init_carry(self, params: Any, like: Float[Array, "*batch D"]) -> Any:
        """A fresh carry for the batch axes of `like`."""
        dtype = self.dtypes.of_carry(like, params.w_ih)
        starts = params.initial or (None,) * len(self.carry_type._fields)
        return self.carry_type(*(fresh(start, like, self.width, dtype) for start in starts))

    def project(self, params: Any, xs: Float[Array, "*steps D"]) -> Float[Array, "*steps G"]:
        """The input half of the pre-activations, `x W + b`, for any leading axes."""
        dtype = self.dtypes.of_compute(xs, params.w_ih)
        zs = matmul(xs, params.w_ih, dtype, self.dtypes.of_carry(xs, params.w_ih))
        if params.b is not None:
            zs = zs + jnp.expand_dims(params.b.astype(zs.dtype), range(zs.ndim - 1))
        return zs.astype(dtype)

    def cell(self, init: Callable[..., Any], step: Callable[..., Any], form: Any = None) -> Cell:
        """Put the cell together."""
        return Cell(
            init=init,
            init_carry=self.init_carry,
            project=self.project,
            step=step,
            out_features=self.width,
            in_spec=in_spec,
            form=form,
        )


def dense(
    name: str,
    hidden_features: int,
    carry_type: Callable[..., Any],
    *,
    num_gates: int,
    bias: bool = True,
    learned_carry: bool,
    w_ih_init: Any,
    w_hh_init: Any,
    dtypes: Precision,
) -> DenseParts:
    """Check the options that all dense cells take."""
    return DenseParts(
        name=name,
        width=_checks.size(name, "hidden_features", hidden_features),
        carry_type=carry_type,
        bias=_checks.flag(name, "bias", bias),
        learned_carry=_checks.flag(name, "learned_carry", learned_carry),
        ih_inits=per_gate(name, "w_ih_init", w_ih_init, num_gates),
        hh_inits=per_gate(name, "w_hh_init", w_hh_init, num_gates),
        dtypes=dtypes,
    )


def in_spec(params: Any) -> InputSpec:
    """Vectors as wide as the input weights have rows."""
    return InputSpec((params.w_ih.shape[0],))


def fresh(
    initial: Float[Array, " H"] | None,
    like: Array,
    width: int,
    dtype: Any,
    *,
    space: tuple[int, ...] = (),
) -> Float[Array, "*batch H"]:
    """One leaf of a fresh carry: zeros, or the learned start.

    Made from an input, so that it has that input's sharding on any mesh. `space` stands between
    batch and width, in the place of as many axes of the input.
    """
    batch = like.shape[: like.ndim - 1 - len(space)]
    features = tuple(range(len(batch), like.ndim))
    zeros = jnp.zeros_like(like, dtype=dtype).sum(features, keepdims=True).astype(dtype)
    zeros = jnp.broadcast_to(zeros, (*batch, *space, width))
    if initial is None:
        return zeros
    return zeros + jnp.expand_dims(initial.astype(dtype), range(zeros.ndim - 1))

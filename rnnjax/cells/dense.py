"""What the cells with dense weights share: drawing, projecting, and the fresh carry."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, Key
from rnnjax.cells.base import Cell, InputSpec
from rnnjax.cells.dtypes import Precision, check_init, matmul, precision
from rnnjax.cells.initializers import Initializer, packed, per_gate


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseParts:
    """The checked options of a cell whose params have `w_ih`, `w_hh`, `b` and `initial`.

    `out_features` is the width of `h` and the output; other leaves of the carry have `width`.
    `hh_shape` is that of one gate's recurrent weights.
    """

    name: str
    width: int
    out_features: int
    hh_shape: tuple[int, ...]
    carry_type: Callable[..., Any]
    bias: bool
    learned_carry: bool
    ih_inits: tuple[Initializer, ...]
    hh_inits: tuple[Initializer, ...]
    dtypes: Precision

    def weights(
        self, key: Key[Array, ""], in_features: int
    ) -> tuple[Float[Array, "*kernel D G"], Float[Array, "*rows G"], Key[Array, ""]]:
        """Draw `w_ih` and `w_hh`, and hand on a key for the biases."""
        w_ih, key_hh, key_b = self.input_weights(key, in_features)
        w_hh = packed(key_hh, self.hh_inits, self.hh_shape, self.dtypes.params)
        return w_ih, w_hh, key_b

    def input_weights(
        self, key: Key[Array, ""], in_features: int
    ) -> tuple[Float[Array, "*kernel D G"], Key[Array, ""], Key[Array, ""]]:
        """Draw `w_ih`, and hand on a key for the recurrent weights and one for the biases."""
        rows = check_init(f"{self.name}.init", key, self.dtypes, in_features)
        key_ih, key_hh, key_b = jax.random.split(key, 3)
        w_ih = packed(key_ih, self.ih_inits, self.ih_shape(rows), self.dtypes.params)
        return w_ih, key_hh, key_b

    def ih_shape(self, in_features: int) -> tuple[int, ...]:
        """That of one gate's input weights."""
        return in_features, self.width

    def widths(self) -> tuple[int, ...]:
        """How wide each leaf of the carry is."""
        names = self.carry_type._fields
        return tuple(self.out_features if name == "h" else self.width for name in names)

    def initial(self) -> Any:
        """The learned start, zero at first; None where it is not learned."""
        if not self.learned_carry:
            return None
        return self.carry_type(*(jnp.zeros(n, self.dtypes.params) for n in self.widths()))

    def init_carry(self, params: Any, like: Float[Array, "*batch D"]) -> Any:
        """A fresh carry for the batch axes of `like`."""
        dtype, space = self.dtypes.of_carry(like, params.w_ih), self.space(like)
        widths = self.widths()
        starts = params.initial or (None,) * len(widths)
        leaves = zip(starts, widths, strict=True)
        return self.carry_type(*(fresh(start, like, n, dtype, space=space) for start, n in leaves))

    def space(self, like: Array) -> tuple[int, ...]:
        """The axes of space of the carry, for inputs like these."""
        return ()

    def project(self, params: Any, xs: Float[Array, "*steps D"]) -> Float[Array, "*out_steps G"]:
        """The input half of the pre-activations, `x W + b`, for any leading axes."""
        dtype = self.dtypes.of_compute(xs, params.w_ih)
        zs = self.product(xs, params.w_ih, dtype, self.dtypes.of_carry(xs, params.w_ih))
        if params.b is not None:
            zs = zs + jnp.expand_dims(params.b.astype(zs.dtype), range(zs.ndim - 1))
        return zs.astype(dtype)

    def product(self, xs: Array, w_ih: Array, dtype: Any, out_dtype: Any) -> Array:
        """What stands for `x W`."""
        return matmul(xs, w_ih, dtype, out_dtype)

    def in_spec(self, params: Any) -> InputSpec:
        """What the cell reads."""
        return in_spec(params)

    def cell(self, init: Callable[..., Any], step: Callable[..., Any], form: Any = None) -> Cell:
        """Put the cell together."""
        return Cell(
            init=init,
            init_carry=self.init_carry,
            project=self.project,
            step=step,
            out_features=self.out_features,
            in_spec=self.in_spec,
            form=form,
        )


def dense(
    name: str,
    hidden_features: int,
    carry_type: Callable[..., Any],
    *,
    num_gates: int,
    hh_rows: tuple[int, ...] | None = None,
    bias: bool = True,
    learned_carry: bool,
    w_ih_init: Any,
    w_hh_init: Any = None,
    recurrent: bool = True,
    dtypes: tuple[Any, Any, Any],
) -> DenseParts:
    """Check the options that all dense cells take.

    `hh_rows` are the axes of recurrent weights but the last; None makes them square. `dtypes` are
    the options `dtype`, `param_dtype` and `carry_dtype`.
    """
    width = _checks.size(name, "hidden_features", hidden_features)
    return DenseParts(
        name=name,
        width=width,
        out_features=hh_rows[0] if hh_rows else width,
        hh_shape=(*((width,) if hh_rows is None else hh_rows), width),
        carry_type=carry_type,
        bias=_checks.flag(name, "bias", bias),
        learned_carry=_checks.flag(name, "learned_carry", learned_carry),
        ih_inits=per_gate(name, "w_ih_init", w_ih_init, num_gates),
        hh_inits=per_gate(name, "w_hh_init", w_hh_init, num_gates) if recurrent else (),
        dtypes=precision(name, *dtypes),
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

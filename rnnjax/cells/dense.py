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
    """The checked options of a cell whose params have `w_ih`, `w_hh`, `b` and `initial`.

    `hh_shape` is that of one gate's recurrent weights, and begins with the width of `h` and the
    output; other leaves of the carry have `width`.
    """

    name: str
    width: int
    hh_shape: tuple[int, ...]
    carry_type: Callable[..., Any]
    bias: bool
    learned_carry: bool
    ih_inits: tuple[Initializer, ...]
    hh_inits: tuple[Initializer, ...]
    dtypes: Precision

    def weights(
        self, key: Key[Array, ""], in_features: int
    ) -> tuple[Float[Array, "D G"], Float[Array, "*rows G"], Key[Array, ""]]:
        """Draw `w_ih` and `w_hh`, and hand on a key for the biases."""
        w_ih, key_hh, key_b = self.input_weights(key, in_features)
        w_hh = packed(key_hh, self.hh_inits, self.hh_shape, self.dtypes.params)
        return w_ih, w_hh, key_b

    def input_weights(
        self, key: Key[Array, ""], in_features: int
    ) -> tuple[Float[Array, "D G"], Key[Array, ""], Key[Array, ""]]:
        """Draw `w_ih`, and hand on a key for the recurrent weights and one for the biases."""
        function = f"{self.name}.init"
        _checks.prng_key(function, key)
        check_usable(function, self.dtypes)
        rows = _checks.size(function, "in_features", in_features)
        key_ih, key_hh, key_b = jax.random.split(key, 3)
        w_ih = packed(key_ih, self.ih_inits, (rows, self.width), self.dtypes.params)
        return w_ih, key_hh, key_b

    def widths(self) -> tuple[int, ...]:
        """How wide each leaf of the carry is."""
        names = self.carry_type._fields
        return tuple(self.hh_shape[0] if name == "h" else self.width for name in names)

    def initial(self) -> Any:
        """The learned start, zero at first; None where it is not learned."""
        if not self.learned_carry:
            return None
        return self.carry_type(*(jnp.zeros(n, self.dtypes.params) for n in self.widths()))

    def init_carry(self, params: Any, like: Float[Array, "*batch D"]) -> Any:
        """A fresh carry for the batch axes of `like`."""
        dtype = self.dtypes.of_carry(like, params.w_ih)
        widths = self.widths()
        starts = params.initial or (None,) * len(widths)
        leaves = zip(starts, widths, strict=True)
        return self.carry_type(*(fresh(start, like, width, dtype) for start, width in leaves))

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
            out_features=self.hh_shape[0],
            in_spec=in_spec,
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
    dtypes: Precision,
) -> DenseParts:
    """Check the options that all dense cells take.

    `hh_rows` are the axes of recurrent weights but the last; None makes them square.
    """
    width = _checks.size(name, "hidden_features", hidden_features)
    return DenseParts(
        name=name,
        width=width,
        hh_shape=(*((width,) if hh_rows is None else hh_rows), width),
        carry_type=carry_type,
        bias=_checks.flag(name, "bias", bias),
        learned_carry=_checks.flag(name, "learned_carry", learned_carry),
        ih_inits=per_gate(name, "w_ih_init", w_ih_init, num_gates),
        hh_inits=per_gate(name, "w_hh_init", w_hh_init, num_gates) if recurrent else (),
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

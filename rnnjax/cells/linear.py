"""Cells that are linear in their carry: what they share, and what methods read of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, InputSpec
from rnnjax.cells.dtypes import at_least_float32, promote


class LinearCarry(NamedTuple):
    """What a linear cell hands from one step to the next."""

    h: Float[Array, "*batch H"]


class ComplexCarry(NamedTuple):
    """The same for a complex state."""

    re: Float[Array, "*batch N"]
    im: Float[Array, "*batch N"]


class WindowCarry(NamedTuple):
    """A state, and what the last inputs will still add to the next steps, the next one first."""

    c: Float[Array, "*batch H"]
    window: Float[Array, "*batch K G"]


class LinearForm(NamedTuple):
    r"""A cell that is linear in its carry, unit by unit.

    $$ h_t = a_t \odot h_{t-1} + b_t $$

    Attributes:
        coefficients: `params, z, dtype -> a, b`, which do not know the carry; for any leading
            axes, computed in `dtype` (complex where the state is).
        output: `params, h, z -> y`, likewise.
    """

    coefficients: Callable[[Any, Any, Any], tuple[Array, Array]]
    output: Callable[[Any, Array, Any], Array]


def read(carry: Any, dtype: Any) -> Array:
    """The state that a carry holds, as one array of a real dtype or its complex counterpart."""
    if isinstance(carry, ComplexCarry):
        return jax.lax.complex(carry.re.astype(dtype), carry.im.astype(dtype))
    return carry[0].astype(dtype)


def write(h: Array, like: Any) -> Any:
    """A carry of this state, what else it holds as in `like`."""
    if isinstance(like, ComplexCarry):
        return ComplexCarry(h.real.astype(like.re.dtype), h.imag.astype(like.im.dtype))
    return type(like)(h.astype(like[0].dtype), *like[1:])


def computed_in(z: Any, carry: Any) -> Any:
    """The real dtype that coefficients are computed in: float32 at least."""
    wider = promote(jax.tree.leaves(z)[0].dtype, jax.tree.leaves(carry)[0].dtype)
    return at_least_float32(wider)


def linear_cell(
    init: Callable[..., Any],
    init_carry: Callable[[Any, Any], Any],
    project: Callable[[Any, Any], Any],
    form: LinearForm,
    *,
    out_features: int,
    in_spec: Callable[[Any], InputSpec],
) -> Cell:
    """Put a cell together whose step is one multiplication and one addition.

    With a `WindowCarry` `z` has an axis of what an input adds to this step and to the next ones,
    and the form reads the sum.
    """

    def step(params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        dtype = computed_in(z, carry)
        if not isinstance(carry, WindowCarry):
            a, b = form.coefficients(params, z, dtype)
            h = a * read(carry, dtype) + b
            return write(h, carry), form.output(params, h, z)
        added, window = z.astype(dtype), carry.window.astype(dtype)
        sums = added + jnp.concatenate([window, jnp.zeros_like(added[..., :1, :])], axis=-2)
        s = sums[..., 0, :]
        a, b = form.coefficients(params, s, dtype)
        c = a * carry.c.astype(dtype) + b
        window = sums[..., 1:, :].astype(carry.window.dtype)
        y = form.output(params, c, s).astype(z.dtype)
        return WindowCarry(c.astype(carry.c.dtype), window), y

    return Cell(init, init_carry, project, step, out_features, in_spec=in_spec, form=form)


def expand(x: Array, like: Array, dtype: Any) -> Array:
    """A vector of units, shaped and typed so that it may stand beside `like`."""
    return jnp.broadcast_to(x.astype(dtype), (*like.shape[:-1], x.shape[-1]))

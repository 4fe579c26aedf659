"""What the cells with convolutions share: options, drawing, the two convolutions, fresh carries.

Axes: inputs are `(*batch, *space, C)`, channels last; `*places` is batch and space together.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import InputSpec
from rnnjax.cells.dense import DenseParts
from rnnjax.cells.dtypes import precision
from rnnjax.cells.initializers import per_gate

LETTERS = "HWD"  # of space, as `jax.lax` names axes
Padding = Literal["same", "valid"]


class Window(NamedTuple):
    """How a convolution reads space: sizes, one an axis, and what stands beyond the edge."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str

    def out_space(self, function: str, space: tuple[int, ...]) -> tuple[int, ...]:
        """The space of the output, by the rule of Keras and `jax.lax`."""
        if self.padding == "same":
            return tuple(-(-n // s) for n, s in zip(space, self.strides, strict=True))
        reach = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        if any(n < r for n, r in zip(space, reach, strict=True)):
            wanted = f"reach over {by(reach)} places at least"
            way_out = 'give larger inputs, or use padding="same"'
            _checks.refuse(function, "xs", wanted, by(space), way_out)
        triples = zip(space, reach, self.strides, strict=True)
        return tuple((n - r) // s + 1 for n, r, s in triples)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvParts(DenseParts):
    """The same options where both products are convolutions.

    Of inputs `(*places, C)` is made the space of `(*out_places, G)`, which is that of the carry.
    """

    window: Window

    def ih_shape(self, in_features: int) -> tuple[int, ...]:
        """A kernel for each pair of channels."""
        return *self.window.kernel, in_features, self.width

    def space(self, like: Float[Array, "*places C"]) -> tuple[int, ...]:
        """The space of the projected input."""
        dims = len(self.window.kernel)
        return self.window.out_space(self.name, like.shape[like.ndim - 1 - dims : -1])

    def product(self, xs: Array, w_ih: Array, dtype: Any, out_dtype: Any) -> Array:
        """One convolution for any leading axes."""
        return convolve(xs, w_ih, dtype, out_dtype, window=self.window, timed=True)

    def in_spec(self, params: Any) -> InputSpec:
        """Any space, and as many channels as the input weights read."""
        return InputSpec((*(None for _ in self.window.kernel), params.w_ih.shape[-2]))


def conv(
    name: str,
    features: int,
    carry_type: Callable[..., Any],
    *,
    num_gates: int,
    kernel_size: Any,
    strides: Any,
    dilation: Any,
    padding: Any,
    bias: bool,
    learned_carry: bool,
    w_ih_init: Any,
    w_hh_init: Any,
    dtypes: tuple[Any, Any, Any],
) -> ConvParts:
    """Check the options that all cells with convolutions take."""
    kernel = _kernel(name, kernel_size)
    width = _checks.size(name, "features", features)
    return ConvParts(
        name=name,
        width=width,
        out_features=width,
        hh_shape=(*kernel, width, width),
        window=Window(
            kernel=kernel,
            strides=_one_an_axis(name, "strides", strides, len(kernel)),
            dilation=_one_an_axis(name, "dilation", dilation, len(kernel)),
            padding=_checks.choice(name, "padding", padding, ("same", "valid")),
        ),
        carry_type=carry_type,
        bias=_checks.flag(name, "bias", bias),
        learned_carry=_checks.flag(name, "learned_carry", learned_carry),
        ih_inits=per_gate(name, "w_ih_init", w_ih_init, num_gates),
        hh_inits=per_gate(name, "w_hh_init", w_hh_init, num_gates),
        dtypes=precision(name, *dtypes),
    )


def _kernel(name: str, value: Any) -> tuple[int, ...]:
    """A size for each axis of space; their number says how many axes there are."""
    if not isinstance(value, (tuple, list)):
        wanted, way_out = "be a tuple with one size an axis of space", "give (3, 3) for images"
        got = _checks.kind(value)
        _checks.refuse(name, "kernel_size", wanted, got, way_out, error=TypeError)
    if not 1 <= len(value) <= len(LETTERS):
        wanted, way_out = "name one to three axes of space", "give one size an axis"
        _checks.refuse(name, "kernel_size", wanted, tuple(value), way_out)
    return tuple(_checks.size(name, "kernel_size", size) for size in value)


def _one_an_axis(name: str, argument: str, value: Any, dims: int) -> tuple[int, ...]:
    """A whole number for each axis of space, from one for all of them or a tuple."""
    sizes = tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims
    if len(sizes) != dims:
        way_out = "give one for all axes, or one an axis of kernel_size"
        _checks.refuse(name, argument, f"name {dims} axes", tuple(sizes), way_out)
    return tuple(_checks.size(name, argument, size) for size in sizes)


def convolve(
    x: Float[Array, "*places C"],
    w: Float[Array, "*kernel C G"],
    dtype: Any,
    out_dtype: Any,
    *,
    window: Window | None = None,
    timed: bool = False,
) -> Float[Array, "*out_places G"]:
    """Convolve space, with inputs in `dtype`, accumulated and returned in `out_dtype`.

    All leading axes are folded into one, so it is one convolution; `timed` says that the first of
    them may be time. Without a window, strides are 1 and the output has the space of the input.
    """
    dims = w.ndim - 2
    ones = (1,) * dims
    window = window or Window(w.shape[:dims], ones, ones, "same")
    order = _fold_order(x, x.ndim - dims - 1, timed)
    run = functools.partial(_fold_and_convolve, order=order, window=window, out_dtype=out_dtype)
    x, w = x.astype(dtype), w.astype(dtype)
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return run(x, w)
    # What `vmap` makes of a convolution, types with explicit axes do not allow.
    spec = jax.P(*jax.typeof(x).sharding.spec[:-1], jax.typeof(w).sharding.spec[-1])
    free: Any = jax.sharding.auto_axes(run, out_sharding=spec)
    return free(x, w)


def _fold_and_convolve(
    x: Array, w: Array, *, order: tuple[int, ...], window: Window, out_dtype: Any
) -> Array:
    batch, letters = tuple(x.shape[axis] for axis in order), LETTERS[: w.ndim - 2]
    x = jnp.moveaxis(x, order, range(len(order)))
    y = jax.lax.conv_general_dilated(
        x.reshape(math.prod(batch), *x.shape[len(batch) :]),
        w,
        window.strides,
        window.padding.upper(),
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        preferred_element_type=out_dtype,
    )
    return jnp.moveaxis(y.reshape(*batch, *y.shape[1:]), range(len(order)), order)


def _fold_order(x: Array, count: int, timed: bool) -> tuple[int, ...]:
    """The leading axes in the order in which they are folded: behind another axis a sharded one
    cannot be merged where it stands.

    Types say which are sharded on a mesh with explicit axes. Else, where there are devices to
    shard over, rows may be, and time is not.
    """
    axes, mesh = tuple(range(count)), jax.sharding.get_abstract_mesh()
    if mesh.explicit_axes:
        spec = jax.typeof(x).sharding.spec
        return tuple(sorted(axes, key=lambda axis: spec[axis] is None))
    if timed and jax.device_count() > 1 and not mesh.manual_axes:
        return axes[1:] + axes[:1]
    return axes


def by(sizes: tuple[int, ...]) -> str:
    """Sizes in words: `3 x 2`."""
    return " x ".join(map(str, sizes))

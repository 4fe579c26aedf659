"""A call of a kernel: its arrays, told by their axes, on the devices that hold them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from rnnjax._typing import Array
from rnnjax.methods.lowering import PLATFORMS, by_platform
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.partition import over_rows


def on_each_device(
    run_here: Callable[..., tuple[Array, ...]],
    networks: list[Any],
    taken: Any,
    made: Any,
    dtypes: Any,
) -> list[Any]:
    """Run all networks; where rows stand on several devices, each device runs its own.

    `run_here` takes the structure of all networks, their axes and dtypes, and the arrays.
    `taken` and `made` are the axes of what it reads and writes of one network, `dtypes` those
    of what it writes.
    """
    absent = lambda x: x is None
    present = lambda x, axes: None if x is None else axes
    taken = [jax.tree.map(present, network, taken, is_leaf=absent) for network in networks]
    made, dtypes = [made] * len(networks), [dtypes] * len(networks)
    operands, structure = jax.tree.flatten(networks)
    operands = vary(operands, varying_axes(operands))
    run = functools.partial(run_here, structure, taken, made, dtypes)
    out = over_rows(run, jax.tree.leaves(taken), jax.tree.leaves(made))(*operands)
    return jax.tree.unflatten(jax.tree.structure(made), out)


def in_groups(kernel: Any, most: int | None, networks: list[Any], *rest: Any) -> list[Any]:
    """Run all networks, so many at a time; None for all at once.

    `kernel` has `reverse`, of each network, and `run_here`; the rest is for `on_each_device`.
    """
    if most is None or len(networks) <= most:
        return on_each_device(kernel.run_here, networks, *rest)
    out = []
    for begin in range(0, len(networks), most):
        part = slice(begin, begin + most)
        own = kernel._replace(reverse=kernel.reverse[part])
        out += on_each_device(own.run_here, networks[part], *rest)
    return out


def sizes_of(operands: Sequence[Array], axes: Sequence[str]) -> dict[str, int]:
    """How long each axis is."""
    sizes: dict[str, int] = {}
    for array, names in zip(operands, axes, strict=True):
        sizes |= dict(zip(names.split(), array.shape, strict=True))
    return sizes


def on_platform(
    platform: str,
    kernel: Callable[..., Any],
    interpreter: Callable[..., Any],
    operands: Sequence[Array],
) -> Any:
    """Run a kernel on its platform, which is known at lowering, and an interpreter elsewhere.

    JAX's interpreter does not know of values that vary over a mesh; there `why_not` has seen that
    the platform is the kernel's.
    """
    if varying_axes(operands):
        return kernel(*operands)
    there = platform in PLATFORMS.get(jax.default_backend(), ())
    here = kernel if there else interpreter
    return by_platform(here, {platform: kernel}, interpreter)(*operands)

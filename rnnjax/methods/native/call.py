"""A call of the compiled library: its arrays, and which of them are changed in place."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._typing import Array
from rnnjax.methods.manual import result_like, vary, varying_axes
from rnnjax.methods.native.kinds import Kind
from rnnjax.methods.native.scratch import backward_scratch, forward_scratch
from rnnjax.methods.partition import over_rows

ABSENT = np.zeros(0, np.float32)


def given(array: Array | None) -> Any:
    """The array, or one without elements."""
    return ABSENT if array is None else array


class Signature(NamedTuple):
    """A function of the library, for any number of networks.

    Attributes:
        name: what it is registered as.
        axes: of the arrays that it takes of every network; `b` are the rows, `w` the units of
            all networks, side by side in an array that the first one has, and `f` what rows
            began with and were restarted with.
        results: the same of what it returns.
        scratch: `kind, sizes -> n`: how many numbers it works in for each network, which are the
            library's own; None for none.
    """

    name: str
    axes: tuple[str, ...]
    results: tuple[str, ...]
    scratch: Callable[[Kind, dict[str, int]], int] | None = None


CARRY = ("b h", "b h")
ORIGINS = "t b"  # of results, the only integers
STARTS = (ORIGINS, "t b w", "f b h")
FORWARD = Signature(
    "rnnjax_forward",
    ("t b d", "d g", "h g", "g", "h", *CARRY, "t b", "t b", *CARRY),
    ("t b w", *CARRY, "t b g", "t b h", ORIGINS, "t b h"),
    forward_scratch,
)
BACKWARD = Signature(
    "rnnjax_backward",
    ("t b g", "t b h", *STARTS, "t b h", "h g", "t b w", *CARRY, "t b", "t b"),
    ("t b g", "t b h", *CARRY, *CARRY),
    backward_scratch,
)
GRADIENTS = Signature(
    "rnnjax_gradients",
    ("t b d", *STARTS, "t b g", "t b h", "t b"),
    ("d g", "h g", "g", "h"),
)
WIDE = "t b g"


def call(
    signature: Signature,
    kind: Kind,
    arrays: list[Any],
    present: list[bool],
    *,
    in_place: dict[int, int],
    **attributes: Any,
) -> list[Sequence[Array]]:
    """Call with the arrays of all networks; the results of each.

    `present` says which results are wanted, `in_place` which of them takes the place of which
    array, the same for every network.
    """
    taken, made = len(signature.axes), len(signature.results)
    networks = len(arrays) // taken
    arrays = vary([jnp.asarray(a) for a in arrays], varying_axes(arrays))
    # What is absent has an axis of its own, without elements.
    axes = [
        axes_of(a, names, f"x{i}")
        for i, (a, names) in enumerate(zip(arrays, signature.axes * networks, strict=True))
    ]
    results = [
        names if there else f"y{i}"
        for i, (there, names) in enumerate(zip(present, signature.results * networks, strict=True))
    ]
    run = functools.partial(run_here, signature, kind, axes, results, in_place, attributes)
    out = over_rows(run, axes, results)(*arrays)
    return [out[i : i + made] for i in range(0, len(out), made)]


def axes_of(array: Array, names: str, absent: str) -> str:
    """The axes of an array, also if it is absent, or stands in a stack of its kind."""
    if array.shape == (0,):
        return absent
    return f"n {names}" if array.ndim > len(names.split()) else names


def run_here(
    signature: Signature,
    kind: Kind,
    axes: list[str],
    results: list[str],
    in_place: dict[int, int],
    attributes: dict[str, Any],
    *arrays: Array,
) -> tuple[Array, ...]:
    """Call on one device, with its part of the rows."""
    sizes: dict[str, int] = {}
    for array, names in zip(arrays, axes, strict=True):
        sizes |= dict(zip(names.split(), array.shape, strict=True))
    taken, made = len(signature.axes), len(signature.results)
    sizes["w"] = len(axes) // taken * sizes["h"]
    sizes |= {names: 0 for names in results if names not in sizes}

    def flat(names: str) -> tuple[int, ...]:
        # Without an axis, as the products make and take it: XLA copies what is reshaped.
        shape = tuple(sizes[axis] for axis in names.split())
        return (shape[0] * shape[1], shape[2]) if names == WIDE else shape

    like = [
        result_like(arrays[0], flat(names), jnp.int32 if names == ORIGINS else jnp.float32)
        for names in results
    ]
    if signature.scratch:
        attributes = attributes | {"scratch": np.int64(signature.scratch(kind, sizes))}
    aliases = {
        n * taken + array: n * made + result
        for n in range(len(results) // made)
        for array, result in in_place.items()
    }
    function = jax.ffi.ffi_call(
        signature.name, like, vmap_method="sequential", input_output_aliases=aliases
    )
    operands = (a.reshape(flat(n)) for a, n in zip(arrays, axes, strict=True))
    out = function(*operands, cell=np.int32(kind.number), **attributes)
    shapes = [tuple(sizes[axis] for axis in names.split()) for names in results]
    return tuple(a.reshape(shape) for a, shape in zip(out, shapes, strict=True))

"""The elementwise linear recurrence on TPU: one kernel runs all steps.

Each step reads two arrays and writes one, for a multiplication and an addition: memory is what it
waits for. So `h` stays in registers for a block of steps and on the chip between blocks, and blocks
are as large as hides the start of a copy. Elements do not depend on each other: what lies outside
of an array, in a tile that is cut, reaches nothing, and nothing is filled up.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from rnnjax._typing import Array
from rnnjax.methods.fused.batching import as_rows
from rnnjax.methods.manual import result_like, vary, varying_axes
from rnnjax.methods.partition import over_rows
from rnnjax.methods.tpu.call import where_lowered
from rnnjax.methods.tpu.layout import LANES, VMEM, Steps, rows_together, up

MOST_ELEMENTS = 16 * 1024  # of a tile: 16 registers of 64
BLOCK = 2 * 2**20  # bytes that one array brings at a time, about
TOGETHER = 8  # steps that the compiler may schedule as one


def by_kernel(a: Array, b: Array, h: Array, reverse: bool) -> Array:
    """A solver, for float32, bfloat16 and complex64; a `vmap` brings more rows."""
    if not a.size:
        return b
    width = a.shape[-1] if h.ndim else 1
    timed, begin = (a.shape[0], -1, width), (-1, width)

    def loop(none: None, timed: tuple[Array, Array], begin: Array) -> tuple[Array, Array]:
        del none
        hs = by_rows(*timed, begin, reverse)
        return hs, hs[0 if reverse else -1]

    hs, _ = as_rows(loop)(None, (a.reshape(timed), b.reshape(timed)), h.reshape(begin))
    return hs.reshape(a.shape)


def by_rows(a: Array, b: Array, h: Array, reverse: bool) -> Array:
    """Steps, rows and features; each device runs its rows, or its features of a single row."""
    arrays = [part for x in (a, b, h) for part in parts_of(x)]
    arrays = vary(arrays, varying_axes(arrays))
    parts = len(arrays) // 3
    timed, begin = ("t e b", "e b") if a.shape[1] == 1 else ("t b h", "b h")
    run = functools.partial(run_here, reverse)
    operands = [timed] * (2 * parts) + [begin] * parts
    out = over_rows(run, operands, [timed] * parts)(*arrays)
    return jax.lax.complex(*out) if parts == 2 else out[0]


def parts_of(x: Array) -> list[Array]:
    """An array as the real ones that a kernel can read."""
    return [x.real, x.imag] if jnp.issubdtype(x.dtype, jnp.complexfloating) else [x]


class Tiles(NamedTuple):
    """How arrays are cut.

    Attributes:
        steps: of the grid.
        shape: rows and features of a tile.
        grid: tiles along rows and features, and blocks of steps.
    """

    steps: Steps
    shape: tuple[int, int]
    grid: tuple[int, int, int]


def tiles_of(shape: tuple[int, ...], dtype: Any, parts: int, reverse: bool) -> Tiles:
    """Tiles of whole registers, or of all that there is; wide before they are high."""
    total, rows, width = shape
    high, most = rows_together(dtype), MOST_ELEMENTS // parts
    lanes = equal_parts(width, most // high, LANES)
    sublanes = equal_parts(rows, most // up(lanes, LANES), high)
    step_bytes = up(sublanes, high) * up(lanes, LANES) * jnp.dtype(dtype).itemsize
    block = equal_parts(total, BLOCK // step_bytes, TOGETHER)
    steps = Steps(total, block, (reverse,))
    return Tiles(steps, (sublanes, lanes), (-(-rows // sublanes), -(-width // lanes), steps.blocks))


def equal_parts(size: int, most: int, multiple: int) -> int:
    """The size of parts about as large as each other: all, or a multiple that is at most `most`."""
    most = max(most // multiple, 1) * multiple
    return size if size <= most else up(-(-size // -(-size // most)), multiple)


def folded(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Rows and features of the same elements; those of a single row fill registers, if they can."""
    total, rows, width = shape
    if 1 not in (rows, width):
        return total, rows, width
    size = rows * width
    return (total, size // LANES, LANES) if size % LANES == 0 else (total, 1, size)


def run_here(reverse: bool, *operands: Array) -> tuple[Array, ...]:
    """Run on one device, with its part; operands are the parts of a, of b and of h."""
    parts, given = len(operands) // 3, operands[0].shape
    shape, dtype = folded(given), operands[0].dtype
    tiles = tiles_of(shape, dtype, parts, reverse)
    timed = pl.BlockSpec(
        (tiles.steps.block, *tiles.shape), lambda i, j, place: (tiles.steps.which(0, place), i, j)
    )
    begin = pl.BlockSpec(tiles.shape, lambda i, j, place: (i, j))
    run = functools.partial(
        pl.pallas_call,
        functools.partial(linear_kernel, tiles.steps),
        grid=tiles.grid,
        in_specs=[timed] * (2 * parts) + [begin] * parts,
        out_specs=[timed] * parts,
        out_shape=[result_like(operands[0], shape, dtype)] * parts,
        scratch_shapes=[pltpu.VMEM(tiles.shape, jnp.float32)] * parts,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=VMEM
        ),
        name=linear_kernel.__name__,
    )
    fitted = [x.reshape(shape[-x.ndim :]) for x in operands]
    return tuple(hs.reshape(given) for hs in where_lowered(run, fitted))


def linear_kernel(steps: Steps, *refs: Any) -> None:
    """Some steps of a tile; refs are the parts of a, b, h, hs and what is kept between blocks."""
    parts = len(refs) // 5
    a, b, begin, hs, carry = (refs[i : i + parts] for i in range(0, len(refs), parts))
    count, together = steps.count(0, pl.program_id(2)), min(TOGETHER, steps.block)

    @pl.when(pl.program_id(2) == 0)
    def _() -> None:
        for ref, start in zip(carry, begin, strict=True):
            ref[...] = start[...].astype(ref.dtype)

    def run(size: int, done: Any, h: tuple[Array, ...]) -> tuple[Array, ...]:
        backwards = steps.reverse[0]
        first = count - done - size if backwards else done
        for i in reversed(range(size)) if backwards else range(size):
            factors, added = ([ref[first + i].astype(jnp.float32) for ref in x] for x in (a, b))
            h = advance(factors, added, h, hs[0].dtype)
            for ref, value in zip(hs, h, strict=True):
                ref[first + i] = value.astype(ref.dtype)
        return h

    h = tuple(ref[...] for ref in carry)
    alone = jax.lax.rem(count, together)  # first, since backwards they may be what is there
    if steps.total % together:
        h = jax.lax.fori_loop(0, alone, functools.partial(run, 1), h)
    several = lambda n, h: run(together, alone + n * together, h)
    h = jax.lax.fori_loop(0, jax.lax.div(count, together), several, h)
    for ref, value in zip(carry, h, strict=True):
        ref[...] = value


def advance(a: list[Array], b: list[Array], h: tuple[Array, ...], dtype: Any) -> tuple[Array, ...]:
    """As in `linear.solvers`, rounded as there: a factor of zero forgets even what is no number."""
    rounded = lambda x: x.astype(dtype).astype(x.dtype)
    if len(a) == 1:
        moved, zero = [a[0] * h[0]], a[0] == 0
    else:
        (re, im), (x, y) = a, h
        moved, zero = [re * x - im * y, re * y + im * x], (re == 0) & (im == 0)
    sums = [rounded(rounded(m) + added) for m, added in zip(moved, b, strict=True)]
    return tuple(jnp.where(zero, *pair) for pair in zip(b, sums, strict=True))

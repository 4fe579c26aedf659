"""How work is cut for the multiprocessors of a GPU: tiles of rows, heads, and slices of units."""

import functools
import importlib.util
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax.methods.pallas.steps import KernelCell

LEAST = 16  # rows, units and columns that the matrix unit takes
MOST_ROWS = 32  # of a tile
MOST_NUMBERS = 2048  # rows times units of a program, whose gates registers hold
MOST_UNITS = 128  # of a program
MOST_SUMMED = 128  # numbers of a row that one product sums over, which are copied where they fit
USUAL_MULTIPROCESSORS = 108  # that tiles are shared by where nothing is told, as of an A100
EXACT = ("highest", "float32")
KIB = 2**10
# Of a multiprocessor's shared memory, what weights may take; the rest is for what goes between
# threads. The first is that of A100 and what is newer, for programs compiled elsewhere.
ROOM = 128 * KIB
SMALL_ROOM = 64 * KIB  # where a program has 99 KiB, as on 8.6, 8.9 and 12.0
SMALL = ("8.6", "8.9", "12.0", "12.1")


class Layout(NamedTuple):
    """Sizes, and how they are cut.

    Attributes:
        gates: parts of a projected input.
        steps: T.
        rows: B.
        heads: N, which do not read each other.
        units: J of a head.
        block: units of a program, a power of 2.
        tile: rows of a program at a time.
        tiles: programs that share the rows of a head and slice.
        reverse: of each network, whether it begins with the last step.
    """

    gates: int
    steps: int
    rows: int
    heads: int
    units: int
    block: int
    tile: int
    tiles: int
    reverse: tuple[bool, ...]

    @property
    def slices(self) -> int:
        """Programs that share the units of a head; more than one wait for each other."""
        return -(-self.units // self.block)

    @property
    def exchanges(self) -> bool:
        """Whether programs hand over in memory."""
        return self.slices > 1

    @property
    def waves(self) -> int:
        """Tiles that a program runs, one after the other."""
        return -(-self.rows // (self.tile * self.tiles))

    @property
    def width(self) -> int:
        """H, of all heads."""
        return self.heads * self.units

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Gates whose products are one: as many as a power of 2."""
        return groups_of(self.gates)

    @property
    def summed(self) -> tuple[tuple[int, int], ...]:
        """Where the parts of a head's units begin that a product sums over, and their sizes."""
        if self.slices == 1:
            return ((0, self.block),)
        parts, begin = [], 0
        while begin < self.units:
            size = min(MOST_SUMMED, max(LEAST, floor_power(self.units - begin)))
            parts.append((begin, size))
            begin += size
        return tuple(parts)

    @property
    def warps(self) -> int:
        """Of 32 threads, that run a program."""
        return 8 if 2 * self.tile * self.block >= MOST_NUMBERS else 4


def groups_of(gates: int) -> tuple[tuple[int, ...], ...]:
    """Gates by powers of 2."""
    groups, begin = [], 0
    while begin < gates:
        size = floor_power(gates - begin)
        groups.append(tuple(range(begin, begin + size)))
        begin += size
    return tuple(groups)


def floor_power(size: int) -> int:
    """The greatest power of 2 that is not above."""
    return 1 << (size.bit_length() - 1)


def ceil_power(size: int) -> int:
    """The least power of 2 that is not below, and that the matrix unit takes."""
    return max(LEAST, 1 << (size - 1).bit_length())


def room() -> int:
    """Bytes of weights that a multiprocessor holds; of another machine's GPU, those of an A100."""
    if jax.default_backend() == "gpu" and capability() in SMALL:
        return SMALL_ROOM
    return ROOM


def capability() -> str:
    """What the GPU that is here can do, as CUDA numbers it."""
    return str(getattr(jax.devices()[0], "compute_capability", ""))


def is_exact(dtype: Any) -> bool:
    """Whether products are asked for that are as exact as the dtype."""
    config: Any = jax.config
    return dtype == jnp.float32 and str(config.jax_default_matmul_precision).lower() in EXACT


@functools.cache
def has_triton() -> bool:
    """Whether this JAX's Pallas goes to Triton, which it announces to give up."""
    return importlib.util.find_spec("jax.experimental.pallas.triton") is not None


def lowers_without_gpu() -> bool:
    """Whether Pallas lowers for CUDA where no GPU is: newer JAX wants to be told for which one."""
    told = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None) is not None
    return told or jax.__version_info__ < (0, 11)


def check_known() -> None:
    """Refuse to lower for a GPU of which nothing is known."""
    if jax.default_backend() == "gpu" or lowers_without_gpu():
        return
    way_out = "lower inside jax.sharding.use_abstract_mesh of a mesh that has it, or use Fused()"
    wanted = "tell the GPU, where none is here"
    _checks.refuse("PallasGPU", "abstract_device", wanted, None, way_out)


def why_not_here(multiprocessors: int) -> str | None:
    """Why not on the GPU that is here, or None if it does or there is none."""
    if not has_triton():
        return "this JAX has Pallas without Triton"
    if jax.default_backend() != "gpu":
        return None
    found, has = capability(), jax.devices()[0].core_count
    if not found[:1].isdigit():
        return "it is for CUDA, and here is another kind of GPU"
    if int(found.split(".")[0]) < 8:
        return f"it needs a GPU of compute capability 8.0, and here is {found}"
    if multiprocessors > has:
        return f"{multiprocessors} multiprocessors are to wait for each other, of {has}"
    return None


def weight_bytes(cell: KernelCell, units: int, block: int, dtype: Any) -> int:
    """Of what a program with a block of a head's units holds."""
    summed = block if block >= units else -(-units // LEAST) * LEAST
    return cell.gates * summed * block * jnp.dtype(dtype).itemsize


def blocks_that_fit(
    cell: KernelCell, heads: int, units: int, dtype: Any, multiprocessors: int
) -> list[int]:
    """Units that a program may have, where so many of them run at once and wait for each other."""
    whole = ceil_power(units)
    if whole <= MOST_UNITS and weight_bytes(cell, units, whole, dtype) <= room():
        return [whole]
    blocks = []
    for block in (16, 32, 64):
        # Of exact products what is multiplied is there three times.
        most = room() // 2 if is_exact(dtype) else room()
        fits = weight_bytes(cell, units, block, dtype) <= most
        if fits and block < units and heads * -(-units // block) <= multiprocessors:
            blocks.append(block)
    return blocks


def why_not_fit(
    cell: KernelCell, heads: int, units: int, dtype: Any, multiprocessors: int
) -> str | None:
    """Why not even one network fits, or None if it does."""
    if blocks_that_fit(cell, heads, units, dtype, multiprocessors):
        return None
    total = cell.gates * units * units * jnp.dtype(dtype).itemsize / KIB
    each = f"a head's recurrent weights take {total:.0f} KiB"
    if multiprocessors == 1:
        return f"{each}, where {room() // KIB} fit on one multiprocessor, with 128 units at most"
    return (
        f"{each}, which {multiprocessors} multiprocessors with {room() // KIB} KiB each do not hold"
    )


def networks_that_fit(
    cell: KernelCell, heads: int, units: int, dtype: Any, multiprocessors: int
) -> int | None:
    """How many may run at once; None where none waits for another program."""
    blocks = blocks_that_fit(cell, heads, units, dtype, multiprocessors)
    if blocks[0] >= units:
        return None
    return multiprocessors // (heads * -(-units // blocks[-1]))


def layout_of(
    cell: KernelCell,
    sizes: tuple[int, int, int, int],
    dtype: Any,
    reverse: tuple[bool, ...],
    multiprocessors: int,
) -> Layout:
    """The layout of T steps, B rows, N heads of J units, for networks that fit."""
    steps, rows, heads, units = sizes
    blocks = blocks_that_fit(cell, heads, units, dtype, multiprocessors)
    waits = blocks[0] < units
    most = multiprocessors if waits else max(multiprocessors, USUAL_MULTIPROCESSORS)
    shares = {block: most // (len(reverse) * heads * -(-units // block)) for block in blocks}
    # The fewest units, for the shortest step, that all can run at once.
    block = next((block for block in blocks if shares[block]), blocks[-1])
    few = -(-rows // LEAST) <= shares[block] or MOST_ROWS * block > MOST_NUMBERS
    few = few or (waits and is_exact(dtype))  # what it multiplies is there three times
    tile = LEAST if few else MOST_ROWS
    tiles = max(1, -(-rows // tile))
    if waits:
        tiles = min(tiles, shares[block])
    return Layout(cell.gates, steps, rows, heads, units, block, tile, tiles, reverse)

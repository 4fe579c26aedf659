"""How arrays are cut for the chip: tiles of rows, blocks of steps, and units by 128.

Arrays are told by their axes, as in "t b g": t steps, b rows, h units, g units of all gates, and e
for one element.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array
from rnnjax.methods.pallas.steps import KernelCell

LANES = 128  # of a register
SUBLANE_BYTES = 32  # of a column of a register's rows
MOST_ROWS = 256  # of a tile
MOST_STEPS = 16  # of a block
VMEM = 60 * 2**20  # bytes, of which v5e, v5p, v6e and tpu7x have more
RESERVED = 4 * 2**20  # of them, for what the compiler needs


def rows_together(dtype: Any) -> int:
    """Rows that tiles are multiples of."""
    return SUBLANE_BYTES // jnp.dtype(dtype).itemsize


def up(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple


class Steps(NamedTuple):
    """Which steps a place of the grid visits.

    Attributes:
        total: T.
        block: how many belong to one place; the last block may have fewer.
        reverse: of each network, whether it visits the last one first.
    """

    total: int
    block: int
    reverse: tuple[bool, ...]

    @property
    def blocks(self) -> int:
        """How many places time has."""
        return -(-self.total // self.block)

    @property
    def even(self) -> bool:
        """Whether all blocks are whole."""
        return self.total % self.block == 0

    def which(self, network: int, place: Any) -> Any:
        """The block of steps that a network visits."""
        return self.blocks - 1 - place if self.reverse[network] else place

    def count(self, network: int, place: Any) -> Any:
        """How many steps are in it."""
        if self.even:
            return self.block
        return jnp.minimum(self.block, self.total - self.which(network, place) * self.block)


class Layout(NamedTuple):
    """Sizes as given, and as the kernels have them.

    Attributes:
        gates: parts of a projected input.
        rows: B.
        hidden: H.
        steps: of the grid.
        tile: rows of a place of the grid.
    """

    gates: int
    rows: int
    hidden: int
    steps: Steps
    tile: int

    @property
    def width(self) -> int:
        """Units, filled up."""
        return up(self.hidden, LANES)

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles of rows, blocks of steps."""
        return max(1, -(-self.rows // self.tile)), self.steps.blocks

    def shape(self, axes: str) -> tuple[int, ...]:
        """The shape of an array for a kernel."""
        sizes = {"t": self.steps.total, "b": self.grid[0] * self.tile, "e": 1}
        sizes |= {"h": self.width, "g": self.gates * self.width}
        return tuple(sizes[axis] for axis in axes.split())

    def fit(self, x: Array, axes: str) -> Array:
        """An array in that shape, filled up with zeros."""
        return self._change(x, axes, lambda x, axis, least, most: fill(x, axis, most))

    def unfit(self, x: Array, axes: str) -> Array:
        """The part of it that is not filling."""
        return self._change(x, axes, lambda x, axis, least, most: take(x, axis, least))

    def _change(self, x: Array, axes: str, change: Any) -> Array:
        for axis, name in enumerate(axes.split()):
            if name == "b":
                x = change(x, axis, self.rows, self.shape("b")[0])
            elif name == "h":
                x = change(x, axis, self.hidden, self.width)
            elif name == "g" and self.width != self.hidden:
                x = x.reshape(*x.shape[:axis], self.gates, -1, *x.shape[axis + 1 :])
                x = change(x, axis + 1, self.hidden, self.width)
                x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        return x


def fill(x: Array, axis: int, size: int) -> Array:
    """Zeros behind an axis."""
    missing = size - x.shape[axis]
    if not missing:
        return x
    return jnp.pad(x, [(0, missing if a == axis else 0) for a in range(x.ndim)])


def take(x: Array, axis: int, size: int) -> Array:
    """The first part of an axis."""
    return x if x.shape[axis] == size else jax.lax.slice_in_dim(x, 0, size, axis=axis)


def weight_bytes(cell: KernelCell, hidden: int, dtype: Any, networks: int) -> int:
    """Of the recurrent weights of all networks, in VMEM."""
    return networks * cell.gates * up(hidden, LANES) ** 2 * jnp.dtype(dtype).itemsize


def step_bytes(cell: KernelCell, hidden: int, networks: int) -> int:
    """At most, of what one row brings and takes in one step, twice: one comes while one is used."""
    leaves = len(cell.carry._fields)
    lanes = (2 * cell.gates + 2 * cell.others + leaves + 1) * up(hidden, LANES) + LANES
    return 2 * networks * 4 * lanes


def carry_bytes(cell: KernelCell, hidden: int, networks: int) -> int:
    """At most, of what one row has of its carry: given, restored and returned twice, and kept."""
    return networks * 9 * len(cell.carry._fields) * up(hidden, LANES) * 4


def least_bytes(cell: KernelCell, hidden: int, dtype: Any) -> int:
    """Of the fewest rows of one network, in one step."""
    return rows_together(dtype) * (step_bytes(cell, hidden, 1) + carry_bytes(cell, hidden, 1))


def networks_that_fit(cell: KernelCell, hidden: int, dtype: Any) -> int:
    """Of how many networks the chip holds the weights, and one step of the fewest rows."""
    one = weight_bytes(cell, hidden, dtype, 1) + least_bytes(cell, hidden, dtype)
    return (VMEM - RESERVED) // one


def why_not_fit(cell: KernelCell, hidden: int, dtype: Any) -> str | None:
    """Why not even one network fits, or None if it does."""
    if networks_that_fit(cell, hidden, dtype):
        return None
    weights = f"{weight_bytes(cell, hidden, dtype, 1) / 2**20:.0f} MiB"
    room = VMEM - RESERVED - least_bytes(cell, hidden, dtype)
    return f"its recurrent weights take {weights} of the chip's memory, where {room >> 20} fit"


def layout_of(
    cell: KernelCell,
    sizes: tuple[int, int, int],
    dtype: Any,
    reverse: tuple[bool, ...],
) -> Layout:
    """The layout of T steps, B rows and H units, which fit."""
    total, rows, hidden = sizes
    networks = len(reverse)
    room = VMEM - RESERVED - weight_bytes(cell, hidden, dtype, networks)
    step, carry = (f(cell, hidden, networks) for f in (step_bytes, carry_bytes))
    least = rows_together(dtype)
    most = min(MOST_ROWS, room // (step + carry) // least * least)
    tiles = max(1, -(-rows // most))
    tile = max(least, up(-(-rows // tiles), least))
    block = max(1, min(MOST_STEPS, total, (room - tile * carry) // (tile * step)))
    # Blocks alike let networks run together, and a few steps fewer cost little.
    even = next(n for n in range(block, 0, -1) if total % n == 0)
    block = even if 2 * even > block else block
    return Layout(cell.gates, rows, hidden, Steps(total, block, reverse), tile)

"""Which rows and units a program has, and how it reads and writes them.

Arrays come whole and as they are. What of a program's tile lies beyond them is masked.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas import triton

from rnnjax.methods.gpu.layout import Layout


class Place(NamedTuple):
    """Of a program; `tile` counts over all waves."""

    layout: Layout
    head: Any
    slice: Any
    tile: Any

    @property
    def rows(self) -> Any:
        """Their numbers, `(tile, 1)`."""
        return (self.tile * self.layout.tile + jnp.arange(self.layout.tile))[:, None]

    @property
    def units(self) -> Any:
        """Their numbers in the head, `(1, block)`."""
        return (self.slice * self.layout.block + jnp.arange(self.layout.block))[None]

    @property
    def mask(self) -> Any:
        """Which of both there are."""
        return self.rows_mask & (self.units < self.layout.units)

    @property
    def rows_mask(self) -> Any:
        """Which rows there are."""
        return self.rows < self.layout.rows

    def column(self, units: Any, part: int = 0) -> Any:
        """Where units of this head stand in an array of all heads, gate by gate."""
        return part * self.layout.width + self.head * self.layout.units + units

    def load(self, tree: Any, *, at: tuple[Any, ...] = (), part: int = 0) -> Any:
        """This part of one ref, or a tree of them, or what stands `at` leading indices."""
        if isinstance(tree, tuple):
            values: Any = [
                None if ref is None else self.load(ref, at=at, part=part) for ref in tree
            ]
            return tuple(values) if type(tree) is tuple else type(tree)(*values)
        where = tree.at[*at, self.rows, self.column(self.units, part)]
        return triton.load(where, mask=self.mask, other=0.0)

    def store(self, tree: Any, values: Any, *, at: tuple[Any, ...] = (), part: int = 0) -> None:
        """Write this part."""
        if isinstance(tree, tuple):
            for ref, value in zip(tree, values, strict=True):
                if ref is not None:
                    self.store(ref, value, at=at, part=part)
            return
        where = tree.at[*at, self.rows, self.column(self.units, part)]
        triton.store(where, values.astype(tree.dtype), mask=self.mask)

    def flags(self, ref: Any, t: Any) -> Any:
        """Bits of the rows at a step, `(tile, 1)`; None where there are none."""
        if ref is None:
            return None
        return triton.load(ref.at[t, self.rows, 0], mask=self.rows_mask, other=0)

    def bias(self, ref: Any) -> Any:
        """Of these units, `(1, block)`."""
        if ref is None:
            return None
        where = ref.at[0, self.column(self.units)]
        return triton.load(where, mask=self.units < self.layout.units, other=0.0)

    def handed(self, ref: Any, at: tuple[Any, ...], begin: int, size: int) -> Any:
        """What all programs of this head have put there, of `size` units from `begin` on."""
        units = begin + jnp.arange(size)[None]
        # Around the first cache, which does not see what other multiprocessors write.
        return triton.load(
            ref.at[*at, self.rows, self.column(units)],
            mask=self.rows_mask & (units < self.layout.units),
            other=0.0,
            volatile=True,
        )

    def forward_weights(self, ref: Any) -> list[list[Any]]:
        """For each part that is summed over and each group of gates, `(size, gates block)`."""
        return [
            [self._columns(ref, part, group) for group in self.layout.groups]
            for part in self.layout.summed
        ]

    def _columns(self, ref: Any, part: tuple[int, int], group: tuple[int, ...]) -> Any:
        begin, size = part
        units, block = self.layout.units, self.layout.block
        rows = begin + jnp.arange(size)[:, None]
        columns = jnp.arange(len(group) * block)[None]
        gate = group[0] + jax.lax.div(columns, jnp.int32(block))
        own = self.slice * block + jax.lax.rem(columns, jnp.int32(block))
        return triton.load(
            ref.at[self.head, rows, gate * units + own],
            mask=(rows < units) & (own < units),
            other=0.0,
        )

    def backward_weights(self, ref: Any) -> list[list[Any]]:
        """For each gate and each part that is summed over, transposed: `(size, block)`."""
        units = self.layout.units

        def block(gate: int, begin: int, size: int) -> Any:
            rows = begin + jnp.arange(size)[:, None]
            return triton.load(
                ref.at[self.head, self.units, gate * units + rows],
                mask=(rows < units) & (self.units < units),
                other=0.0,
            )

        gates = range(self.layout.gates)
        return [[block(gate, *part) for part in self.layout.summed] for gate in gates]

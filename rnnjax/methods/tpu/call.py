"""A call of a kernel: its arrays, told by their axes, and how they are cut."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from rnnjax._typing import Array
from rnnjax.methods.manual import result_like
from rnnjax.methods.pallas.call import in_groups, on_platform, sizes_of
from rnnjax.methods.pallas.steps import KernelCell
from rnnjax.methods.tpu.layout import VMEM, Layout, layout_of, networks_that_fit

# What runs kernels where there is no TPU, as `pallas_call` takes it.
INTERPRETER: Any = True
WIDE = "t b g"  # what is written of it takes the place of what is read
WEIGHTS = ("h g", "g h")


class Kernel(NamedTuple):
    """One of the two kernels for a cell, and for networks.

    Attributes:
        function: `cell, steps, networks, out, carries`, which works on refs.
        cell: its cell.
        reverse: of each network, whether it begins with the last step.
    """

    function: Callable[..., None]
    cell: KernelCell
    reverse: tuple[bool, ...]

    def call(self, networks: list[Any], taken: Any, made: Any, dtypes: Any) -> list[Any]:
        """Run all networks, as many together as the chip holds weights of.

        `taken` and `made` are the axes of what it reads and writes of one network, `dtypes` those
        of what it writes.
        """
        w_hh = networks[0].w_hh
        together = networks_that_fit(self.cell, min(w_hh.shape), w_hh.dtype)
        return in_groups(self, together, networks, taken, made, dtypes)

    def run_here(
        self, structure: Any, taken: Any, made: Any, dtypes: Any, *operands: Array
    ) -> tuple[Array, ...]:
        """Run on one device, with its part of the rows."""
        read, written = jax.tree.leaves(taken), jax.tree.leaves(made)
        layout = self.layout(operands, read)
        specs = lambda trees: [
            spec(layout, axes, n) for n, tree in enumerate(trees) for axes in jax.tree.leaves(tree)
        ]
        shapes = [
            result_like(operands[0], layout.shape(axes), dtype)
            for axes, dtype in zip(written, jax.tree.leaves(dtypes), strict=True)
        ]
        carry = [pltpu.VMEM((layout.tile, layout.width), jnp.float32)] * self.leaves
        scratch = carry * len(self.reverse)
        # JAX's model of the chip does not bear it where the last block is cut.
        shared = {WIDE} if layout.steps.even else set()
        places = lambda names: [i for i, axes in enumerate(names) if axes in shared]
        run = functools.partial(
            pl.pallas_call,
            functools.partial(self.body, layout, structure, jax.tree.structure(made)),
            grid=layout.grid,
            in_specs=specs(taken),
            out_specs=specs(made),
            out_shape=shapes,
            scratch_shapes=scratch,
            input_output_aliases=dict(zip(places(read), places(written), strict=False)),
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VMEM
            ),
            name=self.function.__name__,
        )
        out = where_lowered(run, list(map(layout.fit, operands, read)))
        return tuple(map(layout.unfit, out, written))

    @property
    def leaves(self) -> int:
        """Of the carry of one network."""
        return len(self.cell.carry._fields)

    def layout(self, operands: Sequence[Array], axes: Sequence[str]) -> Layout:
        """How arrays of these axes are cut."""
        sizes = sizes_of(operands, axes)
        dtype = next(a.dtype for a, names in zip(operands, axes, strict=True) if names in WEIGHTS)
        return layout_of(self.cell, (sizes["t"], sizes["b"], sizes["h"]), dtype, self.reverse)

    def body(self, layout: Layout, structure: Any, made: Any, *refs: Any) -> None:
        """The kernel, on refs without structure."""
        taken = structure.num_leaves
        networks = jax.tree.unflatten(structure, refs[:taken])
        out = jax.tree.unflatten(made, refs[taken : taken + made.num_leaves])
        rest = refs[taken + made.num_leaves :]
        carries = [
            self.cell.carry(*rest[i : i + self.leaves]) for i in range(0, len(rest), self.leaves)
        ]
        self.function(self.cell, layout.steps, networks, out, carries)


def where_lowered(run: Callable[..., Any], operands: Sequence[Array]) -> Any:
    """A `pallas_call` without its operands, and these: on TPU a kernel, elsewhere interpreted."""
    return on_platform("tpu", run(), run(interpret=INTERPRETER), operands)


def spec(layout: Layout, axes: str, network: int) -> pl.BlockSpec:
    """Which part of an array a place of the grid has; weights are there once."""
    names, shape = axes.split(), layout.shape(axes)
    cut = {"t": layout.steps.block, "b": layout.tile}
    block = tuple(cut.get(name, size) for name, size in zip(names, shape, strict=True))

    def where(tile: Any, place: Any) -> tuple[Any, ...]:
        at = {"t": layout.steps.which(network, place), "b": tile}
        return tuple(at.get(name, 0) for name in names)

    if not {"t", "b"} & set(names):
        return pl.BlockSpec(block, where, pipeline_mode=pl.Buffered(1))
    return pl.BlockSpec(block, where)

"""A call of a kernel on a GPU."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from rnnjax._typing import Array
from rnnjax.methods.gpu.kernels import Program
from rnnjax.methods.gpu.layout import Layout, check_known, is_exact, layout_of, networks_that_fit
from rnnjax.methods.gpu.place import Place
from rnnjax.methods.gpu.run import Exchange, run_all, run_one
from rnnjax.methods.manual import result_like, vary, varying_axes
from rnnjax.methods.pallas.call import in_groups, on_platform, sizes_of
from rnnjax.methods.pallas.steps import KernelCell

WIDE = "t b g"  # what is written of it takes the place of what is read
WEIGHTS = "n j k"


class Kernel(NamedTuple):
    """One of the two kernels for a cell, and for networks.

    Attributes:
        program: what a program does.
        cell: its cell.
        reverse: of each network, whether it begins with the last step.
        multiprocessors: how many may wait for each other.
    """

    program: type[Program]
    cell: KernelCell
    reverse: tuple[bool, ...]
    multiprocessors: int

    def call(self, networks: list[Any], taken: Any, made: Any, dtypes: Any) -> list[Any]:
        """Run all networks, as many together as may wait for each other.

        `taken` and `made` are the axes of what it reads and writes of one network, `dtypes` those
        of what it writes.
        """
        heads, units, _ = networks[0].w_hh.shape
        dtype = networks[0].w_hh.dtype
        together = networks_that_fit(self.cell, heads, units, dtype, self.multiprocessors)
        return in_groups(self, together, networks, taken, made, dtypes)

    def run_here(
        self, structure: Any, taken: Any, made: Any, dtypes: Any, *operands: Array
    ) -> tuple[Array, ...]:
        """Run on one device, with its part of the rows."""
        read, written = jax.tree.leaves(taken), jax.tree.leaves(made)
        sizes = sizes_of(operands, read)
        shapes = [
            result_like(operands[0], tuple(1 if a == "e" else sizes[a] for a in axes.split()), d)
            for axes, d in zip(written, jax.tree.leaves(dtypes), strict=True)
        ]
        if not sizes["b"]:
            empty = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
            return tuple(vary(empty, varying_axes(operands)))
        dtype = next(a.dtype for a, axes in zip(operands, read, strict=True) if axes == WEIGHTS)
        layout = self.layout(sizes, dtype)
        places = lambda axes: [i for i, names in enumerate(axes) if names == WIDE]
        aliases = dict(zip(places(read), places(written), strict=False))
        arrays = list(operands)
        if layout.exchanges:
            networks, tiles = len(self.reverse), layout.waves * layout.tiles
            counts = jnp.zeros((networks, layout.heads, tiles), jnp.int32)
            handed = (networks, 2, self.program.parts(self.cell), layout.rows, layout.width)
            aliases[len(arrays)] = len(shapes) + 1
            shapes += [
                result_like(operands[0], s, d)
                for s, d in ((handed, dtype), (counts.shape, counts.dtype))
            ]
            arrays.append(vary(counts, varying_axes(operands)))
        refs = structure, jax.tree.structure(made)
        run = lambda interpret: pl.pallas_call(
            self.kernel(layout, *refs, interpret),
            grid=grid_of(layout, interpret),
            out_shape=shapes,
            input_output_aliases=aliases,
            compiler_params=triton.CompilerParams(num_warps=layout.warps, num_stages=1),
            interpret=interpret,
        )

        def kernel(*arrays: Array) -> Any:
            check_known()
            return run(False)(*arrays)

        out = on_platform("cuda", kernel, run(True), arrays)
        return tuple(out[: len(written)])

    def kernel(self, layout: Layout, structure: Any, made: Any, interpret: bool) -> Any:
        """The function of refs, with each network's part for some of the programs."""

        def run(*refs: Any) -> None:
            taken, ends = structure.num_leaves, len(refs)
            exchanges = layout.exchanges
            networks = jax.tree.unflatten(structure, refs[:taken])
            # The counts that are given stand in the same place as those that are changed.
            rest = refs[taken + exchanges : ends - 2 * exchanges]
            written = jax.tree.unflatten(made, rest)
            # An interpreter does not know them in a branch.
            at = [pl.program_id(axis) for axis in range(len(grid_of(layout, interpret)))]
            for number, refs_of in enumerate(zip(networks, written, strict=True)):
                exchange = Exchange(refs[-2], refs[-1], number) if exchanges else None
                own = functools.partial(self.run_network, layout, *refs_of, exchange, at, interpret)
                if len(networks) == 1:
                    own(0)
                else:
                    pl.when(at[-4] == number)(functools.partial(own, number))

        run.__name__ = run.__qualname__ = self.program.__name__.lower()
        return run

    def run_network(
        self,
        layout: Layout,
        network: Any,
        out: Any,
        exchange: Exchange | None,
        at: list[Any],
        interpret: bool,
        number: int,
    ) -> None:
        """What the program `at` a place of the grid does."""
        *step, _, head, tile, part = at
        place = Place(layout, head, part, tile)
        weights = self.program.load_weights(place, network)
        precision = None if interpret else precision_of(network.w_hh.dtype)
        program = self.program(
            self.cell, place, self.reverse[number], network, out, weights, precision
        )
        if step:
            assert exchange is not None
            run_one(program, exchange, *step)
        elif layout.waves == 1:
            run_all(program, exchange)
        else:

            def wave(n: Any, none: None) -> None:
                del none
                there = place._replace(tile=tile + n * layout.tiles)
                run_all(dataclasses.replace(program, place=there), exchange)

            jax.lax.fori_loop(0, layout.waves, wave, None)

    def layout(self, sizes: dict[str, int], dtype: Any) -> Layout:
        """How arrays of these sizes are cut."""
        all_sizes = (sizes["t"], sizes["b"], sizes["n"], sizes["j"])
        return layout_of(self.cell, all_sizes, dtype, self.reverse, self.multiprocessors)


def grid_of(layout: Layout, interpret: bool) -> tuple[int, ...]:
    """Networks, heads, tiles and slices; before them the steps, where none can wait."""
    tiles = layout.tiles
    steps: tuple[int, ...] = ()
    if interpret and layout.slices > 1:
        steps, tiles = (layout.steps + 1,), tiles * layout.waves
    return (*steps, len(layout.reverse), layout.heads, tiles, layout.slices)


def precision_of(dtype: Any) -> Any:
    """Of products on a GPU: JAX's default, with three products of TF32 for the exact ones.

    A product of float32 itself has no matrix unit.
    """
    return jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3 if is_exact(dtype) else None

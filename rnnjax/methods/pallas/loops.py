"""The loops of the fused method, handed to the kernels."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.fused.batching import together
from rnnjax.methods.fused.equations import plus
from rnnjax.methods.fused.gradient import weight_gradients
from rnnjax.methods.fused.problem import Directions, Kept, Loops, Problem, Run
from rnnjax.methods.pallas.arrays import Backward, Cotangents, Forward, Written, bits
from rnnjax.methods.pallas.steps import KernelCell, kernel_cell


class Kernels(NamedTuple):
    """Both ways, each `cell, reverse, networks, taken, made, dtypes -> [what it writes]`.

    `reverse` says of each network whether it begins with the last step; `taken` and `made` are the
    axes of what is read and written of one network, `dtypes` those of what is written.
    """

    forward: Callable[..., list[Any]]
    backward: Callable[..., list[Any]]


def known(problem: Problem) -> KernelCell:
    """The cell of a problem that was found to be known."""
    cell = kernel_cell(problem.form)
    assert cell is not None
    return cell


def timed(cell: KernelCell) -> tuple[str, ...]:
    """The axes of the buffers that steps keep."""
    return ("t b g", *("t b h",) * cell.others)


def axes_of(w_hh: Array) -> str:
    """Those of recurrent weights."""
    return "h g" if w_hh.ndim == 2 else "n j k"


def forward_call(
    kernels: Kernels, problem: Problem, directions: Directions, runs: list[Run], *, keep: bool
) -> list[tuple[Array, Kept | None, PyTree]]:
    """Project and run networks forwards; without `keep`, nothing is kept."""
    cell, dtype = known(problem), problem.dtype
    networks = []
    for (params, _), (xs, flags), (carry, fresh) in runs:
        zs = plus(matmul(xs, params.w_ih, dtype, jnp.float32), params.b)
        b_hn = getattr(params, "b_hn", None)
        b_hn = None if b_hn is None else b_hn.astype(jnp.float32)[None]
        fresh = None if flags.restarts is None else fresh
        networks.append(Forward(zs, params.w_hh.astype(dtype), b_hn, bits(flags), carry, fresh))
    rows = cell.carry(*("b h",) * len(cell.carry._fields))
    starts = jax.tree.map(lambda _: "t b h", rows)
    taken = Forward("t b g", axes_of(networks[0].w_hh), "e h", "t b e", rows, rows)
    made = Written("t b h", rows, timed(cell) if keep else None, starts if keep else None)
    dtypes = jax.tree.map(lambda _: jnp.float32, made)._replace(ys=dtype)
    out = kernels.forward(cell, reversed_of(directions), networks, taken, made, dtypes)
    return [(ys, Kept(columns, starts) if keep else None, c) for ys, c, columns, starts in out]


def backward_call(
    kernels: Kernels, problem: Problem, directions: Directions, runs: list[Run]
) -> list[tuple[tuple[Array, ...], tuple[PyTree, PyTree]]]:
    """Run networks backwards; deltas take the place of the columns."""
    cell, networks = known(problem), []
    for (params, _), (kept, dys, flags), dcarry in runs:
        dcarry = jax.tree.map(lambda d: d.astype(jnp.float32), dcarry)
        w_hh = params.w_hh.astype(problem.dtype)
        starts = kept.starts
        starts = starts._replace(h=None) if "c" in starts._fields else starts  # it reads c alone
        networks.append(Backward(kept.columns, starts, dys, w_hh, bits(flags), dcarry))
    rows = cell.carry(*("b h",) * len(cell.carry._fields))
    starts = jax.tree.map(lambda _: "t b h", networks[0].starts)
    taken = Backward(timed(cell), starts, "t b h", axes_of(networks[0].w_hh), "t b e", rows)
    restarts = runs[0].timed[-1].restarts is not None
    made = Cotangents(timed(cell), rows, rows if restarts else None)
    dtypes = jax.tree.map(lambda _: jnp.float32, made)
    reverse = tuple(not way for way in reversed_of(directions))
    out = kernels.backward(cell, reverse, networks, taken, made, dtypes)
    return [(deltas, (dcarry, dfresh)) for deltas, dcarry, dfresh in out]


def reversed_of(directions: Directions) -> tuple[bool, ...]:
    """Of each network, whether time runs backwards."""
    return tuple(reverse for _, reverse in directions)


def loops_of(kernels: Kernels) -> Loops:
    """The loops that these kernels run."""

    def infer(
        problem: Problem, directions: Directions, runs: list[Run], *, keep_starts: bool
    ) -> list[Any]:
        assert not keep_starts
        run = functools.partial(forward_call, kernels, problem, directions, keep=False)
        return together(run, runs)

    def forward(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
        run = functools.partial(forward_call, kernels, problem, directions, keep=True)
        return together(run, runs)

    def backward(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
        return together(functools.partial(backward_call, kernels, problem, directions), runs)

    return Loops(infer, forward, backward, weight_gradients, skip_padding=False, one_call=True)

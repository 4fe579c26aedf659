"""The loops of the fused method, handed to the kernels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.fused.batching import together
from rnnjax.methods.fused.equations import plus
from rnnjax.methods.fused.gradient import weight_gradients
from rnnjax.methods.fused.problem import Directions, Flags, Kept, Loops, Problem, Run
from rnnjax.methods.tpu.call import Kernel
from rnnjax.methods.tpu.kernels import (
    RESTART,
    VALID,
    Backward,
    Cotangents,
    Forward,
    Written,
    backward_kernel,
    forward_kernel,
)
from rnnjax.methods.tpu.steps import KernelCell, kernel_cell


def known(problem: Problem) -> KernelCell:
    """The cell of a problem that was found to be known."""
    cell = kernel_cell(problem.form)
    assert cell is not None
    return cell


def bits(flags: Flags) -> Array | None:
    """Mask and restarts as one array of integers; None where there are none."""
    mask, restarts = flags
    if mask is None and restarts is None:
        return None
    valid = VALID if mask is None else jnp.where(mask, VALID, 0)
    restart = 0 if restarts is None else jnp.where(restarts, RESTART, 0)
    return jnp.asarray(valid + restart, jnp.int32)[..., None]


def timed(cell: KernelCell) -> tuple[str, ...]:
    """The axes of the buffers that steps keep."""
    return ("t b g", *("t b h",) * cell.others)


def forward_call(
    problem: Problem, directions: Directions, runs: list[Run], *, keep: bool
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
    taken = Forward("t b g", "h g", "e h", "t b e", rows, rows)
    made = Written("t b h", rows, timed(cell) if keep else None, starts if keep else None)
    dtypes = jax.tree.map(lambda _: jnp.float32, made)._replace(ys=dtype)
    kernel = Kernel(forward_kernel, cell, reversed_of(directions))
    out = kernel.call(networks, taken, made, dtypes)
    return [(ys, Kept(columns, starts) if keep else None, c) for ys, c, columns, starts in out]


def backward_call(
    problem: Problem, directions: Directions, runs: list[Run]
) -> list[tuple[tuple[Array, ...], tuple[PyTree, PyTree]]]:
    """Run networks backwards; deltas take the place of the columns."""
    cell, networks = known(problem), []
    for (params, _), (kept, dys, flags), dcarry in runs:
        dcarry = jax.tree.map(lambda d: d.astype(jnp.float32), dcarry)
        w_hh = params.w_hh.astype(problem.dtype).T
        starts = kept.starts
        starts = starts._replace(h=None) if "c" in starts._fields else starts  # it reads c alone
        networks.append(Backward(kept.columns, starts, dys, w_hh, bits(flags), dcarry))
    rows = cell.carry(*("b h",) * len(cell.carry._fields))
    starts = jax.tree.map(lambda _: "t b h", networks[0].starts)
    taken = Backward(timed(cell), starts, "t b h", "g h", "t b e", rows)
    restarts = runs[0].timed[-1].restarts is not None
    made = Cotangents(timed(cell), rows, rows if restarts else None)
    dtypes = jax.tree.map(lambda _: jnp.float32, made)
    kernel = Kernel(backward_kernel, cell, tuple(not way for way in reversed_of(directions)))
    out = kernel.call(networks, taken, made, dtypes)
    return [(deltas, (dcarry, dfresh)) for deltas, dcarry, dfresh in out]


def reversed_of(directions: Directions) -> tuple[bool, ...]:
    """Of each network, whether time runs backwards."""
    return tuple(reverse for _, reverse in directions)


def infer(
    problem: Problem, directions: Directions, runs: list[Run], *, keep_starts: bool
) -> list[Any]:
    """Nothing is kept."""
    assert not keep_starts
    return together(functools.partial(forward_call, problem, directions, keep=False), runs)


def forward(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
    """What the gradient needs is kept."""
    return together(functools.partial(forward_call, problem, directions, keep=True), runs)


def backward(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
    """The way back."""
    return together(functools.partial(backward_call, problem, directions), runs)


LOOPS = Loops(infer, forward, backward, weight_gradients, skip_padding=False, one_call=True)

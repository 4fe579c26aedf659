"""The kernels: time goes along the last axis of the grid, and the carry stays where it is.

A step of the grid runs some steps of all networks of a call: their products do not wait for each
other. Weights are fetched once, and what steps read and write comes and goes while others run.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from rnnjax._typing import PyTree
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.fused.equations import Columns
from rnnjax.methods.pallas.arrays import Backward, Cotangents, Forward, Written, told
from rnnjax.methods.pallas.steps import KernelCell
from rnnjax.methods.tpu.layout import Steps

MOST_UNROLLED = 512  # units; for more the products are what a step waits for


def unrolled(width: int) -> int:
    """Steps in a turn of the loop: the second one's weights are pushed while the first one's
    results are on their way."""
    return 2 if width <= MOST_UNROLLED else 1


def run_steps(
    steps: Steps, step: Any, begins: list[PyTree], carries: list[PyTree], ends: list[PyTree]
) -> None:
    """Call `step(network, t)` for all steps of a place, `t` counted from the block's first one.

    At the first place carries are what `begins` hold, and after the last one `ends` are they.
    """
    place, networks = pl.program_id(1), range(len(steps.reverse))
    pl.when(place == 0)(lambda: write(carries, read(begins)))
    # Together, as long as blocks are whole: no product waits for another network's gates.
    groups = [list(networks)] if steps.even else [[network] for network in networks]
    turn = unrolled(jax.tree.leaves(carries)[0].shape[-1]) if steps.even else 1
    for group in groups:
        count = steps.count(group[0], place)

        def body(n: Any, none: None, *, group: list[int] = group, count: Any = count) -> None:
            del none
            for network in group:
                step(network, count - 1 - n if steps.reverse[network] else n)

        jax.lax.fori_loop(0, count, body, None, unroll=turn)
    pl.when(place == steps.blocks - 1)(lambda: write(ends, read(carries)))


def read(tree: PyTree) -> PyTree:
    """The values of refs."""
    return jax.tree.map(lambda ref: ref[...], tree)


def write(refs: PyTree, values: PyTree) -> None:
    """Put values into refs."""
    jax.tree.map(lambda ref, value: ref.__setitem__(..., value.astype(ref.dtype)), refs, values)


def write_columns(refs: tuple[Any, ...], t: Any, columns: tuple[Columns, ...]) -> None:
    """Put one step's columns side by side."""
    for ref, parts in zip(refs, columns, strict=False):  # what nobody wants has no ref
        width = parts[0].shape[-1]
        for part, value in enumerate(parts):
            ref[t, :, part * width : (part + 1) * width] = value


def cut(x: Any, parts: int) -> list[Any]:
    """Parts of the last axis, which is a multiple of 128 for each."""
    width = x.shape[-1] // parts
    return [x[:, part * width : (part + 1) * width] for part in range(parts)]


def product(x: Any, w: Any) -> Any:
    """`x @ w`, inputs in the dtype of the weights."""
    return jnp.dot(x.astype(w.dtype), w[...], preferred_element_type=jnp.float32)


def forward_kernel(
    cell: KernelCell, steps: Steps, networks: list[Forward], out: list[Written], carries: list[Any]
) -> None:
    """Some steps of all networks forwards."""

    def step(n: int, t: Any) -> None:
        network, own = networks[n], out[n]
        old = start = read(carries[n])
        valid, restart = told(None if network.flags is None else network.flags[t])
        if network.fresh is not None:
            start = keep(restart, read(network.fresh), start)
        s = product(start.h, network.w_hh)
        b_hn = None if network.b_hn is None else network.b_hn[...]
        s, x = cut(s, cell.gates), cut(network.zs[t], cell.gates)
        new, kept = cell.forward(s, x, start, b_hn)
        if own.columns is not None:
            write_columns(own.columns, t, kept)
            write(jax.tree.map(lambda ref: ref.at[t], own.starts), start)
        y = new.h
        if valid is not None:
            y, new = keep(valid, y, zeros_like(y)), keep(valid, new, old)
        own.ys[t] = y.astype(own.ys.dtype)
        write(carries[n], new)

    begins, ends = [network.carry for network in networks], [own.carry for own in out]
    run_steps(steps, step, begins, carries, ends)


def backward_kernel(
    cell: KernelCell,
    steps: Steps,
    networks: list[Backward],
    out: list[Cotangents],
    carries: list[Any],
) -> None:
    """Some steps of all networks back; `steps` go against their time."""
    sums = [own.dfresh for own in out if own.dfresh is not None]
    pl.when(pl.program_id(1) == 0)(lambda: write(sums, zeros_like(read(sums))))

    def step(n: int, t: Any) -> None:
        network, own = networks[n], out[n]
        later = read(carries[n])
        dnew = later._replace(h=later.h + network.dys[t].astype(later.h.dtype))
        valid, restart = told(None if network.flags is None else network.flags[t])
        if valid is not None:
            dnew = keep(valid, dnew, zeros_like(dnew))
        gates, *others = (ref[t] for ref in network.columns)
        start = jax.tree.map(lambda ref: ref[t], network.starts)
        dstart, deltas = cell.backward(cut(gates, cell.gates), others, start, dnew)
        write_columns(own.deltas, t, deltas)
        operand = jnp.concatenate(cell.operand(deltas), axis=-1)
        dstart = dstart._replace(h=dstart.h + product(operand, network.w_hh))
        if own.dfresh is not None:
            nothing = zeros_like(dstart)
            so_far, more = read(own.dfresh), keep(restart, dstart, nothing)
            write(own.dfresh, jax.tree.map(jnp.add, so_far, more))
            dstart = keep(restart, nothing, dstart)
        if valid is not None:
            dstart = keep(valid, dstart, later)
        write(carries[n], dstart)

    begins, ends = [network.dcarry for network in networks], [own.dcarry for own in out]
    run_steps(steps, step, begins, carries, ends)

"""A linear cell over some steps: coefficients at once, the recurrence, outputs at once."""

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree
from rnnjax.cells.linear import LinearForm, WindowCarry, computed_in, read, write
from rnnjax.methods import manual
from rnnjax.methods.base import Call, keep, zeros_like
from rnnjax.methods.linear.scan import before, solve
from rnnjax.methods.linear.solvers import Solver


def why_not_linear(call: Call) -> str | None:
    """What the methods for linear cells say of others."""
    if not isinstance(call.cell.form, LinearForm):
        return "it knows cells that are linear in their carry, and this cell is none of them"
    return manual.why_not_explicit()


def run_linear(call: Call, solver: Solver) -> tuple[PyTree, PyTree]:
    """Run all steps of a call, of which there is one at least."""
    form, mask, final = call.cell.form, call.mask, call.carry
    xs = call.xs if mask is None else keep(mask, call.xs, zeros_like(call.xs))
    zs = call.cell.project(call.params, xs)
    dtype, out_dtype = computed_in(zs, call.carry), jax.tree.leaves(zs)[0].dtype
    if isinstance(call.carry, WindowCarry):
        zs, final = slide(call, zs.astype(dtype), solver)
    a, b = form.coefficients(call.params, zs, dtype)
    if call.resets is not None:
        start = a * read(call.fresh, dtype)[None]
        a, b = keep(call.resets, (jnp.zeros_like(a), b + start), (a, b))
    a, b = stand_still(call, a, b)
    hs = solve(a, b, read(call.carry, dtype), call.reverse, solver)
    ys = form.output(call.params, hs, zs).astype(out_dtype)
    if mask is not None:
        ys = keep(mask, ys, zeros_like(ys))
    return write(hs[0 if call.reverse else -1], final), ys


def stand_still(call: Call, a: Array, b: Array) -> tuple[Array, Array]:
    """Coefficients that change nothing where a step does not count."""
    if call.mask is None:
        return a, b
    return keep(call.mask, (a, b), (jnp.ones_like(a), jnp.zeros_like(b)))


def slide(call: Call, zs: Array, solver: Solver) -> tuple[Array, WindowCarry]:
    """Sum what each input adds to its own step and to the next valid ones.

    What stands in the window after a step is what the input added, and what stood one place
    further before it: a recurrence that remembers nothing, but for steps that do not count.
    """
    above, ends = jnp.zeros_like(zs[..., 0, :]), []
    for place in reversed(range(zs.shape[-2] - 1)):
        begin = call.carry.window[..., place, :].astype(zs.dtype)
        b = zs[..., place + 1, :] + above
        a, b = stand_still(call, jnp.zeros_like(b), b)
        stood = b if call.mask is None else solve(a, b, begin, call.reverse, solver)
        ends.insert(0, stood[0 if call.reverse else -1])
        above = before(stood, begin, call.reverse)
        if call.resets is not None:
            start = call.fresh.window[..., place, :].astype(zs.dtype)
            above = keep(call.resets, jnp.broadcast_to(start[None], above.shape), above)
    window = call.carry.window
    if ends:
        window = jnp.stack(ends, axis=-2).astype(window.dtype)
    return zs[..., 0, :] + above, call.carry._replace(window=window)

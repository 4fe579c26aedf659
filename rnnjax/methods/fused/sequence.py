"""From calls to the function of whole sequences, and back."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import PyTree
from rnnjax.cells.dtypes import promote
from rnnjax.methods.base import Call
from rnnjax.methods.fused.gradient import Operands, whole_sequence, without_padding
from rnnjax.methods.fused.problem import Loops, Problem
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.reverse_only import reverse_mode


def run_at_once(
    calls: tuple[Call, ...], loops: Loops, *, stack: PyTree = None, keep_gates: bool = True
) -> list[tuple[PyTree, PyTree]]:
    """Run calls that differ in params, arrays and direction alone, side by side.

    `stack` are the params of all of them, with a leading axis, where the caller has them so.
    """
    problem = problem_of(calls, loops, keep_gates=keep_gates)
    operands = tuple(fold(call, loops) for call in calls)
    axes = varying_axes((operands, stack))
    operands = reverse_mode(vary(operands, axes))
    if stack is not None:
        weights = jax.lax.stop_gradient(vary((stack.w_ih, stack.w_hh), axes))
        operands = tuple(own._replace(stack=weights) for own in operands)
    out: Any = whole_sequence(problem, operands)
    return [unfold(call, *result) for call, result in zip(calls, out, strict=True)]


def problem_of(calls: tuple[Call, ...], loops: Loops, *, keep_gates: bool) -> Problem:
    """What is static about them."""
    call = calls[0]
    dtype = jax.eval_shape(call.cell.project, call.params, call.xs).dtype
    gate_dtype = promote(dtype, jnp.result_type(call.carry.h))
    reverse = tuple(call.reverse for call in calls)
    return Problem(call.cell.form, dtype, gate_dtype, reverse, keep_gates, loops)


def fold(call: Call, loops: Loops) -> Operands:
    """The batch axes as one axis of rows, or as none where there is a single row."""
    batch = call.xs.shape[1:-1]
    rows = () if math.prod(batch) == 1 else (math.prod(batch),)

    def timed(x: Any) -> Any:
        return None if x is None else x.reshape(x.shape[0], *rows, *x.shape[1 + len(batch) :])

    def folded(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(*rows, x.shape[-1]), tree)

    mask, resets = call.mask, call.resets
    xs = call.xs if loops.skip_padding else without_padding(call.xs, mask)
    restarts = resets if mask is None or resets is None else resets & mask
    params = call.params._replace(initial=None)
    begin, fresh = folded(call.carry), folded(call.fresh)
    return Operands(params, timed(xs), begin, fresh, timed(mask), timed(restarts))


def unfold(call: Call, carry: PyTree, ys: Any) -> tuple[PyTree, PyTree]:
    """The batch axes as they were."""
    batch = call.xs.shape[1:-1]
    carry = jax.tree.map(lambda c: c.reshape(*batch, c.shape[-1]), carry)
    return carry, ys.reshape(*ys.shape[:1], *batch, ys.shape[-1])

"""From a call to the function of a whole sequence, and back."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import PyTree
from rnnjax.cells.dtypes import promote
from rnnjax.methods.base import Call, keep, zeros_like
from rnnjax.methods.fused.gradient import Operands, whole_sequence
from rnnjax.methods.fused.problem import Loops, Problem
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.reverse_only import reverse_mode


def run_at_once(call: Call, loops: Loops, *, keep_gates: bool = True) -> tuple[PyTree, PyTree]:
    """Fold the batch axes into rows, run, and unfold."""
    problem = problem_of(call, loops, keep_gates=keep_gates)
    batch = call.xs.shape[1:-1]
    rows = () if math.prod(batch) == 1 else (math.prod(batch),)

    def timed(x: Any) -> Any:
        return None if x is None else x.reshape(x.shape[0], *rows, *x.shape[1 + len(batch) :])

    def folded(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(*rows, x.shape[-1]), tree)

    mask, resets = call.mask, call.resets
    # What stands in the padding must not reach a product: 0 times NaN is NaN.
    xs = call.xs if mask is None else keep(mask, call.xs, zeros_like(call.xs))
    restarts = resets if mask is None or resets is None else resets & mask
    params = call.params._replace(initial=None)
    begin, fresh = folded(call.carry), folded(call.fresh)
    operands = Operands(params, timed(xs), begin, fresh, timed(mask), timed(restarts))
    operands = reverse_mode(vary(operands, varying_axes(operands)))
    out: Any = whole_sequence(problem, operands)
    carry, ys = out
    carry = jax.tree.map(lambda c: c.reshape(*batch, c.shape[-1]), carry)
    return carry, ys.reshape(*ys.shape[:1], *batch, ys.shape[-1])


def problem_of(call: Call, loops: Loops, *, keep_gates: bool = True) -> Problem:
    """What is static about a call."""
    dtype = jax.eval_shape(call.cell.project, call.params, call.xs).dtype
    gate_dtype = promote(dtype, jnp.result_type(call.carry.h))
    return Problem(call.cell.form, dtype, gate_dtype, call.reverse, keep_gates, loops)

"""A sequence run by an oracle: float64, one row after the other, one step after the other.

No JAX arithmetic. Gradients come from the complex step, so no automatic differentiation has
touched them, and they are exact to rounding.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.testing.oracle import Oracle

TINY = 1e-30  # far below rounding, so that its square vanishes and the derivative is exact
NUMBERS_AT_ONCE = 2_000_000  # bounds the memory of the copies that gradients are taken from


class Gradients(NamedTuple):
    """Each with the structure of what it belongs to; `carry` is None where none was given."""

    params: PyTree
    xs: np.ndarray
    carry: PyTree


def reference_unroll(
    oracle: Oracle,
    params: PyTree,
    xs: Any,
    carry: PyTree = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> tuple[PyTree, np.ndarray]:
    """Run an oracle over the leading (time) axis of `xs`.

    Means what `rnnjax.unroll` means: on an invalid step nothing happens (a reset neither) and
    the output is zero; before a valid step with a reset the initial carry, a learned one too,
    replaces the carry.

    Args:
        oracle: of the cell, such as `rnnjax.testing.lstm()`.
        params: of the cell.
        xs: inputs, `(T, *batch, D)`.
        carry: where to begin; None means the initial carry.
        lengths: valid steps of each row, `(*batch,)`; None means T.
        mask: True on valid steps, `(T, *batch)`; None means all.
        resets: True where the initial carry replaces the carry, `(T, *batch)`; None means nowhere.
        reverse: read from the last step to the first; `ys[t]` still answers `xs[t]`.

    Returns:
        The final carry, and the outputs `ys`, `(T, *batch, H)`; NumPy arrays in float64.

    Raises:
        TypeError: if `oracle` is none.
        ValueError: if lengths, mask or resets have the wrong shape.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, rnnjax
        >>> cell, oracle = rnnjax.gru(5, reset="before"), rnnjax.testing.gru(reset="before")
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> xs = jnp.ones((7, 2, 3))
        >>> _, ys = rnnjax.unroll(cell, params, xs, lengths=[7, 4])
        >>> _, wanted = rnnjax.testing.reference_unroll(oracle, params, xs, lengths=[7, 4])
        >>> np.testing.assert_allclose(ys, wanted, atol=1e-6)
    """
    params, xs, carry = _float64((params, xs, carry))
    plan = _plan(oracle, xs.shape, lengths, mask, resets, reverse)
    alone = jax.tree.map(lambda a: a[None], (params, xs, carry))
    return jax.tree.map(lambda a: a[0], _run(oracle, plan, *alone))


def reference_gradients(
    oracle: Oracle,
    params: PyTree,
    xs: Any,
    carry: PyTree,
    *,
    cotangents: tuple[PyTree, Any],
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
) -> Gradients:
    r"""Differentiate one number made of everything that `reference_unroll` returns.

    $$ L = \sum \bar c \, c_T + \sum \bar y \, y, \qquad L'(\theta) = Im L(\theta + i e) / e $$

    Args:
        oracle: as for `reference_unroll`.
        params: as for `reference_unroll`.
        xs: as for `reference_unroll`.
        carry: as for `reference_unroll`; of None there is no gradient.
        cotangents: $\bar c$ and $\bar y$, with the shapes of the final carry and the outputs, as
            `jax.vjp` takes them.
        lengths: this and all that follow as for `reference_unroll`.
        mask: see there.
        resets: see there.
        reverse: see there.

    Returns:
        The gradients of params, inputs and carry, in float64.

    Raises:
        TypeError: as `reference_unroll`.
        ValueError: as `reference_unroll`.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, rnnjax
        >>> cell, oracle = rnnjax.lstm(5), rnnjax.testing.lstm()
        >>> params, xs = cell.init(jax.random.key(0), in_features=3), jnp.ones((7, 2, 3))
        >>> out, vjp = jax.vjp(lambda p: rnnjax.unroll(cell, p, xs), params)
        >>> wanted = rnnjax.testing.reference_gradients(oracle, params, xs, None, cotangents=out)
        >>> np.testing.assert_allclose(vjp(out)[0].w_hh, wanted.params.w_hh, rtol=1e-4)

    Reference: Squire & Trapp, *Using complex variables to estimate derivatives of real
    functions* (1998).
    """
    point = _float64((params, xs, carry))
    plan = _plan(oracle, point[1].shape, lengths, mask, resets, reverse)
    weights = jax.tree.leaves(_float64(cotangents))

    def slopes(first: int, count: int) -> Any:
        outputs = jax.tree.leaves(_run(oracle, plan, *_moved(point, first, count)))
        terms = zip(weights, outputs, strict=True)
        return sum((w * y.imag).reshape(count, -1).sum(1) for w, y in terms) / TINY

    return Gradients(*_by_copies(slopes, point))


class _Plan(NamedTuple):
    """What happens when: batch axes, steps in reading order, and flags `(T, rows)`."""

    batch: tuple[int, ...]
    order: range
    valid: np.ndarray
    restart: np.ndarray


def _plan(
    oracle: Any, shape: tuple[int, ...], lengths: Any, mask: Any, resets: Any, reverse: bool
) -> _Plan:
    """Make lengths, mask and resets one pair of flags, with the batch axes flattened."""
    if not isinstance(oracle, Oracle):
        way_out = "make one with rnnjax.testing.lstm() or rnnjax.testing.Oracle(...)"
        wanted, got = "be an Oracle", _checks.kind(oracle)
        _checks.refuse("reference_unroll", "oracle", wanted, got, way_out, error=TypeError)
    lead = shape[: len(shape) - oracle.input_rank]
    num_steps, batch = lead[0], lead[1:]
    valid = np.ones(lead, bool) if mask is None else _shaped("mask", mask, lead, bool)
    if lengths is not None:
        steps = np.arange(num_steps).reshape(-1, *(1,) * len(batch))
        valid = valid & (steps < _shaped("lengths", lengths, batch, int))
    restart = np.zeros(lead, bool) if resets is None else _shaped("resets", resets, lead, bool)
    order, rows = range(num_steps), (num_steps, math.prod(batch))
    turned = order[::-1] if reverse else order
    return _Plan(batch, turned, valid.reshape(rows), restart.reshape(rows))


def _shaped(argument: str, value: Any, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    value = np.asarray(value, dtype)
    if value.shape != shape:
        way_out = "give what rnnjax.unroll takes"
        _checks.refuse("reference_unroll", argument, f"have shape {shape}", value.shape, way_out)
    return value


def _run(
    oracle: Oracle, plan: _Plan, params: Any, xs: np.ndarray, carry: Any
) -> tuple[PyTree, np.ndarray]:
    """Run all copies, which lie along the leading axis of every array, side by side."""
    num_steps, rows = plan.valid.shape
    copies, axes = xs.shape[0], len(plan.batch)
    xs = xs.reshape(copies, num_steps, rows, *xs.shape[2 + axes :])
    fresh = oracle.fresh(params, np.zeros_like(xs, shape=(copies, *xs.shape[3:])))
    if carry is None:
        final = jax.tree.map(lambda a: np.repeat(a[:, None], rows, axis=1), fresh)
    else:
        final = jax.tree.map(lambda a: a.reshape(copies, rows, *a.shape[1 + axes :]).copy(), carry)
    _, like = oracle.step(params, fresh, np.zeros_like(xs, shape=(copies, *xs.shape[3:])))
    ys = np.zeros((copies, num_steps, rows, *like.shape[1:]), xs.dtype)
    for row in range(rows):
        state = jax.tree.map(lambda a, row=row: a[:, row], final)
        for t in plan.order:
            if plan.valid[t, row]:
                state = fresh if plan.restart[t, row] else state
                state, ys[:, t, row] = oracle.step(params, state, xs[:, t, row])
        for total, part in zip(jax.tree.leaves(final), jax.tree.leaves(state), strict=True):
            total[:, row] = part
    final = jax.tree.map(lambda a: a.reshape(copies, *plan.batch, *a.shape[2:]), final)
    return final, ys.reshape(copies, num_steps, *plan.batch, *ys.shape[3:])


def _float64(tree: PyTree) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def _moved(tree: PyTree, first: int, count: int) -> Any:
    """Copies along a new leading axis; number `first + n` of the tree is moved in copy n."""
    leaves, structure = jax.tree.flatten(tree)
    out, offset = [], 0
    for leaf in leaves:
        copies: Any = np.repeat(leaf.reshape(1, -1).astype(complex), count, axis=0)
        own = np.arange(first, first + count) - offset
        here = np.flatnonzero((own >= 0) & (own < leaf.size))
        copies.imag[here, own[here]] = TINY
        out.append(copies.reshape(count, *leaf.shape))
        offset += leaf.size
    return jax.tree.unflatten(structure, out)


def _by_copies(slopes: Callable[[int, int], np.ndarray], tree: PyTree) -> Any:
    """The slope in every number of a tree, as a tree; so many at once as memory bears."""
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([leaf.size for leaf in leaves])
    size, most = int(ends[-1]), max(1, NUMBERS_AT_ONCE // int(ends[-1]))
    parts = [slopes(first, min(most, size - first)) for first in range(0, size, most)]
    flat = zip(np.split(np.concatenate(parts), ends[:-1]), leaves, strict=True)
    return jax.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in flat])

"""Oracles for tests, yours too: the cells once more, in plain NumPy, from the equations.

They share no code with the library: float64, one row after the other, one step after the other,
no JAX arithmetic. Gradients come from the complex step, so no automatic differentiation has
touched them, and they are exact to rounding.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells import ElmanCarry, ElmanParams, GRUCarry, GRUParams, LSTMCarry, LSTMParams

Params: TypeAlias = LSTMParams | GRUParams | ElmanParams
Activation: TypeAlias = Callable[[Any], Any]

TINY = 1e-30  # far below rounding, so that its square vanishes and the derivative is exact
NUMBERS_AT_ONCE = 2_000_000  # bounds the memory of the copies that gradients are taken from


class Gradients(NamedTuple):
    """Each with the structure of what it belongs to; `carry` is None where none was given."""

    params: PyTree
    xs: np.ndarray
    carry: PyTree


def sigmoid(x: Any) -> Any:
    """The logistic function, in a form that never overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def relu(x: Any) -> Any:
    """The positive part; the real part of complex numbers decides."""
    return np.where(x.real > 0, x, np.zeros_like(x))


def reference_unroll(
    params: Params,
    xs: Any,
    carry: PyTree = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    reset: Literal["after", "before"] = "after",
    gate_activation: Activation = sigmoid,
    activation: Activation = np.tanh,
) -> tuple[PyTree, np.ndarray]:
    """Run the cell that `params` belong to over the leading (time) axis of `xs`.

    Means what `rnnjax.unroll` means: on an invalid step nothing happens (a reset neither) and
    the output is zero; before a valid step with a reset the initial carry, a learned one too,
    replaces the carry.

    Args:
        params: of an LSTM, a GRU or an Elman cell; their class says which.
        xs: inputs, `(T, *batch, D)`.
        carry: where to begin; None means the learned initial carry, or zero.
        lengths: valid steps of each row, `(*batch,)`; None means T.
        mask: True on valid steps, `(T, *batch)`; None means all.
        resets: True where the initial carry replaces the carry, `(T, *batch)`; None means nowhere.
        reverse: read from the last step to the first; `ys[t]` still answers `xs[t]`.
        reset: where the reset gate of a GRU acts.
        gate_activation: of the gates.
        activation: of what is not a gate, such as `np.tanh` or `rnnjax.testing.relu`.

    Returns:
        The final carry, and the outputs `ys`, `(T, *batch, H)`; NumPy arrays in float64.

    Raises:
        TypeError: if `params` are of another cell.
        ValueError: if lengths, mask or resets have the wrong shape.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, rnnjax
        >>> cell = rnnjax.gru(5, reset="before")
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> xs = jnp.ones((7, 2, 3))
        >>> _, ys = rnnjax.unroll(cell, params, xs, lengths=[7, 4])
        >>> _, wanted = rnnjax.testing.reference_unroll(params, xs, lengths=[7, 4], reset="before")
        >>> np.testing.assert_allclose(ys, wanted, atol=1e-6)
    """
    params, xs, carry = _float64((params, xs, carry))
    plan = _plan(xs.shape[:-1], lengths, mask, resets, reverse)
    step = _step(params, reset, gate_activation, activation)
    alone = jax.tree.map(lambda a: a[None], (params, xs, carry))
    return jax.tree.map(lambda a: a[0], _run(step, plan, *alone))


def reference_gradients(
    params: Params,
    xs: Any,
    carry: PyTree,
    cotangents: tuple[PyTree, Any],
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    reset: Literal["after", "before"] = "after",
    gate_activation: Activation = sigmoid,
    activation: Activation = np.tanh,
) -> Gradients:
    r"""Differentiate one number made of everything that `reference_unroll` returns.

    $$ L = \sum \bar c \, c_T + \sum \bar y \, y, \qquad L'(\theta) = Im L(\theta + i e) / e $$

    Activations must take complex numbers, as NumPy's own functions do.

    Args:
        params: as for `reference_unroll`.
        xs: as for `reference_unroll`.
        carry: as for `reference_unroll`; of None there is no gradient.
        cotangents: $\bar c$ and $\bar y$, with the shapes of the final carry and the outputs, as
            `jax.vjp` takes them.
        lengths: this and all that follow as for `reference_unroll`.
        mask: see there.
        resets: see there.
        reverse: see there.
        reset: see there.
        gate_activation: see there.
        activation: see there.

    Returns:
        The gradients of params, inputs and carry, in float64.

    Raises:
        TypeError: as `reference_unroll`.
        ValueError: as `reference_unroll`.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, rnnjax
        >>> cell = rnnjax.lstm(5)
        >>> params, xs = cell.init(jax.random.key(0), in_features=3), jnp.ones((7, 2, 3))
        >>> out, vjp = jax.vjp(lambda p: rnnjax.unroll(cell, p, xs), params)
        >>> wanted = rnnjax.testing.reference_gradients(params, xs, None, out)
        >>> np.testing.assert_allclose(vjp(out)[0].w_hh, wanted.params.w_hh, rtol=1e-4)

    Reference: Squire & Trapp, *Using complex variables to estimate derivatives of real
    functions* (1998).
    """
    point = _float64((params, xs, carry))
    plan = _plan(point[1].shape[:-1], lengths, mask, resets, reverse)
    step = _step(params, reset, gate_activation, activation)
    weights = jax.tree.leaves(_float64(cotangents))

    def slopes(first: int, count: int) -> Any:
        outputs = jax.tree.leaves(_run(step, plan, *_moved(point, first, count)))
        terms = zip(weights, outputs, strict=True)
        return sum((w * y.imag).reshape(count, -1).sum(1) for w, y in terms) / TINY

    return Gradients(*_by_copies(slopes, point))


class _Plan(NamedTuple):
    """What happens when: steps in reading order, and flags `(T, rows)`."""

    order: range
    valid: np.ndarray
    restart: np.ndarray


def _plan(lead: tuple[int, ...], lengths: Any, mask: Any, resets: Any, reverse: bool) -> _Plan:
    """Make lengths, mask and resets one pair of flags, with the batch axes flattened."""
    num_steps, batch = lead[0], lead[1:]
    valid = np.ones(lead, bool) if mask is None else _shaped("mask", mask, lead, bool)
    if lengths is not None:
        steps = np.arange(num_steps).reshape(-1, *(1,) * len(batch))
        valid = valid & (steps < _shaped("lengths", lengths, batch, int))
    restart = np.zeros(lead, bool) if resets is None else _shaped("resets", resets, lead, bool)
    order, rows = range(num_steps), (num_steps, math.prod(batch))
    return _Plan(order[::-1] if reverse else order, valid.reshape(rows), restart.reshape(rows))


def _shaped(argument: str, value: Any, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    value = np.asarray(value, dtype)
    if value.shape != shape:
        way_out = "give what rnnjax.unroll takes"
        _checks.refuse("reference_unroll", argument, f"have shape {shape}", value.shape, way_out)
    return value


def _run(
    step: Callable[..., Any], plan: _Plan, params: Any, xs: np.ndarray, carry: Any
) -> tuple[PyTree, np.ndarray]:
    """Run all copies, which lie along the leading axis of every array, side by side."""
    copies, batch, width = xs.shape[0], xs.shape[2:-1], params.w_hh.shape[1]
    num_steps, rows = plan.valid.shape
    fresh, begin = _fresh(params), carry
    if carry is None:
        begin = jax.tree.map(lambda a: np.repeat(a[:, None], rows, axis=1), fresh)
    begin = jax.tree.map(lambda a: a.reshape(copies, rows, width), begin)
    xs = xs.reshape(copies, num_steps, rows, xs.shape[-1])

    final = jax.tree.map(np.copy, begin)
    ys = np.zeros((copies, num_steps, rows, width), xs.dtype)
    for row in range(rows):
        state = jax.tree.map(lambda a, row=row: a[:, row], begin)
        for t in plan.order:
            if plan.valid[t, row]:
                state = fresh if plan.restart[t, row] else state
                state = step(params, state, xs[:, t, row])
                ys[:, t, row] = state.h
        for total, part in zip(final, state, strict=True):
            total[:, row] = part
    final = jax.tree.map(lambda a: a.reshape(copies, *batch, width), final)
    return final, ys.reshape(copies, num_steps, *batch, width)


def _fresh(params: Params) -> Any:
    """The initial carry of one row, `(copies, H)`: the learned one, or zero."""
    if params.initial is not None:
        return params.initial
    zeros: Any = np.zeros_like(params.w_hh[:, 0, : params.w_hh.shape[1]])
    if isinstance(params, LSTMParams):
        return LSTMCarry(zeros, zeros)
    return GRUCarry(zeros) if isinstance(params, GRUParams) else ElmanCarry(zeros)


def _step(params: Params, reset: str, gate: Activation, squash: Activation) -> Callable[..., Any]:
    """The equations of the cell that the params belong to."""
    before = _checks.choice("reference_unroll", "reset", reset, ("after", "before")) == "before"
    if isinstance(params, LSTMParams):
        return functools.partial(_lstm, gate=gate, squash=squash)
    if isinstance(params, GRUParams):
        return functools.partial(_gru, gate=gate, squash=squash, before=before)
    if isinstance(params, ElmanParams):
        return functools.partial(_elman, squash=squash)
    way_out = "write the loop by hand for a cell of your own"
    wanted, got = "be of an LSTM, a GRU or an Elman cell", _checks.describe(params)
    _checks.refuse("reference_unroll", "params", wanted, got, way_out, error=TypeError)


def _elman(p: Any, carry: Any, x: Any, *, squash: Activation) -> ElmanCarry:
    return ElmanCarry(squash(_input(p, x) + _dot(carry.h, p.w_hh)))


def _lstm(p: Any, carry: Any, x: Any, *, gate: Activation, squash: Activation) -> LSTMCarry:
    i, f, g, o = np.split(_input(p, x) + _dot(carry.h, p.w_hh), 4, axis=-1)
    c = gate(f) * carry.c + gate(i) * squash(g)
    return LSTMCarry(gate(o) * squash(c), c)


def _gru(
    p: Any, carry: Any, x: Any, *, gate: Activation, squash: Activation, before: bool
) -> GRUCarry:
    a_r, a_z, a_n = np.split(_input(p, x), 3, axis=-1)
    w_r, w_z, w_n = np.split(p.w_hh, 3, axis=-1)
    r, z = gate(a_r + _dot(carry.h, w_r)), gate(a_z + _dot(carry.h, w_z))
    if before:
        q = _dot(r * carry.h, w_n)
    else:
        q = r * (_dot(carry.h, w_n) + (0.0 if p.b_hn is None else p.b_hn))
    return GRUCarry((1 - z) * squash(a_n + q) + z * carry.h)


def _input(p: Any, x: Any) -> Any:
    return _dot(x, p.w_ih) if p.b is None else _dot(x, p.w_ih) + p.b


def _dot(x: Any, w: Any) -> Any:
    """One product a copy: `(copies, D) x (copies, D, G) -> (copies, G)`."""
    return np.matmul(x[:, None], w)[:, 0]


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

"""Oracles of the LSTM that normalises over the batch, for inference and for training."""

from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._typing import PyTree
from rnnjax.cells import BatchNormLSTMCarry, BatchNormStatistics, Moments
from rnnjax.testing.oracle import Oracle, dot, relu, sigmoid


class TrainingResult(NamedTuple):
    """What `rnnjax.unroll_batch_norm` returns, as one tuple."""

    carry: PyTree
    ys: np.ndarray
    statistics: PyTree


def batch_norm_lstm(*, epsilon: float = 1e-5) -> Oracle:
    """The oracle of `rnnjax.batch_norm_lstm`, which infers."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        slots = p.statistics.x.mean.shape[1]
        slot = min(max(int(carry.count.real[0, 0]), 0), slots - 1)

        def normal(v: Any, moments: Any) -> Any:
            return (v - moments.mean[:, slot]) / np.sqrt(relu(moments.variance[:, slot]) + epsilon)

        from_x = p.scale_x * normal(dot(x, p.w_ih), p.statistics.x)
        from_h = p.scale_h * normal(dot(carry.h, p.w_hh), p.statistics.h)
        i, f, g, o = np.split(from_x + from_h + p.b, 4, axis=-1)
        c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(p.scale_c * normal(c, p.statistics.c) + p.shift_c)
        return BatchNormLSTMCarry(h, c, carry.count + 1), h

    def fresh(p: Any, x: Any) -> Any:
        zeros = np.zeros_like(p.shift_c)
        h, c = (zeros, zeros) if p.initial is None else p.initial
        return BatchNormLSTMCarry(h, c, zeros[:, :1])

    return Oracle(step, fresh)


def batch_norm_training(
    params: PyTree,
    xs: Any,
    *,
    lengths: Any,
    carry: PyTree = None,
    reverse: bool = False,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> TrainingResult:
    """Run what `rnnjax.unroll_batch_norm` runs, of the valid rows alone, for one batch axis.

    Real numbers, or complex ones for derivatives by the complex step.

    Args:
        params: of the cell.
        xs: inputs, `(T, B, D)`.
        lengths: valid steps of each row, `(B,)`.
        carry: where to begin; None means zeros, or the learned start.
        reverse: as for `rnnjax.unroll_batch_norm`.
        momentum: as for `rnnjax.unroll_batch_norm`.
        epsilon: of the cell.

    Returns:
        The final carry, the outputs and the new statistics.

    Example:
        >>> import jax, numpy as np, rnnjax
        >>> cell, lengths = rnnjax.batch_norm_lstm(5, max_steps=7), np.array([7, 4])
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> xs = jax.random.normal(jax.random.key(1), (7, 2, 3))
        >>> _, (ys, _) = rnnjax.unroll_batch_norm(cell, params, xs, lengths=lengths)
        >>> wanted = rnnjax.testing.batch_norm_training(params, xs, lengths=lengths)
        >>> np.testing.assert_allclose(ys, wanted.ys, atol=1e-4)
    """
    p = jax.tree.map(np.asarray, params)
    xs, lengths = np.asarray(xs), np.asarray(lengths)
    kind = np.result_type(*jax.tree.leaves((p, xs, carry)), float)
    h, c, count = _begin(p, xs.shape[1], carry, kind)
    ys = np.zeros((*xs.shape[:2], h.shape[1]), kind)
    seen: dict[int, list] = {}
    for k in range(max(lengths, default=0)):
        rows = np.flatnonzero(lengths > k)
        at = lengths[rows] - 1 - k if reverse else np.full(len(rows), k)
        from_x, of_x = _normal(xs[at, rows] @ p.w_ih, epsilon)
        from_h, of_h = _normal(h[rows] @ p.w_hh, epsilon)
        i, f, g, o = np.split(p.scale_x * from_x + p.scale_h * from_h + p.b, 4, axis=-1)
        c[rows] = sigmoid(f) * c[rows] + sigmoid(i) * np.tanh(g)
        from_c, of_c = _normal(c[rows], epsilon)
        h[rows] = sigmoid(o) * np.tanh(p.scale_c * from_c + p.shift_c)
        ys[at, rows] = h[rows]
        slot = min(int(count[rows[0], 0].real), len(p.statistics.x.mean) - 1)
        moments = BatchNormStatistics(of_x, of_h, of_c)
        if len(rows) > 1:  # one row has no variance
            seen.setdefault(slot, []).append((len(rows), moments))
        count[rows] += 1
    statistics = _running(p.statistics, seen, momentum)
    return TrainingResult(BatchNormLSTMCarry(h, c, count), ys, statistics)


def _begin(p: Any, rows: int, carry: Any, kind: Any) -> Any:
    """Arrays that can be written to."""
    if carry is not None:
        return [np.array(leaf, kind) for leaf in carry]
    h, c = (np.zeros_like(p.shift_c),) * 2 if p.initial is None else p.initial
    return [np.array([leaf] * rows, kind).reshape(rows, -1) for leaf in (h, c, np.zeros(1))]


def _normal(v: Any, epsilon: float) -> tuple[Any, Any]:
    """Mean 0 and variance 1 over the rows."""
    mean, variance = v.mean(0), ((v - v.mean(0)) ** 2).mean(0)
    return (v - mean) / np.sqrt(variance + epsilon), Moments(mean, variance)


def _running(old: Any, seen: dict[int, list], momentum: float) -> Any:
    """Running averages; several steps of one slot are averaged by their rows."""
    new = jax.tree.map(np.array, old)
    for slot, entries in seen.items():
        rows = [count for count, _ in entries]

        def update(table: Any, *steps: Any, slot: int = slot, rows: list = rows) -> None:
            of_batch = np.average([step.real for step in steps], axis=0, weights=rows)
            table[slot] = momentum * table[slot] + (1 - momentum) * of_batch

        jax.tree.map(update, new, *(entry for _, entry in entries))
    return new

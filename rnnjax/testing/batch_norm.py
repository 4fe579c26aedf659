"""Oracles of the LSTM that normalises over the batch, for inference and for training."""

from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._typing import PyTree
from rnnjax.cells import BatchNormLSTMCarry, BatchNormStatistics, Moments
from rnnjax.testing.oracle import Oracle, dot, relu, sigmoid


class TrainingResult(NamedTuple):
    """What `rnnjax.unroll_batch_norm` returns, as one tuple."""

    carry: BatchNormLSTMCarry
    ys: np.ndarray
    statistics: BatchNormStatistics


def batch_norm_lstm(*, epsilon: float = 1e-5) -> Oracle:
    """The oracle of `rnnjax.batch_norm_lstm`, which infers."""

    def step(p: Any, carry: Any, x: Any) -> Any:
        slots = p.statistics.x.mean.shape[1]
        slot = min(max(int(carry.count.real[0, 0]), 0), slots - 1)

        def normal(v: Any, moments: Any) -> Any:
            return (v - moments.mean[:, slot]) / np.sqrt(
                relu(moments.variance[:, slot]) + epsilon
            )

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
    """
    p = jax.tree.map(np.asarray, params)
    xs, lengths = np.asarray(xs), np.asarray(lengths)
    kind = np.result_type(*jax.tree.leaves(p), xs, float)
    if carry is None:
        zeros = np.zeros((xs.shape[1], len(p.shift_c)), kind)
        initial = (0, 0) if p.initial is None else p.initial
        carry = BatchNormLSTMCarry(zeros + initial[0], zeros + initial[1], zeros[:, :1].real)
    h, c, count = (np.array(leaf) for leaf in carry)
    ys = np.zeros((*xs.shape[:2], h.shape[1]), kind)
    seen: dict[int, list] = {}
    for k in range(max(lengths, default=0)):
        rows = np.flatnonzero(lengths > k)
        at = lengths[rows] - 1 - k if reverse else np.full(len(rows), k)
        slot = min(int(count[rows[0], 0].real), len(p.statistics.x.mean) - 1)
        from_x, x_moments = _normal(xs[at, rows] @ p.w_ih, epsilon)
        from_h, h_moments = _normal(h[rows] @ p.w_hh, epsilon)
        i, f, g, o = np.split(p.scale_x * from_x + p.scale_h * from_h + p.b, 4, axis=-1)
        new_c = sigmoid(f) * c[rows] + sigmoid(i) * np.tanh(g)
        seen_c, c_moments = _normal(new_c, epsilon)
        new_h = sigmoid(o) * np.tanh(p.scale_c * seen_c + p.shift_c)
        h, c = h.astype(kind), c.astype(kind)
        h[rows], c[rows], ys[at, rows] = new_h, new_c, new_h
        count[rows] += 1
        entry = BatchNormStatistics(x_moments, h_moments, c_moments)
        seen.setdefault(slot, []).append((len(rows), entry))
    return TrainingResult(
        BatchNormLSTMCarry(h, c, count), ys, _running(p.statistics, seen, momentum)
    )


def _normal(v: Any, epsilon: float) -> tuple[Any, Moments]:
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

"""Batches of rows that are all in memory; needs NumPy alone."""

import jax
import numpy as np

from rnnjax import _checks
from rnnjax.data.batch import Batch
from rnnjax.data.batches import Batches, Order, check_index, check_order, fill, without
from rnnjax.data.checks import as_batch, check_batch


def rows(batch: Batch | tuple, *, batch_size: int, shuffle: bool = True, seed: int = 0) -> "Rows":
    """Cut rows in memory into batches of one shape.

    Every batch has `batch_size` rows. Where they do not come out even, other rows with length 0
    and weight 0 fill the last batch of an epoch, and every batch has weights, so that all batches
    have the same arrays.

    Args:
        batch: all rows as one big batch, or a tuple of its arrays, `(xs, targets)` or
            `(xs, targets, lengths, weights, resets)`; those of JAX are copied to the host.
        batch_size: rows of a batch.
        shuffle: whether every epoch comes in an order of its own; False keeps that of the rows.
        seed: of the order.

    Returns:
        `Rows`: `data[i]` is a `Batch` of NumPy arrays. Lengths come as int32, weights as float32;
        what was None stays None, weights for filling aside.

    Raises:
        TypeError: for an argument of the wrong kind or dtype.
        ValueError: for no rows, unequal numbers of rows, lengths outside 0..T, weights or resets
            that do not fit, a `batch_size` below 1 or a negative `seed`.

    Example:
        >>> import numpy as np
        >>> data = rows((np.arange(10).reshape(5, 2), np.arange(5)), batch_size=2, shuffle=False)
        >>> len(data), data[2].targets, data[2].weights
        (3, array([4, 0]), array([1., 0.], dtype=float32))
        >>> data.rows_of(2)
        array([ 4, -1])
    """
    function = "rows"
    whole = as_batch(function, batch)
    check_batch(function, whole)
    batch_size = _checks.size(function, "batch_size", batch_size)
    check_order(function, shuffle, seed)
    whole = Batch(*(jax.tree.map(np.asarray, part) for part in whole))
    num_rows = len(jax.tree.leaves(whole.xs)[0])
    if whole.lengths is not None:
        whole = whole._replace(lengths=whole.lengths.astype(np.int32))
    if whole.weights is not None:
        whole = whole._replace(weights=whole.weights.astype(np.float32))
    elif num_rows % batch_size:
        whole = whole._replace(weights=np.ones(num_rows, np.float32))
    return Rows(whole, batch_size, seed=seed if shuffle else None)


class Rows(Batches):
    """Batches of rows in memory, made by `rows`."""

    def __init__(self, batch: Batch, batch_size: int, *, seed: int | None):
        self._batch, self._batch_size = batch, batch_size
        self._num_rows = len(jax.tree.leaves(batch.xs)[0])
        self._order = Order(self._num_rows, None if seed is None else (seed,))

    def __repr__(self) -> str:
        return f"Rows({self._num_rows} rows, {len(self)} batches of {self._batch_size})"

    def __len__(self) -> int:
        return -(-self._num_rows // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        chosen, real = self._filled(index)
        batch = jax.tree.map(lambda a: a.take(chosen, axis=0), self._batch)
        if real.all():
            return batch
        batch = batch._replace(weights=without(batch.weights, real))
        if batch.lengths is not None:
            batch = batch._replace(lengths=without(batch.lengths, real))
        return batch

    def rows_of(self, index: int) -> np.ndarray:
        """Which rows of the data batch `index` holds, `(B,)`; -1 for one that only fills it."""
        chosen, real = self._filled(index)
        return np.where(real, chosen, -1)

    def _filled(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a batch, and which of them do not only fill it."""
        epoch, place = divmod(check_index(self, index), len(self))
        order = self._order(epoch)
        rows = order[place * self._batch_size : (place + 1) * self._batch_size]
        return fill(rows, self._batch_size, order)

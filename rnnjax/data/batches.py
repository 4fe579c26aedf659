"""Batches by number: what training reads, and where it goes on after a break."""

import abc
import numbers
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax import _checks
from rnnjax.data.batch import Batch


class Batches(abc.ABC):
    """Batches by number: `data[i]`, where `i` counts on through epochs.

    An epoch has `len(data)` batches; `data[i]` is batch `i % len(data)` of epoch
    `i // len(data)`, and each epoch comes in an order of its own. A batch depends on `i` and on
    what the data were made with, and on nothing that was read before: the position of a training
    run is one number, and a run that was stopped goes on exactly where it was. Grain's
    `MapDataset` has the same manners.

    Iteration goes through epoch 0, in this thread.

    Attributes:
        continues: whether row b of a batch goes on where row b of the batch before it ended,
            except at `resets`, so that the carry is to be handed on.
    """

    continues: bool = False

    @abc.abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch."""

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Batch:
        """Batch number `index`, of NumPy arrays."""

    @abc.abstractmethod
    def rows_of(self, index: int) -> np.ndarray:
        """Which rows of the data batch `index` holds, `(B,)`; -1 for one that only fills it."""

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))


def check_index(data: Batches, index: Any) -> int:
    """A number of a batch: whole, and not counted from an end that is not there."""
    function = type(data).__name__
    try:
        index = operator.index(index)
    except TypeError:
        got, way_out = _checks.kind(index), "data[0] is the first batch"
        _checks.refuse(function, "index", "be a whole number", got, way_out, error=TypeError)
    if index < 0:
        way_out = f"the last batch of the first epoch is {len(data) - 1}"
        _checks.refuse(function, "index", "be at least 0", index, way_out, error=IndexError)
    return index


def check_order(function: str, shuffle: Any, seed: Any) -> None:
    """What decides on the order of epochs."""
    _checks.flag(function, "shuffle", shuffle)
    if isinstance(seed, numbers.Integral) and seed < 0:
        way_out = "any from 0 on will do"
        _checks.refuse(function, "seed", "not be negative", seed, way_out)
    _checks.size(function, "seed", seed, least=0)


def generator(*numbers: int) -> np.random.Generator:
    """The random numbers that belong to a seed and an epoch."""
    return np.random.Generator(np.random.PCG64(numbers))


class Order:
    """The order of so many things in each epoch: a permutation, or as they are without a seed."""

    def __init__(self, count: int, seed: tuple[int, ...] | None):
        self._count, self._seed = count, seed
        # Epoch and order are replaced as one, for readers in several threads.
        self._last: tuple[int | None, np.ndarray] = None, np.arange(count)

    def __call__(self, epoch: int) -> np.ndarray:
        """The order of one epoch; that which was asked for last is kept."""
        known, order = self._last
        if self._seed is not None and known != epoch:
            order = generator(*self._seed, epoch).permutation(self._count)
            self._last = epoch, order
        return order


def fill(rows: np.ndarray, batch_size: int, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`batch_size` rows, the last ones taken from `others`, and which of them are not.

    Fillers are other rows, not zeros or copies of one, since a model may divide by what is never
    zero in its data, such as the deviation over a batch.
    """
    missing = batch_size - len(rows)
    filled = np.concatenate([rows, np.resize(others, missing)]) if missing else rows
    return filled, np.arange(batch_size) < len(rows)


def without(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Lengths or weights that are 0 in rows that only fill the batch."""
    return values * np.expand_dims(real, tuple(range(1, values.ndim)))

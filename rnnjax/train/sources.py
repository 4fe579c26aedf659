"""Where batches come from: one way to ask for them, and a position that can be saved."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from rnnjax import _checks
from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch

MOST_STEPS = 2**31
"""More batches than this in an epoch are those of a data set that repeats for ever."""


class Source(Protocol):
    """Batches, epoch by epoch.

    Attributes:
        steps: batches in an epoch; None where only the end shows.
    """

    steps: int | None

    def example(self) -> Batch:
        """A batch that lends its shapes; it is not used up."""
        ...

    def batches(self, epoch: int, begin: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), those before `begin` left out."""
        ...

    def position(self) -> Any:
        """What `seek` needs beside epoch and batch, as JSON can hold it."""
        ...

    def seek(self, position: Any) -> None:
        """Go on from a saved position at the next call of `batches`."""
        ...

    def origin(self, epoch: int, index: int) -> str:
        """Where a batch came from, in words."""
        ...


class Indexed(Source):
    """Batches by number, counting on through epochs: rows, buckets, windows, Grain's MapDataset."""

    def __init__(self, function: str, data: Any, steps: int | None):
        self.function, self.data = function, data
        self.steps: int = len(data) if steps is None else steps
        if self.steps == 0:
            _checks.refuse(function, "data", "hold a batch", "none", "give some rows")
        if self.steps >= MOST_STEPS:
            way_out = "say how many batches make an epoch"
            _checks.refuse(function, "steps_per_epoch", "be given for endless data", None, way_out)

    def example(self) -> Batch:
        """The first batch."""
        return as_batch(self.function, self.data[0])

    def batches(self, epoch: int, begin: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        first = epoch * self.steps
        for number in range(first + begin, first + self.steps):
            yield as_batch(self.function, self.data[number])

    def position(self) -> None:
        """Epoch and batch say it all."""

    def seek(self, position: Any) -> None:
        """Nothing to do."""

    def origin(self, epoch: int, index: int) -> str:
        """The rows, where the data knows them."""
        rows_of = getattr(self.data, "rows_of", None)
        if rows_of is None:
            return ""
        rows = [str(row) for row in rows_of(epoch * self.steps + index)]
        return f"rows {', '.join(rows[:8])}{' and more' if len(rows) > 8 else ''}"


class Iterated(Source):
    """Batches of an iterable, read again in each epoch, or of one iterator, read on.

    Where its iterator has `get_state` and `set_state`, as Grain's have, a run goes on exactly
    where it stopped; other iterables are read up to there.
    """

    def __init__(self, function: str, data: Iterable[Any], steps: int | None):
        self.function, self.data, self.steps = function, data, steps
        self.once = iter(data) is data
        if self.once and steps is None:
            way_out = "say how many batches make an epoch, or give a list or a data set"
            wanted = "be given with an iterator, which cannot be read again"
            _checks.refuse(function, "steps_per_epoch", wanted, None, way_out)
        self.iterator: Iterator[Any] = iter(())
        self.sought: Any = None
        self.fresh = True
        self.over = True  # no epoch is half read

    def example(self) -> Batch:
        """The next batch; an iterator gives it again, by its state or by what is put before it."""
        iterator: Any = iter(self.data)
        state = iterator.get_state() if self.once and hasattr(iterator, "get_state") else None
        item = next(iterator, None)
        if item is None:
            _checks.refuse(self.function, "data", "hold a batch", "none", "give some batches")
        if state is not None:
            iterator.set_state(state)
        elif self.once:
            self.data = itertools.chain([item], iterator)
        return as_batch(self.function, item)

    def batches(self, epoch: int, begin: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        if self.fresh or not self.once:
            self.iterator = iter(self.data)
            if self.sought is not None:
                set_state(self.iterator, self.sought)
            else:
                read = begin + (epoch * (self.steps or 0) if self.once else 0)
                next(itertools.islice(self.iterator, read, read), None)
        self.fresh, self.sought, self.over = False, None, False
        left = None if self.steps is None else self.steps - begin
        index = begin
        for item in itertools.islice(self.iterator, left):
            index += 1
            yield as_batch(self.function, item)
        self.over = True
        if index == 0 or (self.steps is not None and index < self.steps):
            wanted = "hold a batch" if self.steps is None else f"hold {self.steps} batches an epoch"
            way_out = "give data, or a smaller steps_per_epoch"
            _checks.refuse(self.function, "data", wanted, f"{index} in epoch {epoch + 1}", way_out)

    def position(self) -> Any:
        """The state of the iterator, where it has one."""
        get_state = getattr(self.iterator, "get_state", None)
        if get_state is None or (self.over and not self.once):
            return None
        state = get_state()
        return {"text": state.decode("latin-1")} if isinstance(state, bytes) else {"tree": state}

    def seek(self, position: Any) -> None:
        """Go on from there."""
        self.sought, self.fresh = position, True

    def origin(self, epoch: int, index: int) -> str:
        """Nothing is known of it."""
        return ""


def set_state(iterator: Any, position: dict[str, Any]) -> None:
    """Give an iterator the state that `position` saved."""
    text = position.get("text")
    iterator.set_state(position["tree"] if text is None else text.encode("latin-1"))


def as_source(function: str, data: Any, steps_per_epoch: int | None) -> Source:
    """What `fit` reads: batches by number where the data has them, else one after another."""
    if steps_per_epoch is not None:
        _checks.size(function, "steps_per_epoch", steps_per_epoch)
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if indexed and not isinstance(data, (list, tuple, dict, str)):
        return Indexed(function, data, steps_per_epoch)
    if isinstance(data, Iterable) and not isinstance(data, (dict, str)):
        return Iterated(function, data, steps_per_epoch)
    wanted = "be a Batch, a tuple of arrays, or batches"
    way_out = "such as (xs, targets, lengths)"
    _checks.refuse(function, "data", wanted, _checks.kind(data), way_out, error=TypeError)

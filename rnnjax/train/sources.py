"""Where batches come from: one way to ask for them, and a position that can be saved."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from rnnjax import _checks
from rnnjax.data.batch import Batch
from rnnjax.data.batches import Batches
from rnnjax.data.checks import as_batch

MOST_STEPS = 2**31
"""More batches than this in an epoch are those of a data set that repeats for ever."""


class Names(NamedTuple):
    """What the user calls things, for messages.

    Attributes:
        function: that was called.
        data: the argument that holds batches.
        steps: the argument that counts them; None where there is none.
    """

    function: str
    data: str = "data"
    steps: str | None = "steps_per_epoch"


class Source(Protocol):
    """Batches, epoch by epoch.

    Attributes:
        steps: batches in an epoch; None where only the end shows.
        period: batches after which the same rows come again; None where that is not known.
    """

    steps: int | None
    period: int | None = None

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

    def __init__(self, names: Names, data: Any, steps: int | None):
        self.names, self.data = names, data
        self.steps: int = len(data) if steps is None else steps
        self.period = len(data) if isinstance(data, Batches) else None
        if len(data) == 0:
            _checks.refuse(names.function, names.data, "hold a batch", "none", "give some rows")

    def example(self) -> Batch:
        """The first batch."""
        return as_item(self.names, 0, self.data[0])

    def batches(self, epoch: int, begin: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        first = epoch * self.steps
        for number in range(first + begin, first + self.steps):
            yield as_item(self.names, number, self.data[number])

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

    def __init__(self, names: Names, data: Iterable[Any], steps: int | None):
        self.names, self.data, self.steps = names, data, steps
        self.once = iter(data) is data
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
            function, argument, *_ = self.names
            _checks.refuse(function, argument, "hold a batch", "none", "give some batches")
        if state is not None:
            iterator.set_state(state)
        elif self.once:
            self.data = itertools.chain([item], iterator)
            self.iterator = self.data  # where it is read already
        return as_item(self.names, 0, item)

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
            yield as_item(self.names, index - 1, item)
        self.over = True
        if index == 0 or (self.steps is not None and index < self.steps):
            wanted = "hold a batch" if self.steps is None else f"hold {self.steps} batches an epoch"
            function, argument, steps = self.names
            way_out = f"give data, or a smaller {steps}" if steps else "give some batches"
            _checks.refuse(function, argument, wanted, f"{index} in epoch {epoch + 1}", way_out)

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


def as_item(names: Names, number: int, item: Any) -> Batch:
    """A batch of the data; messages tell which of an epoch it is."""
    return as_batch(names.function, item, argument=f"{names.data}[{number}]")


def check_once(names: Names, source: Source, steps: int | None) -> None:
    """Refuse more steps than batches where data are measured: some would count twice."""
    if steps is not None and isinstance(source, Indexed) and steps > len(source.data):
        wanted = f"be at most {len(source.data)}, as many as there are batches"
        _checks.refuse(names.function, str(names.steps), wanted, steps, "leave it out to read all")


def set_state(iterator: Any, position: dict[str, Any]) -> None:
    """Give an iterator the state that `position` saved."""
    text = position.get("text")
    iterator.set_state(position["tree"] if text is None else text.encode("latin-1"))


def check_data(names: Names, data: Any) -> None:
    """Refuse what holds no batches."""
    held = isinstance(data, Iterable) or is_indexed(data)
    if not held or isinstance(data, (dict, str)) or hasattr(data, "shape"):
        wanted = "be a Batch, a tuple of arrays, or batches"
        way_out = "such as (xs, targets, lengths)"
        got = _checks.kind(data)
        _checks.refuse(names.function, names.data, wanted, got, way_out, error=TypeError)


def is_indexed(data: Any) -> bool:
    """Whether batches have numbers that count on through epochs."""
    there = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return there and not isinstance(data, (list, tuple, dict, str))


def why_steps(data: Any) -> str | None:
    """Why the user must say how many batches make an epoch; None where the data do."""
    if is_indexed(data):
        return "for endless data" if len(data) >= MOST_STEPS else None
    return "with an iterator, which cannot be read again" if iter(data) is data else None


def has_epochs(names: Names, data: Any) -> bool:
    """Whether data can be read again, and have an end."""
    check_data(names, data)
    return why_steps(data) is None


def as_source(names: Names, data: Any, steps: int | None, *, again: bool = True) -> Source:
    """What `fit` reads: batches by number where the data has them, else one after another.

    An iterator may say by its end how many batches there are, if they are not read `again`.
    """
    check_data(names, data)
    if steps is not None:
        _checks.size(names.function, str(names.steps), steps)
    why = why_steps(data)
    if steps is None and why is not None and (again or is_indexed(data)):
        function, argument = names.function, names.steps or names.data
        way_out = "say how many batches make an epoch, or give a list or a data set"
        if names.steps is None:
            _checks.refuse(function, argument, "have an end", "endless data", "give a list")
        _checks.refuse(function, argument, f"be given {why}", None, way_out)
    return (Indexed if is_indexed(data) else Iterated)(names, data, steps)

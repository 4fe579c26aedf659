"""Where batches come from: nothing is lost, read twice or read ahead, and a position is enough."""

import itertools
import json

import numpy as np
import pytest
from fits import LINEAR, XS, fit

from rnnjax import data
from rnnjax.data import Batch
from rnnjax.train.sources import Names, as_source, has_epochs

NAMES = Names("fit")


def numbered(*numbers):
    """Batches that can be told apart."""
    return [Batch(np.full((2, 1, 1), number), np.zeros(2)) for number in numbers]


def number(batch):
    return int(batch.xs[0, 0, 0])


def read(source, epoch=0, begin=0, most=None):
    return [number(batch) for batch in itertools.islice(source.batches(epoch, begin), most)]


class Grainlike:
    """An iterator with a state, as Grain's have; of bytes, as Grain's once were, or a dict."""

    def __init__(self, batches, *, of_bytes=False):
        self.all, self.place, self.of_bytes = batches, 0, of_bytes

    def __iter__(self):
        return self

    def __next__(self):
        if self.place == len(self.all):
            raise StopIteration
        self.place += 1
        return self.all[self.place - 1]

    def get_state(self):
        return bytes([200 + self.place]) if self.of_bytes else {"place": self.place}

    def set_state(self, state):
        self.place = state[0] - 200 if self.of_bytes else state["place"]


class Restarted:
    """An iterable whose iterators have a state, as Grain's `IterDataset` is."""

    def __init__(self, batches):
        self.all = batches

    def __iter__(self):
        return Grainlike(self.all)


class Numbered:
    """Batches by number, through all epochs."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return numbered(index)[0]


def test_batches_by_number_count_on_through_epochs():
    source = as_source(NAMES, Numbered(3), None)
    assert number(source.example()) == 0
    assert [read(source, epoch) for epoch in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert read(source, 2, begin=2) == [8]
    assert as_source(NAMES, Numbered(3), 2).steps == 2
    assert read(as_source(NAMES, Numbered(3), 2), 1) == [2, 3]
    assert source.position() is None
    assert source.origin(0, 0) == ""


def test_rows_say_where_they_come_from():
    rows = data.rows(Batch(XS, np.zeros(6)), batch_size=4, shuffle=False)
    source = as_source(NAMES, rows, None)
    assert source.origin(1, 0) == "rows 0, 1, 2, 3"
    assert source.origin(0, 1) == "rows 4, 5, -1, -1"
    many = data.rows(Batch(np.zeros((9, 1, 1)), np.zeros(9)), batch_size=9, shuffle=False)
    assert as_source(NAMES, many, None).origin(0, 0) == "rows 0, 1, 2, 3, 4, 5, 6, 7 and more"


def test_what_can_be_read_again_is():
    for held in (numbered(5, 6, 7), Restarted(numbered(5, 6, 7))):
        source = as_source(NAMES, held, None)
        assert source.steps is None
        assert number(source.example()) == number(source.example()) == 5
        assert [read(source, epoch) for epoch in range(2)] == [[5, 6, 7]] * 2
        assert read(source, 4, begin=2) == [7]
        assert read(as_source(NAMES, held, 2), 3) == [5, 6]


@pytest.mark.parametrize("make", [iter, Grainlike, lambda b: (batch for batch in b)])
def test_an_iterator_is_read_on_and_never_ahead(make):
    held = make(numbered(*range(9)))
    source = as_source(NAMES, held, 2)
    assert number(source.example()) == 0
    assert read(source, 0) == [0, 1]
    assert number(source.example()) == 2  # between epochs, too
    assert [read(source, 1), read(source, 2)] == [[2, 3], [4, 5]]
    assert number(next(iter(held))) == 6


def test_validation_by_an_iterator_sees_each_batch_once(any_promotion):
    batches = (Batch(XS, np.full(6, index, np.float32)) for index in range(6))
    history = fit(
        LINEAR,
        (XS, np.zeros(6, np.float32)),
        loss=lambda outputs, targets: 0 * outputs.sum(-1) + targets,
        validation=batches,
        validation_steps=2,
        epochs=3,
    ).history
    assert history["val_loss"] == [0.5, 2.5, 4.5]


@pytest.mark.parametrize("of_bytes", [False, True])
def test_an_iterator_with_a_state_goes_on_where_it_stopped(of_bytes):
    make = lambda: Grainlike(numbered(*range(9)), of_bytes=of_bytes)
    first = as_source(NAMES, make(), 3)
    assert read(first, 0) + read(first, 1, most=2) == [0, 1, 2, 3, 4]
    place = json.loads(json.dumps(first.position()))
    second = as_source(NAMES, make(), 3)
    second.example()
    second.seek(place)
    assert read(second, 1, begin=2) == [5]
    assert read(second, 2) == [6, 7, 8]


def test_a_restarted_iterator_goes_on_in_its_epoch():
    first = as_source(NAMES, Restarted(numbered(0, 1, 2)), None)
    assert read(first, 3, most=2) == [0, 1]
    second = as_source(NAMES, Restarted(numbered(0, 1, 2)), None)
    second.seek(first.position())
    assert [read(second, 3, begin=2), read(second, 4)] == [[2], [0, 1, 2]]
    assert second.position() is None  # between epochs it begins anew


def test_an_iterator_without_a_state_is_read_up_to_there():
    source = as_source(NAMES, iter(numbered(*range(9))), 3)
    source.example()
    assert [read(source, 1, begin=2), read(source, 2)] == [[5], [6, 7, 8]]


def test_what_can_say_how_long_it_is():
    assert has_epochs(NAMES, numbered(1)) and has_epochs(NAMES, Numbered(4))
    assert not has_epochs(NAMES, iter(numbered(1))) and not has_epochs(NAMES, Numbered(2**40))
    assert as_source(NAMES, Numbered(2**40), 5).steps == 5
    assert read(as_source(NAMES, iter(numbered(1, 2)), None, again=False)) == [1, 2]


def test_tuples_and_lists_of_arrays_are_batches():
    [batch] = as_source(NAMES, [[XS, np.zeros(6), [5] * 6]], None).batches(0, 0)
    assert isinstance(batch, Batch) and batch.lengths.tolist() == [5] * 6
    assert batch.weights is None

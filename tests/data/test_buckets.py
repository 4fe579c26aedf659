"""Buckets: every sequence once an epoch, few shapes, the fewest steps, in Grain's manner."""

import itertools
import sys
import threading

import grain
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rnnjax.data import Buckets, buckets
from rnnjax.data.boundaries import MOST_CANDIDATES, batch_rows, choose, num_steps_of

few = settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
some_lengths = st.lists(st.integers(0, 12), min_size=1, max_size=25)
sizes = st.one_of(
    st.fixed_dictionaries({"batch_size": st.integers(1, 5)}),
    st.fixed_dictionaries({"tokens": st.integers(24, 60), "multiple_of": st.integers(1, 2)}),
)


def numbered(lengths, features=()):
    """Sequences in which every number tells its sequence and step; none is 0."""
    return [
        np.full((length, *features), 100 * row + 1, np.int32)
        + np.arange(length, dtype=np.int32).reshape(-1, *(1 for _ in features))
        for row, length in enumerate(lengths)
    ]


def check_epoch(data, epoch, sequences, *, filled):
    """Every sequence once, whole, padded, in a row that counts; returns rows and shapes."""
    seen, shapes, steps = [], set(), 0
    for index in range(epoch * len(data), (epoch + 1) * len(data)):
        batch, rows = data[index], data.rows_of(index)
        shapes.add(batch.xs.shape[:2])
        steps += batch.xs.shape[0] * batch.xs.shape[1]
        assert (batch.weights is None) == (not filled)
        assert batch.lengths.dtype == np.int32
        for place, row in enumerate(rows):
            real = row >= 0
            length = len(sequences[row]) if real else 0
            assert batch.lengths[place] == length
            assert batch.weights is None or batch.weights[place] == float(real)
            if real:
                assert np.array_equal(batch.xs[place, :length], sequences[row])
                assert not batch.xs[place, length:].any()
                assert np.array_equal(batch.targets[place, :length], -sequences[row])
                assert not batch.targets[place, length:].any()
        seen += [row for row in rows.tolist() if row >= 0]
    assert sorted(seen) == list(range(len(sequences)))
    valid = sum(map(len, sequences))
    assert data.padding == pytest.approx(1 - valid / steps)
    return seen, shapes


@few
@given(
    lengths=some_lengths,
    size=sizes,
    max_shapes=st.integers(1, 4),
    features=st.sampled_from([(), (2,), (2, 3)]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_every_sequence_once_an_epoch(lengths, size, max_shapes, features, shuffle, seed):
    sequences = numbered(lengths, features)
    targets = [-sequence for sequence in sequences]
    data = buckets(sequences, targets, **size, max_shapes=max_shapes, shuffle=shuffle, seed=seed)
    filled = data[0].weights is not None
    for epoch in range(2):
        seen, shapes = check_epoch(data, epoch, sequences, filled=filled)
        assert shapes == set(data.shapes) and len(data.shapes) <= max_shapes
    assert filled == any((data.rows_of(i) < 0).any() for i in range(len(data)))
    for rows, num_steps in data.shapes:
        assert num_steps in {max(1, length) for length in lengths}
        if "tokens" in size:
            assert rows * num_steps <= size["tokens"] and rows % size["multiple_of"] == 0
        else:
            assert rows == size["batch_size"]
    assert shuffle or [len(sequences[r]) for r in seen] == sorted(
        [len(sequences[r]) for r in seen],
        key=lambda length: next(t for _, t in data.shapes if t >= length),
    )


def fewest_steps(lengths, rows, max_shapes):
    """The definition: all choices of boundaries, one by one."""
    ends = sorted({max(1, length) for length in lengths})
    best = None
    for count in range(1, min(max_shapes, len(ends)) + 1):
        for inner in itertools.combinations(ends[:-1], count - 1):
            steps, start = 0, -1
            for end in (*inner, ends[-1]):
                members = sum(start < length <= end for length in lengths)
                steps += int(num_steps_of(np.array(members), end, rows))
                start = end
            best = steps if best is None else min(best, steps)
    return best


@few
@given(lengths=some_lengths, size=sizes, max_shapes=st.integers(1, 4))
def test_no_other_boundaries_cost_fewer_steps(lengths, size, max_shapes):
    rows = batch_rows(size.get("batch_size"), size.get("tokens"), size.get("multiple_of", 1))
    data = buckets(numbered(lengths), **size, max_shapes=max_shapes)
    steps = sum(data[i].xs.size for i in range(len(data)))
    assert steps == fewest_steps(lengths, rows, max_shapes)


def test_batches_share_a_bucket_of_tokens_evenly():
    eight, nine = (buckets(numbered([5] * count), tokens=20) for count in (8, 9))
    assert eight.shapes == ((4, 5),) and len(eight) == 2
    assert nine.shapes == ((3, 5),) and len(nine) == 3


def test_one_long_sequence_gets_no_batch_of_its_own_where_that_costs_more():
    sequences = numbered([10] * 8 + [12])
    assert buckets(sequences, batch_size=8).shapes == ((8, 10), (8, 12))
    assert buckets(sequences[1:], batch_size=8).shapes == ((8, 12),)


def test_more_lengths_than_are_tried_still_reach_the_longest():
    lengths = np.arange(1, MOST_CANDIDATES + 1000)
    bounds = choose(lengths, batch_rows(32, None, 1), 4)
    assert len(bounds) == 4 and bounds[-1] == lengths[-1]
    ideal = lengths[-1] * np.array([0.25, 0.5, 0.75, 1])
    assert np.abs(bounds - ideal).max() < 40


@few
@given(lengths=some_lengths, seed=st.integers(0, 99))
def test_boundaries_are_kept(lengths, seed):
    sequences = numbered(lengths)
    data = buckets(sequences, batch_size=3, boundaries=(2, 5, 9, 20), seed=seed)
    wanted = {next(b for b in (2, 5, 9, 20) if length <= b) for length in lengths}
    assert [num_steps for _, num_steps in data.shapes] == sorted(wanted)
    seen = [r for i in range(len(data)) for r in data.rows_of(i) if r >= 0]
    assert sorted(seen) == list(range(len(lengths)))


def test_a_batch_depends_on_its_number_and_the_seed_alone():
    sequences = numbered([row % 7 for row in range(40)])
    orders = {}
    for seed in (0, 1, 0):
        data = buckets(sequences, batch_size=4, seed=seed)
        there = [data.rows_of(i).tolist() for i in range(3 * len(data))]
        again = [data.rows_of(i).tolist() for i in reversed(range(3 * len(data)))][::-1]
        assert there == again == orders.setdefault(seed, there)
    per_epoch = len(buckets(sequences, batch_size=4))
    starts = range(0, 3 * per_epoch, per_epoch)
    epochs = [str(orders[seed][e : e + per_epoch]) for seed in (0, 1) for e in starts]
    assert len(set(epochs)) == 6
    # Neither the neighbours in a batch stay together, nor the order of shapes.
    sets = [{frozenset(b) for b in orders[0][e : e + per_epoch]} for e in starts]
    assert sets[0] != sets[1]
    shapes = [[data[e + i].xs.shape for i in range(per_epoch)] for e in starts]
    assert shapes[0] != shapes[1]


def test_targets_of_sequences_and_weights_of_both_kinds():
    sequences = numbered([2, 1, 3])
    options = {"batch_size": 2, "max_shapes": 1, "shuffle": False}
    data = buckets(sequences, [7, 8, 9], weights=[0.5, 2, 1], **options)
    assert data[0].targets.tolist() == [7, 8] and data[1].targets.tolist() == [9, 7]
    assert data[1].weights.tolist() == [1, 0] and data[1].weights.dtype == np.float32
    vectors = buckets(sequences, jnp.eye(3), **options)
    assert vectors[0].targets.tolist() == [[1, 0, 0], [0, 1, 0]]
    steps = buckets(sequences, weights=[[1, 2], [3], [4, 5, 6]], **options)
    assert steps[0].weights.tolist() == [[1, 2, 0], [3, 0, 0]]
    assert steps[1].weights.tolist() == [[4, 5, 6], [0, 0, 0]]


def test_pad_stands_beyond_the_ends_of_inputs():
    data = buckets([[5, 6], [7]], [[1, 2], [3]], batch_size=2, pad=-1, max_shapes=1, shuffle=False)
    assert data[0].xs.tolist() == [[5, 6], [7, -1]]
    assert data[0].targets.tolist() == [[1, 2], [3, 0]]


def test_buckets_of_one_size_have_orders_of_their_own():
    data = buckets(numbered([1] * 10 + [2] * 10), batch_size=10)
    orders = {data.rows_of(i)[0] // 10: (data.rows_of(i) % 10).tolist() for i in range(2)}
    assert orders[0] != orders[1]


def test_an_empty_list_has_the_dtype_and_the_features_of_the_others():
    assert buckets([[], [1, 2]], batch_size=2)[0].xs.dtype == int
    assert buckets([[], [[1.0, 2.0]]], batch_size=2)[0].xs.shape == (2, 1, 2)


def test_sequences_may_all_be_empty():
    data = buckets([[], []], batch_size=2)
    assert data.shapes == ((2, 1),) and data.padding == 1
    assert data[0].lengths.tolist() == [0, 0]


def test_padding_is_bounded_or_refused():
    sequences = numbered([1, 2, 3, 4] * 5)
    data = buckets(sequences, batch_size=5, max_shapes=2, max_padding=0.17)
    assert 0.16 < data.padding <= 0.17
    with pytest.raises(ValueError, match="`max_padding` must be at least 0.167, which 2 shapes"):
        buckets(sequences, batch_size=5, max_shapes=2, max_padding=0.16)
    assert buckets(sequences, batch_size=5, max_shapes=2, max_padding=0.167).padding <= 0.167


def test_grains_iterators_go_on_where_they_were():
    data = buckets(numbered(range(12)), batch_size=2, seed=3)
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    batches = iter(data.dataset.to_iter_dataset(options))
    next(batches), next(batches)
    state = batches.get_state()
    again = iter(data.dataset.to_iter_dataset(options))
    again.set_state(state)
    rest = list(again)
    assert len(rest) == len(data) - 2
    for number, (one, other) in enumerate(zip(batches, rest, strict=True), start=2):
        assert np.array_equal(one.xs, other.xs) and np.array_equal(one.xs, data[number].xs)


def test_grain_goes_on_with_map_and_repeat():
    data = buckets(numbered([3, 1, 2, 5, 4]), batch_size=2, seed=1)
    doubled = data.dataset.map(lambda batch: batch._replace(xs=batch.xs * 2))
    repeated = data.dataset.repeat(2)
    for index in range(2 * len(data)):
        assert np.array_equal(doubled[index].xs, data[index].xs * 2)
        assert np.array_equal(repeated[index].xs, data[index].xs)


def test_a_users_own_map_dataset_counts_on_through_epochs_in_the_same_manner():
    """What `fit` takes for granted of any `MapDataset`: Grain's own words, as a test."""
    part = lambda start, stop, seed: (
        grain.MapDataset.range(start, stop).shuffle(seed=seed).batch(2, batch_fn=tuple)
    )
    both = grain.MapDataset.concatenate([part(0, 5, 1), part(10, 17, 2)]).shuffle(seed=3)
    epochs = [[both[e * len(both) + i] for i in range(len(both))] for e in range(4)]
    assert len(both) == 7
    for epoch in epochs:
        assert sorted(sum(epoch, ())) == [*range(5), *range(10, 17)]
    assert len({tuple(map(tuple, epoch)) for epoch in epochs}) == 4


def test_nothing_is_started_and_nothing_is_said(capfd):
    threads = threading.active_count()
    data = buckets(numbered([1, 2, 3]), batch_size=2)
    assert len(list(data)) == len(data)
    assert threading.active_count() == threads
    assert capfd.readouterr() == ("", "")


def test_it_says_what_it_is():
    data = buckets(numbered([1, 2, 2]), batch_size=1)
    assert isinstance(data, Buckets) and not data.continues
    assert repr(data) == "Buckets(3 sequences, 3 batches, shapes ((1, 1), (1, 2)), padding 0.00)"


def test_without_grain_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError) as caught:
        buckets([[1]], batch_size=1)
    assert str(caught.value) == (
        "buckets: `grain` must be installed, got no package of that name; "
        "pip install rnnjax[train]."
    )

"""Rows in memory: each once an epoch, by number, in batches of one shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rnnjax.data import Batch, Rows, rows

few = settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
T = 3


def whole(num_rows, parts):
    """A batch in which every number of a row tells the row."""
    row = np.arange(num_rows, dtype=np.float32)
    step = row[:, None] + np.linspace(0, 0.5, T, dtype=np.float32)
    optional = {
        "lengths": np.arange(num_rows) % (T + 1),
        "weights": row + 1,
        "resets": (np.arange(num_rows)[:, None] + np.arange(T)) % 2 == 0,
    }
    chosen = {name: value for name, value in optional.items() if name in parts}
    return Batch({"a": step, "b": step[..., None] * 2}, (row.astype(int), step), **chosen)


def check_batch_of(data, index, batch_size, source):
    """A batch holds the rows that it names; the rows that fill it do not count."""
    batch, chosen = data[index], data.rows_of(index)
    real = chosen >= 0
    assert np.all(np.diff(real.astype(int)) <= 0)
    for got, given_ in zip(
        jax.tree.leaves((batch.xs, batch.targets)),
        jax.tree.leaves((source.xs, source.targets)),
        strict=True,
    ):
        assert got.shape == (batch_size, *given_.shape[1:]) and got.dtype == given_.dtype
        assert np.array_equal(got[real], given_[chosen[real]])
    filled = len(source.targets[0]) % batch_size != 0
    assert (batch.weights is None) == (source.weights is None and not filled)
    if batch.weights is not None:
        wanted = 1 if source.weights is None else source.weights[chosen]
        assert batch.weights.dtype == np.float32
        assert np.array_equal(batch.weights, np.where(real, wanted, 0))
    assert (batch.lengths is None) == (source.lengths is None)
    if batch.lengths is not None:
        assert batch.lengths.dtype == np.int32
        assert np.array_equal(batch.lengths, np.where(real, source.lengths[chosen], 0))
    assert (batch.resets is None) == (source.resets is None)
    if batch.resets is not None:
        assert np.array_equal(batch.resets[real], source.resets[chosen[real]])
    return chosen[real].tolist()


@few
@given(
    num_rows=st.integers(1, 13),
    batch_size=st.integers(1, 6),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
    parts=st.sets(st.sampled_from(["lengths", "weights", "resets"])),
)
def test_every_row_once_an_epoch(num_rows, batch_size, shuffle, seed, parts):
    source = whole(num_rows, parts)
    data = rows(source, batch_size=batch_size, shuffle=shuffle, seed=seed)
    assert len(data) == -(-num_rows // batch_size)
    for epoch in range(3):
        numbers = range(epoch * len(data), (epoch + 1) * len(data))
        seen = sum((check_batch_of(data, i, batch_size, source) for i in numbers), [])
        assert sorted(seen) == list(range(num_rows))
        assert shuffle or seen == sorted(seen)


def test_a_batch_depends_on_its_number_and_the_seed_alone():
    orders = {}
    for seed in (0, 1, 0):
        data = rows((np.zeros((50, 1)), np.arange(50)), batch_size=10, seed=seed)
        there = [data.rows_of(i).tolist() for i in range(15)]
        assert there == [data.rows_of(i).tolist() for i in reversed(range(15))][::-1]
        assert orders.setdefault(seed, there) == there
    epochs = [sum(orders[s][e : e + 5], []) for s in (0, 1) for e in (0, 5, 10)]
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_iteration_is_the_first_epoch():
    data = rows((np.arange(14).reshape(7, 2), np.arange(7)), batch_size=3)
    batches = list(data)
    assert len(batches) == 3
    for index, batch in enumerate(batches):
        assert all(map(np.array_equal, batch, data[index]))


def test_reading_two_epochs_in_turn_changes_neither():
    data = rows((np.zeros((9, 1)), np.arange(9)), batch_size=3, seed=4)
    ahead = [data.rows_of(i).tolist() for i in range(6)]
    mixed = [data.rows_of(i).tolist() for i in (0, 3, 1, 4, 2, 5)]
    assert mixed == [ahead[i] for i in (0, 3, 1, 4, 2, 5)]


def test_batches_are_copies():
    xs = np.zeros((4, 2))
    data = rows((xs, np.arange(4)), batch_size=4, shuffle=False)
    data[0].xs[:] = 1
    assert not xs.any()


@pytest.mark.parametrize("weights", [[True, False, True], [2, 0, 1], [0.5, 0.0, 1.0]])
def test_weights_become_float32(weights):
    weights = np.array(weights)
    data = rows((np.zeros((3, 2)), None, None, weights), batch_size=2, shuffle=False)
    assert data[0].weights.dtype == np.float32
    assert data[1].weights.tolist() == [float(weights[2]), 0.0]
    assert data[0].targets is None


def test_weights_of_steps_are_zero_in_rows_that_fill():
    data = rows((np.zeros((3, 2)), None, None, np.ones((3, 2))), batch_size=2, shuffle=False)
    assert data[1].weights.tolist() == [[1, 1], [0, 0]]


def test_arrays_of_jax_come_to_the_host():
    data = rows((jnp.ones((3, 2), jnp.bfloat16), jnp.arange(3)), batch_size=2)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(data[0]))
    assert data[0].xs.dtype == jnp.bfloat16


def test_it_says_what_it_is():
    data = rows((np.zeros((5, 2)), np.zeros(5)), batch_size=2)
    assert isinstance(data, Rows) and not data.continues
    assert repr(data) == "Rows(5 rows, 3 batches of 2)"

"""Windows over streams: every step once an epoch, and the carry that goes on is the right one."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.data import Windows, windows

few = settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])


def documents_of(lengths):
    """Documents whose elements count on, so that a number tells its place."""
    ends = np.cumsum([0, *lengths])
    return [np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def parts_of(data, epoch):
    """What each row reads in an epoch, its valid steps laid end to end: x, y, reset."""
    batches = [data[epoch * len(data) + i] for i in range(len(data))]
    num_rows, num_steps = batches[0].xs.shape
    parts = [[] for _ in range(num_rows)]
    for number, batch in enumerate(batches):
        assert batch.xs.shape == batch.targets.shape == batch.resets.shape == (num_rows, num_steps)
        assert (batch.lengths is None) == (batches[0].lengths is None)
        lengths = np.full(num_rows, num_steps) if batch.lengths is None else batch.lengths
        assert number == len(batches) - 1 or (lengths == num_steps).all()
        starts = data.rows_of(epoch * len(data) + number)
        for row, length in enumerate(lengths):
            assert not batch.resets[row, length:].any()
            assert starts[row] == (batch.xs[row, 0] if length else -1)
            steps = (a[row, :length].tolist() for a in (batch.xs, batch.targets, batch.resets))
            parts[row] += list(zip(*steps, strict=True))
    return parts


@few
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(
        lambda lengths: sum(max(0, n - 1) for n in lengths) >= 4
    ),
    batch_size=st.integers(1, 4),
    num_steps=st.integers(1, 7),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
    aligned=st.booleans(),
)
def test_every_target_once_an_epoch(lengths, batch_size, num_steps, shuffle, seed, aligned):
    documents = documents_of(lengths)
    targets = [1000 - document for document in documents] if aligned else None
    data = windows(
        documents,
        targets,
        batch_size=batch_size,
        num_steps=num_steps,
        shuffle=shuffle,
        seed=seed,
    )
    said = [d[:-1] for d in documents] if targets is None else documents
    wanted = np.concatenate(said).tolist()
    firsts = {int(s[0]) for s in said if len(s)}
    for epoch in range(2):
        parts = parts_of(data, epoch)
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1 and -(-max(sizes) // num_steps) == len(data)
        circle = sum(parts, [])
        assert sorted(x for x, _, _ in circle) == wanted
        assert shuffle or [x for x, _, _ in circle] == wanted
        assert all(y == (1000 - x if aligned else x + 1) for x, y, _ in circle)
        starts = set(np.cumsum([0, *sizes[:-1]]).tolist())
        for place, (x, _, reset) in enumerate(circle):
            assert reset == (x in firsts or place in starts)
            before = circle[place - 1][0]  # the last one comes before the first: a circle
            assert x in firsts or before == x - 1


def test_lengths_are_there_only_where_windows_do_not_come_out_even():
    options = {"batch_size": 2, "num_steps": 3}
    even = windows(np.arange(12), np.arange(12), **options)
    assert [batch.lengths for batch in even] == [None, None]
    uneven = windows(np.arange(12), **options, shuffle=False)
    assert [batch.lengths.tolist() for batch in uneven] == [[3, 3], [2, 3]]
    assert uneven[0].lengths.dtype == np.int32


def test_an_epoch_depends_on_its_number_and_the_seed_alone():
    documents = documents_of([5, 8, 3, 9])
    orders = {}
    for seed in (0, 1, 0):
        data = windows(documents, batch_size=2, num_steps=4, seed=seed)
        there = [data[i].xs.tolist() for i in range(3 * len(data))]
        again = [data[i].xs.tolist() for i in reversed(range(3 * len(data)))][::-1]
        assert there == again == orders.setdefault(seed, there)
    n = len(data)
    assert len({str(orders[s][e : e + n]) for s in (0, 1) for e in (0, n, 2 * n)}) == 6


def test_one_document_is_cut_elsewhere_in_each_epoch():
    data = windows(np.arange(41), batch_size=2, num_steps=5)
    starts = {int(data[epoch * len(data)].xs[0, 0]) for epoch in range(8)}
    assert len(starts) > 5


def test_the_order_of_documents_changes_with_the_epoch():
    """Not their places on the circle alone: who follows whom."""
    documents = documents_of([4] * 8)
    data = windows(documents, batch_size=1, num_steps=4)
    circles = []
    for epoch in range(2):
        firsts = [x // 4 for x, _, _ in parts_of(data, epoch)[0] if x % 4 == 0]
        at = firsts.index(0)
        circles.append(firsts[at:] + firsts[:at])
    assert circles[0] != circles[1]


def test_steps_have_any_features():
    stream = np.arange(24.0).reshape(8, 3)
    data = windows(stream, batch_size=1, num_steps=4, shuffle=False)
    assert np.array_equal(data[0].xs[0], stream[:4])
    assert np.array_equal(data[0].targets[0], stream[1:5])
    labels = windows(stream, np.arange(8), batch_size=2, num_steps=4, shuffle=False)
    assert labels[0].targets.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_carry_that_is_handed_on_is_that_of_the_whole_document(key):
    cell = rnnjax.elman(2)
    params = cell.init(key, in_features=1)
    lengths = (5, 1, 6)
    values = np.sin(np.arange(12, dtype=np.float32))[:, None]
    documents = [values[a:b] for a, b in ((0, 5), (5, 6), (6, 12))]
    data = windows(documents, documents, batch_size=1, num_steps=5, shuffle=False)
    run = jax.jit(
        lambda carry, batch: rnnjax.unroll(
            cell,
            params,
            jnp.swapaxes(batch.xs, 0, 1),
            carry=carry,
            lengths=batch.lengths,
            resets=jnp.swapaxes(batch.resets, 0, 1),
        )
    )
    carry, outputs = cell.init_carry(params, jnp.zeros((1, 1))), []
    for batch in data:
        carry, ys = run(carry, batch)
        outputs += list(np.asarray(ys[: batch.lengths[0], 0]))
    # Documents side by side, each from a fresh carry.
    padded = np.stack([np.pad(d, ((0, 6 - len(d)), (0, 0))) for d in documents], axis=1)
    last, ys = rnnjax.unroll(cell, params, jnp.asarray(padded), lengths=jnp.array(lengths))
    wanted = np.concatenate([np.asarray(ys[:n, row]) for row, n in enumerate(lengths)])
    np.testing.assert_allclose(np.stack(outputs), wanted, atol=1e-6)
    np.testing.assert_allclose(carry.h[0], last.h[2], atol=1e-6)


def test_it_says_what_it_is():
    data = windows(np.arange(10), batch_size=2, num_steps=3)
    assert isinstance(data, Windows) and data.continues
    assert repr(data) == "Windows(9 steps, 2 batches of (2, 3))"

"""Batches of sequences of unequal lengths, padded to a few lengths, in Grain's order."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.data.batch import Batch
from rnnjax.data.batches import Batches, Order, check_index, check_order, fill, without
from rnnjax.data.boundaries import check_boundaries, check_rows, check_tokens, choose
from rnnjax.data.ragged import (
    Aligned,
    check_aligned,
    check_pad,
    check_sequences,
    check_weights,
    take,
)

if TYPE_CHECKING:
    import grain


def buckets(
    sequences: list,
    targets: Array | np.ndarray | list | None = None,
    *,
    batch_size: int | None = None,
    tokens: int | None = None,
    multiple_of: int = 1,
    max_shapes: int = 4,
    max_padding: float | None = None,
    boundaries: tuple[int, ...] | None = None,
    weights: Array | np.ndarray | list | None = None,
    pad: float = 0,
    shuffle: bool = True,
    seed: int = 0,
) -> "Buckets":
    r"""Put sequences of similar lengths into batches of few shapes; needs Grain.

    A training step is compiled once per shape, `(B, T)`, so there are at most `max_shapes` of
    them. Their lengths T are those for which an epoch has the fewest steps,

    $$ \sum_k B_k T_k \lceil n_k / B_k \rceil $$

    for $n_k$ sequences in bucket k (the best of all choices, for up to 4,096 different lengths;
    beyond, among 4,096 of them). Every sequence comes once an epoch. All batches have the same
    arrays, and all those of a bucket one shape: where sequences do not come out even, copies of
    rows of length 0 and weight 0 fill a batch, and every batch has weights.

    Args:
        sequences: arrays `(T_i, ...)`, such as tokens `(T_i,)`; T_i may be 0.
        targets: one per sequence, an array `(N, ...)` or a list of numbers; or one per step, a
            list of arrays `(T_i, ...)`; None for none.
        batch_size: rows of a batch.
        tokens: in place of `batch_size`: steps of a batch, at most. Buckets of shorter sequences
            have more rows; the batches of a bucket share its sequences evenly.
        multiple_of: with `tokens`, what the rows of a batch are a multiple of, such as the number
            of devices.
        max_shapes: padded lengths, at most.
        max_padding: the greatest `padding` that is taken: the share of an epoch's steps,
            filled rows included, that are no step of a sequence. None takes any.
        boundaries: the padded lengths, growing, in place of a choice by `max_shapes`.
        weights: how much sequences count, `(N,)`, or steps, a list of `(T_i,)`; None means 1.
        pad: what stands beyond the end of a sequence; targets and weights have 0 there.
        shuffle: whether every epoch has new neighbours in its batches, and these in a new order;
            False goes from short to long, in the order of the sequences.
        seed: of the order.

    Returns:
        `Buckets`: `data[i]` is a `Batch` of NumPy arrays with lengths.

    Raises:
        ImportError: if Grain is not installed.
        TypeError: for an argument of the wrong kind or dtype.
        ValueError: for no sequences, unequal features, targets or weights of another length,
            both or none of `batch_size` and `tokens`, `boundaries` that are not growing or do not
            reach all lengths, or a `max_padding` that is not kept.

    Example:
        >>> data = buckets([[5, 6, 7], [8], [9, 9], []], batch_size=2, max_shapes=2, shuffle=False)
        >>> data
        Buckets(4 sequences, 2 batches, shapes ((2, 1), (2, 3)), padding 0.25)
        >>> data[1].xs.tolist(), data[1].lengths.tolist()
        ([[5, 6, 7], [9, 9, 0]], [3, 2])

    Grain's own iterators say where they are, and go on there:

        >>> batches = iter(data.dataset.to_iter_dataset())
        >>> _ = next(batches)
        >>> state = batches.get_state()
        >>> again = iter(data.dataset.to_iter_dataset())
        >>> again.set_state(state)
        >>> bool((next(again).xs == data[1].xs).all())
        True
    """
    function = "buckets"
    grain = import_grain(function)
    arrays = check_sequences(function, "sequences", sequences)
    check_pad(function, pad, arrays[0].dtype)
    check_order(function, shuffle, seed)
    max_shapes = _checks.size(function, "max_shapes", max_shapes)
    rows = check_rows(function, batch_size, tokens, multiple_of)
    lengths = np.array([len(array) for array in arrays], np.int32)
    given = None if boundaries is None else check_boundaries(function, boundaries, lengths)
    if tokens is not None:
        longest = max(1, int(lengths.max())) if given is None else given[-1]
        check_tokens(function, tokens, multiple_of, longest)
    bounds = choose(lengths, rows, max_shapes) if given is None else given
    groups = np.searchsorted(bounds, lengths)
    members = [np.flatnonzero(groups == k) for k in range(len(bounds))]
    shapes = [(int(rows(np.array(len(m)), T)), T) for m, T in zip(members, bounds, strict=True)]
    batches = [-(-len(m) // size) for m, (size, _) in zip(members, shapes, strict=True)]
    uneven = any(len(m) % size for m, (size, _) in zip(members, shapes, strict=True))
    steps = sum(n * math.prod(shape) for n, shape in zip(batches, shapes, strict=True))
    padding = 1 - int(lengths.sum(dtype=np.int64)) / steps
    content = Content(
        xs=arrays,
        targets=targets if targets is None else check_aligned(function, "targets", targets, arrays),
        weights=check_weights(function, weights, arrays, needed=uneven),
        lengths=lengths,
        pad=pad,
    )
    places = in_order(grain, members, shapes, seed if shuffle else None)
    data = Buckets(content, places, tuple(shapes), padding=padding)
    if max_padding is not None:
        check_padding(function, max_padding, data)
    return data


class Content(NamedTuple):
    """What rows of batches are made of."""

    xs: list[np.ndarray]
    targets: Aligned | None
    weights: Aligned | None
    lengths: np.ndarray
    pad: float


class Place(NamedTuple):
    """What one batch holds: the number of its bucket, and its sequences, without filled rows."""

    bucket: int
    rows: np.ndarray
    others: np.ndarray  # of the bucket, to fill the batch with


class Cut(NamedTuple):
    """Cuts one bucket into batches, in an order of each epoch.

    Grain's own `shuffle` and `batch` would do it too, at a cost for every row that comes to more
    than making the batch; here Grain sees one number per batch.
    """

    bucket: int
    rows: np.ndarray
    size: int
    order: Order

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.rows) // self.size)

    def __call__(self, index: int, _: int) -> Place:
        """The place of batch `index`, which counts on through epochs."""
        epoch, place = divmod(index, self.num_batches)
        chosen = self.order(epoch)[place * self.size : (place + 1) * self.size]
        return Place(self.bucket, self.rows[chosen], self.rows)


class Buckets(Batches):
    """Batches of sequences of similar lengths, made by `buckets`.

    Attributes:
        shapes: `(B, T)` of each bucket, from short to long.
        padding: the share of an epoch's steps, filled rows included, that are no step of a
            sequence.
        dataset: the same batches as a `grain.MapDataset`, to go on with `map` and the like.
    """

    def __init__(
        self,
        content: Content,
        places: "grain.MapDataset[Place]",
        shapes: tuple[tuple[int, int], ...],
        *,
        padding: float,
    ):
        self._content, self._places = content, places
        self.shapes, self.padding = shapes, padding
        self.dataset = places.map(self._batch)

    def __repr__(self) -> str:
        what = f"{len(self._content.lengths)} sequences, {len(self)} batches"
        return f"Buckets({what}, shapes {self.shapes}, padding {self.padding:.2f})"

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Batch:
        return self._batch(self._place(index))

    def rows_of(self, index: int) -> np.ndarray:
        """Which sequences batch `index` holds, `(B,)`; -1 for a row that only fills it."""
        bucket, rows, others = self._place(index)
        chosen, real = fill(rows, self.shapes[bucket][0], others)
        return np.where(real, chosen, -1)

    def _place(self, index: int) -> Place:
        place = self._places[check_index(self, index)]
        assert place is not None  # which Grain has for what a filter leaves out
        return place

    def _batch(self, place: Place) -> Batch:
        size, num_steps = self.shapes[place.bucket]
        rows, real = fill(place.rows, size, place.others)
        content = self._content
        some = lambda values: None if values is None else take(values, rows, num_steps)
        weights = some(content.weights)
        return Batch(
            xs=take(content.xs, rows, num_steps, content.pad),
            targets=some(content.targets),
            lengths=without(content.lengths[rows], real),
            weights=None if weights is None else without(weights, real),
        )


def in_order(
    grain: Any, members: list[np.ndarray], shapes: list[tuple[int, int]], seed: int | None
) -> "grain.MapDataset[Place]":
    """The batches of all buckets, by the numbers of their sequences, anew in every epoch."""
    parts = []
    for bucket, (rows, (size, _)) in enumerate(zip(members, shapes, strict=True)):
        cut = Cut(bucket, rows, size, Order(len(rows), None if seed is None else (seed, bucket)))
        parts.append(grain.MapDataset.range(cut.num_batches).map_with_index(cut))
    places = grain.MapDataset.concatenate(parts)
    if seed is None:
        return places
    # Grain adds the epoch to a seed, so that seeds in a row would share their orders.
    return places.shuffle(seed=int(np.random.SeedSequence(seed).generate_state(1)[0]))


def import_grain(function: str) -> Any:
    """Grain, which is imported where it is needed."""
    try:
        import grain
    except ImportError:
        way_out = "pip install rnnjax[train]"
        got = "no package of that name"
        _checks.refuse(function, "grain", "be installed", got, way_out, error=ImportError)
    return grain


def check_padding(function: str, max_padding: Any, data: Buckets) -> None:
    """Refuse batches that are emptier than was allowed."""
    if data.padding > _checks.real(function, "max_padding", max_padding):
        reached = math.ceil(data.padding * 1000) / 1000
        count = len(data.shapes)
        by = "one shape reaches" if count == 1 else f"{count} shapes reach"
        wanted = f"be at least {reached}, which {by}"
        way_out = "allow more with max_shapes, or take smaller batches"
        _checks.refuse(function, "max_padding", wanted, max_padding, way_out)

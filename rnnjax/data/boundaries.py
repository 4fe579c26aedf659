"""Which padded lengths a list of sequences is cut into: those that cost the fewest steps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnjax import _checks

MOST_CANDIDATES = 4096

BatchRows = Callable[[np.ndarray, int], np.ndarray]
"""`counts, T -> B`: rows of a batch in a bucket of so many sequences, padded to T steps."""


def batch_rows(batch_size: int | None, tokens: int | None, multiple_of: int) -> BatchRows:
    """Rows of a batch: always as many, or as many as hold so many tokens.

    With `tokens`, the batches of a bucket share its sequences evenly.
    """
    if tokens is None:
        return lambda counts, num_steps: np.full_like(counts, batch_size)

    def even(counts: np.ndarray, num_steps: int) -> np.ndarray:
        most = tokens // num_steps // multiple_of * multiple_of
        batches = -(-counts // most)
        return -(-counts // (batches * multiple_of)) * multiple_of

    return even


def num_steps_of(counts: np.ndarray, num_steps: int, rows: BatchRows) -> np.ndarray:
    """The steps that a bucket costs in an epoch, padding and filled rows included."""
    size = rows(counts, num_steps)
    return -(-counts // size) * size * num_steps


def choose(lengths: np.ndarray, rows: BatchRows, max_shapes: int) -> list[int]:
    r"""The padded lengths, at most `max_shapes`, for which an epoch has the fewest steps.

    $$ S_k(j) = \min_{i<j} \; S_{k-1}(i) + \text{steps}(i, j) $$

    over the different lengths in order, where `steps(i, j)` is the cost of one bucket for all
    sequences longer than length i and up to length j. Of equal choices, that with fewest shapes.
    """
    ends = np.unique(np.maximum(lengths, 1))
    if len(ends) > MOST_CANDIDATES:
        spread = np.linspace(0, len(ends) - 1, MOST_CANDIDATES)
        ends = ends[spread.round().astype(int)]
    below = np.concatenate([[0], np.searchsorted(np.sort(lengths), ends, side="right")])
    num_shapes, num_ends = min(max_shapes, len(ends)), len(ends)
    fewest = np.full((num_shapes + 1, num_ends + 1), 2**62, np.int64)
    fewest[0, 0] = 0
    start = np.zeros_like(fewest)
    for j in range(1, num_ends + 1):
        steps = num_steps_of(below[j] - below[:j], int(ends[j - 1]), rows)
        total = fewest[:-1, :j] + steps
        start[1:, j] = total.argmin(axis=1)
        fewest[1:, j] = total.min(axis=1)
    k, j, chosen = int(fewest[:, -1].argmin()), num_ends, []
    while k:
        chosen.append(int(ends[j - 1]))
        k, j = k - 1, int(start[k, j])
    return chosen[::-1]


def check_rows(function: str, batch_size: Any, tokens: Any, multiple_of: Any) -> BatchRows:
    """How many rows batches have, from `batch_size` or `tokens`."""
    if (batch_size is None) == (tokens is None):
        got = "neither" if tokens is None else "both"
        way_out = "tokens give buckets of shorter sequences more rows"
        _checks.refuse(function, "batch_size", "be given, or tokens", got, way_out)
    multiple_of = _checks.size(function, "multiple_of", multiple_of)
    if tokens is not None:
        return batch_rows(None, _checks.size(function, "tokens", tokens), multiple_of)
    if multiple_of != 1:
        way_out = "choose such a batch_size itself"
        _checks.refuse(function, "multiple_of", "be 1 without tokens", multiple_of, way_out)
    return batch_rows(_checks.size(function, "batch_size", batch_size), None, 1)


def check_tokens(function: str, tokens: int, multiple_of: int, longest: int) -> None:
    """Refuse batches that have no room for the longest sequences."""
    if tokens < longest * multiple_of:
        wanted = f"be at least {longest * multiple_of}, {multiple_of} of the longest sequences"
        _checks.refuse(function, "tokens", wanted, tokens, "give more, or cut the sequences")


def check_boundaries(function: str, boundaries: Any, lengths: np.ndarray) -> list[int]:
    """Padded lengths that the user gave; those that no sequence needs are left out."""
    bounds = np.asarray(boundaries)
    whole = bounds.ndim == 1 and bounds.size and np.issubdtype(bounds.dtype, np.integer)
    if not whole or bounds[0] < 1 or np.any(np.diff(bounds) <= 0):
        way_out = "give padded lengths such as (16, 32, 64)"
        got = _checks.kind(boundaries)
        _checks.refuse(function, "boundaries", "be growing whole numbers above 0", got, way_out)
    if lengths.max() > bounds[-1]:
        wanted = f"reach {lengths.max()}, the length of sequence {lengths.argmax()}"
        way_out = "end with a greater one, or cut the sequences"
        _checks.refuse(function, "boundaries", wanted, bounds[-1], way_out)
    used = np.unique(np.searchsorted(bounds, lengths))
    return bounds[used].tolist()

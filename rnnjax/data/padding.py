"""Sequences of unequal lengths as one batch; needs NumPy alone."""

import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.data.batch import Batch
from rnnjax.data.ragged import check_aligned, check_pad, check_sequences, check_weights, take


def pad_sequences(
    sequences: list,
    targets: Array | np.ndarray | list | None = None,
    *,
    num_steps: int | None = None,
    weights: Array | np.ndarray | list | None = None,
    pad: float = 0,
) -> Batch:
    """Pad sequences at their ends, into one big batch that is all in memory.

    The lengths in the batch say what is padding, so what stands there never counts. Where lengths
    differ much, `buckets` wastes less.

    Args:
        sequences: arrays `(T_i, ...)`, such as tokens `(T_i,)`; T_i may be 0.
        targets: one per sequence, an array `(N, ...)` or a list of numbers; or one per step, a
            list of arrays `(T_i, ...)`; None for none.
        num_steps: T of the batch; None means that of the longest sequence, and at least 1.
        weights: one per sequence, or a list with one per step; None means 1.
        pad: what stands in the padding of inputs; that of targets and weights is 0.

    Returns:
        A `Batch` of NumPy arrays with lengths, for `fit`, `evaluate`, `predict` and `rows`.

    Raises:
        TypeError: for an argument of the wrong kind or dtype.
        ValueError: for no sequences, unequal features, targets or weights that do not fit, and a
            sequence that is longer than `num_steps`.

    Example:
        >>> import numpy as np
        >>> batch = pad_sequences([np.array([3, 1, 2]), np.array([4])], [1, 0])
        >>> batch.xs.tolist(), batch.lengths.tolist(), batch.targets.tolist()
        ([[3, 1, 2], [4, 0, 0]], [3, 1], [1, 0])
    """
    function = "pad_sequences"
    arrays = check_sequences(function, "sequences", sequences)
    check_pad(function, pad, arrays[0].dtype)
    lengths = np.array([len(array) for array in arrays], np.int32)
    longest = int(lengths.max())
    if num_steps is None:
        num_steps = max(1, longest)
    elif longest > _checks.size(function, "num_steps", num_steps):
        place = int(lengths.argmax())
        wanted = f"be at least {longest}, the length of sequences[{place}]"
        way_out = "cut sequences, as in [s[:100] for s in sequences]"
        _checks.refuse(function, "num_steps", wanted, num_steps, way_out)
    said = None if targets is None else check_aligned(function, "targets", targets, arrays)
    counted = check_weights(function, weights, arrays, needed=False)
    whole = lambda values, pad: take(values, np.arange(len(arrays)), num_steps, pad)
    return Batch(
        xs=whole(arrays, pad),
        targets=None if said is None else whole(said, 0),
        lengths=lengths,
        weights=None if counted is None else whole(counted, 0),
    )

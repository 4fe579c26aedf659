"""Checks of batches on the host, before anything is traced."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.data.batch import Batch


def as_batch(function: str, data: Any, *, argument: str = "batch") -> Batch:
    """Take a tuple of 2 to 5 arrays for the batch that it means; the arrays are not looked at.

    Args:
        function: the name that the user called.
        data: a `Batch`, or a plain tuple or list `(xs, targets, lengths, weights, resets)` whose
            last ones may be missing. Lists of lengths, weights and resets become arrays.
        argument: what the user calls it.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(data, Batch):
        wanted = "be a Batch or a tuple of 2 to 5 arrays"
        # Other NamedTuples are trees of inputs, not batches.
        if type(data) not in (tuple, list) or not 2 <= len(data) <= 5:
            got = _checks.describe(data)
            way_out = "give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)"
            _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)
        if any(isinstance(part, Batch) for part in data):
            got = f"a {type(data).__name__} of batches"
            way_out = "several batches are data for fit as a list"
            _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)
        data = Batch(*data)
    parts = {name: getattr(data, name) for name in ("lengths", "weights", "resets")}
    listed = {name: np.asarray(part) for name, part in parts.items() if isinstance(part, list)}
    return data._replace(**listed)


def check_batch(function: str, batch: Batch) -> None:
    """Refuse a batch whose parts do not fit each other.

    What stands in inputs and targets is not read: padding may hold anything.

    Args:
        function: the name that the user called.
        batch: arrays on this host, of NumPy or JAX.

    Raises:
        TypeError: for what is no array of numbers, lengths that are no integers, resets that are
            no booleans.
        ValueError: for no inputs, no rows, unequal numbers of rows, lengths outside 0..T, weights
            that are negative, not finite or of another shape than `(B,)` or `(B, T)`, resets of
            another shape than `(B, T)`.
    """
    leaves = check_leaves(function, "xs", batch.xs, least_axes=2)
    if not leaves:
        got, way_out = _checks.describe(batch.xs), "give the inputs, (B, T, ...)"
        _checks.refuse(function, "xs", "hold an array", got, way_out)
    first, like = leaves[0]
    num_rows, num_steps = like.shape[:2]
    if num_rows == 0:
        _checks.refuse(function, first, "have a row", like.shape, "give at least one sequence")
    targets = check_leaves(function, "targets", batch.targets, least_axes=1)
    for name, leaf in leaves + targets:
        if leaf.shape[0] != num_rows:
            wanted = f"have {num_rows} rows, as {first}"
            _checks.refuse(function, name, wanted, leaf.shape[0], "give one per sequence")
    if batch.lengths is not None:
        check_lengths(function, batch.lengths, num_rows, num_steps)
    if batch.weights is not None:
        steps = {num_steps} | {leaf.shape[1] for _, leaf in targets if leaf.ndim > 1}
        check_weights(function, batch.weights, num_rows, steps, num_steps)
    if batch.resets is not None:
        check_resets(function, batch.resets, (num_rows, num_steps))


def check_leaves(
    function: str, argument: str, tree: PyTree, *, least_axes: int
) -> list[tuple[str, Any]]:
    """The arrays of a tree with their names; refuse what is no array of numbers."""
    out = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = argument + jax.tree_util.keystr(path)
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            got, way_out = _checks.kind(leaf), "wrap it in np.asarray"
            _checks.refuse(function, name, "be an array", got, way_out, error=TypeError)
        check_numbers(function, name, leaf)
        if leaf.ndim < least_axes:
            axes = "(B, T, ...)" if least_axes == 2 else "(B, ...)"
            _checks.refuse(function, name, f"have shape {axes}", leaf.shape, "rows come first")
        out.append((name, leaf))
    return out


def check_numbers(function: str, argument: str, array: Any) -> None:
    """Refuse words, objects and the like."""
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        way_out = "turn words into indices first"
        if array.dtype == object:
            way_out = "sequences of unequal lengths go to data.buckets, as a list"
        _checks.refuse(function, argument, "hold numbers", array.dtype, way_out, error=TypeError)


def check_lengths(function: str, lengths: Any, num_rows: int, num_steps: int) -> None:
    """Whole numbers within 0..T, one a row."""
    lengths = np.asarray(lengths)
    if not np.issubdtype(lengths.dtype, np.integer):
        got, way_out = lengths.dtype, "count valid steps in whole numbers"
        _checks.refuse(function, "lengths", "be integers", got, way_out, error=TypeError)
    if lengths.shape != (num_rows,):
        way_out = "give one length per row"
        _checks.refuse(function, "lengths", f"have shape {(num_rows,)}", lengths.shape, way_out)
    check_range(function, lengths, num_steps)


def check_numbers_of(function: str, batch: Batch) -> None:
    """What `check_batch` says of numbers, for a batch of shapes that it has seen."""
    if batch.lengths is not None:
        num_steps = batch.num_steps
        check_range(function, np.asarray(batch.lengths), num_steps)
    if batch.weights is not None:
        check_amounts(function, "weights", np.asarray(batch.weights))


def check_range(function: str, lengths: np.ndarray, num_steps: int) -> None:
    """Valid steps lie within 0..T."""
    bad = np.flatnonzero((lengths < 0) | (lengths > num_steps))
    if bad.size:
        got = f"{lengths[bad[0]]} at row {bad[0]}"
        wanted = f"lie in 0..T = 0..{num_steps}"
        _checks.refuse(function, "lengths", wanted, got, "pad or cut the sequences")


def check_weights(
    function: str, weights: Any, num_rows: int, steps: set[int], num_steps: int
) -> None:
    """Finite numbers that are not negative, one a row or one a step."""
    weights = np.asarray(weights)
    check_amounts(function, "weights", weights)
    shapes = {(num_rows,)} | {(num_rows, count) for count in steps}
    if weights.shape not in shapes:
        wanted = f"have shape {(num_rows,)} or {(num_rows, num_steps)}"
        _checks.refuse(function, "weights", wanted, weights.shape, "weigh every row or every step")


def check_amounts(function: str, argument: str, values: np.ndarray) -> None:
    """Finite numbers that are not negative."""
    check_numbers(function, argument, values)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        at = tuple(np.argwhere(bad)[0].tolist())
        got = f"{values[at]} at {at}"
        wanted = "be finite and not negative"
        _checks.refuse(function, argument, wanted, got, "a weight of 0 leaves out")


def check_resets(function: str, resets: Any, lead: tuple[int, int]) -> None:
    """A flag for every step."""
    resets = np.asarray(resets)
    if resets.dtype != bool:
        got, way_out = resets.dtype, "turn 0 and 1 into it with .astype(bool)"
        _checks.refuse(function, "resets", "be bool", got, way_out, error=TypeError)
    if resets.shape != lead:
        way_out = "give one per step of each row"
        _checks.refuse(function, "resets", f"have shape {lead}", resets.shape, way_out)

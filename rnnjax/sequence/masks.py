"""Lengths, masks, and what is read off padded sequences."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Int, Lengths, PyTree, Shaped
from rnnjax.sequence.meshes import follow


def lengths_to_mask(
    lengths: Lengths, num_steps: int, *, time_axis: int = 0
) -> Bool[Array, "T *batch"]:
    """Mark the valid steps: True at `t` where `t < length`.

    Args:
        lengths: valid steps of each row, `(*batch,)`, within `0..num_steps`.
        num_steps: T.
        time_axis: where time stands in the result; -1 gives `(*batch, T)`.

    Returns:
        The mask, `(T, *batch)` by default.

    Raises:
        TypeError: if `lengths` are no integers.
        ValueError: if concrete `lengths` lie outside `0..num_steps`.

    Example:
        >>> import rnnjax
        >>> rnnjax.lengths_to_mask([3, 0, 1], 3, time_axis=-1).astype(int).tolist()
        [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    """
    # A symbolic dimension of jax.export is neither int nor array.
    stray = isinstance(num_steps, bool | float | str | None) or hasattr(num_steps, "shape")
    if stray or num_steps < 0:
        got, way_out = _checks.kind(num_steps), "give xs.shape[0]"
        _checks.refuse("lengths_to_mask", "num_steps", "be a whole number", got, way_out)
    lengths = check_lengths("lengths_to_mask", lengths, num_steps)
    steps = jnp.arange(num_steps, dtype=jnp.int32).reshape(-1, *(1,) * lengths.ndim)
    mask = steps < lengths[None]
    return jnp.moveaxis(mask, 0, check_time_axis("lengths_to_mask", "mask", mask, time_axis))


def mask_to_lengths(mask: Bool[Array, "T *batch"], *, time_axis: int = 0) -> Int[Array, "*batch"]:
    """Count the valid steps of rows that are padded at the end.

    Args:
        mask: True on valid steps; valid steps must come before padding.
        time_axis: where time stands in `mask`.

    Returns:
        Lengths, `(*batch,)`, int32.

    Raises:
        TypeError: if `mask` is not boolean.
        ValueError: if a concrete `mask` has a hole or starts with padding, since lengths cannot
            say that; hand the mask itself to `unroll`.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> rnnjax.mask_to_lengths(jnp.array([[True, False], [True, False]])).tolist()
        [2, 0]
    """
    given = check_bool("mask_to_lengths", "mask", mask)
    axis = check_time_axis("mask_to_lengths", "mask", given, time_axis)
    if _checks.is_concrete(mask) and np.any(np.diff(np.asarray(mask, int), axis=axis) > 0):
        way_out = "give the mask itself to unroll, which takes any"
        _checks.refuse("mask_to_lengths", "mask", "be True, then False", "a hole", way_out)
    return given.sum(axis, dtype=jnp.int32)


def last_output(ys: PyTree, lengths: Lengths | None = None, *, time_axis: int = 0) -> PyTree:
    """Pick each row's output at its last valid step; zero for rows of length 0.

    For a forward run this is what Keras returns without `return_sequences`; a reversed run has
    its last word at step 0.

    Args:
        ys: outputs, `(T, *batch, H)`, or a tree of them.
        lengths: valid steps of each row, `(*batch,)`; None means that all are valid.
        time_axis: where time stands in `ys`; -2 for the outputs of a batch-major module, one
            less for each axis of space.

    Returns:
        `(*batch, H)`, or a tree of them.

    Raises:
        ValueError: if concrete `lengths` lie outside 0..T, or their shape is not that of the
            batch axes.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> ys = jnp.arange(6.0).reshape(3, 2, 1)
        >>> rnnjax.last_output(ys, [3, 1]).tolist()
        [[4.0], [1.0]]
    """

    def leaf(y: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        y = jnp.moveaxis(y, check_time_axis("last_output", "ys", y, time_axis), 0)
        if y.shape[0] == 0:
            return jnp.zeros(y.shape[1:], y.dtype)
        if lengths is None:
            return y[-1]
        count = check_lengths("last_output", lengths, y.shape[0])
        check_leading("last_output", "lengths", count.shape, y.shape[1:])
        count = follow(count, y[0])
        count = jnp.expand_dims(count, range(count.ndim, y.ndim - 1))
        picked = jnp.take_along_axis(y, jnp.maximum(count - 1, 0)[None], axis=0)[0]
        return jnp.where(count > 0, picked, jnp.zeros_like(picked))

    return jax.tree.map(leaf, ys)


def reverse_sequences(xs: PyTree, lengths: Lengths | None = None, *, time_axis: int = 0) -> PyTree:
    """Turn each row's valid steps around and leave its padding where it is.

    Its own inverse. `unroll(reverse=True)` does not need it: its outputs answer its inputs.

    Args:
        xs: sequences, `(T, *batch, ...)`, or a tree of them.
        lengths: valid steps of each row, `(*batch,)`; None means that all are valid.
        time_axis: where time stands in `xs`.

    Returns:
        Sequences of the same shape.

    Raises:
        ValueError: if concrete `lengths` lie outside 0..T, or their shape is not that of the
            batch axes.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> rnnjax.reverse_sequences(jnp.array([1, 2, 3, 0]), 3).tolist()
        [3, 2, 1, 0]
    """

    def leaf(x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        axis = check_time_axis("reverse_sequences", "xs", x, time_axis)
        x = jnp.moveaxis(x, axis, 0)
        if lengths is None:
            return jnp.moveaxis(jnp.flip(x, 0), 0, axis)
        count = check_lengths("reverse_sequences", lengths, x.shape[0])
        check_leading("reverse_sequences", "lengths", count.shape, x.shape[1:])
        count = jnp.expand_dims(count[None], range(count.ndim + 1, x.ndim))
        steps = jnp.arange(x.shape[0], dtype=jnp.int32).reshape(-1, *(1,) * (x.ndim - 1))
        source = jnp.where(steps < count, count - 1 - steps, steps)
        return jnp.moveaxis(jnp.take_along_axis(x, source, axis=0), 0, axis)

    return jax.tree.map(leaf, xs)


def check_lengths(function: str, lengths: Any, num_steps: int) -> Int[Array, "*batch"]:
    """Lengths as int32 within 0..T: an error where they can be seen, clipped where not."""
    given = np.asarray(lengths) if _checks.is_concrete(lengths) else lengths
    if isinstance(lengths, list | tuple) and not lengths:
        given = lengths = np.zeros(0, np.int32)  # an empty batch
    if not jnp.issubdtype(given.dtype, jnp.integer):
        way_out = "count valid steps in whole numbers"
        got = given.dtype.name
        _checks.refuse(function, "lengths", "be integers", got, way_out, error=TypeError)
    if isinstance(given, np.ndarray):
        bad = np.flatnonzero((given < 0) | (given > num_steps))
        if bad.size:
            wanted = f"lie in 0..T = 0..{num_steps}"
            got = f"{given.flat[bad[0]]} at row {bad[0]}"
            _checks.refuse(function, "lengths", wanted, got, "pad or cut the sequences")
    lengths = jnp.asarray(lengths)
    if lengths.dtype.itemsize < 4:
        lengths = lengths.astype(jnp.int32)  # T may not fit into a byte
    return jnp.clip(lengths, 0, num_steps).astype(jnp.int32)


def check_bool(function: str, argument: str, value: Any) -> Bool[Array, "..."]:
    """A boolean array, and no integers that could be meant as lengths."""
    value = _checks.array(function, argument, value)
    if value.dtype != jnp.bool_:
        way_out = "turn 0 and 1 into it with .astype(bool)"
        if argument == "mask":
            way_out += ", and lengths with lengths_to_mask"
        got = value.dtype.name
        _checks.refuse(function, argument, "be bool", got, way_out, error=TypeError)
    return value


def check_leading(
    function: str, argument: str, shape: tuple[int, ...], batch: tuple[int, ...]
) -> None:
    """Refuse an array whose axes are not the first batch axes."""
    if batch[: len(shape)] != shape:
        way_out = "give one per batch row"
        _checks.refuse(function, argument, f"match the batch axes of {batch}", shape, way_out)


def check_time_axis(function: str, argument: str, x: Array, axis: int) -> int:
    """The time axis, counted from the front."""
    if not hasattr(x, "ndim"):
        got, way_out = _checks.kind(x), "wrap it in jnp.asarray"
        _checks.refuse(function, argument, "hold arrays", got, way_out, error=TypeError)
    whole = isinstance(axis, numbers.Integral)
    if not whole or not -x.ndim <= axis < x.ndim:
        way_out = "0 is time-major"
        _checks.refuse(function, "time_axis", f"be an axis of shape {x.shape}", axis, way_out)
    return axis % x.ndim

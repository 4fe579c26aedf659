"""Lists of sequences of unequal lengths: checks, and rows padded to one length."""

from typing import Any

import numpy as np

from rnnjax import _checks
from rnnjax.data.checks import check_amounts, check_numbers

Aligned = np.ndarray | list[np.ndarray]
"""One value a sequence, `(N, ...)`, or a list with one a step, `(T_i, ...)`."""


def check_sequences(function: str, argument: str, sequences: Any) -> list[np.ndarray]:
    """A list of arrays `(T_i, ...)` that differ in their lengths alone."""
    if not isinstance(sequences, list | tuple):
        way_out = "give one array per sequence, without padding; rows of one length go to data.rows"
        got = _checks.kind(sequences)
        _checks.refuse(function, argument, "be a list of arrays", got, way_out, error=TypeError)
    if not sequences:
        _checks.refuse(function, argument, "hold a sequence", "none", "give at least one")
    arrays = [_array(function, f"{argument}[{i}]", s) for i, s in enumerate(sequences)]
    like = next((array for array in arrays if array.size), arrays[0])
    for place, array in enumerate(arrays):
        name = f"{argument}[{place}]"
        if array.shape == (0,) and not hasattr(sequences[place], "dtype"):
            arrays[place] = like[:0]  # an empty Python list says nothing of features
        elif array.shape[1:] != like.shape[1:]:
            wanted = f"have shape ({', '.join(['T', *map(str, like.shape[1:])])})"
            way_out = "only the number of steps may differ"
            _checks.refuse(function, name, wanted, array.shape, way_out)
        elif array.dtype != like.dtype:
            wanted, way_out = f"be {like.dtype}", "give all sequences one dtype"
            _checks.refuse(function, name, wanted, array.dtype, way_out, error=TypeError)
    return arrays


def _array(function: str, name: str, value: Any) -> np.ndarray:
    """The numbers of one sequence."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists within lists
        way_out = "give every step the same features"
        _checks.refuse(function, name, "be an array", "lists of unequal lengths", way_out)
    check_numbers(function, name, array)
    if array.ndim == 0:
        way_out = "a list has one array per sequence"
        _checks.refuse(function, name, "have shape (T, ...)", array.shape, way_out)
    return array


def check_aligned(
    function: str, argument: str, values: Any, sequences: list[np.ndarray]
) -> Aligned:
    """One value a sequence, or one a step."""
    listed = isinstance(values, list | tuple)
    if not listed and getattr(values, "ndim", 0) == 0:
        way_out = "give one per sequence, or a list with one array per sequence"
        got = _checks.kind(values)
        _checks.refuse(function, argument, "be an array or a list", got, way_out, error=TypeError)
    if len(values) != len(sequences):
        wanted = f"have one entry for each of {len(sequences)} sequences"
        _checks.refuse(function, argument, wanted, len(values), "one belongs to each")
    if not listed or all(np.ndim(value) == 0 for value in values):
        values = np.asarray(values)
        check_numbers(function, argument, values)
        return values
    arrays = check_sequences(function, argument, values)
    for place, (array, sequence) in enumerate(zip(arrays, sequences, strict=True)):
        if len(array) != len(sequence):
            name, wanted = f"{argument}[{place}]", f"have {len(sequence)} steps, as its sequence"
            way_out = "give an array (N, ...) for one value per sequence"
            _checks.refuse(function, name, wanted, len(array), way_out)
    return arrays


def check_weights(
    function: str, weights: Any, sequences: list[np.ndarray], *, needed: bool
) -> Aligned | None:
    """Weights as float32; 1 where there are none and some rows must have 0."""
    if weights is None:
        return np.ones(len(sequences), np.float32) if needed else None
    values = check_aligned(function, "weights", weights, sequences)
    listed = isinstance(values, list)
    for place, value in enumerate(values if listed else [values]):
        name = f"weights[{place}]" if listed else "weights"
        check_amounts(function, name, value)
        if value.ndim != 1:
            way_out = "weigh every sequence or every step"
            _checks.refuse(function, name, "have one axis", value.shape, way_out)
    return [v.astype(np.float32) for v in values] if listed else values.astype(np.float32)


def take(values: Aligned, rows: np.ndarray, num_steps: int, pad: Any = 0) -> np.ndarray:
    """Some rows, `(B, ...)`, those of steps padded to `(B, T, ...)`."""
    if isinstance(values, np.ndarray):
        return values.take(rows, axis=0)
    like = values[0]
    out = np.full((len(rows), num_steps, *like.shape[1:]), pad, like.dtype)
    for place, row in enumerate(rows):
        value = values[row]
        out[place, : len(value)] = value
    return out


def check_pad(function: str, pad: Any, dtype: np.dtype) -> None:
    """A number that the sequences' dtype can say."""
    pad_array = np.asarray(pad)
    check_numbers(function, "pad", pad_array)
    with np.errstate(all="ignore"):
        kept = pad_array.astype(dtype)
    if pad_array.ndim or not np.array_equal(kept, pad_array, equal_nan=True):
        _checks.refuse(function, "pad", f"be one {dtype}", pad, "0 is the default")

"""What pictures are drawn of, checked before anything is drawn."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks


def check_concrete(function: str, argument: str, tree: Any) -> None:
    """Refuse numbers that cannot be read now, as under `jit`."""
    if not all(map(_checks.is_concrete, jax.tree.leaves(tree))):
        way_out = "return the numbers from jit, and draw them outside"
        _checks.refuse(function, argument, "hold numbers to draw", "traced ones", way_out)


def check_some_steps(function: str, xs: Any, valid: Any) -> None:
    """Refuse sequences without a step."""
    if xs.size == 0 or (valid is not None and not np.asarray(valid).any()):
        got = f"none in shape {xs.shape}"
        _checks.refuse(function, "xs", "have a valid step", got, "give longer sequences")


def check_numbers(function: str, argument: str, value: Any) -> np.ndarray:
    """Numbers as float64; None among them is NaN."""
    check_concrete(function, argument, value)
    try:
        given = np.asarray(value)
        if given.dtype.kind in "iubO" or jnp.issubdtype(given.dtype, jnp.floating):
            return given.astype(np.float64)
    except (TypeError, ValueError):  # words, lists of unequal lengths
        pass
    way_out = "give an array or lists of numbers"
    _checks.refuse(function, argument, "be numbers", _checks.kind(value), way_out, error=TypeError)


def check_table(function: str, argument: str, value: Any, wanted: str) -> np.ndarray:
    """A matrix of finite numbers that are not negative."""
    table = check_numbers(function, argument, value)
    if table.ndim != 2 or not table.size:
        way_out = "give one matrix, such as that of one row of a batch"
        _checks.refuse(function, argument, f"have shape {wanted}", table.shape, way_out)
    bad = np.argwhere(~(np.isfinite(table) & (table >= 0)))
    if bad.size:
        row, column = map(int, bad[0])
        got = f"{table[row, column]:g} at ({row}, {column})"
        way_out = "give what was counted or weighed itself, not its logarithm"
        _checks.refuse(function, argument, "be finite and at least 0", got, way_out)
    return table


def check_words(function: str, argument: str, words: Any, count: int, what: str) -> list[str]:
    """As many words as there is something to name."""
    way_out = f"give one for each {what}"
    if not isinstance(words, Iterable) or isinstance(words, Mapping):
        wanted, got = "be a list of words", _checks.kind(words)
        _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)
    words = [str(word) for word in words]
    if len(words) != count:
        _checks.refuse(function, argument, f"have length {count}", len(words), way_out)
    return words

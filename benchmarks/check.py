"""Whether a peer computed what the reference did."""

import pathlib

import numpy as np

# In float32: the largest difference, relative to the largest value of the same array.
TOLERANCE = 1e-4


def largest_error(got: pathlib.Path, wanted: pathlib.Path, valid: np.ndarray) -> float:
    """Of all arrays in the two files; outputs count where `valid` is True.

    Peers without b_hn have no gradient of it, so the second file may hold more than the first.

    Raises:
        ValueError: if names or shapes differ.
    """
    with np.load(got) as ours, np.load(wanted) as theirs:
        allowed = {name for name in theirs.files if name.startswith("b_hn")}
        if not set(theirs.files) - allowed <= set(ours.files) <= set(theirs.files):
            raise ValueError(f"results {ours.files} where {theirs.files} were wanted")
        return max(_error(name, ours[name], theirs[name], valid) for name in ours.files)


def _error(name: str, got: np.ndarray, wanted: np.ndarray, valid: np.ndarray) -> float:
    if got.shape != wanted.shape:
        raise ValueError(f"{name} has shape {got.shape} instead of {wanted.shape}")
    if name == "ys":
        got, wanted = (np.where(valid[..., None], a, 0) for a in (got, wanted))
    if not np.isfinite(got).all():
        return float("inf")
    # A loss is a sum whose terms cancel.
    scale = max(np.abs(wanted).max(), 1.0 if name == "loss" else 1e-30)
    return float(np.abs(got - wanted).max() / scale)

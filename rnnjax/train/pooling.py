"""From the outputs of a sequence to its features; what stands in the padding does not count."""

from typing import Any

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.methods.base import keep, zeros_like
from rnnjax.sequence.masks import last_output, lengths_to_mask


def last_step(ys: Float[Array, "B T H"], lengths: Any) -> Float[Array, "B H"]:
    """Pick the output at each row's last valid step; zero for rows of length 0.

    For a network that reads forwards; one that reads both ways has its last word at both ends,
    see `both_ends`.

    Args:
        ys: outputs, batch first.
        lengths: valid steps of each row, `(B,)`; None means T.

    Returns:
        Features, `(B, H)`.
    """
    return last_output(ys, lengths, time_axis=1)


def both_ends(ys: Float[Array, "B T H"], lengths: Any) -> Float[Array, "B H"]:
    """Pick what both directions said last: forwards at the last valid step, backwards at the first.

    The outputs of a bidirectional layer hold one direction in each half of their features. This is
    Keras's `Bidirectional` without `return_sequences`.

    Args:
        ys: outputs, batch first.
        lengths: valid steps of each row, `(B,)`; None means T.

    Returns:
        Features, `(B, H)`; zero for rows of length 0.

    Raises:
        ValueError: for an odd number of features.
    """
    if ys.shape[-1] % 2:
        way_out = "it reads the outputs of rnnjax.bidirectional(...)"
        wanted = "have as many features for each direction"
        _checks.refuse("both_ends", "ys", wanted, ys.shape[-1], way_out)
    if ys.shape[1] == 0:
        return jnp.zeros_like(ys, shape=(ys.shape[0], ys.shape[-1]))
    half = ys.shape[-1] // 2
    forwards, backwards = last_step(ys[..., :half], lengths), ys[:, 0, half:]
    if lengths is not None:
        begun = lengths_to_mask(lengths, ys.shape[1], time_axis=-1)[:, 0]
        backwards = keep(begun, backwards, zeros_like(backwards))
    return jnp.concatenate([forwards, backwards], axis=-1)


def mean_over_time(ys: Float[Array, "B T H"], lengths: Any) -> Float[Array, "B H"]:
    """Average the outputs over each row's valid steps; zero for rows of length 0.

    Args:
        ys: outputs, batch first.
        lengths: valid steps of each row, `(B,)`; None means T.

    Returns:
        Features, `(B, H)`.
    """
    if lengths is None:
        return ys.sum(1) / max(ys.shape[1], 1)
    valid = lengths_to_mask(lengths, ys.shape[1], time_axis=-1)
    count = jnp.maximum(valid.sum(1, dtype=ys.dtype), 1)
    return keep(valid, ys, zeros_like(ys)).sum(1) / count[:, None]


def max_over_time(ys: Float[Array, "B T H"], lengths: Any) -> Float[Array, "B H"]:
    """Take the largest output of each unit over each row's valid steps; zero for rows of length 0.

    Args:
        ys: outputs, batch first.
        lengths: valid steps of each row, `(B,)`; None means T.

    Returns:
        Features, `(B, H)`.
    """
    if ys.shape[1] == 0:
        return jnp.zeros_like(ys, shape=(ys.shape[0], ys.shape[-1]))
    if lengths is None:
        return ys.max(1)
    valid = lengths_to_mask(lengths, ys.shape[1], time_axis=-1)
    largest = keep(valid, ys, jnp.full_like(ys, -jnp.inf)).max(1)
    return keep(valid.any(1), largest, zeros_like(largest))

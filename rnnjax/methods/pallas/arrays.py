"""The arrays of one network that kernels read and write, and what a step is told.

Each is a tree of arrays, of refs to them, or of their axes as in "t b g": t steps, b rows, h units,
g units of all gates, e one element, and n heads with weights of j by k.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._typing import Array
from rnnjax.methods.fused.problem import Flags

VALID, RESTART = 1, 2  # bits of flags


class Forward(NamedTuple):
    """What the forward kernel reads of a network; leaves are None where there is nothing.

    Attributes:
        zs: projected inputs with their bias, `(T, B, gates H)`, float32.
        w_hh: `(H, gates H)`, or a block for each head.
        b_hn: `(1, H)` of a GRU.
        flags: `(T, B, 1)` of bits.
        carry: `(B, H)`, where rows begin.
        fresh: the same for restarts.
    """

    zs: Any
    w_hh: Any
    b_hn: Any
    flags: Any
    carry: Any
    fresh: Any


class Written(NamedTuple):
    """What it writes: outputs, the final carry, and for the way back columns and starts."""

    ys: Any
    carry: Any
    columns: Any
    starts: Any


class Backward(NamedTuple):
    """What the backward kernel reads."""

    columns: Any
    starts: Any
    dys: Any
    w_hh: Any
    flags: Any
    dcarry: Any


class Cotangents(NamedTuple):
    """What it writes: deltas in the place of columns, and what reaches the beginnings."""

    deltas: Any
    dcarry: Any
    dfresh: Any


def bits(flags: Flags) -> Array | None:
    """Mask and restarts as one array of integers; None where there are none."""
    mask, restarts = flags
    if mask is None and restarts is None:
        return None
    valid = VALID if mask is None else jnp.where(mask, VALID, 0)
    restart = 0 if restarts is None else jnp.where(restarts, RESTART, 0)
    return jnp.asarray(valid + restart, jnp.int32)[..., None]


def told(now: Any) -> tuple[Any, Any]:
    """Which rows count at a step, and which restart; None where there are no bits."""
    if now is None:
        return None, None
    return (now & VALID) != 0, (now & RESTART) != 0

"""Weights in the order in which a step reads them: in float32, bfloat16, or int8 with scales."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

GROUP = 16  # columns that stand together; as in native/product.h
WIDE = 4 * GROUP
ALIGNED = 64  # bytes

STORED = {np.dtype(np.float32): 0, np.dtype(jnp.bfloat16): 1, np.dtype(np.int8): 2}


class Packed(NamedTuple):
    """A matrix, packed.

    Attributes:
        values: panels of 16 columns of every gate, or of 64 columns, each row after row.
        scales: what int8 is multiplied by, of each column as packed; None for floats.
        rows: of the matrix.
    """

    values: np.ndarray
    scales: np.ndarray | None
    rows: int

    @property
    def stored(self) -> int:
        """The dtype, as the library names it."""
        return STORED[self.values.dtype]


def halves(weights: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and scales; a float array has none.

    `weights` is an array in float32 or bfloat16, a pair of int8 `(rows, columns)` and float32
    `(columns,)`, or what has both as its `values` and `scale`. Of an embedding the scales belong
    to rows.
    """
    if is_quantized(weights):
        weights = weights.values, weights.scale
    if isinstance(weights, tuple):
        values, scales = weights
        return np.asarray(values, np.int8), np.asarray(scales, np.float32).reshape(-1)
    return np.asarray(weights), None


def is_quantized(weights: Any) -> bool:
    """Whether these are integers with scales."""
    return hasattr(weights, "scale") and hasattr(weights, "values")


def pack(weights: Any, gates: int) -> Packed:
    """Pack a matrix whose columns are those of so many gates; `weights` as for `halves`.

    Example:
        >>> import numpy as np
        >>> packed = pack(np.ones((3, 4 * 5), np.float32), 4)
        >>> packed.values.shape, packed.rows
        ((192,), 3)
    """
    values, scales = halves(weights)
    if scales is not None:
        scales = aligned(arrange(scales[None], gates))
    return Packed(aligned(arrange(values, gates)), scales, len(values))


def pack_bias(bias: Any, width: int, gates: int) -> np.ndarray:
    """A bias of so many gates of a width, in the order of packed columns; None is zeros."""
    bias = np.zeros(gates * width) if bias is None else np.asarray(bias)
    return aligned(arrange(bias.astype(np.float32)[None], gates))


def arrange(a: np.ndarray, gates: int) -> np.ndarray:
    """The gates of 16 units side by side, row after row; or 64 units where there is one gate."""
    together = WIDE if gates == 1 else GROUP
    a = a.reshape(len(a), gates, -1)
    a = np.pad(a, ((0, 0), (0, 0), (0, -a.shape[-1] % together)))
    return a.reshape(len(a), gates, -1, together).transpose(2, 0, 1, 3).ravel()


def aligned(a: np.ndarray) -> np.ndarray:
    """A copy that begins where a line of the cache does."""
    room = np.empty(a.nbytes + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    copy = room[start : start + a.nbytes].view(a.dtype)
    copy[...] = a.ravel()
    return copy

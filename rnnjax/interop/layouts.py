"""Gate orders of other frameworks; ours are i, f, g, o for an LSTM and r, z, n for a GRU.

Gates have our names in every order: Keras's z, r, h is "zrn" here, ONNX's i, o, f, c is "iofg".
"""

from typing import Any

import numpy as np

LSTM, GRU = "ifgo", "rzn"
MGU = "fn"
HAIKU_LSTM, HAIKU_GRU = "igfo", "zrn"
COURSE_LSTM = dict(zip(LSTM, "ifco", strict=True))  # by gate, how NumPy courses call it
COURSE_GRU = dict(zip(GRU, "rza", strict=True))


def reorder(array: Any, have: str, want: str, *, axis: int = -1) -> np.ndarray:
    """Bring the blocks of an axis, one a gate, from one order into another."""
    if have == want:
        return np.asarray(array)
    blocks = dict(zip(have, np.split(np.asarray(array), len(have), axis), strict=True))
    return np.concatenate([blocks[gate] for gate in want], axis)


def blocks(array: Any, order: str, *, axis: int = -1) -> dict[str, np.ndarray]:
    """The blocks of an axis by gate."""
    return dict(zip(order, np.split(np.asarray(array), len(order), axis), strict=True))


def negate(array: Any, order: str, gate: str, *, axis: int = -1) -> np.ndarray:
    """Turn the sign of one gate's block, which makes 1 - s of its sigmoid s."""
    parts = blocks(array, order, axis=axis)
    parts[gate] = -parts[gate]
    return np.concatenate([parts[g] for g in order], axis)

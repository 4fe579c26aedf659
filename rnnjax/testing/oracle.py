"""What an oracle is: a cell once more, as plain NumPy functions of one row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnnjax._typing import PyTree


class Oracle(NamedTuple):
    """A cell in NumPy, written from its equations; it shares no code with the cell.

    Every array, of params too, leads with an axis of copies, so that a gradient may move each
    number in a copy of its own; numbers are real or complex, and no function may look at them
    but through their real parts.

    Attributes:
        step: `params, carry, x -> carry, y`, of one row.
        fresh: `params, x -> carry`, the initial carry of one row.
        input_rank: feature axes of one step's input.
    """

    step: Callable[[PyTree, Any, np.ndarray], tuple[Any, np.ndarray]]
    fresh: Callable[[PyTree, np.ndarray], Any]
    input_rank: int = 1


def sigmoid(x: Any) -> Any:
    """The logistic function, in a form that never overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def relu(x: Any) -> Any:
    """The positive part; the real part of complex numbers decides."""
    return np.where(x.real > 0, x, np.zeros_like(x))


def dot(x: Any, w: Any) -> Any:
    """One product a copy: `(copies, D) x (copies, D, G) -> (copies, G)`."""
    return np.matmul(x[:, None], w)[:, 0]


def begin_with(carry_type: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The learned initial carry, or zeros as wide as `w_hh` has rows."""

    def fresh(params: Any, x: Any) -> Any:
        if params.initial is not None:
            return params.initial
        return carry_type(*(np.zeros_like(params.w_hh[:, :, 0]) for _ in carry_type._fields))

    return fresh

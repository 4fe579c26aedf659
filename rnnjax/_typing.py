"""Array types, and the legend of axis letters that annotations and comments share.

T time steps, `*batch` any leading axes, B batch, D input features, H hidden features,
G packed gates (4H in an LSTM, 3H in a GRU, H in an Elman cell), L layers, K chunks. Where a
step's input has axes of space: `*space` those axes, S the size of one, C channels, `*kernel` the
places that a kernel covers, `*places` batch and space together. N heads of d_k keys and d_v
values each.

jaxtyping is read by type checkers, and at run time only where it was imported before
rnnjax, as the tests do; a plain `import rnnjax` neither needs nor loads it.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import Array as Array

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
    from jaxtyping import Key as Key
    from jaxtyping import Shaped as Shaped
else:

    class _AnyArray:
        def __class_getitem__(cls, item: Any) -> Any:
            return jax.Array

    Bool = Float = Int = Key = Shaped = _AnyArray

PyTree = Any
"""A tree of arrays: the params, carry or inputs of a cell whose kind is not known here."""

Lengths = Int[Array, "*batch"] | np.ndarray | Sequence[int] | int
"""Valid steps of each row."""

Steps = Bool[Array, "T *batch"] | np.ndarray
"""A flag for every step of every row: `(T, *batch)`, or `(*batch, T)` in batch-major modules."""

"""A batch: rows of sequences with what belongs to them."""

from typing import Any, NamedTuple

import jax

from rnnjax._typing import PyTree


class Batch(NamedTuple):
    """Rows of sequences, batch first; a whole data set in memory is one big batch.

    Every array leads with the same number of rows, B. What is None is not there.

    Attributes:
        xs: inputs, `(B, T, ...)`; an array or a tree of them.
        targets: what is to be said: `(B, ...)` for a sequence, `(B, T, ...)` for each step; an
            array or a tree of them.
        lengths: valid steps of each row, `(B,)`; None means T.
        weights: how much a row, `(B,)`, or a step, `(B, T)`, counts; None means 1. A weight of 0
            leaves it out.
        resets: True where a fresh carry replaces the old one before the step, `(B, T)`.
    """

    xs: PyTree
    targets: PyTree = None
    lengths: Any = None
    weights: Any = None
    resets: Any = None

    @property
    def num_rows(self) -> int:
        """B."""
        return jax.tree.leaves(self.xs)[0].shape[0]

    @property
    def num_steps(self) -> int:
        """T of the inputs."""
        return jax.tree.leaves(self.xs)[0].shape[1]

"""What a conversion returns, and its account of every array."""

from typing import Any, NamedTuple

import numpy as np

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.sequence.layer import Layer


class Row(NamedTuple):
    """One array of the other framework.

    Attributes:
        source: its name there.
        shape: its shape there.
        target: its name here, or several, with where it stands: `layers_0.w_ih[1]`.
        how: what is done to it, such as "transposed".
    """

    source: str
    shape: tuple[int, ...]
    target: str
    how: str


class Report(NamedTuple):
    """The account of a conversion; printed, it is a table.

    Attributes:
        rows: one for each array.
        notes: what else one should know, such as dropout that is off at inference.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        cells = [("array there", "shape", "here", "how")]
        cells += [(row.source, str(row.shape), row.target, row.how) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        pad = lambda row: "  ".join(text.ljust(n) for text, n in zip(row, widths, strict=True))
        lines = [pad(row).rstrip() for row in cells]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


class Converted(NamedTuple):
    """A network that came from another framework.

    Attributes:
        layer: a cell where the other framework has a cell, else a layer.
        params: of `layer`, arrays of JAX.
        report: what became of each array.
    """

    layer: Cell | Layer
    params: PyTree
    report: Report


class Foreign(NamedTuple):
    """Weights as another framework has them.

    Attributes:
        weights: arrays of NumPy, named and nested as there.
        options: of the constructor there, by its names.
        report: what became of each array.
    """

    weights: Any
    options: dict[str, Any]
    report: Report


Named = dict[str, np.ndarray]

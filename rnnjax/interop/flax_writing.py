"""From cells and layers of ours to the trees of Flax; Linen and NNX alike."""

from collections.abc import Callable, Sequence
from typing import Any

from rnnjax.cells.base import Cell
from rnnjax.interop.assemble import Level, Reading
from rnnjax.interop.flax_trees import THEIRS, USUAL, Tree, nested, write_cell
from rnnjax.interop.report import Foreign, Report, Row
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.merge import concatenate


def write(
    reading: Reading,
    layer: Cell | Layer,
    levels: Sequence[Level],
    cell_of_level: Callable[[Level], tuple[Tree, dict[str, Any]]],
) -> Foreign:
    """One tree and the options of its module, or a list of each for a stack.

    `cell_of_level` says which cell of Flax a level is, and the options of its constructor.
    """
    several = len(levels) > 1 or levels[0].part.name != ""
    trees, options, rows = [], [], []
    for k, level in enumerate(levels):
        number = f"{k}." if several else ""
        tree, of_cell = cell_of_level(level)
        named = []
        for way, own in enumerate(reading.without_initial(level)):
            start = place(layer, level, way)
            for name, array, target, how in write_cell(tree, own):
                named.append((start + name, array))
                here = level.named(target, way)
                rows.append(Row(number + start + name, array.shape, here, how))
        if level.directions[0].b is None:
            reading.notes.append(f"{level.where}: has no bias; there it is zero, and trained")
        trees.append(nested(named))
        options.append(of_cell if isinstance(layer, Cell) else around(level, of_cell))
    report = Report(tuple(rows), tuple(reading.notes))
    if several:
        return Foreign(trees, {"layers": options}, report)
    return Foreign(trees[0], options[0], report)


def place(layer: Cell | Layer, level: Level, way: int) -> str:
    """Where the cell of one direction stands in the tree of its level."""
    if isinstance(layer, Cell):
        return ""
    if len(level.directions) == 1:
        return "cell."
    return ("forward_rnn.", "backward_rnn.")[way] + "cell."


def around(level: Level, cell: dict[str, Any]) -> dict[str, Any]:
    """The options of the RNN or Bidirectional around a cell."""
    one: dict[str, Any] = {"module": "RNN", "cell": cell}
    if level.part.reverse:
        one |= {"reverse": True, "keep_order": True}
    if len(level.directions) == 1:
        return one
    both = {"module": "Bidirectional", "forward_rnn": one, "backward_rnn": dict(one)}
    merge = level.part.merge
    return both if merge is concatenate else both | {"merge_fn": merge}


def functions(level: Level) -> dict[str, Any]:
    """The activations of a cell that are not Flax's own."""
    given = level.part.options
    return {
        THEIRS[name]: given[name]
        for name, usual in USUAL.items()
        if given.get(name, usual) is not usual
    }


def precision(level: Level) -> dict[str, Any]:
    """The dtype of the weights, where it is not that of Flax's cells."""
    dtype = level.directions[0].w_ih.dtype
    return {} if dtype.name == "float32" else {"param_dtype": dtype.name}


def refuse_reset_before(reading: Reading, level: Level) -> None:
    """The GRU and MGU of Flax reset after the product."""
    if level.part.options.get("reset") == "before":
        way_out = "no weights make it equal"
        reading.refuse(level.part, "reset after the product", "reset='before'", way_out)

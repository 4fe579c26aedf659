"""What a model is made of, as a table."""

from typing import Any, NamedTuple

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch, check_batch
from rnnjax.storage.leaves import BARE, named_leaves
from rnnjax.train.inputs import check_inputs, spec_of
from rnnjax.train.measures import Measure, as_loss
from rnnjax.train.models import Applied, Model
from rnnjax.train.modules import as_model
from rnnjax.train.options import Options, check_options
from rnnjax.train.state import start
from rnnjax.train.steps import train_step


class Row(NamedTuple):
    """One array of a model.

    Attributes:
        name: where it stands.
        shape: its axes.
        dtype: of its numbers.
        count: how many numbers it has.
        size: its bytes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    size: int


class Summary(NamedTuple):
    """What a model is made of; `print` shows it as a table.

    Attributes:
        name: of the model.
        params: the arrays that are trained.
        buffers: the arrays that are kept beside.
        carry: what travels over time, for the batch that was given.
        outputs: what the model says of that batch.
        step_bytes: temporary memory of one step of training; None where no loss was given.
    """

    name: str
    params: tuple[Row, ...]
    buffers: tuple[Row, ...]
    carry: tuple[Row, ...]
    outputs: tuple[Row, ...]
    step_bytes: int | None = None

    @property
    def count(self) -> int:
        """How many numbers are trained."""
        return sum(row.count for row in self.params)

    def __str__(self) -> str:
        rows = (*self.params, *self.buffers, *self.carry, *self.outputs)
        lines = [("name", "shape", "dtype", "numbers", "memory")]
        for row in rows:
            numbers = f"{row.count:,}", in_bytes(row.size)
            lines.append((row.name, str(row.shape), row.dtype, *numbers))
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        left = lambda line: [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        right = lambda line: [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        table = ["  ".join(left(line)[:3] + right(line)[3:]) for line in lines]
        size = in_bytes(sum(row.size for row in self.params))
        last = [f"{self.name}: {self.count:,} parameters, {size}"]
        if self.step_bytes is not None:
            last += [f"one step of training: {in_bytes(self.step_bytes)} of temporary memory"]
        return "\n".join([*table, *last])


def summary(
    model: Any,
    batch: Batch | tuple,
    *,
    loss: Any = None,
    optimizer: Any = None,
) -> Summary:
    """Tell what a model is made of; nothing is run.

    Args:
        model: what `fit` takes.
        batch: a batch or a tuple of arrays, which lends its shapes.
        loss: as for `fit`; then one step of training is compiled, with an optimizer, to tell its
            memory. None compiles nothing.
        optimizer: from Optax; given with a loss, and not else.

    Returns:
        The arrays with their shapes; `print(summary(...))` shows a table.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a batch that is not right, or a loss without an optimizer.

    Example:
        >>> import numpy as np, rnnjax
        >>> from rnnjax import train
        >>> print(train.summary(rnnjax.gru(4), (np.ones((2, 7, 3), np.float32), None)))
        name             shape      dtype    numbers  memory
        params.w_ih      (3, 12)    float32       36   144 B
        params.w_hh      (4, 12)    float32       48   192 B
        params.b         (12,)      float32       12    48 B
        params.b_hn      (4,)       float32        4    16 B
        carry.h          (2, 4)     float32        8    32 B
        outputs          (2, 7, 4)  float32       56   224 B
        recurrent: 100 parameters, 400 B
    """
    function = "summary"
    functions, batch = as_model(function, model), as_batch(function, batch)
    check_batch(function, batch)
    if (loss is None) != (optimizer is None):
        missing, there = ("loss", "optimizer") if loss is None else ("optimizer", "loss")
        way_out = "a step of training needs both"
        _checks.refuse(function, missing, f"be given with `{there}`", None, way_out)
    check_inputs(function, spec_of(functions, None, batch), batch)
    weights = jax.eval_shape(functions.init, jax.random.key(0), batch)
    applied = jax.eval_shape(lambda w, b: functions.apply(w, b, None, None), weights, batch)
    step_bytes = None
    if loss is not None:
        step_bytes = memory_of(functions, as_loss(function, loss), optimizer, batch, applied)
    return Summary(
        functions.name,
        rows_of("params", weights.params),
        rows_of("buffers", weights.buffers),
        rows_of("carry", applied.carry),
        rows_of("outputs", applied.outputs),
        step_bytes,
    )


def memory_of(model: Model, loss: Measure, optimizer: Any, batch: Batch, applied: Applied) -> int:
    """The temporary memory of one step of training, in bytes."""
    function, options = "summary", Options(optimizer)
    check_options(function, options)
    loss.check(function, applied.outputs, batch)
    rest = {"key": jax.random.key(0), "weights": None, "stateful": False}
    state = jax.eval_shape(lambda: start(function, model, options, batch, **rest))
    step = train_step(function, model, (loss,), options)
    return step.lower(state, batch).compile().memory_analysis().temp_size_in_bytes


def rows_of(part: str, tree: PyTree) -> tuple[Row, ...]:
    """The arrays of a tree."""
    rows = []
    for name, leaf in named_leaves("summary", part, tree).items():
        full = part if name == BARE else f"{part}.{name}"
        size = leaf.size * leaf.dtype.itemsize
        rows.append(Row(full, leaf.shape, str(leaf.dtype), leaf.size, size))
    return tuple(rows)


def in_bytes(count: int) -> str:
    """A number of bytes in the unit that fits it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if unit != "B" else f"{count} B"
        size /= 1024
    return f"{size:.3g} GiB"

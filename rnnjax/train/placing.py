"""Between data and step: batches are checked on the host and brought to where the step runs."""

import math
from typing import Any

import jax
from jax.sharding import NamedSharding

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.data.batch import Batch
from rnnjax.data.checks import check_batch, check_numbers_of
from rnnjax.train.inputs import check_inputs, check_tokens_of, spec_of
from rnnjax.train.measures import Measure
from rnnjax.train.models import Model, Weights


class Placer:
    """Checks each batch, and brings it to its devices.

    Attributes:
        left: batches that are still to be checked; None where all are.
    """

    def __init__(
        self,
        function: str,
        model: Model,
        weights: Weights,
        measures: tuple[Measure, ...],
        stateful: bool,
        sharding: Any = None,
    ):
        self.function, self.model, self.measures = function, model, measures
        self.weights = jax.eval_shape(lambda: weights)
        self.spec = spec_of(model, self.weights.params, None)
        self.stateful, self.sharding = stateful, sharding
        self.left: int | None = None
        self.checks = tuple(dict.fromkeys(measure.check for measure in measures))
        self.rows: int | None = None  # of every batch, where rows go on from batch to batch
        self.outputs: dict[Any, PyTree] = {}  # by the shapes of a batch

    def twin(self, measures: tuple[Measure, ...], *, stateful: bool) -> "Placer":
        """The same for other data."""
        return Placer(self.function, self.model, self.weights, measures, stateful, self.sharding)

    def accept(self, example: Batch, whole: Batch | None, *, period: int | None = None) -> None:
        """Check the whole data where they are there, and an example of batches where not.

        After `period` batches the same rows come again, and are not looked at again.
        """
        self.check(example if whole is None else whole)
        self.check_rows(example)
        self.left = period if whole is None else 0

    def __call__(self, batch: Batch) -> Batch:
        """The batch, on its devices."""
        if self.left != 0:
            if not self.check(batch):
                self.check_rows(batch)
            self.left = None if self.left is None else self.left - 1
        return batch if self.sharding is None else jax.device_put(batch, self.sharding)

    def check(self, batch: Batch) -> bool:
        """Refuse what cannot be right, also whole data; say whether its shapes were known."""
        leaves, structure = jax.tree.flatten(batch)
        shapes = (structure, *((getattr(a, "shape", 0), getattr(a, "dtype", 0)) for a in leaves))
        known = shapes in self.outputs
        if known:
            check_numbers_of(self.function, batch)
            check_tokens_of(self.function, self.spec, batch)
        else:
            check_batch(self.function, batch)
            check_inputs(self.function, self.spec, batch)
            self.outputs[shapes] = self.said_of(batch)
        for check in self.checks:
            check(self.function, self.outputs[shapes], batch)
        return known

    def said_of(self, batch: Batch) -> PyTree:
        """The shapes of what the model says of a batch."""
        if self.stateful and batch.resets is None:
            way_out = "rnnjax.data.windows makes such batches"
            wanted = "say where streams begin in stateful training"
            _checks.refuse(self.function, "resets", wanted, None, way_out)
        run = lambda weights, batch: self.model.apply(weights, batch, None, None).outputs
        return jax.eval_shape(run, self.weights, batch)

    def check_rows(self, batch: Batch) -> None:
        """Refuse a number of rows that the carry has not, or that devices cannot share."""
        num_rows = batch.num_rows
        if self.stateful and self.rows not in (None, num_rows):
            wanted = f"have {self.rows} rows, as the batches before it"
            way_out = "row b goes on where row b of the batch before it ended"
            _checks.refuse(self.function, "xs", wanted, num_rows, way_out)
        self.rows = num_rows
        if self.sharding is not None and num_rows % num_parts(self.sharding):
            wanted = f"divide the batch's {num_rows} rows"
            got = f"{num_parts(self.sharding)} parts"
            way_out = "choose a batch size that is a multiple of them"
            _checks.refuse(self.function, "sharding", wanted, got, way_out)


def check_sharding(function: str, sharding: Any) -> None:
    """Refuse what does not say on which devices of a mesh rows are."""
    if sharding is None:
        return
    such_as = 'such as NamedSharding(mesh, PartitionSpec("data"))'
    if not isinstance(sharding, NamedSharding):
        got = _checks.kind(sharding)
        wanted = "be a NamedSharding"
        _checks.refuse(function, "sharding", wanted, got, such_as, error=TypeError)
    if len(sharding.spec) > 1:
        got = str(sharding.spec)
        _checks.refuse(function, "sharding", "spread rows and nothing else", got, such_as)


def num_parts(sharding: NamedSharding) -> int:
    """Over how many devices rows are spread."""
    names = sharding.spec[0] if len(sharding.spec) else None
    names = () if names is None else (names,) if isinstance(names, str) else names
    return math.prod(sharding.mesh.shape[name] for name in names)

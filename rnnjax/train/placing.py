"""Between data and step: batches are checked on the host and brought to where the step runs."""

from typing import Any

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.data.batch import Batch
from rnnjax.data.checks import check_batch, check_numbers_of
from rnnjax.train.measures import Measure
from rnnjax.train.models import Model, Weights


class Placer:
    """Checks each batch, and brings it to its devices.

    Attributes:
        checked: whether all batches are known to be right, since the data they come from is.
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
        self.stateful, self.sharding, self.checked = stateful, sharding, False
        self.checks = tuple(dict.fromkeys(measure.check for measure in measures))
        self.outputs: dict[Any, PyTree] = {}  # by the shapes of a batch

    def twin(self, *, stateful: bool) -> "Placer":
        """The same for other data."""
        return Placer(
            self.function, self.model, self.weights, self.measures, stateful, self.sharding
        )

    def accept(self, example: Batch, whole: Batch | None) -> None:
        """Check the whole data where they are there, and an example of batches where not."""
        self.check(example if whole is None else whole)
        self.checked = whole is not None

    def __call__(self, batch: Batch) -> Batch:
        """The batch, on its devices."""
        if not self.checked:
            self.check(batch)
        return batch if self.sharding is None else jax.device_put(batch, self.sharding)

    def check(self, batch: Batch) -> None:
        """Refuse a batch that cannot be right; also whole data."""
        leaves, structure = jax.tree.flatten(batch)
        known = (structure, *((getattr(a, "shape", 0), getattr(a, "dtype", 0)) for a in leaves))
        if known in self.outputs:
            check_numbers_of(self.function, batch)
        else:
            check_batch(self.function, batch)
            self.outputs[known] = self.said_of(batch)
        for check in self.checks:
            check(self.function, self.outputs[known], batch)

    def said_of(self, batch: Batch) -> PyTree:
        """The shapes of what the model says of a batch."""
        if self.stateful and batch.resets is None:
            way_out = "rnnjax.data.windows makes such batches"
            wanted = "say where streams begin in stateful training"
            _checks.refuse(self.function, "resets", wanted, None, way_out)
        run = lambda weights, batch: self.model.apply(weights, batch, None, None).outputs
        return jax.eval_shape(run, self.weights, batch)

"""Measuring a trained model, and asking it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import value
from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch, check_batch
from rnnjax.data.in_memory import rows
from rnnjax.train.history import History
from rnnjax.train.measures import Measure, as_measures
from rnnjax.train.models import Model, Weights
from rnnjax.train.modules import as_model
from rnnjax.train.placing import Placer
from rnnjax.train.sources import Source, as_source
from rnnjax.train.state import TrainState
from rnnjax.train.steps import cast_xs, caster, make_eval_step, uncast
from rnnjax.train.totals import Totals, add, no_totals, values_of


class Trained(NamedTuple):
    """A model with its weights, and how it came by them.

    Attributes:
        model: what was trained; anything that `fit` takes.
        params: its params.
        buffers: what it keeps beside.
        history: of the epochs; None where there were none.
        state: as the last step left it; None where there was none.
        reason: why training ended before its last epoch; None where it did not.
    """

    model: Any
    params: PyTree
    buffers: PyTree = ()
    history: History | None = None
    state: TrainState | None = None
    reason: str | None = None

    @property
    def weights(self) -> Weights:
        """Params and buffers."""
        return Weights(self.params, self.buffers)


def evaluate(
    trained: Trained,
    data: Any,
    measures: Sequence[Measure | Callable[[PyTree, PyTree], Array]],
    *,
    batch_size: int | None = None,
    stateful: bool | None = None,
    compute_dtype: Any = None,
    steps: int | None = None,
) -> dict[str, Any]:
    """Measure a model on data, without noise: means over all that is valid.

    Args:
        trained: from `fit`, or `Trained(model, params)`.
        data: as for `fit`.
        measures: losses and metrics.
        batch_size: rows at a time, for data in arrays; None means 32. It changes no value.
        stateful: as for `fit`.
        compute_dtype: as for `fit`.
        steps: batches to read; None means all.

    Returns:
        The value of each measure by its name.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for data that is not right.
    """
    function = "evaluate"
    model = check_trained(function, trained)
    chosen = as_measures(function, measures, argument="measures")
    source, whole = as_data(function, data, batch_size=batch_size, steps=steps)
    stateful = hands_on(function, data, stateful)
    placer = Placer(function, model, trained.weights, chosen, stateful)
    placer.accept(source.example(), whole)
    return evaluator(placer, source, compute_dtype=compute_dtype)(trained.weights)


def predict(
    trained: Trained,
    data: Any,
    *,
    batch_size: int | None = None,
    compute_dtype: Any = None,
) -> PyTree:
    """Run a model on data, without noise.

    Args:
        trained: from `fit`, or `Trained(model, params)`.
        data: inputs `(N, T, ...)`, or a `Batch` or tuple of arrays with lengths (targets are not
            read, and may be None), or batches.
        batch_size: rows at a time, for data in arrays; None means 32. It changes no value.
        compute_dtype: as for `fit`.

    Returns:
        The outputs as NumPy arrays: `(N, ...)` for arrays; a list with those of each batch for
        batches.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for data that is not right.
    """
    function = "predict"
    model = check_trained(function, trained)
    if hasattr(data, "shape"):
        data = Batch(data)
    source, whole = as_data(function, data, batch_size=batch_size, steps=None)
    run = asking(model, compute_dtype)
    out = []
    for batch in source.batches(0, 0):
        if whole is None:
            check_batch(function, batch)
        out.append(run(trained.weights, batch._replace(targets=None, weights=None)))
    out = jax.device_get(out)
    if whole is None:
        return out
    num_rows = jax.tree.leaves(whole.xs)[0].shape[0]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:num_rows], *out)


def evaluator(
    placer: Placer, source: Source, *, compute_dtype: Any = None
) -> Callable[..., dict[str, Any]]:
    """What measures weights on all batches of an epoch, and fetches the values once."""
    step = make_eval_step(placer.model, placer.measures, compute_dtype=compute_dtype)
    advance, values = adding_up(step, placer.measures, placer.stateful)

    def run(weights: Weights, epoch: int = 0) -> dict[str, Any]:
        carry: Any = None
        totals: Any = None
        for batch in source.batches(epoch, 0):
            batch = placer(batch)
            if totals is None:
                carry, sums = jax.eval_shape(step, weights, None, batch)
                totals, carry = no_totals(sums), zeros_of(carry) if placer.stateful else None
            carry, totals = advance(weights, carry, totals, batch)
        fetched = jax.device_get(values(totals))
        return {measure.name: fetched[measure.name].tolist() for measure in placer.measures}

    return run


@value
def adding_up(
    step: Callable[..., Any], measures: tuple[Measure, ...], stateful: bool
) -> tuple[Callable[..., Any], Callable[[Totals], dict[str, Array]]]:
    """The step with sums over all batches, and what makes values of them."""

    def measure(weights: Weights, carry: PyTree, totals: Totals, batch: Batch) -> Any:
        carry, sums = step(weights, carry, batch)
        return carry if stateful else None, add(totals, sums, batch)

    return jax.jit(measure), jax.jit(lambda totals: values_of(measures, totals))


@value
def asking(model: Model, compute_dtype: Any) -> Callable[[Weights, Batch], PyTree]:
    """The jitted function that returns outputs."""
    cast = caster("predict", compute_dtype)

    def ask(weights: Weights, batch: Batch) -> PyTree:
        weights = weights._replace(params=cast(weights.params))
        return uncast(compute_dtype, model.apply(weights, cast_xs(cast, batch), None, None).outputs)

    return jax.jit(ask)


def zeros_of(shapes: PyTree) -> PyTree:
    """Zeros of abstract shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def as_data(
    function: str,
    data: Any,
    *,
    batch_size: int | None,
    steps: int | None,
    shuffle: bool = False,
    seed: int = 0,
) -> tuple[Source, Batch | None]:
    """Where batches come from, and the whole data if it is in arrays."""
    if is_arrays(data):
        whole = as_batch(function, data, argument="data")
        check_batch(function, whole)
        size = 32 if batch_size is None else _checks.size(function, "batch_size", batch_size)
        size = min(size, jax.tree.leaves(whole.xs)[0].shape[0])
        batches = rows(whole, batch_size=size, shuffle=shuffle, seed=seed)
        return as_source(function, batches, steps), whole
    if batch_size is not None:
        way_out = "leave it out, or give arrays"
        wanted = "be None for data that comes in batches"
        _checks.refuse(function, "batch_size", wanted, batch_size, way_out)
    return as_source(function, data, steps), None


def is_arrays(data: Any) -> bool:
    """Whether data is all rows in arrays, rather than batches."""
    return isinstance(data, Batch) or type(data) is tuple


def hands_on(function: str, data: Any, stateful: bool | None) -> bool:
    """Whether rows of a batch go on where those of the batch before ended."""
    if stateful is None:
        return bool(getattr(data, "continues", False))
    return _checks.flag(function, "stateful", stateful)


def check_trained(function: str, trained: Any) -> Model:
    """The model of what was trained."""
    if not isinstance(trained, Trained):
        way_out = "give what fit returns, or train.Trained(model, params)"
        got = _checks.kind(trained)
        _checks.refuse(function, "trained", "be Trained", got, way_out, error=TypeError)
    return as_model(function, trained.model)

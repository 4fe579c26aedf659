"""Measuring a trained model, and asking it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import program
from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch, check_batch
from rnnjax.data.in_memory import rows
from rnnjax.train.history import History
from rnnjax.train.inputs import check_inputs, spec_of
from rnnjax.train.measures import Measure, as_measures
from rnnjax.train.models import Model, Weights
from rnnjax.train.modules import as_model
from rnnjax.train.placing import Placer
from rnnjax.train.sources import Names, Source, as_source, check_data, check_once
from rnnjax.train.state import TrainState, first_difference, zeros_of
from rnnjax.train.steps import computing_in, eval_step
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
        data: as for `fit`; an iterator is read to its end.
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
    names = Names(function, steps="steps")
    source, whole = as_data(names, data, batch_size=batch_size, steps=steps, again=False)
    check_once(names, source, steps)
    stateful = hands_on(function, data, stateful)
    example = source.example()
    check_fits(function, trained, model, example)
    placer = Placer(function, model, trained.weights, chosen, stateful)
    placer.accept(example, whole)
    return evaluator(placer, source, compute_dtype=compute_dtype)(trained.weights)


def predict(
    trained: Trained,
    data: Any,
    *,
    batch_size: int | None = None,
    stateful: bool | None = None,
    compute_dtype: Any = None,
) -> PyTree:
    """Run a model on data, without noise.

    Args:
        trained: from `fit`, or `Trained(model, params)`.
        data: inputs `(N, T, ...)`, or a `Batch` or tuple of arrays with lengths (targets are not
            read, and may be None), or batches.
        batch_size: rows at a time, for data in arrays; None means 32. It changes no value.
        stateful: as for `fit`.
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
    names = Names(function, steps=None)
    source, whole = as_data(names, data, batch_size=batch_size, steps=None, again=False)
    example = source.example()
    check_fits(function, trained, model, example)
    placer = Placer(function, model, trained.weights, (), hands_on(function, data, stateful))
    placer.accept(example, whole)
    run = asking(model, compute_dtype)
    asked = lambda batch: batch._replace(targets=None, weights=None)
    shapes, _ = jax.eval_shape(run, trained.weights, None, asked(example))
    carry, out = zeros_of(shapes) if placer.stateful else None, []
    for batch in source.batches(0, 0):
        new, said = run(trained.weights, carry, asked(placer(batch)))
        carry = new if placer.stateful else None
        out.append(jax.device_get(said))
    if whole is None:
        return out
    num_rows = whole.num_rows
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:num_rows], *out)


def evaluator(
    placer: Placer, source: Source, *, compute_dtype: Any = None
) -> Callable[..., dict[str, Any]]:
    """What measures weights on all batches of an epoch, and fetches the values once."""
    step = eval_step(placer.function, placer.model, placer.measures, compute_dtype)
    advance, values = adding_up(step, placer.measures, placer.stateful)
    shapes, sums = jax.eval_shape(step, placer.weights, None, source.example())

    def run(weights: Weights, epoch: int = 0) -> dict[str, Any]:
        carry, totals = zeros_of(shapes) if placer.stateful else None, no_totals(sums)
        for batch in source.batches(epoch, 0):
            carry, totals = advance(weights, carry, totals, placer(batch))
        fetched = jax.device_get(values(totals))
        return {measure.name: fetched[measure.name].tolist() for measure in placer.measures}

    return run


@program
def adding_up(
    step: Callable[..., Any], measures: tuple[Measure, ...], stateful: bool
) -> tuple[Callable[..., Any], Callable[[Totals], dict[str, Array]]]:
    """The step with sums over all batches, and what makes values of them."""

    def measure(weights: Weights, carry: PyTree, totals: Totals, batch: Batch) -> Any:
        carry, sums = step(weights, carry, batch)
        return carry if stateful else None, add(totals, sums, batch)

    return jax.jit(measure), jax.jit(lambda totals: values_of(measures, totals))


@program
def asking(model: Model, compute_dtype: Any) -> Callable[..., tuple[PyTree, PyTree]]:
    """The jitted function that returns carry and outputs."""
    run = computing_in("predict", model, compute_dtype)

    def ask(weights: Weights, carry: PyTree, batch: Batch) -> tuple[PyTree, PyTree]:
        applied = run(weights, batch, carry, None)
        return applied.carry, applied.outputs

    return jax.jit(ask)


def as_data(
    names: Names,
    data: Any,
    *,
    batch_size: int | None,
    steps: int | None,
    shuffle: bool = False,
    seed: int = 0,
    again: bool = True,
) -> tuple[Source, Batch | None]:
    """Where batches come from, and the whole data if it is in arrays."""
    function = names.function
    if is_arrays(data):
        whole = as_batch(function, data, argument=names.data)
        check_batch(function, whole)
        size = 32 if batch_size is None else _checks.size(function, "batch_size", batch_size)
        size = min(size, whole.num_rows)
        batches = rows(whole, batch_size=size, shuffle=shuffle, seed=seed)
        return as_source(names, batches, steps), whole
    check_data(names, data)
    if batch_size is not None:
        way_out = "leave it out, or give arrays"
        wanted = "be None for data that comes in batches"
        _checks.refuse(function, "batch_size", wanted, batch_size, way_out)
    return as_source(names, data, steps, again=again), None


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


def check_fits(function: str, trained: Trained, model: Model, example: Batch) -> None:
    """Refuse params of another model; a shape that is wrong is that of the inputs, maybe."""
    check_batch(function, example)
    check_inputs(function, spec_of(model, None, example), example)
    wanted = jax.eval_shape(model.init, jax.random.key(0), example)
    way_out = "give what fit returned for this very model"
    for part in ("params", "buffers"):
        given, like = getattr(trained, part), getattr(wanted, part)
        if jax.tree.leaves(given) or jax.tree.leaves(like):
            name, given, like = first_difference(f"trained.{part}", given, like)
            if jax.tree.structure(given) != jax.tree.structure(like):
                _checks.same_structure(function, name, given, like, way_out)

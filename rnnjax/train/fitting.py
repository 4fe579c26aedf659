"""`fit`: from data to a trained model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import program
from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch, check_batch
from rnnjax.train.averaging import Averaging
from rnnjax.train.callbacks import Callback, check_name
from rnnjax.train.checkpoints import Checkpoints, newest
from rnnjax.train.class_weights import weighted
from rnnjax.train.evaluation import Trained, as_data, evaluator, hands_on, is_arrays
from rnnjax.train.measures import Measure, as_loss, as_measures
from rnnjax.train.models import Weights
from rnnjax.train.modules import as_model
from rnnjax.train.options import Options, check_options
from rnnjax.train.placing import Placer, check_sharding
from rnnjax.train.progress import shown
from rnnjax.train.run import Job, Run
from rnnjax.train.signals import interruptions
from rnnjax.train.sources import Names, Source, check_once
from rnnjax.train.state import TrainState, start
from rnnjax.train.steps import check_parts, train_step
from rnnjax.train.totals import Totals, add, no_totals, values_of


def fit(
    model: Any,
    data: Any,
    *,
    loss: Measure | Callable[[PyTree, PyTree], Array],
    optimizer: optax.GradientTransformation,
    key: Any,
    epochs: int = 1,
    steps_per_epoch: int | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    metrics: Sequence[Measure | Callable[[PyTree, PyTree], Array]] = (),
    validation: Any = None,
    validation_split: float = 0.0,
    validation_steps: int | None = None,
    class_weights: Any = None,
    penalty: Callable[[PyTree], Array] | None = None,
    accumulate: int = 1,
    averaging: Averaging | None = None,
    compute_dtype: Any = None,
    stateful: bool | None = None,
    max_bad: int = 10,
    monitor: str | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | str | Path | None = None,
    resume: bool = False,
    weights: Weights | None = None,
    sharding: Any = None,
    progress: bool | None = None,
) -> Trained:
    """Train a model.

    The device runs ahead while the host looks on a few times a second: no step waits for a number
    to be fetched. Everything random comes from `key`, but for the noise of NNX modules, which is
    that of their own streams; the same key gives the same bits. Functions given are taken to be
    pure, as by `jax.jit`: what one reads from elsewhere is read once.
    Ctrl-C and SIGTERM end the run after the step, with a checkpoint; a second one ends the program.

    Args:
        model: a cell, a layer, an NNX or Linen module, or a `Model`.
        data: a `Batch` of all rows, or a tuple of arrays `(xs, targets, lengths, weights)`; or
            batches: what counts them, as `rnnjax.data.buckets`, `rnnjax.data.windows` and Grain's
            `MapDataset` do, or any iterable of them.
        loss: a function of outputs and targets, or a `Measure`.
        optimizer: from Optax, or `train.adamw`.
        key: draws weights, order and noise.
        epochs: how many, those before a resumption included.
        steps_per_epoch: batches in an epoch; None means all there are. Batches by number, and one
            iterator, go on from epoch to epoch; a list or other iterable begins again in each.
        batch_size: rows in a batch, for data in arrays; None means 32.
        shuffle: whether the order of rows is drawn anew in each epoch, for data in arrays.
        metrics: measured beside the loss; on training data on the way, with dropout on.
        validation: data measured after each epoch, as `data`.
        validation_split: the share of rows drawn for validation, for data in arrays.
        validation_steps: batches of validation data; None means all there are.
        class_weights: how much the classes of integer targets count in the training loss, an array
            or a dict from class to weight; None means alike.
        penalty: as in `make_train_step`.
        accumulate: as in `make_train_step`; an `activity` penalty is the mean of those of parts.
        averaging: `ema(...)` or `nt_asgd(...)`: validation and the result have the average.
        compute_dtype: as in `make_train_step`.
        stateful: whether the carry is handed on from batch to batch (truncated backpropagation
            through time); batches say by `resets` where streams begin. None means that the data
            say, as `rnnjax.data.windows` do; other data do not.
        max_bad: batches in a row with a loss or gradient that is not finite, after which the run
            fails; each of them is left out and counted.
        monitor: the name in the history that says which epoch was best; None means "val_loss" with
            validation data, else "loss".
        callbacks: `EarlyStopping`, `ReduceOnPlateau`, `CSVLog` and the like.
        checkpoints: a folder, in which one is written every minute, or `Checkpoints(...)`; also at
            the end, and when the run is interrupted. None saves nothing.
        resume: whether to go on from the folder's last sound checkpoint, if there is one, amid its
            epoch. With the same arguments, the result is that of a run that was never stopped, bit
            by bit; `epochs` may be more. Iterators are to be given as new: they are set to where
            they were if they have `set_state`, as Grain's have, and read up to there if not.
        weights: where to begin; None draws them, or takes those that an NNX module holds.
        sharding: where batches go, such as `NamedSharding(mesh, PartitionSpec("data"))`; weights
            are then on all devices of that mesh. None leaves both to JAX.
        progress: True shows it, False does not, None does where the output is a terminal.

    Returns:
        The trained model. Its params are the last ones, or those that a callback chose, such as
        the best ones in `EarlyStopping`. An NNX module holds them, too.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for data or a number that is not right.
        NonFiniteError: see `max_bad`.
        CheckpointError: if a checkpoint cannot be written or read.
    """
    check_rest(key, epochs, shuffle, progress, sharding)
    options = Options(optimizer, averaging, penalty, accumulate, compute_dtype, max_bad)
    check_options("fit", options)
    callbacks, checkpoints = check_callbacks(callbacks), as_checkpoints(checkpoints, resume)
    functions, measures = as_model("fit", model), all_measures(loss, metrics)
    key_state, key_data = jax.random.split(key)
    seed = int(jax.random.bits(key_data))
    data, validation = split_off(data, validation, validation_split, seed)
    check_waiting(averaging, validation)
    stateful = hands_on("fit", data, stateful)
    source, whole = as_data(
        Names("fit"), data, batch_size=batch_size, steps=steps_per_epoch, shuffle=shuffle, seed=seed
    )
    example = source.example()
    check_batch("fit", example)
    check_parts("fit", example, accumulate, stateful)
    state = start(
        "fit", functions, options, example, key=key_state, weights=weights, stateful=stateful
    )
    trained_on = weigh_classes(measures, class_weights)
    placer = Placer("fit", functions, state.weights, trained_on, stateful, sharding)
    placer.accept(example, whole, period=source.period)
    step = train_step("fit", functions, trained_on, options)
    advance, values = adding_up(step, measures)
    totals = no_totals(jax.eval_shape(step, state, example)[1])
    names = numbers(jax.eval_shape(values, totals), validation)
    in_streams = None if validation is None or is_arrays(validation) else stateful or None
    inspector = placer.twin(measures, stateful=hands_on("fit", validation, in_streams))
    job = Job(
        advance=advance,
        values=values,
        place=placer,
        source=source,
        validate=validator(inspector, validation, batch_size, validation_steps, compute_dtype),
        measures={measure.name: measure for measure in measures},
        names=names,
        monitor=check_monitor(monitor, names, measures),
        epochs=epochs,
        callbacks=callbacks,
        checkpoints=checkpoints,
        averaging=averaging,
        max_bad=max_bad,
        settings={
            "key": jax.random.key_data(key).tolist(),
            "shuffle": shuffle,
            "validation_split": float(validation_split),
            "monitor": monitor,
            **settings_of(source, example, measures),
        },
    )
    run = Run(job, on_devices((state, totals), sharding))
    run.resume()
    with interruptions() as signals, shown(progress, epochs) as screen:
        run.go(signals, screen)
    if functions.store is not None:
        functions.store(run.chosen)
    params, buffers = run.chosen
    return Trained(model, params, buffers, run.history, run.state, run.reason)


RESERVED = ("loss", "epoch", "step", "tokens", "scale", "skipped", "seconds")
"""Names in the history that no metric may have."""


def check_rest(key: Any, epochs: Any, shuffle: Any, progress: Any, sharding: Any) -> None:
    """Refuse what is not looked at elsewhere."""
    _checks.prng_key("fit", key)
    _checks.size("fit", "epochs", epochs)
    _checks.flag("fit", "shuffle", shuffle)
    if progress is not None and not isinstance(progress, bool):
        got, wanted = _checks.kind(progress), "be True, False or None"
        _checks.refuse("fit", "progress", wanted, got, "give a bool", error=TypeError)
    check_sharding("fit", sharding)


def all_measures(loss: Any, metrics: Any) -> tuple[Measure, ...]:
    """The loss under that name, and the metrics."""
    measures = as_measures("fit", metrics, taken=RESERVED)
    for measure in measures:
        if measure.name.startswith("val_"):
            way_out = 'rename it with ._replace(name="...")'
            wanted, got = "have names without val_ in front", repr(measure.name)
            _checks.refuse("fit", "metrics", wanted, got, way_out)
    return as_loss("fit", loss), *measures


def weigh_classes(measures: tuple[Measure, ...], class_weights: Any) -> tuple[Measure, ...]:
    """The same with a loss in which classes count as the user says."""
    if class_weights is None:
        return measures
    loss, *metrics = measures
    return weighted("fit", loss, class_weights)._replace(name="loss"), *metrics


@program
def adding_up(
    step: Callable[..., Any], measures: tuple[Measure, ...]
) -> tuple[Callable[..., Any], Callable[[Totals], dict[str, Array]]]:
    """The step with sums over the epoch, and what makes values of them."""

    def advance(state: TrainState, totals: Totals, batch: Batch) -> tuple[TrainState, Totals]:
        state, sums = step(state, batch)
        return state, add(totals, sums, batch)

    def values(totals: Totals) -> dict[str, Array]:
        return values_of(measures, totals) | {"tokens": totals.tokens}

    return jax.jit(advance, donate_argnums=(0, 1)), jax.jit(values)


def validator(
    inspector: Placer,
    validation: Any,
    batch_size: int | None,
    steps: int | None,
    compute_dtype: Any,
) -> Callable[[Weights, int], dict[str, Any]] | None:
    """What measures weights on validation data, if there is some, after an epoch (from 0)."""
    if validation is None:
        if steps is not None:
            way_out = "give validation data"
            wanted = "be None where there is nothing to validate with"
            _checks.refuse("fit", "validation_steps", wanted, steps, way_out)
        return None
    size = batch_size if is_arrays(validation) else None
    names = Names("fit", "validation", "validation_steps")
    source, whole = as_data(names, validation, batch_size=size, steps=steps)
    check_once(names, source, steps)
    inspector.accept(source.example(), whole)
    measure = evaluator(inspector, source, compute_dtype=compute_dtype)
    # The same batches each time; an iterator goes on, and after a resumption is read up to there.
    once = getattr(source, "once", False)
    return lambda weights, epoch: measure(weights, epoch if once else 0)


def settings_of(source: Source, example: Batch, measures: tuple[Measure, ...]) -> dict[str, Any]:
    """What must be the same after a resumption, of data and measures."""
    return {
        "metrics": [measure.name for measure in measures[1:]],
        "steps_per_epoch": source.steps,
        "batch_size": example.num_rows,
    }


def split_off(data: Any, validation: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Rows to train on and rows drawn for validation."""
    share = _checks.real("fit", "validation_split", share)
    if share == 0.0:
        return data, validation
    refuse = lambda wanted, got, way_out: _checks.refuse(
        "fit", "validation_split", wanted, got, way_out
    )
    if not 0.0 < share < 1.0:
        refuse("lie in 0 <= share < 1", share, "0.1 holds out a tenth of the rows")
    if validation is not None:
        refuse("be 0 where validation data is given", share, "give one of them")
    if not is_arrays(data):
        refuse("be 0 for data that comes in batches", share, "give validation data")
    whole = as_batch("fit", data, argument="data")
    check_batch("fit", whole)
    num_rows = whole.num_rows
    count = round(share * num_rows)
    if not 0 < count < num_rows:
        refuse(f"leave rows on both sides of {num_rows}", share, "give more rows")
    order = np.random.default_rng(seed).permutation(num_rows)
    pick = lambda rows: jax.tree.map(lambda a: np.asarray(a)[np.sort(rows)], whole)
    return pick(order[count:]), pick(order[:count])


def on_devices(tree: PyTree, sharding: Any) -> PyTree:
    """A copy on each device of the batch's mesh; as it is without one."""
    if sharding is None:
        return tree
    everywhere = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return jax.device_put(tree, everywhere)


def numbers(values: dict[str, Any], validation: Any) -> tuple[str, ...]:
    """The names of the history that have one number in each epoch, and can be compared."""
    single = [name for name, value in values.items() if value.shape == () and name != "tokens"]
    return *single, *(f"val_{name}" for name in single if validation is not None)


def check_monitor(monitor: Any, names: tuple[str, ...], measures: tuple[Measure, ...]) -> str:
    """The name in the history that says which epoch was best."""
    if monitor is None:
        return "val_loss" if "val_loss" in names else "loss"
    check_name("fit", "monitor", monitor, names)
    unsaid = {m.name for m in measures[1:] if m.higher_is_better is None}
    if monitor.removeprefix("val_") in unsaid:
        way_out = "wrap the function in train.mean_of(function, higher_is_better=True)"
        wanted = "be a measure that says what is better"
        _checks.refuse("fit", "monitor", wanted, repr(monitor), way_out)
    return monitor


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Callbacks, as objects."""
    listed = callbacks if isinstance(callbacks, (list, tuple)) else (callbacks,)
    for callback in listed:
        if not isinstance(callback, Callback):
            way_out = "such as train.EarlyStopping(patience=5)"
            wanted, got = "hold train.Callback objects", _checks.kind(callback)
            _checks.refuse("fit", "callbacks", wanted, got, way_out, error=TypeError)
    return tuple(listed)


def check_waiting(averaging: Averaging | None, validation: Any) -> None:
    """An average that waits for validation has some to wait for."""
    if averaging is not None and averaging.patience is not None and validation is None:
        way_out = "give validation data"
        wanted = "be None or ema(...) without validation data"
        _checks.refuse("fit", "averaging", wanted, "nt_asgd(...)", way_out)


def as_checkpoints(checkpoints: Any, resume: bool) -> Checkpoints | None:
    """Where to save; a folder with the checkpoints of another run is not written to."""
    _checks.flag("fit", "resume", resume)
    if isinstance(checkpoints, (str, Path)):
        checkpoints = Checkpoints(checkpoints)
    if checkpoints is None or isinstance(checkpoints, Checkpoints):
        if checkpoints is None and resume:
            way_out = "say where they are with checkpoints="
            _checks.refuse("fit", "resume", "be False without checkpoints", resume, way_out)
        if checkpoints is not None and not resume:
            last = newest("fit", checkpoints.folder)
            if last is not None:
                wanted = "be a folder without checkpoints"
                got = f"{checkpoints.folder} with step {last}"
                way_out = "give resume=True to go on from there, or another folder"
                _checks.refuse("fit", "checkpoints", wanted, got, way_out)
        return checkpoints
    wanted, got = "be a folder or Checkpoints(...)", _checks.kind(checkpoints)
    _checks.refuse("fit", "checkpoints", wanted, got, "give a path", error=TypeError)

"""What is added up over batches, and what comes of the sums: losses and metrics alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import remembered
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.data.batch import Batch
from rnnjax.methods.base import keep, zeros_like
from rnnjax.sequence.masks import lengths_to_mask
from rnnjax.sequence.meshes import follow


class Mean(NamedTuple):
    """The sums of a mean.

    Attributes:
        total: the weighted sum.
        count: the sum of weights.
    """

    total: Array
    count: Array


class Measure(NamedTuple):
    """A loss or a metric: sums over what is valid, and a value that comes of them.

    Batches are added up before there is a value, so that the mean over an epoch is that over its
    valid tokens, however they were batched.

    Attributes:
        name: what history and progress call it.
        sums: `outputs, batch -> sums`, a tree of arrays that batches add to each other. A loss
            has a `Mean`.
        value: `sums -> value`.
        check: refuses targets that do not fit the outputs: `function, outputs, batch`, called
            before tracing with abstract outputs; by steps of training and evaluation while traced,
            where numbers cannot be read.
        higher_is_better: how values are compared; None where nobody has said so.
    """

    name: str
    sums: Callable[[PyTree, Batch], PyTree]
    value: Callable[[PyTree], Array]
    check: Callable[[str, PyTree, Batch], None] = lambda function, outputs, batch: None
    higher_is_better: bool = False


@remembered(64)
def mean_of(
    function: Callable[[PyTree, PyTree], Array],
    *,
    name: str | None = None,
    value: Callable[[Array], Array] = lambda mean: mean,
    check: Callable[[str, PyTree, Batch], None] | None = None,
    higher_is_better: bool = False,
) -> Measure:
    """Make a measure of a function of outputs and targets: its mean over all that is valid.

    Where the function's values have an axis of time, `(B, T)`, steps beyond a row's length do not
    count, and what stands there in outputs and targets, NaN too, changes nothing: the function
    sees zeros. Weights multiply values and counts. Where nothing counts, the mean is 0.

    Args:
        function: `outputs, targets -> values`, `(B,)` for sequences or `(B, T)` for steps, such as
            `optax.softmax_cross_entropy_with_integer_labels`. Without lengths, T may be that of
            the targets alone.
        name: of the measure; None means the function's own.
        value: what is made of the mean, such as `jnp.exp` for a perplexity.
        check: as in `Measure`; None checks nothing.
        higher_is_better: how values are compared.

    Returns:
        The measure.

    Raises:
        TypeError: if `function` does not take outputs and targets, or an option is of the wrong
            kind.

    Example:
        >>> import jax.numpy as jnp
        >>> from rnnjax.data import Batch
        >>> measure = mean_of(lambda outputs, targets: jnp.abs(outputs - targets))
        >>> batch = Batch(jnp.zeros((2, 3, 1)), jnp.zeros((2, 3)), lengths=jnp.array([3, 1]))
        >>> sums = measure.sums(jnp.array([[1.0, 2, 3], [4, jnp.nan, 6]]), batch)
        >>> float(measure.value(sums))
        2.5
    """
    check_function("mean_of", "function", function)
    _checks.function("mean_of", "value", value, such_as="jnp.exp")
    _checks.flag("mean_of", "higher_is_better", higher_is_better)
    if check is not None:
        such_as = "lambda function, outputs, batch: None"
        _checks.function("mean_of", "check", check, such_as=such_as)
    if name is not None and not isinstance(name, str):
        got, way_out = _checks.kind(name), 'give one such as "edit_distance"'
        _checks.refuse("mean_of", "name", "be a word", got, way_out, error=TypeError)
    title = name or getattr(function, "__name__", type(function).__name__)

    def sums(outputs: PyTree, batch: Batch) -> Mean:
        like = jax.eval_shape(function, outputs, batch.targets)
        lead = check_values(title, like, batch)
        weight = follow(weights_of(batch, lead), outputs)
        valid = weight != 0
        blank = lambda tree: jax.tree.map(lambda a: keep(valid, a, zeros_like(a)), tree)
        values = function(blank(outputs), blank(batch.targets))
        weight = weight.astype(at_least_float32(values.dtype))
        return Mean((values.astype(weight.dtype) * weight).sum(), weight.sum())

    return Measure(
        name=title,
        sums=sums,
        value=lambda sums: value(mean(sums)),
        check=check or Measure._field_defaults["check"],
        higher_is_better=higher_is_better,
    )


def mean(sums: Mean) -> Array:
    """The mean of what was added up; 0 where nothing counts."""
    return sums.total / jnp.where(sums.count == 0, 1, sums.count)


def check_values(name: str, values: Any, batch: Batch) -> tuple[int, ...]:
    """The axes of what a measure says of each sequence or step, `(B,)` or `(B, T)`."""
    shape = getattr(values, "shape", None)
    if shape is not None and jnp.issubdtype(values.dtype, jnp.complexfloating):
        way_out = "take the absolute value, or the real part"
        _checks.refuse(name, "values", "be real", values.dtype, way_out, error=TypeError)
    num_rows, num_steps = batch.num_rows, batch.num_steps
    wanted = [(num_rows,), (num_rows, num_steps)]
    # Without lengths, steps of the targets may be others than those of the inputs.
    other_steps = batch.lengths is None and shape is not None and shape[:-1] == (num_rows,)
    if shape is None or (shape not in wanted and not other_steps):
        wanted = f"return {wanted[0]} for sequences or {wanted[1]} for steps"
        got = _checks.kind(values) if shape is None else shape
        way_out = "take the mean over features, and give every sequence or step one value"
        _checks.refuse(name, "values", wanted, got, way_out)
    return shape


def weights_of(batch: Batch, lead: tuple[int, ...]) -> Array:
    """How much each sequence, `(B,)`, or step, `(B, T)`, counts; 0 beyond a row's length."""
    weight = jnp.ones(lead, jnp.float32)
    if batch.weights is not None:
        given = jnp.asarray(batch.weights)
        if given.ndim > len(lead):
            way_out = "steps are weighted where the loss has a value for each of them"
            _checks.refuse("Batch", "weights", f"have shape {lead}", given.shape, way_out)
        given = jnp.expand_dims(given, range(given.ndim, len(lead)))
        weight = jnp.broadcast_to(given.astype(weight.dtype), lead)
    if batch.lengths is not None and len(lead) == 2:
        valid = lengths_to_mask(batch.lengths, lead[1], time_axis=-1)
        weight = jnp.where(valid, weight, 0)
    return weight


def check_function(function: str, argument: str, thing: Any) -> None:
    """Refuse what is no function of outputs and targets, such as the maker of a measure."""
    such_as = "lambda outputs, targets: abs(outputs - targets)"
    _checks.function(function, argument, thing, such_as=such_as)
    way_out = "call it first, as in train.f1(5), where it makes a measure"
    _checks.takes(function, argument, thing, ("outputs", "targets"), way_out)


def as_measure(function: str, argument: str, thing: Measure | Callable[..., Any]) -> Measure:
    """A measure as it is, and a function of outputs and targets as its mean.

    Of a bare function nobody knows whether higher is better.
    """
    if isinstance(thing, Measure):
        return thing
    if callable(thing) and not isinstance(thing, type):
        check_function(function, argument, thing)
        return mean_of(thing)._replace(higher_is_better=None)
    one = argument == "loss"
    such_as = "train.cross_entropy" if one else "train.accuracy"
    way_out = f"give one such as {such_as}, or a function of outputs and targets"
    wanted = "be a measure" if one else "hold measures"
    _checks.refuse(function, argument, wanted, _checks.kind(thing), way_out, error=TypeError)


def as_loss(function: str, thing: Measure | Callable[..., Any]) -> Measure:
    """What is made smaller, under that name."""
    loss = as_measure(function, "loss", thing)
    if loss.higher_is_better:
        way_out = "put it among the metrics, and give a loss such as train.cross_entropy"
        wanted = "be better where it is lower"
        _checks.refuse(function, "loss", wanted, repr(loss.name), way_out)
    return loss._replace(name="loss")


def as_measures(
    function: str, things: Any, *, argument: str = "metrics", taken: tuple[str, ...] = ()
) -> tuple[Measure, ...]:
    """Several measures, each with a name of its own."""
    if not isinstance(things, (list, tuple)) or isinstance(things, Measure):
        way_out = "put it into a list, such as [train.accuracy]"
        got = _checks.kind(things)
        _checks.refuse(function, argument, "be a list of measures", got, way_out, error=TypeError)
    measures = tuple(as_measure(function, argument, thing) for thing in things)
    way_out = 'rename one of them with ._replace(name="...")'
    names = [measure.name for measure in measures]
    for name in names:
        if name in taken:
            wanted = f"have other names than {sorted(taken)}"
            _checks.refuse(function, argument, wanted, repr(name), way_out)
        if names.count(name) > 1:
            _checks.refuse(function, argument, "have a name each", f"{name!r} twice", way_out)
    return measures

"""One step of training and one of evaluation: pure, jitted, usable alone."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import program
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.data.batch import Batch
from rnnjax.train.measures import Mean, Measure, as_loss, as_measures
from rnnjax.train.models import Applied, Model, Weights, check_number
from rnnjax.train.modules import as_model
from rnnjax.train.options import Options, caster, check_options
from rnnjax.train.state import Average, Bad, TrainState, zeros_of

Sums = dict[str, PyTree]
"""What each measure adds up, by its name."""

UNSEEN = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""Errors of what asks for the numbers of an array that has none yet."""


def make_train_step(
    model: Any,
    loss: Measure | Callable[[PyTree, PyTree], Array],
    optimizer: optax.GradientTransformation,
    *,
    metrics: Sequence[Measure | Callable[[PyTree, PyTree], Array]] = (),
    penalty: Callable[[PyTree], Array] | None = None,
    accumulate: int = 1,
    averaging: Any = None,
    compute_dtype: Any = None,
    max_bad: int = 10,
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums]]:
    r"""Make the jitted function that takes one step.

    The gradient is that of the mean over all that is valid in the batch, $\sum_i w_i \ell_i /
    \sum_i w_i$, plus penalties. A batch whose loss or gradient is not finite changes nothing but
    `state.bad`; after `max_bad` of them in a row no batch changes anything.

    Args:
        model: what `fit` takes.
        loss: a function of outputs and targets, or a `Measure`.
        optimizer: from Optax.
        metrics: measured on the way, with the params before the step and dropout on.
        penalty: of the params, `params -> number`, such as `l2(1e-4)`; None means none.
        accumulate: in how many parts the batch is worked on, one after another; the gradient is
            that of the whole batch, the memory that of a part.
        averaging: as in `init_state`.
        compute_dtype: of params and inputs in the model; None leaves them. Params, optimizer and
            loss stay in their own dtype.
        max_bad: see above.

    Returns:
        `state, batch -> state, sums`. The state given is used up (donated). `sums` has the sums of
        the loss as "loss" and those of the metrics by their names: `measure.value` makes values
        of them. Those of a bad batch are zero.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a number out of range.

    Example:
        >>> import jax, jax.numpy as jnp, optax, rnnjax
        >>> from rnnjax import data, train
        >>> model = train.from_layer(rnnjax.stack(rnnjax.gru(8), rnnjax.dense(2)))
        >>> batch = data.Batch(jnp.ones((4, 7, 3)), jnp.zeros((4, 7), int))
        >>> state = train.init_state(model, optax.adam(1e-2), batch, key=jax.random.key(0))
        >>> step = train.make_train_step(model, train.cross_entropy, optax.adam(1e-2))
        >>> state, sums = step(state, batch)
        >>> bool(train.cross_entropy.value(sums["loss"]) > 0)
        True
    """
    function = "make_train_step"
    options = Options(optimizer, averaging, penalty, accumulate, compute_dtype, max_bad)
    check_options(function, options)
    measures = as_loss(function, loss), *as_measures(function, metrics, taken=("loss",))
    return train_step(function, as_model(function, model), measures, options)


@program
def train_step(
    function: str, model: Model, measures: tuple[Measure, ...], options: Options
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums]]:
    """What `make_train_step` returns; the loss comes first, and messages name `function`."""
    optimizer, averaging, penalty, accumulate, compute_dtype, max_bad = options
    run = computing_in(function, model, compute_dtype)
    descend = optax.with_extra_args_support(optimizer)  # some of Optax want the loss

    def objective(params: PyTree, buffers: PyTree, batch: Batch, carry: PyTree, key: Any) -> Any:
        """The sum over the batch, and its penalties as often as something counts."""
        applied = run(Weights(params, buffers), batch, carry, key)
        sums = sums_of(function, measures, applied.outputs, batch)
        total, count = check_mean(function, sums["loss"])
        check_number(function, "Applied.penalty", applied.penalty)
        extra = applied.penalty
        if penalty is not None:
            extra = extra + check_number(function, "penalty", penalty(params))
        return total + count * extra, (sums, applied.carry, applied.buffers)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        check_class(function, "state", state, TrainState, "give what train.init_state returns")
        check_class(function, "batch", batch, Batch, "write data.Batch(xs, targets, lengths)")
        check_average(function, averaging, state.average)
        key = jax.random.fold_in(state.key, state.step)
        differentiate = jax.grad(objective, has_aux=True)
        if accumulate == 1:
            arguments = (state.params, state.buffers, batch, state.carry, key)
            gradient, (sums, carry, buffers) = differentiate(*arguments)
        else:
            check_parts(function, batch, accumulate, state.carry is not None)
            gradient, sums, buffers = in_parts(differentiate, state, batch, key, accumulate)
            carry = None
        total, count = sums["loss"]
        divisor = jnp.where(count == 0, 1, count)
        gradient = jax.tree.map(lambda g: g / divisor.astype(g.dtype), gradient)
        finite = all_finite((total, gradient))
        latched = state.bad.in_row >= max_bad
        alive = finite & ~latched & (count != 0)  # where nothing counts there is nothing to learn
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # for Optax
            updates, opt_state = descend.update(
                gradient, state.opt_state, state.params, value=total / divisor
            )
        updates = jax.tree.map(lambda u: u * state.scale.astype(u.dtype), updates)
        params = optax.apply_updates(state.params, updates)
        new = state._replace(
            params=params,
            buffers=buffers,
            opt_state=opt_state,
            carry=None if state.carry is None else jax.lax.stop_gradient(carry),
            average=averaged(averaging, state.average, params),
        )
        new = select(alive, new, state)
        counted = count_bad(state, finite & ~latched)
        sums = jax.tree.map(lambda leaf: jnp.where(alive, leaf, jnp.zeros_like(leaf)), sums)
        return new._replace(step=state.step + 1, bad=counted), sums

    return jax.jit(step, donate_argnums=0)


def check_class(function: str, argument: str, given: Any, kind: type, way_out: str) -> None:
    """Refuse what is no such value, such as the other argument."""
    if not isinstance(given, kind):
        wanted, got = f"be a {kind.__name__}", _checks.describe(given)
        _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)


def make_eval_step(
    model: Any,
    measures: Sequence[Measure | Callable[[PyTree, PyTree], Array]],
    *,
    compute_dtype: Any = None,
) -> Callable[[Weights, PyTree, Batch], tuple[PyTree, Sums]]:
    """Make the jitted function that measures one batch, without noise.

    Args:
        model: what `fit` takes.
        measures: losses and metrics.
        compute_dtype: as in `make_train_step`.

    Returns:
        `weights, carry, batch -> carry, sums`, with the sums of each measure by its name. A carry
        of None means a fresh one.

    Raises:
        TypeError: for an argument of the wrong kind.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> from rnnjax import data, train
        >>> model = train.from_layer(rnnjax.stack(rnnjax.gru(8), rnnjax.dense(2)))
        >>> batch = data.Batch(jnp.ones((4, 7, 3)), jnp.zeros((4, 7), int))
        >>> weights = model.init(jax.random.key(0), batch)
        >>> _, sums = train.make_eval_step(model, [train.accuracy])(weights, None, batch)
        >>> 0 <= float(train.accuracy.value(sums["accuracy"])) <= 1
        True
    """
    function = "make_eval_step"
    model, chosen = as_model(function, model), as_measures(function, measures, argument="measures")
    return eval_step(function, model, chosen, compute_dtype)


@program
def eval_step(
    function: str, model: Model, measures: tuple[Measure, ...], compute_dtype: Any
) -> Callable[[Weights, PyTree, Batch], tuple[PyTree, Sums]]:
    """What `make_eval_step` returns; `function` is what messages name."""
    run = computing_in(function, model, compute_dtype)

    def step(weights: Weights, carry: PyTree, batch: Batch) -> tuple[PyTree, Sums]:
        check_class(function, "weights", weights, Weights, "give train.Weights(params)")
        check_class(function, "batch", batch, Batch, "write data.Batch(xs, targets, lengths)")
        applied = run(weights, batch, carry, None)
        return applied.carry, sums_of(function, measures, applied.outputs, batch)

    return jax.jit(step)


def sums_of(function: str, measures: tuple[Measure, ...], outputs: PyTree, batch: Batch) -> Sums:
    """What each measure adds up; refuse targets that it has no use for, as far as shapes tell."""
    for measure in measures:
        # A check of the user's own may read numbers, which only `fit` can show to it.
        with contextlib.suppress(*UNSEEN):
            measure.check(function, outputs, batch)
    return {measure.name: measure.sums(outputs, batch) for measure in measures}


def in_parts(
    differentiate: Callable[..., Any], state: TrainState, batch: Batch, key: Any, parts: int
) -> tuple[PyTree, Sums, PyTree]:
    """Gradient and sums of a batch, a part of its rows after another."""
    num_rows = batch.num_rows
    rows = jax.tree.map(lambda a: a.reshape(parts, num_rows // parts, *a.shape[1:]), batch)

    def one(buffers: PyTree, inputs: Any) -> tuple[PyTree, Any]:
        gradient, (sums, _, buffers) = differentiate(
            state.params, buffers, inputs[0], None, inputs[1]
        )
        return buffers, (gradient, sums)

    def body(carried: Any, inputs: Any) -> tuple[Any, None]:
        buffers, added = carried
        buffers, new = one(buffers, inputs)
        return (buffers, jax.tree.map(jnp.add, added, new)), None

    inputs = (rows, jax.random.split(key, parts))
    first = jax.tree.map(lambda leaf: leaf[0], inputs)
    shapes = jax.eval_shape(lambda: one(state.buffers, first)[1])
    zeros = zeros_of(shapes)
    (buffers, (gradient, sums)), _ = jax.lax.scan(body, (state.buffers, zeros), inputs)
    return gradient, sums, buffers


def check_parts(function: str, batch: Batch, parts: int, carries: bool) -> None:
    """Refuse parts of a batch that are unequal, or have but one carry."""
    num_rows = batch.num_rows
    if num_rows % parts:
        way_out = "every part has as many rows"
        wanted = f"divide the batch size {num_rows}"
        _checks.refuse(function, "accumulate", wanted, parts, way_out)
    if carries and parts > 1:
        way_out = "make the batch smaller"
        _checks.refuse(function, "accumulate", "be 1 with a carry", parts, way_out)


def check_mean(function: str, sums: PyTree) -> Mean:
    """The sums of a loss; refuse those that have no gradient."""
    if not isinstance(sums, Mean) or jnp.shape(sums.total) != ():
        way_out = "put it among the metrics, and give a loss such as train.cross_entropy"
        got = _checks.describe(sums)
        _checks.refuse(function, "loss", "add up to a Mean", got, way_out, error=TypeError)
    return sums


def check_average(function: str, averaging: Any, average: Average | None) -> None:
    """Refuse a state that has no average for a step that makes one, and the other way round."""
    if (averaging is None) != (average is None):
        wanted = "be what init_state was given"
        got = "None" if averaging is None else "an averaging that the state knows nothing of"
        _checks.refuse(function, "averaging", wanted, got, "give both the same")


def averaged(averaging: Any, average: Average | None, params: PyTree) -> Average | None:
    """The average with one more step in it; the params themselves before it has begun."""
    if averaging is None or average is None:
        return None
    begun = average.count >= 0
    share = jnp.where(begun, averaging.rate(jnp.maximum(average.count, 0)), 1.0)
    mix = lambda old, new: old + share.astype(old.dtype) * (new - old)
    moved = jax.tree.map(mix, average.params, params)
    return Average(select(begun, moved, params), average.count + begun.astype(jnp.int32))


def count_bad(state: TrainState, alive: Array) -> Bad:
    """The count of batches left out, with this one."""
    first = ~alive & (state.bad.in_row == 0)
    return Bad(
        total=state.bad.total + (~alive).astype(jnp.int32),
        in_row=jnp.where(alive, 0, state.bad.in_row + 1),
        since=jnp.where(first, state.step, state.bad.since),
    )


def all_finite(tree: PyTree) -> Array:
    """Whether every number is finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def select(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """One tree or the other."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def computing_in(function: str, model: Model, dtype: Any) -> Callable[..., Applied]:
    """The model with params and inputs in a dtype; None leaves them.

    Outputs are for the loss, which is not computed in fewer digits than float32 has.
    """
    if dtype is None:
        return model.apply
    cast, widen = caster(function, dtype), caster(function, at_least_float32(dtype))

    def apply(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        weights, batch = (
            weights._replace(params=cast(weights.params)),
            batch._replace(xs=cast(batch.xs)),
        )
        applied = model.apply(weights, batch, carry, key)
        return applied._replace(outputs=widen(applied.outputs))

    return apply

"""One step of training and one of evaluation: pure, jitted, usable alone."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import value
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.data.batch import Batch
from rnnjax.train.measures import Measure, as_measure, as_measures
from rnnjax.train.models import Weights
from rnnjax.train.modules import as_model
from rnnjax.train.state import Average, Bad, TrainState

Sums = dict[str, PyTree]
"""What each measure adds up, by its name."""


@value
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
    model = as_model(function, model)
    measure, others = (
        as_measure(function, "loss", loss),
        as_measures(function, metrics, taken=("loss",)),
    )
    _checks.size(function, "accumulate", accumulate)
    _checks.size(function, "max_bad", max_bad)
    check_optimizer(function, optimizer)
    cast = caster(function, compute_dtype)
    descend = optax.with_extra_args_support(optimizer)  # some of Optax want the loss

    def objective(params: PyTree, buffers: PyTree, batch: Batch, carry: PyTree, key: Any) -> Any:
        """The sum over the batch, and its penalties as often as something counts."""
        applied = model.apply(Weights(cast(params), buffers), cast_xs(cast, batch), carry, key)
        outputs = uncast(compute_dtype, applied.outputs)
        sums = {"loss": measure.sums(outputs, batch)}
        sums |= {metric.name: metric.sums(outputs, batch) for metric in others}
        total, count = sums["loss"]
        extra = applied.penalty + (0.0 if penalty is None else penalty(params))
        return total + count * extra, (sums, applied.carry, applied.buffers)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(state.key, state.step)
        differentiate = jax.grad(objective, has_aux=True)
        if accumulate == 1:
            arguments = (state.params, state.buffers, batch, state.carry, key)
            gradient, (sums, carry, buffers) = differentiate(*arguments)
        else:
            gradient, sums, buffers = in_parts(differentiate, state, batch, key, accumulate)
            carry = None
        total, count = sums["loss"]
        divisor = jnp.where(count == 0, 1, count)
        gradient = jax.tree.map(lambda g: g / divisor.astype(g.dtype), gradient)
        finite = all_finite((total, gradient))
        alive = finite & (state.bad.in_row < max_bad)
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
        counted = count_bad(state, alive)
        sums = jax.tree.map(lambda leaf: jnp.where(alive, leaf, jnp.zeros_like(leaf)), sums)
        return new._replace(step=state.step + 1, bad=counted), sums

    return jax.jit(step, donate_argnums=0)


@value
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
    model = as_model("make_eval_step", model)
    all_measures = as_measures("make_eval_step", measures, argument="measures")
    cast = caster("make_eval_step", compute_dtype)

    def step(weights: Weights, carry: PyTree, batch: Batch) -> tuple[PyTree, Sums]:
        weights = weights._replace(params=cast(weights.params))
        applied = model.apply(weights, cast_xs(cast, batch), carry, None)
        outputs = uncast(compute_dtype, applied.outputs)
        return applied.carry, {m.name: m.sums(outputs, batch) for m in all_measures}

    return jax.jit(step)


def in_parts(
    differentiate: Callable[..., Any], state: TrainState, batch: Batch, key: Any, parts: int
) -> tuple[PyTree, Sums, PyTree]:
    """Gradient and sums of a batch, a part of its rows after another."""
    num_rows = jax.tree.leaves(batch)[0].shape[0]
    if num_rows % parts:
        way_out = "every part has as many rows"
        wanted = f"divide the batch size {num_rows}"
        _checks.refuse("make_train_step", "accumulate", wanted, parts, way_out)
    if state.carry is not None:
        way_out = "make the batch smaller"
        _checks.refuse("make_train_step", "accumulate", "be 1 with a carry", parts, way_out)
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
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    (buffers, (gradient, sums)), _ = jax.lax.scan(body, (state.buffers, zeros), inputs)
    return gradient, sums, buffers


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


def caster(function: str, dtype: Any) -> Callable[[PyTree], PyTree]:
    """What turns the floating leaves of a tree into a dtype; None leaves them."""
    if dtype is None:
        return lambda tree: tree
    dtype = _checks.float_dtype(function, "compute_dtype", dtype)
    if dtype == jnp.float16:
        way_out = "float16 overflows without a scaled loss"
        wanted = "be bfloat16, float32 or float64"
        _checks.refuse(function, "compute_dtype", wanted, dtype.name, way_out)
    _checks.usable_dtype(function, "compute_dtype", dtype)
    floating = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    return lambda tree: jax.tree.map(lambda a: a.astype(dtype) if floating(a) else a, tree)


def cast_xs(cast: Callable[[PyTree], PyTree], batch: Batch) -> Batch:
    """The batch with its inputs, and nothing else, in the dtype of computation."""
    return batch._replace(xs=cast(batch.xs))


def uncast(dtype: Any, outputs: PyTree) -> PyTree:
    """Outputs for the loss, which is not computed in fewer digits than float32 has."""
    return outputs if dtype is None else caster("fit", at_least_float32(dtype))(outputs)


def check_optimizer(function: str, optimizer: Any) -> None:
    """Refuse what is no optimizer, such as the function that makes one."""
    if not isinstance(optimizer, optax.GradientTransformation):
        way_out = "make one with train.adamw(1e-3) or optax.adam(1e-3)"
        wanted = "be an Optax optimizer"
        got = _checks.kind(optimizer)
        _checks.refuse(function, "optimizer", wanted, got, way_out, error=TypeError)

"""What can be trained: one protocol for functions, layers, NNX modules and Linen modules."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import Cell, remembered
from rnnjax.data.batch import Batch
from rnnjax.methods.base import Method
from rnnjax.methods.choice import check_method
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.modules import apply_module


class Weights(NamedTuple):
    """What a model is made of.

    Attributes:
        params: what is trained.
        buffers: what is kept beside: batch statistics, the random streams of an NNX module.
    """

    params: PyTree
    buffers: PyTree = ()


class Applied(NamedTuple):
    """What a model makes of a batch.

    Attributes:
        outputs: what losses and metrics read, batch first.
        carry: where the next stretch of the same streams begins; None where nothing is carried.
        buffers: those of the next batch.
        penalty: what is added to the loss.
    """

    outputs: PyTree
    carry: PyTree = None
    buffers: PyTree = ()
    penalty: Array | float = 0.0


class Model(NamedTuple):
    """Something that can be trained, as pure functions.

    Made by `from_functions`, `from_layer`, `from_nnx` and `from_linen`; `fit` makes one by itself
    of a cell, a layer or a module.

    Attributes:
        name: what messages and summaries call it.
        init: `key, batch -> Weights`; the batch lends its shapes alone.
        apply: `weights, batch, carry, key -> Applied`. A carry of None means a fresh one. A key
            means training: dropout is on; None means that it is off.
        store: puts weights into a module that holds its own; None where there is none.
        in_spec: `params, batch -> InputSpec`, what one step of `xs` must look like; params of None
            are those that `init` would make for the batch, which is not read else. None says
            nothing.
    """

    name: str
    init: Callable[[Any, Batch], Weights]
    apply: Callable[[Weights, Batch, PyTree, Any], Applied]
    store: Callable[[Weights], None] | None = None
    in_spec: Callable[[PyTree, Any], PyTree] | None = None


@remembered(64)
def from_functions(
    init: Callable[[Any], PyTree], apply: Callable[[PyTree, Batch, Any], PyTree]
) -> Model:
    """Make a model of two functions.

    Args:
        init: `key -> params`.
        apply: `params, batch, key -> outputs`, or an `Applied` where there is a penalty, too. The
            key is None outside training.

    Returns:
        A model without buffers or carry.

    Raises:
        TypeError: if `init` or `apply` cannot be called so.

    Example:
        >>> import rnnjax
        >>> from rnnjax import train
        >>> cell = rnnjax.gru(4)
        >>> model = train.from_functions(
        ...     lambda key: cell.init(key, 3),
        ...     lambda params, batch, key: rnnjax.unroll(cell, params, batch.xs)[1],
        ... )
    """
    such_as = "lambda key: cell.init(key, 3)"
    check_takes("from_functions", "init", init, ("key",), such_as=such_as)
    such_as = "lambda params, batch, key: run(params, batch.xs)"
    check_takes("from_functions", "apply", apply, ("params", "batch", "key"), such_as=such_as)

    def run(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        outputs = apply(weights.params, batch, key)
        return outputs if isinstance(outputs, Applied) else Applied(outputs)

    return Model("functions", lambda key, batch: Weights(init(key)), run)


def check_number(function: str, argument: str, penalty: Any) -> Any:
    """One number that is added to a loss."""
    if jnp.shape(penalty) != ():
        way_out = "take the sum or the mean"
        _checks.refuse(function, argument, "return one number", jnp.shape(penalty), way_out)
    return penalty


def init_layer(layer: Layer, key: Any, batch: Batch) -> PyTree:
    """The params of a layer; refuse statistics of batches, which are no weights to be trained."""
    params = layer.init(key, jax.tree.map(lambda x: x.shape[-1], batch.xs))
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        if "statistics" in (getattr(key, "name", None) for key in path):
            way_out = "train it with rnnjax.unroll_batch_norm in a Model of your own"
            wanted, got = "have no statistics of batches", "batch_norm_lstm"
            _checks.refuse("from_layer", "layer", wanted, got, way_out)
    return params


class NetworkParams(NamedTuple):
    """The params of a layer with a head.

    Attributes:
        layer: those of the layer.
        head: those of what reads the pooled features.
    """

    layer: PyTree
    head: PyTree


@remembered(64)
def from_layer(
    layer: Cell | Layer,
    *,
    pool: Callable[[Any, Any], Any] | None = None,
    head: Cell | Layer | None = None,
    activity: Callable[[Any, Any], Any] | None = None,
    method: Method | None = None,
) -> Model:
    """Make a model of a layer: sequences in, an output for each step or for each sequence out.

    Args:
        layer: a cell or a layer.
        pool: makes features of a sequence, `ys (B, T, H), lengths -> (B, F)`: `last_step`,
            `mean_over_time`, `max_over_time`, `both_ends`. None keeps every step.
        head: what reads the features, or every step where there is no `pool`: `rnnjax.dense(9)`,
            or a stack of such layers with dropout. None means nothing.
        activity: a penalty of what the layer says, `ys, lengths -> number`, such as
            `lambda ys, lengths: rnnjax.activation_penalty(ys, alpha=2.0, lengths=lengths,
            time_major=False)`. None means none.
        method: how cells are run; None picks.

    Returns:
        A model. Its params are those of the layer, or `NetworkParams` with a head.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: when it is used, for a `pool` or an `activity` that returns what it should not.

    Example:
        >>> import rnnjax
        >>> from rnnjax import train
        >>> both = rnnjax.bidirectional(rnnjax.lstm(48))
        >>> model = train.from_layer(both, pool=train.both_ends, head=rnnjax.dense(9))
    """
    body = check_layer("layer", layer)
    top = None if head is None else check_layer("head", head)
    check_reading(pool, activity, method)

    init_body = functools.partial(init_layer, body)

    def init(key: Any, batch: Batch) -> Weights:
        key_layer, key_head = jax.random.split(key)
        params = init_body(key_layer, batch)
        if top is None:
            return Weights(params)
        like = lambda params: features(params, batch, None, None)[1]
        width = jax.tree.map(lambda y: y.shape[-1], jax.eval_shape(like, params))
        return Weights(NetworkParams(params, top.init(key_head, width)))

    def features(params: PyTree, batch: Batch, carry: PyTree, key: Any) -> tuple:
        carry, ys = apply_module(
            body.name,
            body,
            params,
            batch.xs,
            carry,
            lengths=batch.lengths,
            mask=None,
            resets=batch.resets,
            key=key,
            method=method,
            time_major=False,
        )
        penalty = 0.0
        if activity is not None:
            penalty = check_number("from_layer", "activity", activity(ys, batch.lengths))
        if pool is not None:
            ys = check_features(batch, pool(ys, batch.lengths), 1 if top is None else 2)
        return carry, ys, penalty

    def apply(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        params = weights.params
        if top is None:
            carry, outputs, penalty = features(params, batch, carry, key)
            return Applied(outputs, carry, (), penalty)
        key_layer, key_head = (None, None) if key is None else jax.random.split(key)
        carry, outputs, penalty = features(params.layer, batch, carry, key_layer)
        outputs = jax.tree.map(
            lambda y: jnp.moveaxis(y, 1, 0) if pool is None else y[None], outputs
        )
        _, outputs = top.apply(params.head, outputs, key=key_head, method=method)
        outputs = jax.tree.map(lambda y: jnp.moveaxis(y, 0, 1) if pool is None else y[0], outputs)
        return Applied(outputs, carry, (), penalty)

    def in_spec(params: PyTree, batch: Batch) -> PyTree:
        if params is None:
            params = init_body(jax.random.key(0), batch)
        elif top is not None:
            params = params.layer
        return body.in_spec(params)

    return Model(body.name, init, apply, in_spec=in_spec)


def check_layer(argument: str, thing: Any) -> Layer:
    """A layer; what merely can be called, such as a Flax module, would not be trained."""
    if isinstance(thing, (Cell, Layer)):
        return as_layer("from_layer", thing)
    wanted, got = "be a cell or a layer", _checks.kind(thing)
    way_out = "build it with rnnjax.gru(...), rnnjax.dense(...) and the like"
    _checks.refuse("from_layer", argument, wanted, got, way_out, error=TypeError)


def check_reading(pool: Any, activity: Any, method: Any) -> None:
    """Refuse what is not done with outputs, and no way to run cells."""
    if pool is not None:
        check_takes("from_layer", "pool", pool, ("ys", "lengths"), such_as="train.last_step")
    if activity is not None:
        such_as = "lambda ys, lengths: (ys**2).mean()"
        check_takes("from_layer", "activity", activity, ("ys", "lengths"), such_as=such_as)
    if method is not None:
        check_method("from_layer", method)


def check_takes(
    function: str, argument: str, thing: Any, names: tuple[str, ...], *, such_as: str
) -> None:
    """Refuse what is no function of these arguments; a class would make an object of them."""
    if isinstance(thing, type):
        wanted, way_out = "be a function", f"pass the function itself, such as {such_as}"
        _checks.refuse(function, argument, wanted, _checks.kind(thing), way_out, error=TypeError)
    _checks.function(function, argument, thing, such_as=such_as)
    _checks.takes(function, argument, thing, names, f"pass one such as {such_as}")


def check_features(batch: Batch, features: PyTree, least_axes: int) -> PyTree:
    """What a pool has made of a batch: arrays with its rows."""
    num_rows = batch.num_rows
    for leaf in jax.tree.leaves(features):
        if jnp.ndim(leaf) < least_axes or jnp.shape(leaf)[0] != num_rows:
            wanted = f"return features of shape ({num_rows}, F)"
            way_out = "as train.last_step does, which keeps rows and features"
            _checks.refuse("from_layer", "pool", wanted, jnp.shape(leaf), way_out)
    return features

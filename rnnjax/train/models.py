"""What can be trained: one protocol for functions, layers, NNX modules and Linen modules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.base import Cell, value
from rnnjax.data.batch import Batch
from rnnjax.methods.base import Method
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
    """

    name: str
    init: Callable[[Any, Batch], Weights]
    apply: Callable[[Weights, Batch, PyTree, Any], Applied]
    store: Callable[[Weights], None] | None = None


@value
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
        TypeError: if `init` or `apply` cannot be called.

    Example:
        >>> import rnnjax
        >>> from rnnjax import train
        >>> cell = rnnjax.gru(4)
        >>> model = train.from_functions(
        ...     lambda key: cell.init(key, 3),
        ...     lambda params, batch, key: rnnjax.unroll(cell, params, batch.xs)[1],
        ... )
    """
    _checks.function("from_functions", "init", init, such_as="lambda key: cell.init(key, 3)")
    _checks.function("from_functions", "apply", apply, such_as="a function of params, batch, key")

    def run(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        outputs = apply(weights.params, batch, key)
        return outputs if isinstance(outputs, Applied) else Applied(outputs)

    return Model("functions", lambda key, batch: Weights(init(key)), run)


class NetworkParams(NamedTuple):
    """The params of a layer with a head.

    Attributes:
        layer: those of the layer.
        head: those of what reads the pooled features.
    """

    layer: PyTree
    head: PyTree


@value
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

    Example:
        >>> import rnnjax
        >>> from rnnjax import train
        >>> both = rnnjax.bidirectional(rnnjax.lstm(48))
        >>> model = train.from_layer(both, pool=train.both_ends, head=rnnjax.dense(9))
    """
    body = as_layer("from_layer", layer, argument="layer")
    top = None if head is None else as_layer("from_layer", head, argument="head")
    if pool is not None:
        _checks.function("from_layer", "pool", pool, such_as="train.last_step")
    if activity is not None:
        _checks.function("from_layer", "activity", activity, such_as="a function of ys, lengths")

    def init(key: Any, batch: Batch) -> Weights:
        key_layer, key_head = jax.random.split(key)
        in_features = jax.tree.map(lambda x: x.shape[-1], batch.xs)
        params = body.init(key_layer, in_features)
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
        penalty = 0.0 if activity is None else activity(ys, batch.lengths)
        return carry, ys if pool is None else pool(ys, batch.lengths), penalty

    def apply(weights: Weights, batch: Batch, carry: PyTree, key: Any) -> Applied:
        params = weights.params
        if top is None:
            carry, outputs, penalty = features(params, batch, carry, key)
            return Applied(outputs, carry, (), penalty)
        key_layer, key_head = (None, None) if key is None else jax.random.split(key)
        carry, outputs, penalty = features(params.layer, batch, carry, key_layer)
        outputs = jax.tree.map(
            lambda y: jnp.moveaxis(y, -2, 0) if pool is None else y[None], outputs
        )
        _, outputs = top.apply(params.head, outputs, key=key_head, method=method)
        outputs = jax.tree.map(lambda y: jnp.moveaxis(y, 0, -2) if pool is None else y[0], outputs)
        return Applied(outputs, carry, (), penalty)

    return Model(body.name, init, apply)

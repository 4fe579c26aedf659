"""What training keeps from step to step, all of it arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.data.batch import Batch
from rnnjax.data.checks import as_batch, check_batch
from rnnjax.train.inputs import check_inputs, spec_of
from rnnjax.train.models import Model, Weights
from rnnjax.train.modules import as_model
from rnnjax.train.options import Options, check_options


class Bad(NamedTuple):
    """Batches whose loss or gradient was not finite; they changed nothing.

    Attributes:
        total: how many there were.
        in_row: how many the last ones are, one after another.
        since: the step at which that row began.
    """

    total: Array
    in_row: Array
    since: Array


class Average(NamedTuple):
    """An average of the params of many steps.

    Attributes:
        params: the average.
        count: steps in it; below 0 where it has not begun, and is the last params.
    """

    params: PyTree
    count: Array


class TrainState(NamedTuple):
    """What training keeps from step to step, all of it arrays: donated, saved, restored.

    Attributes:
        step: batches seen.
        params: what is trained.
        buffers: what the model keeps beside.
        opt_state: of the optimizer.
        carry: of stateful training, handed on from batch to batch; None otherwise.
        key: where the noise of each step comes from.
        average: of the params; None without averaging.
        scale: what updates are multiplied by; callbacks may lower it.
        bad: batches that were left out.
    """

    step: Array
    params: PyTree
    buffers: PyTree
    opt_state: PyTree
    carry: PyTree
    key: Any
    average: Average | None
    scale: Array
    bad: Bad

    @property
    def weights(self) -> Weights:
        """The last params, or their average where there is one, with the buffers."""
        params = self.params if self.average is None else self.average.params
        return Weights(params, self.buffers)


def init_state(
    model: Any,
    optimizer: optax.GradientTransformation,
    batch: Batch | tuple,
    *,
    key: Any,
    weights: Weights | None = None,
    averaging: Any = None,
    stateful: bool = False,
) -> TrainState:
    """Make the state before the first step.

    Args:
        model: what `fit` takes.
        optimizer: from Optax.
        batch: lends its shapes.
        key: draws the weights, and the noise of every step.
        weights: where to begin; None draws them. They are copied.
        averaging: of the params, see `ema` and `nt_asgd`; None means none.
        stateful: whether the carry is handed on from batch to batch.

    Returns:
        The state. A stateful one begins with a carry of zeros: the first batch says by its
        `resets` where streams begin.

    Raises:
        TypeError: for an argument of the wrong kind, and weights of another model.
        ValueError: for a batch that is not right, weights of other shapes, or a stateful model
            that hands no carry on.

    Example:
        >>> import jax, jax.numpy as jnp, optax, rnnjax
        >>> from rnnjax import data, train
        >>> model = train.from_layer(rnnjax.gru(4))
        >>> batch = data.Batch(jnp.ones((2, 7, 3)))
        >>> state = train.init_state(model, optax.adam(1e-3), batch, key=jax.random.key(0))
        >>> int(state.step), state.params.w_ih.shape
        (0, (3, 12))
    """
    function = "init_state"
    _checks.prng_key(function, key)
    _checks.flag(function, "stateful", stateful)
    options = Options(optimizer, averaging)
    check_options(function, options)
    model, batch = as_model(function, model), as_batch(function, batch)
    check_batch(function, batch)
    return start(function, model, options, batch, key=key, weights=weights, stateful=stateful)


def start(
    function: str,
    model: Model,
    options: Options,
    batch: Batch,
    *,
    key: Any,
    weights: Weights | None,
    stateful: bool,
) -> TrainState:
    """What `init_state` returns, of arguments that are checked but for weights."""
    check_inputs(function, spec_of(model, None, batch), batch)
    key_weights, key_noise = jax.random.split(key)
    if weights is not None:
        check_weights(function, weights, jax.eval_shape(model.init, key_weights, batch))
    weights = Weights(*copied(model.init(key_weights, batch) if weights is None else weights))
    carry = None
    if stateful:
        like = lambda weights, batch: model.apply(weights, batch, None, key_noise).carry
        shapes = jax.eval_shape(like, weights, batch)
        if shapes is None:
            wanted = f"be False for {model.name}, which hands no carry on"
            way_out = "give a cell or a layer, or a call= that returns the carry"
            _checks.refuse(function, "stateful", wanted, stateful, way_out)
        carry = zeros_of(shapes)
    average = None
    if options.averaging is not None:
        begun = 0 if options.averaging.patience is None else -1
        average = Average(copied(weights.params), jnp.asarray(begun, jnp.int32))
    # An array each, since they are donated together.
    zero = lambda: jnp.zeros((), jnp.int32)
    return TrainState(
        step=zero(),
        params=weights.params,
        buffers=weights.buffers,
        opt_state=options.optimizer.init(weights.params),
        carry=carry,
        key=key_noise,
        average=average,
        scale=jnp.ones((), jnp.float32),
        bad=Bad(zero(), zero(), zero()),
    )


def check_weights(function: str, weights: Any, wanted: Weights) -> None:
    """Refuse weights that this model cannot begin with."""
    if not isinstance(weights, Weights):
        way_out = "give trained.weights, or train.Weights(params)"
        got = _checks.kind(weights)
        _checks.refuse(function, "weights", "be Weights", got, way_out, error=TypeError)
    way_out = "give those of this very model, for inputs of this width"
    name, got, like = first_difference("weights", weights, wanted)
    _checks.same_structure(function, name, got, like, way_out)
    pairs = zip(jax.tree_util.tree_leaves_with_path(weights), jax.tree.leaves(wanted), strict=True)
    for (path, leaf), like in pairs:
        if jnp.issubdtype(like.dtype, jnp.floating) != jnp.issubdtype(leaf.dtype, jnp.floating):
            name = "weights" + jax.tree_util.keystr(path)
            got = leaf.dtype.name
            _checks.refuse(function, name, f"be {like.dtype.name}", got, way_out, error=TypeError)


def first_difference(name: str, got: PyTree, wanted: PyTree) -> tuple[str, PyTree, PyTree]:
    """The innermost part, with its name, that has another structure; the whole if none has."""
    flat = lambda tree: jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda n: n is not tree)
    (parts, outer), (like, outer_like) = flat(got), flat(wanted)
    if outer == outer_like:
        for (path, part), (_, part_like) in zip(parts, like, strict=True):
            if jax.tree.structure(part) != jax.tree.structure(part_like):
                return first_difference(name + jax.tree_util.keystr(path), part, part_like)
    return name, got, wanted


def zeros_of(shapes: PyTree) -> PyTree:
    """Zeros of abstract shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


@jax.jit
def copied(tree: PyTree) -> PyTree:
    """Arrays of their own: what the step is given, it takes the memory of."""
    return jax.tree.map(jnp.copy, tree)

"""What training keeps from step to step, all of it arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax._typing import Array, PyTree
from rnnjax.data.batch import Batch
from rnnjax.train.models import Model, Weights

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
    model: Model,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    *,
    key: Any,
    weights: Weights | None = None,
    averaging: Any = None,
    stateful: bool = False,
) -> TrainState:
    """Make the state before the first step.

    Args:
        model: from `from_layer` and the like.
        optimizer: from Optax.
        batch: lends its shapes.
        key: draws the weights, and the noise of every step.
        weights: where to begin; None draws them. They are copied.
        averaging: of the params, see `ema` and `nt_asgd`; None means none.
        stateful: whether the carry is handed on from batch to batch.

    Returns:
        The state. A stateful one begins with a carry of zeros: the first batch says by its
        `resets` where streams begin.

    Example:
        >>> import jax, jax.numpy as jnp, optax, rnnjax
        >>> from rnnjax import data, train
        >>> model = train.from_layer(rnnjax.gru(4))
        >>> batch = data.Batch(jnp.ones((2, 7, 3)))
        >>> state = train.init_state(model, optax.adam(1e-3), batch, key=jax.random.key(0))
        >>> int(state.step), state.params.w_ih.shape
        (0, (3, 12))
    """
    key_weights, key_noise = jax.random.split(key)
    weights = Weights(*copied(model.init(key_weights, batch) if weights is None else weights))
    carry = None
    if stateful:
        like = lambda weights, batch: model.apply(weights, batch, None, key_noise).carry
        shapes = jax.eval_shape(like, weights, batch)
        carry = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    average = None
    if averaging is not None:
        begun = 0 if averaging.patience is None else -1
        average = Average(copied(weights.params), jnp.asarray(begun, jnp.int32))
    # An array each, since they are donated together.
    zero = lambda: jnp.zeros((), jnp.int32)
    return TrainState(
        step=zero(),
        params=weights.params,
        buffers=weights.buffers,
        opt_state=optimizer.init(weights.params),
        carry=carry,
        key=key_noise,
        average=average,
        scale=jnp.ones((), jnp.float32),
        bad=Bad(zero(), zero(), zero()),
    )


@jax.jit
def copied(tree: PyTree) -> PyTree:
    """Arrays of their own: what the step is given, it takes the memory of."""
    return jax.tree.map(jnp.copy, tree)

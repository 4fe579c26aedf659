"""A network as a step, for what generates."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell, program
from rnnjax.methods.base import Method
from rnnjax.methods.choice import check_method
from rnnjax.sequence.arguments import Sequence, check_params, check_step
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.stepper import refuse_backwards


def step_of(cell_or_layer: Cell | Layer, params: PyTree, *, method: Method | None = None) -> Any:
    """Make a step of a cell or layer: `carry, inputs -> carry, outputs`.

    Dropout and other noise are off. The carry is that of `init_carry(params, inputs)`, or of a run
    over what came before.

    It holds the params as arguments of a program: a loop around it that has been compiled once
    runs with other params, too. `rnnjax.stepper` is for streams from outside; what it makes is a
    step as well, but params are constants in a loop around it.

    Args:
        cell_or_layer: any cell or layer that reads forwards.
        params: from its `init`; traced ones, too.
        method: how cells are run; None picks one.

    Returns:
        A `jax.tree_util.Partial`, so a tree of arrays that jit takes as an argument.

    Raises:
        TypeError: for what is neither cell nor layer, params that its `init` did not make, or what
            is no method.
        ValueError: for a layer that reads backwards.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.stack(rnnjax.embedding(50, 8), rnnjax.lstm(16), rnnjax.dense(50))
        >>> params = layer.init(jax.random.key(0), in_features=None)
        >>> step = rnnjax.decoding.step_of(layer, params)
        >>> tokens = jnp.array([3, 1])
        >>> carry, logits = step(layer.init_carry(params, tokens), tokens)
        >>> logits.shape
        (2, 50)
    """
    layer = as_layer("step_of", cell_or_layer, argument="cell_or_layer")
    refuse_backwards("step_of", "cell_or_layer", layer)
    check_params("step_of", layer, params)
    if method is not None:
        check_method("step_of", method)
    return Partial(_one_step(layer, method), jax.tree.map(jnp.asarray, params))


@program
def _one_step(layer: Layer, method: Method | None) -> Any:
    def step(params, carry, inputs):
        inputs, _ = check_step("step_of.step", layer.in_spec(params), inputs, argument="inputs")
        xs = jax.tree.map(lambda a: a[None], inputs)
        sequence = Sequence(xs, None, None)
        carry, ys = layer.run_sequence(
            "step_of.step", params, sequence, carry, key=None, method=method
        )
        return carry, jax.tree.map(lambda a: a[0], ys)

    return step

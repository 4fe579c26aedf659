"""What is done to the carry after every step."""

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax.cells.base import Cell, value
from rnnjax.cells.wrappers.common import (
    check_h,
    check_output,
    has_output,
    map_states,
    with_noise_beside,
)


@value
def clip_carry(cell: Cell, limit: float) -> Cell:
    r"""Keep every number of the carry within `-limit` and `limit`.

    $$ c_t = \min(\max(\hat c_t, -l), l) $$

    after every step, for every leaf but integers and a `count` of steps; the initial carry, and
    one that is given, are not touched.
    The output is clipped too where it is the leaf `h` of the carry. Outside the limits gradients
    are zero.

    Args:
        cell: any cell whose output no other wrapper has changed.
        limit: $l$, above 0.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell, or `limit` no number.
        ValueError: for a limit that is not above 0, or a cell whose output was changed.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.clip_carry(rnnjax.elman(5, activation=jax.nn.relu), 2.0)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.full((7, 2, 3), 1e30))
        >>> float(carry.h.max()), float(ys.max())
        (2.0, 2.0)

    Reference: Sak, Senior & Beaufays, *Long short-term memory based recurrent neural network
    architectures for large vocabulary speech recognition* (2014), who clip the cell state.
    """
    check_output("clip_carry", cell)
    limit = _checks.real("clip_carry", "limit", limit)
    if limit <= 0.0:
        _checks.refuse("clip_carry", "limit", "be above 0", limit, "leave the wrapper out for none")

    def clip(tree):
        return map_states(lambda a: jnp.clip(a, -limit, limit), lambda a: a, tree)

    def step(params, carry, z):
        carry, y = cell.step(params, carry, z)
        return clip(carry), clip(y) if has_output(carry, y) else y

    return cell._replace(step=step, form=None)


@value
def state_noise(cell: Cell, scale: float) -> Cell:
    r"""Add Gaussian noise to `h` after every step.

    $$ h_t = \hat h_t + s \, \epsilon_t, \qquad \epsilon_t \sim N(0, 1) $$

    for every step, row and unit by itself, when a key is given. The output has the same noise.

    Args:
        cell: any cell whose output is the leaf `h` of its carry.
        scale: $s$, at least 0.

    Returns:
        A cell with the same params and carry.

    Raises:
        TypeError: if `cell` is no cell, or `scale` no number.
        ValueError: for a negative scale, or a cell whose output is not its `h`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.state_noise(rnnjax.gru(5), 0.1)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)), key=jax.random.key(1))
        >>> bool((ys[-1] == carry.h).all())
        True

    Reference: Jim, Giles & Horne, *An analysis of noise in recurrent neural networks: convergence
    and generalization* (1996).
    """
    check_output("state_noise", cell)
    scale = _checks.real("state_noise", "scale", scale)
    if scale < 0.0:
        _checks.refuse("state_noise", "scale", "be at least 0", scale, "0.0 adds nothing")

    def draw(key, num_steps, carry):
        if not hasattr(carry, "h"):
            return None  # the first step refuses it
        noise = scale * jax.random.normal(key, (num_steps, *carry.h.shape), carry.h.dtype)
        return noise + jnp.zeros_like(carry.h)[None]  # sharded as the carry

    def loud(noise, old, new, y):
        check_h("state_noise", new, y)
        return new._replace(h=new.h + noise), y + noise.astype(y.dtype)

    def quiet(old, new, y):
        check_h("state_noise", new, y)
        return new, y

    return with_noise_beside(cell, draw, loud, quiet)

"""The usual recipe for recurrent networks, made of Optax's parts."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax import _checks
from rnnjax._typing import Array, Float, PyTree
from rnnjax.train.decay import decays, widest


def adamw(
    rate: float | Callable[[Any], Any],
    *,
    clip: float | None = 1.0,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    r"""Make the optimizer that recurrent networks are usually trained with.

    $$ \theta \leftarrow \theta - \eta \bigl(\hat m / (\sqrt{\hat v} + \epsilon) +
       \lambda \theta \bigr) $$

    with the moments $\hat m$, $\hat v$ of gradients that are clipped before. Unlike
    `optax.adamw` it clips, decays nothing unless told to, and then weight matrices alone, as
    `decays` names them. Everything else is a line of Optax: `optax.chain` takes
    `clip_by_global_norm(1.0)` before any optimizer.

    Args:
        rate: $\eta$, or a schedule: steps so far -> rate, such as `warmup_cosine` or those of
            Optax.
        clip: the largest global norm of gradients; None does not clip.
        weight_decay: $\lambda$, decoupled from the gradients.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: $\epsilon$, above 0.

    Returns:
        The Optax transformation.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for one out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rnnjax import train
        >>> optimizer = train.adamw(1e-3, weight_decay=0.01)
        >>> params = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}
        >>> state = optimizer.init(params)
        >>> updates, state = jax.jit(optimizer.update)(params, state, params)
        >>> round(float(updates["w"].max()), 6), round(float(updates["b"].max()), 6)
        (-0.00101, -0.001)

    Reference: Loshchilov & Hutter, *Decoupled weight decay regularization* (2019).
    """
    if not callable(rate):
        rate = at_least_zero("adamw", "rate", rate, "give a small one such as 1e-3")
    weight_decay = at_least_zero("adamw", "weight_decay", weight_decay, "0.0 decays nothing")
    for name, value in (("b1", b1), ("b2", b2)):
        if not 0.0 <= _checks.real("adamw", name, value) < 1.0:
            way_out = "0.9 averages about ten steps"
            _checks.refuse("adamw", name, f"lie in 0 <= {name} < 1", value, way_out)
    if _checks.real("adamw", "eps", eps) <= 0.0:
        _checks.refuse("adamw", "eps", "be above 0", eps, "it keeps steps finite; 1e-8 is usual")
    parts = [
        None if clip is None else clipping("adamw", "clip", clip),
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, decays) if weight_decay else None,
        optax.scale_by_learning_rate(rate),
    ]
    chain = optax.chain(*(part for part in parts if part is not None))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes counts and rates
            return chain.update(updates, state, params)

    return optax.GradientTransformation(chain.init, update)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    r"""Make a transformation that scales gradients down to a global norm.

    $$ g \leftarrow g \min\Bigl(1, \frac{c}{\|g\|}\Bigr) $$

    over all leaves together, as `optax.clip_by_global_norm`. Where the norm is not finite the
    whole update is zero, whereas Optax makes NaN of one infinite number. Norms are taken in
    float32 at least, and do not overflow where gradients do not.

    Args:
        max_norm: $c$, above 0.

    Returns:
        The Optax transformation, without state.

    Raises:
        TypeError: if `max_norm` is no number.
        ValueError: if it is not finite and above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from rnnjax import train
        >>> clip = train.clip_by_global_norm(1.0)
        >>> gradients = {"w": jnp.array([3.0, 4.0]), "b": jnp.array([jnp.inf])}
        >>> updates, _ = clip.update(gradients, clip.init(gradients))
        >>> updates["w"].tolist()
        [0.0, 0.0]

    Reference: Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks*
    (2013).
    """
    return clipping("clip_by_global_norm", "max_norm", max_norm)


def clipping(function: str, argument: str, max_norm: Any) -> optax.GradientTransformation:
    """`clip_by_global_norm` for another function's argument."""
    max_norm = _checks.real(function, argument, max_norm)
    if max_norm <= 0.0:
        _checks.refuse(function, argument, "be above 0", max_norm, "1.0 is usual")

    def init(params: PyTree) -> optax.EmptyState:
        return optax.EmptyState()

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        norm = global_norm(updates)

        def leaf(g: Array) -> Array:
            excess = jnp.maximum(norm / max_norm, 1)
            scaled = g.astype(norm.dtype) / excess
            return jnp.where(jnp.isfinite(norm), scaled, 0).astype(g.dtype)

        return jax.tree.map(leaf, updates), state

    return optax.GradientTransformation(init, update)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The norm of all leaves together, whose squares may be too large for their dtype."""
    leaves = jax.tree.leaves(tree)
    leaves = [jnp.abs(a.astype(widest(leaves))) for a in leaves]
    largest = functools.reduce(
        jnp.maximum, (a.max(initial=0) for a in leaves), jnp.zeros((), widest(leaves))
    )
    unit = jnp.where(largest > 0, largest, 1)
    return unit * jnp.sqrt(sum(((a / unit) ** 2).sum() for a in leaves))


def warmup_cosine(
    rate: float, total_steps: int, *, warmup_steps: int = 0, final: float = 0.0
) -> Callable[[Any], Float[Array, ""]]:
    """Make a schedule that rises in a line from 0, and falls along a cosine.

    Optax has others: `optax.cosine_onecycle_schedule`, `optax.exponential_decay`, and
    `optax.join_schedules` for what is put together.

    Args:
        rate: the greatest, which is reached after `warmup_steps`.
        total_steps: after how many steps, warm-up included, `final` is reached.
        warmup_steps: how many of them rise; 0 starts at `rate`.
        final: the rate from then on.

    Returns:
        `steps so far -> rate`.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a negative rate, or no steps between warm-up and end.

    Example:
        >>> from rnnjax import train
        >>> rate = train.warmup_cosine(0.1, 100, warmup_steps=10, final=0.01)
        >>> tuple(round(float(rate(step)), 4) for step in (0, 5, 10, 55, 100, 200))
        (0.0, 0.05, 0.1, 0.055, 0.01, 0.01)

    Reference: Loshchilov & Hutter, *SGDR: stochastic gradient descent with warm restarts* (2017).
    """
    function = "warmup_cosine"
    rate = at_least_zero(function, "rate", rate, "give a small one such as 1e-3")
    final = at_least_zero(function, "final", final, "0.0 stops learning in the end")
    total_steps = _checks.size(function, "total_steps", total_steps)
    warmup_steps = _checks.size(function, "warmup_steps", warmup_steps, least=0)
    if warmup_steps >= total_steps:
        wanted, way_out = f"be below total_steps = {total_steps}", "it is a part of them"
        _checks.refuse(function, "warmup_steps", wanted, warmup_steps, way_out)

    def schedule(count: Any) -> Float[Array, ""]:
        count = jnp.asarray(count, jnp.float32)
        done = (count - warmup_steps) / (total_steps - warmup_steps)
        falling = final + (rate - final) * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1))) / 2
        return jnp.where(count < warmup_steps, rate * count / max(warmup_steps, 1), falling)

    return schedule


def at_least_zero(function: str, argument: str, value: Any, way_out: str) -> float:
    """A finite number that is not negative."""
    value = _checks.real(function, argument, value)
    if value < 0.0:
        _checks.refuse(function, argument, "be at least 0", value, way_out)
    return value


def check_optimizer(function: str, optimizer: Any, *, argument: str = "optimizer") -> None:
    """Refuse what is no optimizer, such as the function that makes one."""
    if not isinstance(optimizer, optax.GradientTransformation):
        way_out = "make one with train.adamw(1e-3) or optax.adam(1e-3)"
        wanted = "be an Optax optimizer"
        got = _checks.kind(optimizer)
        _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)

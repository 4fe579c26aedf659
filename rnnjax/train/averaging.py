"""Averages of params over training, which are often better than where it ends."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float


class Averaging(NamedTuple):
    """How params are averaged: `average += rate(count) * (params - average)` after every step.

    Attributes:
        rate: how far the average moves, from 0 to 1; `count` is how many steps it has moved
            before.
        patience: None if averaging starts at once. A number of epochs if it waits, as `triggered`
            says; until then the average equals the params and `count` is 0.
    """

    rate: Callable[[Any], Float[Array, ""]]
    patience: int | None = None


def ema(decay: float = 0.999) -> Averaging:
    r"""Average params exponentially.

    $$ \bar\theta_{n+1} = d_n \bar\theta_n + (1 - d_n) \theta, \qquad
       d_n = \min\Bigl(d, \frac{1 + n}{10 + n}\Bigr) $$

    The decay warms up, so that early averages are not the initial weights.

    Args:
        decay: $d$, between 0 and 1; the average reaches back about $1 / (1 - d)$ steps.

    Returns:
        The averaging, which starts at once.

    Raises:
        TypeError: if `decay` is no number.
        ValueError: if it does not lie between 0 and 1.

    Example:
        >>> from rnnjax import train
        >>> averaging = train.ema(0.99)
        >>> tuple(round(float(averaging.rate(count)), 4) for count in (0, 90, 10000))
        (0.9, 0.09, 0.01)
    """
    decay = _checks.real("ema", "decay", decay)
    if not 0.0 < decay < 1.0:
        way_out = "0.999 reaches back about a thousand steps"
        _checks.refuse("ema", "decay", "lie between 0 and 1", decay, way_out)

    def rate(count: Any) -> Float[Array, ""]:
        count = as_float(count)
        return 1 - jnp.minimum(decay, (1 + count) / (10 + count))

    return Averaging(rate)


def nt_asgd(patience: int = 5) -> Averaging:
    r"""Average all params since validation stopped to improve (NT-ASGD).

    $$ \bar\theta = \frac{1}{K - S + 1} \sum_{k=S}^{K} \theta_k $$

    from the step $S$ at which `triggered` became true. In the paper steps are those of plain
    gradient descent, `optax.sgd`, at a constant rate.

    Args:
        patience: the epochs that do not count against the newest validation loss, at least 1.

    Returns:
        The averaging, which waits.

    Raises:
        TypeError: if `patience` is no whole number.
        ValueError: if it is below 1.

    Example:
        >>> from rnnjax import train
        >>> averaging = train.nt_asgd()
        >>> averaging.patience, [float(averaging.rate(count)) for count in (0, 1, 3)]
        (5, [1.0, 0.5, 0.25])

    Reference: Merity, Keskar & Socher, *Regularizing and optimizing LSTM language models* (2018).
    """
    patience = _checks.size("nt_asgd", "patience", patience)
    return Averaging(lambda count: 1 / (as_float(count) + 1), patience)


def triggered(losses: Sequence[float | None], patience: int) -> bool:
    """Whether averaging has begun: some loss was worse than the best of long enough before.

    True once a loss is above the least of those more than `patience` epochs before it, and from
    then on. Losses that are NaN do not count, and epochs without any, None, are passed over.

    Args:
        losses: validation losses so far, oldest first; lower is better.
        patience: how many epochs before a loss do not count.

    Returns:
        Whether the average differs from the params.

    Raises:
        TypeError: if `patience` is no whole number.
        ValueError: if it is below 1.

    Example:
        >>> from rnnjax import train
        >>> train.triggered([5.0, 4.0, 4.5], 1), train.triggered([5.0, 4.0, 4.5, 4.2], 1)
        (False, True)

    Reference: Merity, Keskar & Socher, *Regularizing and optimizing LSTM language models* (2018),
    algorithm 1.
    """
    patience = _checks.size("triggered", "patience", patience)
    losses = [loss for loss in losses if loss is not None]
    best = math.inf
    for loss, before in zip(losses[patience + 1 :], losses, strict=False):
        best = before if before < best else best
        if loss > best:
            return True
    return False


def check_averaging(function: str, averaging: Any) -> None:
    """Refuse what is neither averaging nor None, such as the function that makes one."""
    if averaging is not None and not isinstance(averaging, Averaging):
        wanted, way_out = "be ema(...), nt_asgd(...) or None", "call one of them"
        got = _checks.kind(averaging)
        _checks.refuse(function, "averaging", wanted, got, way_out, error=TypeError)


def as_float(count: Any) -> Float[Array, ""]:
    """A count of steps that rates can be computed from."""
    return jnp.asarray(count, jnp.float32)

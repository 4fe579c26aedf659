"""Penalties on the outputs of a sequence, to be added to a loss."""

from typing import Any

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Float, Lengths, Steps
from rnnjax.cells.base import InputSpec
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.methods.base import keep, zeros_like
from rnnjax.sequence.arguments import check_sequence


def activation_penalty(
    ys: Float[Array, "T *batch H"],
    *,
    alpha: float,
    lengths: Lengths | None = None,
    mask: Steps | None = None,
    time_major: bool = True,
) -> Float[Array, ""]:
    r"""Penalise large outputs: activation regularisation (AR).

    $$ \alpha \, \text{mean} \, y_t^2 $$

    over all valid steps and features. What stands at invalid steps, NaN too, does not count and
    has no gradient; where no step is valid, the penalty is 0.

    Args:
        ys: outputs, `(T, *batch, H)`; in the paper those that dropout has already acted on.
        alpha: the weight of the penalty, at least 0.
        lengths: valid steps of each row, `(*batch,)`; None means T.
        mask: True on valid steps, `(T, *batch)`; None means all of them.
        time_major: False for `(*batch, T, H)` and a mask `(*batch, T)`, as modules have them.

    Returns:
        One number, in float32 at least.

    Raises:
        TypeError: for an argument of the wrong kind or dtype.
        ValueError: for a wrong shape, a negative `alpha`, or concrete lengths outside 0..T.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> ys = jnp.arange(6.0).reshape(3, 2, 1)
        >>> float(rnnjax.activation_penalty(ys, alpha=2.0, lengths=[1, 2]))
        6.666...

    Reference: Merity, McCann & Socher, *Revisiting activation regularization for language RNNs*
    (2017).
    """
    function = "activation_penalty"
    weight = check_weight(function, "alpha", alpha)
    ys, valid = clean(function, ys, lengths, mask, time_major)
    return weight * mean_square(ys, valid)


def temporal_penalty(
    ys: Float[Array, "T *batch H"],
    *,
    beta: float,
    lengths: Lengths | None = None,
    mask: Steps | None = None,
    time_major: bool = True,
) -> Float[Array, ""]:
    r"""Penalise quick changes of the outputs: temporal activation regularisation (TAR).

    $$ \beta \, \text{mean} \, (y_t - y_{t-1})^2 $$

    over features and all pairs of neighbouring steps that are both valid. What stands at invalid
    steps, NaN too, does not count and has no gradient; where there is no pair, the penalty is 0.

    Args:
        ys: outputs, `(T, *batch, H)`; in the paper those before dropout.
        beta: the weight of the penalty, at least 0.
        lengths: valid steps of each row, `(*batch,)`; None means T.
        mask: True on valid steps, `(T, *batch)`; None means all of them.
        time_major: False for `(*batch, T, H)` and a mask `(*batch, T)`, as modules have them.

    Returns:
        One number, in float32 at least.

    Raises:
        TypeError: for an argument of the wrong kind or dtype.
        ValueError: for a wrong shape, a negative `beta`, or concrete lengths outside 0..T.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> ys = jnp.arange(6.0).reshape(3, 2, 1)
        >>> float(rnnjax.temporal_penalty(ys, beta=2.0, lengths=[1, 2]))
        8.0

    Reference: Merity, McCann & Socher, *Revisiting activation regularization for language RNNs*
    (2017).
    """
    function = "temporal_penalty"
    weight = check_weight(function, "beta", beta)
    ys, valid = clean(function, ys, lengths, mask, time_major)
    pairs = None if valid is None else valid[1:] & valid[:-1]
    return weight * mean_square(ys[1:] - ys[:-1], pairs)


def check_weight(function: str, argument: str, weight: Any) -> float:
    """A finite number that is not negative."""
    weight = _checks.real(function, argument, weight)
    if weight < 0.0:
        _checks.refuse(function, argument, "be at least 0", weight, "a penalty is added to a loss")
    return weight


def clean(
    function: str, ys: Any, lengths: Any, mask: Any, time_major: bool
) -> tuple[Float[Array, "T *batch H"], Bool[Array, "T *batch"] | None]:
    """Outputs time-major, in float32 at least, zero at invalid steps; and which steps are valid."""
    _checks.flag(function, "time_major", time_major)
    sequence = check_sequence(
        function,
        InputSpec(),
        ys,
        lengths=lengths,
        mask=mask,
        resets=None,
        time_major=time_major,
        argument="ys",
    )
    ys, valid = sequence.xs, sequence.mask
    ys = ys.astype(at_least_float32(ys.dtype))
    return (ys if valid is None else keep(valid, ys, zeros_like(ys))), valid


def mean_square(a: Float[Array, "T *batch H"], valid: Any) -> Float[Array, ""]:
    """The mean over features and valid steps; 0 where there is none."""
    squares = a**2
    if valid is None:
        count = jnp.asarray(a.size, a.dtype)
    else:
        squares = keep(valid, squares, zeros_like(squares))
        count = valid.sum(dtype=a.dtype) * a.shape[-1]
    return squares.sum() / jnp.maximum(count, 1)

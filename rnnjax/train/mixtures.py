"""Mixture density outputs: a distribution over real vectors for every sequence or step."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax import _checks
from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.data.batch import Batch
from rnnjax.train.measures import Measure, mean_of
from rnnjax.train.targets import check_array, check_floats, check_values, refuse_targets, shape_of

MOST_CORRELATED = 0.999  # nearer to 1, float32 has few digits left for 1 - rho^2


class MixtureDensity(NamedTuple):
    r"""What the end of a model needs that puts out a mixture of Gaussians.

    Attributes:
        out_features: how many numbers the model puts out at each step.
        loss: the mean negative log-likelihood, in nats; outputs are `(B, out_features)` for
            sequences or `(B, T, out_features)` for steps.
        sample: `key, outputs -> values` of any batch axes. With `bias=`, above 0, samples are
            nearer to what is likely: $\sigma e^{-b}$ stands for $\sigma$, and mixture weights
            are those of logits times $1 + b$.
    """

    out_features: int
    loss: Measure
    sample: Callable[..., Float[Array, "*batch D"]]


class Parts(NamedTuple):
    """Outputs taken apart, with M components."""

    logits: Float[Array, "*batch M"]
    means: Float[Array, "*batch M D"]
    log_scales: Float[Array, "*batch M D"]


def mixture_density(
    num_mixtures: int, *, features: int, least_scale: float = 1e-3
) -> MixtureDensity:
    r"""Make outputs that are mixtures of Gaussians with independent features.

    $$ p(y) = \sum_m \pi_m \prod_d \mathcal{N}(y_d; \mu_{md}, \sigma_{md}) $$

    with $\pi$ the softmax of the first M outputs, $\mu$ the next M D, and $\sigma$ the exponential
    of the last M D plus `least_scale`. Targets are floats, `(B, D)` or `(B, T, D)`; the last axis
    may be left out where D is 1.

    Args:
        num_mixtures: M.
        features: D.
        least_scale: what $\sigma$ is at least, so that no component shrinks to a point.

    Returns:
        The width of the outputs, M (2 D + 1), the loss, and a way to sample.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for one out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rnnjax import train
        >>> from rnnjax.data import Batch
        >>> mixture = train.mixture_density(5, features=2)
        >>> outputs = jnp.zeros((1, 3, mixture.out_features))
        >>> batch = Batch(jnp.ones((1, 3, 1)), targets=jnp.zeros((1, 3, 2)))
        >>> sums = jax.jit(mixture.loss.sums)(outputs, batch)
        >>> round(float(mixture.loss.value(sums)), 2)  # the logarithm of 2 pi
        1.84

    Reference: Bishop, *Mixture density networks* (1994).
    """
    function = "mixture_density"
    count = _checks.size(function, "num_mixtures", num_mixtures)
    features = _checks.size(function, "features", features)
    parts = functools.partial(
        take_apart, count=count, features=features, least=check_least(function, least_scale)
    )

    def values(outputs: Array, targets: Array) -> Array:
        mixture = parts(wide(outputs))
        y = targets.astype(mixture.means.dtype)
        y = y.reshape(*outputs.shape[:-1], 1, features)
        exponent = -(standard(mixture, y) ** 2).sum(-1) / 2
        return mix(mixture, exponent, features)

    def draw(key: Array, outputs: Array, bias: float) -> Array:
        key_component, key_normal = jax.random.split(key)
        mean, scale, _ = choose(key_component, parts(wide(outputs)), bias)
        return mean + scale * jax.random.normal(key_normal, mean.shape, mean.dtype)

    width = count * (2 * features + 1)
    check = functools.partial(check_density, width=width, features=features)
    loss = mean_of(values, name=function, check=check)
    return MixtureDensity(width, loss, sampler(function, draw, width))


def handwriting(num_mixtures: int = 20, *, least_scale: float = 1e-3) -> MixtureDensity:
    r"""Make outputs for strokes of a pen: where it moves to, and whether it is lifted.

    $$ p(y) = \sum_m \pi_m \, \mathcal{N}(y_{1:2}; \mu_m, \sigma_m, \rho_m) \, e^{y_3}
       (1 - e)^{1 - y_3} $$

    The first output is the logit of $e$. As in the paper there follow M logits of $\pi$, 2 M
    means and 2 M logarithms of scales, x and y of each component side by side, and M correlations
    before tanh. Scales are at least `least_scale`, and correlations at most 0.999. Targets are
    floats `(B, T, 3)`: two offsets, and 1 where a stroke ends, else 0.

    Args:
        num_mixtures: M.
        least_scale: what scales are at least, in the unit of offsets.

    Returns:
        The width of the outputs, 6 M + 1, the loss, and a way to sample.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for one out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rnnjax import train
        >>> pen = train.handwriting()
        >>> pen.out_features
        121
        >>> jax.jit(pen.sample)(jax.random.key(0), jnp.zeros((4, 121))).shape
        (4, 3)

    Reference: Graves, *Generating sequences with recurrent neural networks* (2013), eq. (15-25)
    and section 5.4.
    """
    function = "handwriting"
    count = _checks.size(function, "num_mixtures", num_mixtures)
    least = check_least(function, least_scale)

    def parts(outputs: Array) -> tuple[Array, Parts, Array]:
        pen, rest, correlations = jnp.split(wide(outputs), [1, 1 + 5 * count], axis=-1)
        mixture = take_apart(rest, count=count, features=2, least=least)
        return pen[..., 0], mixture, MOST_CORRELATED * jnp.tanh(correlations)

    def values(outputs: Array, targets: Array) -> Array:
        pen, mixture, rho = parts(outputs)
        y = targets.astype(pen.dtype)
        first, second = jnp.moveaxis(standard(mixture, y[..., None, :2]), -1, 0)
        rest = 1 - rho**2
        exponent = -(first**2 + (second - rho * first) ** 2 / rest) / 2
        lifted = optax.sigmoid_binary_cross_entropy(pen, y[..., 2])
        return mix(mixture, exponent - jnp.log(rest) / 2, 2) + lifted

    def draw(key: Array, outputs: Array, bias: float) -> Array:
        pen, mixture, rho = parts(outputs)
        key_component, key_normal, key_pen = jax.random.split(key, 3)
        mean, scale, chosen = choose(key_component, mixture, bias)
        rho = pick(chosen, rho)
        first, second = jax.random.normal(key_normal, (2, *rho.shape), rho.dtype)
        second = rho * first + jnp.sqrt(1 - rho**2) * second
        moved = mean + scale * jnp.stack([first, second], -1)
        lifted = jax.random.bernoulli(key_pen, jax.nn.sigmoid(pen))
        return jnp.concatenate([moved, lifted[..., None].astype(moved.dtype)], -1)

    width = 6 * count + 1
    check = functools.partial(check_density, width=width, features=3, pen=True)
    loss = mean_of(values, name=function, check=check)
    return MixtureDensity(width, loss, sampler(function, draw, width))


def wide(outputs: Array) -> Array:
    """Outputs in float32 at least: likelihoods are summed up."""
    return outputs.astype(at_least_float32(outputs.dtype))


def take_apart(outputs: Array, *, count: int, features: int, least: float) -> Parts:
    """Logits, means, and scales that do not fall below the least."""
    logits, means, scales = jnp.split(outputs, [count, count * (1 + features)], axis=-1)
    each = lambda a: a.reshape(*a.shape[:-1], count, features)
    return Parts(logits, each(means), jnp.logaddexp(each(scales), math.log(least)))


def standard(mixture: Parts, y: Float[Array, "*batch 1 D"]) -> Float[Array, "*batch M D"]:
    """How many scales the targets are away from each mean."""
    return (y - mixture.means) * jnp.exp(-mixture.log_scales)


def mix(mixture: Parts, exponent: Float[Array, "*batch M"], features: int) -> Array:
    """The negative log-likelihood, of exponents and scales of all components."""
    logs = exponent - mixture.log_scales.sum(-1) - features * math.log(2 * math.pi) / 2
    return -jax.nn.logsumexp(jax.nn.log_softmax(mixture.logits) + logs, axis=-1)


def choose(key: Array, mixture: Parts, bias: float) -> tuple[Array, Array, Array]:
    """Mean and scale of a component that is drawn, and which one that is."""
    chosen = jax.random.categorical(key, mixture.logits * (1 + bias))
    mean = pick(chosen, jnp.moveaxis(mixture.means, -2, -1))
    log_scale = pick(chosen, jnp.moveaxis(mixture.log_scales, -2, -1))
    return mean, jnp.exp(log_scale - bias), chosen


def pick(chosen: Array, values: Array) -> Array:
    """What belongs to the chosen component, which is the last axis of `values`."""
    index = jnp.expand_dims(chosen, range(chosen.ndim, values.ndim))
    return jnp.take_along_axis(values, index, axis=-1)[..., 0]


def sampler(
    function: str, draw: Callable[[Array, Array, float], Array], width: int
) -> Callable[..., Array]:
    """`sample` with its arguments checked."""

    def sample(key: Array, outputs: Array, *, bias: float = 0.0) -> Array:
        _checks.prng_key(f"{function}.sample", key)
        check_width(f"{function}.sample", outputs, width)
        bias = _checks.real(f"{function}.sample", "bias", bias)
        if bias < 0.0:
            way_out = "0.0 samples what the model says"
            _checks.refuse(f"{function}.sample", "bias", "be at least 0", bias, way_out)
        return draw(key, outputs, bias)

    return sample


def check_least(function: str, least: Any) -> float:
    """A scale above 0."""
    least = _checks.real(function, "least_scale", least)
    if least <= 0.0:
        way_out = "1e-3 suits targets of unit variance"
        _checks.refuse(function, "least_scale", "be above 0", least, way_out)
    return least


def check_width(function: str, outputs: Any, width: int) -> None:
    """Refuse outputs that are no floats of this width."""
    if shape_of(outputs)[-1:] != (width,):
        wanted, got = f"end in {width} features", _checks.kind(outputs)
        _checks.refuse(function, "outputs", wanted, got, f"end in rnnjax.dense({width})")
    check_floats(function, outputs)


def check_density(
    function: str, outputs: PyTree, batch: Batch, *, width: int, features: int, pen: bool = False
) -> None:
    """Refuse targets that are no vectors of so many finite numbers."""
    check_width(function, outputs, width)
    lead = outputs.shape[:-1]
    shape = (*lead, features)
    wanted, way_out = f"be floats of shape {shape}", "give one vector for each output"
    targets = check_array(function, batch.targets, wanted, way_out)
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        refuse_targets(function, wanted, targets, "turn them to floats", error=TypeError)
    if targets.shape != shape and not (features == 1 and targets.shape == lead):
        refuse_targets(function, wanted, targets, way_out)
    way_out = "give what is missing a weight of 0"
    check_values(function, "be finite", batch, lead, lambda a: ~np.isfinite(a), way_out)
    if pen:
        third = batch._replace(targets=targets[..., 2])
        bad = lambda a: (a != 0) & (a != 1)
        way_out = "the last number says whether a stroke ends"
        check_values(function, "be 0 or 1 at index 2", third, lead, bad, way_out)

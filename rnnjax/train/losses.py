"""Losses, and what is read off them: measures whose targets are checked before tracing.

```python
>>> import jax, jax.numpy as jnp
>>> from rnnjax import train
>>> from rnnjax.data import Batch
>>> xs, logits = jnp.ones((2, 3, 1)), jnp.zeros((2, 3, 4))
>>> batch = Batch(xs, targets=jnp.array([[1, 2, 3], [0, -1, -1]]), lengths=jnp.array([3, 1]))
>>> sums = jax.jit(train.cross_entropy.sums)(logits, batch)
>>> float(sums.count), round(float(train.perplexity.value(sums)), 4)
(4.0, 4.0)

```
"""

import math

import jax.numpy as jnp
import optax

from rnnjax import _checks
from rnnjax._typing import Array
from rnnjax.cells.dtypes import at_least_float32, promote
from rnnjax.train.measures import Measure, mean, mean_of
from rnnjax.train.targets import check_binary, check_classes, check_numbers, one_each


def cross_entropies(outputs: Array, targets: Array) -> Array:
    """The cross entropy of every label, in nats."""
    logits = outputs.astype(at_least_float32(outputs.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


cross_entropy: Measure = mean_of(cross_entropies, name="cross_entropy", check=check_classes)
r"""The mean cross entropy of class labels, in nats.

$$ -\log \text{softmax}(y)_k $$

Outputs are logits, `(B, C)` for sequences or `(B, T, C)` for steps, and targets integer labels
$k$ in 0..C-1, `(B,)` or `(B, T)`. Labels at padding and of weight 0 may be anything.
"""

perplexity: Measure = cross_entropy._replace(
    name="perplexity", value=lambda sums: jnp.exp(mean(sums))
)
"""The exponential of the cross entropy over the whole epoch; outputs and targets are the same."""

bits_per_character: Measure = cross_entropy._replace(
    name="bits_per_character", value=lambda sums: mean(sums) / math.log(2.0)
)
"""The cross entropy in bits instead of nats; outputs and targets are the same."""


def smoothed_cross_entropy(smoothing: float) -> Measure:
    r"""Make the cross entropy with smoothed labels.

    $$ -(1 - \epsilon) \log p_k - \frac{\epsilon}{C} \sum_j \log p_j $$

    Outputs and targets are those of `cross_entropy`.

    Args:
        smoothing: $\epsilon$, the part of every label that is spread over all classes; within
            0 <= smoothing < 1.

    Returns:
        The measure.

    Raises:
        TypeError: if `smoothing` is no number.
        ValueError: if it lies out of range.

    Example:
        >>> from rnnjax import train
        >>> train.smoothed_cross_entropy(0.1).name
        'smoothed_cross_entropy'

    Reference: Szegedy et al., *Rethinking the inception architecture for computer vision* (2016).
    """
    smoothing = _checks.real("smoothed_cross_entropy", "smoothing", smoothing)
    if not 0.0 <= smoothing < 1.0:
        wanted, way_out = "lie in 0 <= smoothing < 1", "0.0 leaves labels as they are"
        _checks.refuse("smoothed_cross_entropy", "smoothing", wanted, smoothing, way_out)

    def values(outputs: Array, targets: Array) -> Array:
        logits = outputs.astype(at_least_float32(outputs.dtype))
        # What a uniform label costs beyond the true one.
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return cross_entropies(outputs, targets) + smoothing * (chosen - logits.mean(-1))

    return mean_of(values, name="smoothed_cross_entropy", check=check_classes)


def binary_cross_entropies(outputs: Array, targets: Array) -> Array:
    """The cross entropy of every yes or no, in nats."""
    logits, targets = one_each(outputs, targets)
    logits = logits.astype(at_least_float32(logits.dtype))
    return optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))


binary_cross_entropy: Measure = mean_of(
    binary_cross_entropies, name="binary_cross_entropy", check=check_binary
)
r"""The mean cross entropy of yes and no, in nats.

$$ -y \log \sigma(s) - (1 - y) \log \sigma(-s) $$

Outputs are one logit $s$ for each sequence, `(B,)` or `(B, 1)`, or step, `(B, T)` or `(B, T, 1)`.
Targets $y$ are 0 and 1 as integers or bools, or floats between them, in the same shape or without
the last axis of 1.
"""


def differences(outputs: Array, targets: Array) -> Array:
    """Outputs less targets, with an axis of features."""
    dtype = at_least_float32(promote(outputs.dtype, targets.dtype))
    found = outputs.astype(dtype) - targets.reshape(outputs.shape).astype(dtype)
    return found[:, None] if found.ndim == 1 else found


squared_error: Measure = mean_of(
    lambda outputs, targets: (differences(outputs, targets) ** 2).mean(-1),
    name="squared_error",
    check=check_numbers,
)
"""The mean squared error over features and all that is valid.

Outputs are `(B, D)` for sequences or `(B, T, D)` for steps; targets have the same shape, and may
lack the last axis where D is 1. The last of two axes counts as features, never as steps.
"""

absolute_error: Measure = mean_of(
    lambda outputs, targets: jnp.abs(differences(outputs, targets)).mean(-1),
    name="absolute_error",
    check=check_numbers,
)
"""The mean absolute error over features; shapes are those of `squared_error`."""

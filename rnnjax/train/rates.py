"""Which learning rate to begin with: a run whose rate grows from step to step."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.data.checks import check_batch
from rnnjax.train.evaluation import as_data, hands_on, is_arrays
from rnnjax.train.measures import Measure, as_loss
from rnnjax.train.models import check_takes
from rnnjax.train.modules import as_model
from rnnjax.train.optimizers import check_optimizer
from rnnjax.train.options import Options
from rnnjax.train.placing import Placer
from rnnjax.train.sources import Names, has_epochs
from rnnjax.train.state import start
from rnnjax.train.steps import train_step


class RateCurve(NamedTuple):
    """What `find_rate` has seen.

    Attributes:
        rates: learning rates, growing.
        losses: of the batch at each rate, smoothed.
        best: where the loss fell most steeply.
    """

    rates: np.ndarray
    losses: np.ndarray
    best: float


def find_rate(
    model: Any,
    data: Any,
    *,
    loss: Measure | Callable[[PyTree, PyTree], Array],
    optimizer: Callable[[Any], optax.GradientTransformation],
    key: Any,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    batch_size: int | None = None,
) -> RateCurve:
    """Train for a few steps with a growing learning rate, and say where the loss fell fastest.

    The steps are lost: the model is not changed. The run ends where the loss has grown above the
    first one by more than it had fallen, and by 1 at least.

    Args:
        model: as for `fit`.
        data: as for `fit`; it is read again from the beginning when it ends. Of an iterator, so
            many batches are read as there are steps.
        loss: as for `fit`.
        optimizer: what makes one of a rate, such as `optax.adam` or `train.adamw`; the rate is a
            schedule.
        key: draws weights, order and noise.
        low: the first rate.
        high: the last one.
        steps: how many, their rates evenly apart in the logarithm.
        batch_size: as for `fit`.

    Returns:
        The curve. `fit` may begin with its `best`, or somewhat below.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for rates that do not grow, fewer than 10 steps, or where no loss was finite.

    Reference: Smith, *Cyclical learning rates for training neural networks* (2017), section 3.3.
    """
    function = "find_rate"
    _checks.prng_key(function, key)
    low, high = _checks.real(function, "low", low), _checks.real(function, "high", high)
    if not 0.0 < low < high:
        _checks.refuse(function, "low", "satisfy 0 < low < high", (low, high), "such as 1e-6, 1")
    _checks.size(function, "steps", steps, least=10)
    check_takes(function, "optimizer", optimizer, ("rate",), such_as="optax.adam")
    functions, measure = as_model(function, model), as_loss(function, loss)
    growth = (high / low) ** (1 / (steps - 1))
    # Optax hands over whole numbers.
    made = optimizer(lambda count: low * growth ** jnp.asarray(count, jnp.float32))
    check_optimizer(function, made, argument="optimizer(rate)")
    options = Options(made, max_bad=steps)
    key_state, key_data = jax.random.split(key)
    seed = int(jax.random.bits(key_data))
    names = Names(function, steps="steps")
    told = None if is_arrays(data) or has_epochs(names, data) else steps
    source, whole = as_data(names, data, batch_size=batch_size, steps=told, shuffle=True, seed=seed)
    example = source.example()
    check_batch(function, example)
    stateful = hands_on(function, data, None)
    state = start(
        function, functions, options, example, key=key_state, weights=None, stateful=stateful
    )
    placer = Placer(function, functions, state.weights, (measure,), stateful)
    placer.accept(example, whole)
    step = train_step(function, functions, (measure,), options)
    batches = itertools.chain.from_iterable(source.batches(epoch, 0) for epoch in itertools.count())
    losses: list[float] = []
    for batch in itertools.islice(batches, steps):
        state, sums = step(state, placer(batch))
        losses.append(float(measure.value(sums["loss"])) if sums["loss"].count > 0 else np.nan)
        if diverged(losses):
            break
    rates = low * growth ** np.arange(len(losses))
    smooth = smoothed(function, np.array(losses))
    return RateCurve(rates, smooth, float(rates[steepest(smooth)]))


def diverged(losses: list[float]) -> bool:
    """Whether the last loss is above the first by more than they fell, and by 1 at least."""
    least = min((loss for loss in losses if loss == loss), default=np.nan)
    return len(losses) >= 10 and losses[-1] - losses[0] > max(losses[0] - least, 1.0)


def smoothed(function: str, losses: np.ndarray, share: float = 0.1) -> np.ndarray:
    """A running mean that does not begin from zero; what is not finite counts as the worst."""
    if not np.isfinite(losses).any():
        way_out = "look at the data, or give a smaller low"
        _checks.refuse(function, "loss", "be finite at some rate", "none", way_out)
    losses = np.where(np.isfinite(losses), losses, np.nanmax(losses))
    out, total, weight = [], 0.0, 0.0
    for value in losses:
        total, weight = (1 - share) * total + share * value, (1 - share) * weight + share
        out.append(total / weight)
    return np.array(out)


def steepest(losses: np.ndarray) -> int:
    """Where a curve falls most steeply before its least value."""
    end = max(int(np.argmin(losses)), 1)
    return int(np.argmin(np.gradient(losses)[: end + 1]))

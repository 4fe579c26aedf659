"""What the tests of losses and metrics share: batches with padding, and sums over them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.data.batch import Batch

B, T, C = 6, 5, 4
LENGTHS = np.array([5, 3, 1, 0, 5, 2], np.int32)
VALID = np.arange(T) < LENGTHS[:, None]
RNG = np.random.default_rng(3)
ROWS = np.array([1.0, 0.5, 2.0, 1.0, 0.0, 3.0], np.float32)
STEPS = RNG.choice([0.0, 0.5, 2.0], (B, T)).astype(np.float32)

# How a batch says what counts, and how much each step does by that.
WEIGHTINGS = {
    "plain": ({}, np.ones((B, T))),
    "lengths": ({"lengths": LENGTHS}, VALID * 1.0),
    "rows": ({"lengths": LENGTHS, "weights": ROWS}, VALID * ROWS[:, None]),
    "steps": ({"lengths": LENGTHS, "weights": STEPS}, VALID * STEPS),
}


def batch_of(targets, **options):
    """A batch whose inputs have T steps."""
    return Batch(np.zeros((len(targets), T, 1), np.float32), targets, **options)


@functools.cache
def compiled(sums):
    return jax.jit(sums)


def value(measure, outputs, *batches):
    """The value of the sums of all batches; `outputs` has an entry for each."""
    outputs = outputs if len(batches) > 1 else [outputs]
    of = compiled(measure.sums)
    sums = [of(jnp.asarray(y), batch) for y, batch in zip(outputs, batches, strict=True)]
    return np.asarray(measure.value(jax.tree.map(lambda *a: sum(a), *sums)))


def in_parts(measure, outputs, batch, *, size=2):
    """The value when rows are shuffled and measured a few at a time."""
    order = np.random.default_rng(4).permutation(len(outputs)).reshape(-1, size)
    rows = lambda a, part: None if a is None else a[part]
    parts = [Batch(*(rows(a, part) for a in batch)) for part in order]
    return value(measure, [outputs[part] for part in order], *parts)


def spoil(outputs, targets, counts):
    """NaN outputs, and targets that cannot be, wherever nothing counts."""
    wild = np.nan if targets.dtype.kind == "f" else -77
    counts = counts.reshape(*counts.shape, *(1,) * (outputs.ndim - counts.ndim))
    dirty = np.where(counts, outputs, np.float32(np.nan))
    counts = counts[..., 0] if targets.ndim < counts.ndim else counts
    return dirty, np.where(counts, targets, np.array(wild, targets.dtype))

"""Sums over an epoch, added up on the device."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree
from rnnjax.train.measures import Measure
from rnnjax.train.state import zeros_of


class Totals(NamedTuple):
    """What batches have added up to.

    Attributes:
        sums: the sums of each measure, by its name.
        lost: what rounding has taken from them so far; the mean over many millions of tokens would
            miss it in float32.
        tokens: valid steps of the inputs.
    """

    sums: dict[str, PyTree]
    lost: dict[str, PyTree]
    tokens: Array


def no_totals(sums: PyTree) -> Totals:
    """Zeros for sums of these shapes."""
    return Totals(zeros_of(sums), zeros_of(sums), jnp.zeros((), jnp.float32))


def add(totals: Totals, sums: PyTree, batch: Any) -> Totals:
    """One batch more.

    Reference: Knuth, *The Art of Computer Programming*, volume 2, 4.2.2, theorem B: the rounding
    error of a sum, exactly.
    """

    def error(old: Array, new: Array) -> Array:
        total = old + new
        part = total - old
        return (old - (total - part)) + (new - part)

    added = jax.tree.map(jnp.add, totals.sums, sums)
    errors = jax.tree.map(error, totals.sums, sums)
    lost = jax.tree.map(jnp.add, totals.lost, errors)
    return Totals(added, lost, totals.tokens + valid_tokens(batch))


def values_of(measures: Sequence[Measure], totals: Totals) -> dict[str, Array]:
    """What the sums, with what rounding took, come to."""
    sums = jax.tree.map(jnp.add, totals.sums, totals.lost)
    return {measure.name: measure.value(sums[measure.name]) for measure in measures}


def valid_tokens(batch: Any) -> Array:
    """The valid steps of a batch."""
    rows, steps = batch.num_rows, batch.num_steps
    if batch.lengths is not None:
        return jnp.asarray(batch.lengths).sum().astype(jnp.float32)
    return jnp.asarray(rows * steps, jnp.float32)

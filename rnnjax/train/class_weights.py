"""Losses and metrics in which some classes count more than others."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, Float, PyTree
from rnnjax.data.batch import Batch
from rnnjax.sequence.meshes import follow
from rnnjax.train.measures import Measure, weights_of
from rnnjax.train.targets import as_numpy, check_array, refuse_targets, shape_of, values_shape


def class_weighted(measure: Measure, class_weights: Any) -> Measure:
    r"""Make a measure in which every sequence or step counts as much as its target's class.

    The mean becomes $\sum w_k v / \sum w_k$, as in PyTorch; weights of the batch multiply those
    of classes.

    Args:
        measure: whose targets are labels, such as `cross_entropy`, `binary_cross_entropy` or
            `accuracy`.
        class_weights: one for every class, `(C,)`, or a dict from class to weight, in which those
            that are not named weigh 1.

    Returns:
        The measure, with `class_weighted_` before its name.

    Raises:
        TypeError: for arguments of the wrong kind.
        ValueError: if weights are negative or not finite, or have no classes.

    Example:
        >>> import jax.numpy as jnp
        >>> from rnnjax import train
        >>> from rnnjax.data import Batch
        >>> batch = Batch(jnp.ones((3, 1, 1)), targets=jnp.array([0, 1, 1]))
        >>> rare = train.class_weighted(train.accuracy, {0: 4.0})
        >>> sums = rare.sums(jnp.zeros((3, 2)), batch)  # class 0 everywhere
        >>> round(float(rare.value(sums)), 4)
        0.6667
    """
    return weighted("class_weighted", measure, class_weights)


def weighted(function: str, measure: Any, class_weights: Any) -> Measure:
    """What `class_weighted` returns; `function` is what messages name."""
    if not isinstance(measure, Measure):
        got, way_out = _checks.kind(measure), "wrap a function in train.mean_of"
        _checks.refuse(function, "measure", "be a Measure", got, way_out, error=TypeError)
    named = isinstance(class_weights, Mapping)
    table = (as_table if named else as_array)(function, class_weights)
    classes = max(class_weights, default=-1) + 1 if named else len(table)

    def sums(outputs: PyTree, batch: Batch) -> PyTree:
        targets = labels_of(outputs, batch)
        last = lambda a: jnp.asarray(a).reshape(*(1,) * targets.ndim, -1)
        numbers = last(np.arange(len(table), dtype=np.int32))
        chosen = jnp.minimum(targets, len(table) - 1)[..., None] == numbers
        weight = jnp.where(chosen, last(table.astype(np.float32)), 0).sum(-1)
        weight = weight * follow(weights_of(batch, targets.shape), targets)
        return measure.sums(outputs, batch._replace(weights=weight))

    def check(function: str, outputs: PyTree, batch: Batch) -> None:
        measure.check(function, outputs, batch)
        check_labels(function, batch, classes, outputs, named=named)

    return measure._replace(name=f"class_weighted_{measure.name}", sums=sums, check=check)


def as_table(function: str, class_weights: Mapping[int, float]) -> Float[np.ndarray, " C"]:
    """The weights of all classes up to the last one named, and 1 for those that follow."""
    way_out = "give a dict such as {0: 1.0, 3: 5.0}, or one weight for every class"
    for label, weight in class_weights.items():
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or label < 0:
            wanted = "have classes from 0 for keys"
            _checks.refuse(function, "class_weights", wanted, repr(label), way_out)
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            wanted = "hold numbers"
            _checks.refuse(function, "class_weights", wanted, _checks.kind(weight), way_out)
        if not (math.isfinite(weight) and weight >= 0):
            wanted = "be finite and at least 0"
            got = f"{weight} for class {label}"
            _checks.refuse(function, "class_weights", wanted, got, way_out)
    table = np.ones(max(class_weights, default=-1) + 2)
    for label, weight in class_weights.items():
        table[label] = weight
    return table


def as_array(function: str, class_weights: Any) -> Float[np.ndarray, " C"]:
    """One weight for every class."""
    way_out = "give one weight for every class, or a dict"
    table = as_numpy(_checks.array(function, "class_weights", class_weights))
    if table.ndim != 1 or table.size == 0:
        wanted = "have shape (C,)"
        _checks.refuse(function, "class_weights", wanted, table.shape, way_out)
    if not np.all(np.isfinite(table) & (table >= 0)):
        wanted, label = (
            "be finite and at least 0",
            int(np.argmin(np.isfinite(table) & (table >= 0))),
        )
        got = f"{table[label]} for class {label}"
        _checks.refuse(function, "class_weights", wanted, got, way_out)
    return table


def labels_of(outputs: PyTree, batch: Batch) -> Array:
    """The labels, `(B,)` or `(B, T)`."""
    targets = jnp.asarray(batch.targets)
    if targets.shape == shape_of(outputs):  # one logit each
        targets = targets.reshape(values_shape(targets.shape))
    return targets.astype(jnp.int32)


def check_labels(
    function: str, batch: Batch, classes: int, outputs: PyTree, *, named: bool
) -> None:
    """Refuse targets that are no labels, and weights of classes that are not there."""
    wanted, way_out = "be class labels where classes have weights", "give whole numbers"
    targets = check_array(function, batch.targets, wanted, way_out)
    if jnp.issubdtype(targets.dtype, jnp.floating):
        refuse_targets(function, wanted, targets, way_out, error=TypeError)
    shape = shape_of(outputs)
    one_logit = len(shape) == len(targets.shape) or shape[-1:] == (1,)
    there = 2 if one_logit or not shape else shape[-1]
    if named and classes > there:
        wanted, way_out = f"name classes in 0..{there - 1}", "count classes from 0"
        _checks.refuse(function, "class_weights", wanted, classes - 1, way_out)
    if not named and classes != there:
        wanted, way_out = f"hold one weight for each of {there} classes", "or give a dict"
        _checks.refuse(function, "class_weights", wanted, classes, way_out)

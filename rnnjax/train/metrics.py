"""Metrics that are exact over an epoch: counts are added up before there is a value.

```python
>>> import jax.numpy as jnp
>>> from rnnjax import train
>>> from rnnjax.data import Batch
>>> batch = Batch(jnp.ones((3, 1, 1)), targets=jnp.array([0, 1, 1]))
>>> logits = jnp.array([[2.0, 1], [0, 3], [1, 0]])
>>> float(train.accuracy.value(train.accuracy.sums(logits, batch))).__round__(4)
0.6667

```
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, PyTree
from rnnjax.data.batch import Batch
from rnnjax.sequence.meshes import follow
from rnnjax.train.measures import Measure, mean_of, weights_of
from rnnjax.train.targets import check_binary, check_classes, one_each, shape_of

Average = Literal["macro", "micro", "weighted", "binary"]
AVERAGES = ("macro", "micro", "weighted", "binary")

accuracy: Measure = mean_of(
    lambda outputs, targets: (outputs.argmax(-1) == targets).astype(jnp.float32),
    name="accuracy",
    check=check_classes,
    higher_is_better=True,
)
"""How many of the labels have the greatest logit: 0..1.

Outputs are `(B, C)` for sequences or `(B, T, C)` for steps, and targets integer labels, `(B,)` or
`(B, T)`. Of equal logits the first one counts.
"""


def yes_and_no(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """What is said and what is true, `(B,)` or `(B, T)`."""
    logits, targets = one_each(outputs, targets)
    return logits > 0, targets.astype(jnp.float32) > 0.5


def hits(outputs: Array, targets: Array) -> Float[Array, "..."]:
    """1 where the logit has the right sign."""
    said, true = yes_and_no(outputs, targets)
    return (said == true).astype(jnp.float32)


binary_accuracy: Measure = mean_of(
    hits, name="binary_accuracy", check=check_binary, higher_is_better=True
)
"""How many logits are above 0 where the target is above 0.5, and only there: 0..1.

Outputs and targets are those of `binary_cross_entropy`.
"""


def confusion(num_classes: int) -> Measure:
    """Make the table of how often each class was taken for each other.

    Outputs and targets are those of `accuracy`; two classes may have one logit, as in
    `binary_accuracy`.

    Args:
        num_classes: C.

    Returns:
        The measure. Its value is the table, `(C, C)`: rows are targets, columns predictions, and
        entries the sums of weights. They are float32, so counts are exact up to 2^24 each.

    Raises:
        TypeError: if `num_classes` is no whole number.
        ValueError: if it is below 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from rnnjax import train
        >>> from rnnjax.data import Batch
        >>> batch = Batch(jnp.ones((3, 1, 1)), targets=jnp.array([0, 1, 1]))
        >>> logits = jnp.array([[2.0, 1], [0, 3], [1, 0]])
        >>> train.confusion(2).sums(logits, batch).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    return table_measure("confusion", num_classes, lambda table: table)


def precision(num_classes: int, *, average: Average = "macro") -> Measure:
    r"""Make the precision: how much of what was taken for a class belongs to it.

    $$ \text{TP} / (\text{TP} + \text{FP}) $$

    Args:
        num_classes: C.
        average: as in `f1`.

    Returns:
        The measure; outputs and targets are those of `confusion`.

    Raises:
        TypeError: if `num_classes` is no whole number.
        ValueError: if it is below 2, or `average` no known word.

    Example:
        >>> from rnnjax import train
        >>> train.precision(2, average="binary").name
        'precision'
    """
    return score("precision", num_classes, average, lambda hit, said, true: (hit, said))


def recall(num_classes: int, *, average: Average = "macro") -> Measure:
    r"""Make the recall: how much of what belongs to a class was found.

    $$ \text{TP} / (\text{TP} + \text{FN}) $$

    Args:
        num_classes: C.
        average: as in `f1`.

    Returns:
        The measure; outputs and targets are those of `confusion`.

    Raises:
        TypeError: if `num_classes` is no whole number.
        ValueError: if it is below 2, or `average` no known word.

    Example:
        >>> from rnnjax import train
        >>> train.recall(5).higher_is_better
        True
    """
    return score("recall", num_classes, average, lambda hit, said, true: (hit, true))


def f1(num_classes: int, *, average: Average = "macro") -> Measure:
    r"""Make the F1 score, the harmonic mean of precision and recall.

    $$ 2 \text{TP} / (2 \text{TP} + \text{FP} + \text{FN}) $$

    It is that of the whole epoch, and not a mean over batches. A score of nothing is 0.

    Args:
        num_classes: C.
        average: `"macro"` is the mean over classes that occur among targets or predictions;
            `"weighted"` weights them by how often they are targets; `"micro"` counts over all
            classes together, which is the accuracy; `"binary"` is the score of class 1 of two.

    Returns:
        The measure; outputs and targets are those of `confusion`.

    Raises:
        TypeError: if `num_classes` is no whole number.
        ValueError: if it is below 2, or `average` no known word.

    Example:
        >>> import jax.numpy as jnp
        >>> from rnnjax import train
        >>> from rnnjax.data import Batch
        >>> batch = Batch(jnp.ones((3, 1, 1)), targets=jnp.array([0, 1, 1]))
        >>> score = train.f1(2, average="binary")
        >>> round(float(score.value(score.sums(jnp.array([-1.0, 1, -1]), batch))), 4)
        0.6667
    """
    return score("f1", num_classes, average, lambda hit, said, true: (2 * hit, said + true))


def score(
    name: str, num_classes: int, average: Average, parts: Callable[[Array, Array, Array], tuple]
) -> Measure:
    """A ratio of `parts` of hits, predictions and targets, averaged over classes."""
    num_classes = _checks.size(name, "num_classes", num_classes, least=2)
    _checks.choice(name, "average", average, AVERAGES)
    if average == "binary" and num_classes != 2:
        way_out = 'take "macro" for more classes'
        _checks.refuse(name, "num_classes", 'be 2 where average is "binary"', num_classes, way_out)

    def value(table: Float[Array, "C C"]) -> Float[Array, ""]:
        counts = jnp.diagonal(table), table.sum(0), table.sum(1)
        if average == "micro":
            counts = tuple(count.sum() for count in counts)
        top, bottom = parts(*counts)
        scores = top / jnp.where(bottom == 0, 1, bottom)
        if average == "micro":
            return scores
        if average == "binary":
            return scores[1]
        occurs = (counts[1] + counts[2] > 0).astype(scores.dtype)
        weight = occurs if average == "macro" else counts[2]
        total = weight.sum()
        return (scores * weight).sum() / jnp.where(total == 0, 1, total)

    return table_measure(name, num_classes, value)._replace(higher_is_better=True)


def table_measure(
    name: str, num_classes: int, value: Callable[[Float[Array, "C C"]], Array]
) -> Measure:
    """A measure of the table of confusions."""
    num_classes = _checks.size(name, "num_classes", num_classes, least=2)
    one_logit = functools.partial(has_one_logit, num_classes=num_classes)

    def sums(outputs: Array, batch: Batch) -> Float[Array, "C C"]:
        targets = jnp.asarray(batch.targets)
        if one_logit(outputs, batch):
            predictions, targets = yes_and_no(outputs, targets)
        else:
            predictions = outputs.argmax(-1)
        weight = follow(weights_of(batch, predictions.shape), predictions)
        explicit = jax.sharding.get_abstract_mesh().explicit_axes
        table = jnp.zeros((num_classes, num_classes), weight.dtype)
        # Targets that cannot be stand where the weight is 0.
        entries = table.at[targets.astype(jnp.int32), predictions.astype(jnp.int32)]
        return entries.add(weight, out_sharding=jax.P() if explicit else None)

    def check(function: str, outputs: PyTree, batch: Batch) -> None:
        if one_logit(outputs, batch):
            check_binary(function, outputs, batch)
        else:
            check_classes(function, outputs, batch, num_classes=num_classes)

    return Measure(name, sums, value, check)


def has_one_logit(outputs: PyTree, batch: Batch, *, num_classes: int) -> bool:
    """Whether two classes are told apart by the sign of one logit, and not by two."""
    shape = shape_of(outputs)
    num_steps = batch.num_steps
    steps = len(shape) == 2 and shape[1] == num_steps and shape == shape_of(batch.targets)
    return num_classes == 2 and (len(shape) == 1 or shape[-1:] == (1,) or steps)

"""Connectionist temporal classification: labels whose places are not known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Int, PyTree
from rnnjax.cells.dtypes import promote
from rnnjax.data.batch import Batch
from rnnjax.methods.base import keep, zeros_like
from rnnjax.sequence.masks import lengths_to_mask
from rnnjax.sequence.meshes import follow
from rnnjax.train.measures import Mean, Measure, mean, weights_of
from rnnjax.train.targets import as_numpy, check_array, check_logits, counted, refuse_targets


def ctc(blank: int = 0) -> Measure:
    r"""Make the loss of connectionist temporal classification.

    $$ -\log \sum_{\pi \to l} \prod_t \text{softmax}(y_t)_{\pi_t} $$

    over all alignments $\pi$ that give the labels $l$ when what is repeated is merged and blanks
    are taken out; the mean over sequences. Outputs are logits, `(B, T, C)`, the blank being one of
    the C classes. Targets are integers, `(B, N)`, each row its labels and then padding: the
    blank, which is never a label, or any number below 0. Rows may have no labels.

    Each row needs a step for every label, and one more between two that are equal. Where that
    can be seen it is refused; where not, such a row costs about 1e5, and not infinity.

    Args:
        blank: the class that stands for no label.

    Returns:
        The measure. Weights are those of rows, `(B,)`.

    Raises:
        TypeError: if `blank` is no whole number.
        ValueError: if it is negative.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rnnjax import train
        >>> from rnnjax.data import Batch
        >>> batch = Batch(jnp.ones((1, 2, 1)), targets=jnp.array([[1, 0]]))
        >>> loss = train.ctc()
        >>> sums = jax.jit(loss.sums)(jnp.zeros((1, 2, 2)), batch)
        >>> round(float(loss.value(sums)), 4)  # 3 of 4 paths: the logarithm of 4/3
        0.2877

    Reference: Graves, Fernández, Gomez & Schmidhuber, *Connectionist temporal classification*
    (2006).
    """
    blank = _checks.size("ctc", "blank", blank, least=0)

    def sums(outputs: Array, batch: Batch) -> Mean:
        num_rows, num_steps, _ = outputs.shape
        weight = follow(weights_of(batch, (num_rows,)), outputs)
        rows = weight != 0
        lengths = jnp.full(num_rows, num_steps) if batch.lengths is None else batch.lengths
        steps = follow(lengths_to_mask(lengths, num_steps, time_axis=-1), outputs) & rows[:, None]
        labels = follow(jnp.asarray(batch.targets), outputs)
        present = is_label(labels, blank) & rows[:, None]
        labels = jnp.where(present, labels, jnp.full_like(labels, blank))
        costs = negative_log(keep(steps, outputs, zeros_like(outputs)), steps, labels, blank)
        weight = weight.astype(costs.dtype)
        return Mean((costs * weight).sum(), weight.sum())

    def check(function: str, outputs: PyTree, batch: Batch) -> None:
        check_alignable(function, outputs, batch, blank)

    return Measure("ctc", sums, mean, check)


def is_label(targets: Any, blank: int) -> Any:
    """Where targets are labels, and neither blank nor padding."""
    return (targets >= 0) & (targets != blank)


def negative_log(
    logits: Array, steps: Bool[Array, "B T"], labels: Int[Array, "B N"], blank: int
) -> Array:
    """The cost of each row, `(B,)`."""

    def row(*args: Array) -> Array:
        logits, padded, labels, unlabelled = (a[None] for a in args)
        return optax.ctc_loss(logits, padded, labels, unlabelled, blank_id=blank)[0]

    # Optax makes arrays of the default dtype and adds others to them. Rows are mapped over, for
    # on meshes with explicit axes those arrays would not be sharded as the batch.
    dtype = promote(logits.dtype, jnp.zeros(()).dtype)
    padded, unlabelled = (~steps).astype(dtype), (~is_label(labels, blank)).astype(dtype)
    with jax.numpy_dtype_promotion("standard"):
        return jax.vmap(row)(logits.astype(dtype), padded, labels, unlabelled)


def check_alignable(function: str, outputs: PyTree, batch: Batch, blank: int) -> None:
    """Refuse targets that are no labels, or too many for the steps of their row."""
    check_logits(function, outputs)
    shape = outputs.shape
    if len(shape) != 3 or blank >= shape[-1]:
        wanted, way_out = f"be logits (B, T, C) with blank {blank} in 0..C-1", "give all steps"
        _checks.refuse(function, "outputs", wanted, shape, way_out)
    wanted = f"be integer labels of shape ({shape[0]}, N)"
    way_out = "give one row of labels for each sequence, padded with the blank"
    targets = check_array(function, batch.targets, wanted, way_out)
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        refuse_targets(function, wanted, targets, way_out, error=TypeError)
    if len(targets.shape) != 2 or targets.shape[0] != shape[0]:
        refuse_targets(function, wanted, targets, way_out)
    valid = counted(batch, shape[:1])
    if valid is not None and _checks.is_concrete(targets):
        lengths = shape[1] if batch.lengths is None else as_numpy(batch.lengths)
        check_labels(function, as_numpy(targets), valid, lengths, (blank, shape[-1]))


def check_labels(
    function: str, targets: np.ndarray, valid: np.ndarray, lengths: Any, which: tuple[int, int]
) -> None:
    """Name the first row whose labels cannot be aligned; `which` are blank and C."""
    blank, classes = which
    present = is_label(targets, blank)

    def refuse(wrong: Any, wanted: str, got: Any, way_out: str) -> None:
        wrong = wrong & valid
        if wrong.any():
            row = int(np.argmax(wrong))
            _checks.refuse(function, "targets", wanted, f"{got(row)} at row {row}", way_out)

    refuse(
        (np.diff(present.astype(np.int8), axis=1) > 0).any(1),
        "be labels, then padding",
        lambda row: f"a label after blank {blank} or a number below 0",
        "leave blanks between labels out",
    )
    refuse(
        (targets >= classes).any(1),
        f"lie below C = {classes}",
        lambda row: targets[row].max(),
        "let the model end in one output for each class and the blank",
    )
    repeats = (targets[:, 1:] == targets[:, :-1]) & present[:, 1:]
    needed = present.sum(1) + repeats.sum(1)
    refuse(
        needed > lengths,
        "fit into the steps of their row",
        lambda row: f"{present[row].sum()} labels that need {needed[row]} steps",
        "give longer inputs, or fewer strides before the loss",
    )

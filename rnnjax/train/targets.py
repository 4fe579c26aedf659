"""What losses and metrics want of targets, refused on the host before anything is traced."""

from typing import Any, NoReturn

import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.data.batch import Batch


def check_classes(
    function: str, outputs: PyTree, batch: Batch, *, num_classes: int | None = None
) -> None:
    """Refuse targets that are no class labels for logits `(B, C)` or `(B, T, C)`."""
    check_logits(function, outputs, num_classes)
    shape, classes = outputs.shape[:-1], outputs.shape[-1]
    wanted = f"be integer labels of shape {shape}"
    if shape_of(batch.targets) == outputs.shape:
        way_out = "give labels instead of one-hot rows: targets.argmax(-1)"
        _checks.refuse(function, "targets", wanted, _checks.kind(batch.targets), way_out)
    targets = check_array(function, batch.targets, wanted, "give one class for each of them")
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        way_out = "count classes in whole numbers, with .astype(int)"
        refuse_targets(function, wanted, targets, way_out, error=TypeError)
    if targets.shape != shape:
        refuse_targets(function, wanted, targets, "give one class for each output")
    bad = lambda labels: (labels < 0) | (labels >= classes)
    way_out = "count classes from 0, and let the model end in one output for each"
    check_values(function, f"lie in 0..C-1 = 0..{classes - 1}", batch, shape, bad, way_out)


def check_logits(function: str, outputs: PyTree, num_classes: int | None = None) -> None:
    """Refuse outputs that are no floats `(B, C)` or `(B, T, C)`."""
    shape = shape_of(outputs)
    if len(shape) not in (2, 3):
        wanted, way_out = "be logits (B, C) or (B, T, C)", "end in rnnjax.dense(num_classes)"
        _checks.refuse(function, "outputs", wanted, _checks.kind(outputs), way_out)
    check_floats(function, outputs)
    if num_classes not in (None, shape[-1]):
        wanted = f"be logits of num_classes = {num_classes} classes"
        got, way_out = f"{shape[-1]} of them", "tell the metric how many outputs there are"
        _checks.refuse(function, "outputs", wanted, got, way_out)


def shape_of(a: Any) -> tuple[int, ...]:
    """The shape of an array; of anything else that of a number."""
    return tuple(getattr(a, "shape", ()))


def check_floats(function: str, outputs: Any) -> None:
    """Refuse outputs of another dtype."""
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        way_out = "hand over what the model says before argmax and thresholds"
        wanted, got = "be floats", _checks.kind(outputs)
        _checks.refuse(function, "outputs", wanted, got, way_out, error=TypeError)


def check_binary(function: str, outputs: PyTree, batch: Batch) -> None:
    """Refuse targets that are no probabilities or labels 0 and 1 for one logit each."""
    wanted = "be one logit each, (B,), (B, 1), (B, T) or (B, T, 1)"
    shape = shape_of(outputs)
    if len(shape) not in (1, 2, 3) or (len(shape) == 3 and shape[-1] != 1):
        way_out = "end in rnnjax.dense(1), or write mean_of(function) for several"
        _checks.refuse(function, "outputs", wanted, _checks.kind(outputs), way_out)
    check_floats(function, outputs)
    check_shape(function, outputs, batch)
    lead = values_shape(shape)
    if jnp.issubdtype(batch.targets.dtype, jnp.floating):
        wanted, bad = "lie in 0..1", lambda a: ~((a >= 0) & (a <= 1))
    else:
        wanted, bad = "be 0 or 1", lambda a: (a != 0) & (a != 1)
    check_values(function, wanted, batch, lead, bad, "0 is no and 1 is yes")


def check_numbers(function: str, outputs: PyTree, batch: Batch) -> None:
    """Refuse targets that are no numbers in the shape of outputs `(B, D)` or `(B, T, D)`."""
    shape = shape_of(outputs)
    if len(shape) not in (1, 2, 3):
        wanted, way_out = "be (B,), (B, D) or (B, T, D)", "hand over one array"
        _checks.refuse(function, "outputs", wanted, _checks.kind(outputs), way_out)
    check_floats(function, outputs)
    num_steps = batch.num_steps
    if len(shape) == 2 and shape[1] == num_steps > 1 and batch.lengths is not None:
        wanted = "end in an axis of features where steps have lengths"
        way_out = "give outputs[..., None] for steps, or mean_of(function) for sequences"
        _checks.refuse(function, "outputs", wanted, shape, way_out)
    check_shape(function, outputs, batch)
    lead = shape if len(shape) == 1 else shape[:-1]
    way_out = "give what is missing a weight of 0"
    check_values(function, "be finite", batch, lead, lambda a: ~np.isfinite(a), way_out)


def check_shape(function: str, outputs: Any, batch: Batch) -> None:
    """Refuse targets that have not the outputs' shape; a last axis of 1 may be left out."""
    wanted = f"have the outputs' shape {outputs.shape}"
    targets = check_array(function, batch.targets, wanted, "give one for each output")
    if targets.shape != outputs.shape and (*targets.shape, 1) != outputs.shape:
        refuse_targets(function, wanted, targets, "give one for each output")


def check_array(function: str, targets: Any, wanted: str, way_out: str) -> Any:
    """One array of numbers."""
    numeric = hasattr(targets, "shape") and hasattr(targets, "dtype")
    kinds = (jnp.integer, jnp.floating, jnp.bool_)
    if not numeric or not any(jnp.issubdtype(targets.dtype, kind) for kind in kinds):
        refuse_targets(function, wanted, targets, way_out, error=TypeError)
    return targets


def refuse_targets(
    function: str, wanted: str, targets: Any, way_out: str, *, error: type[Exception] = ValueError
) -> NoReturn:
    """Refuse targets for what they are."""
    _checks.refuse(function, "targets", wanted, _checks.kind(targets), way_out, error=error)


def check_values(
    function: str, wanted: str, batch: Batch, lead: tuple[int, ...], bad: Any, way_out: str
) -> None:
    """Name the first target that counts and is `bad`, where numbers can be seen."""
    if not _checks.is_concrete(batch.targets):
        return
    targets = as_numpy(batch.targets)
    wrong = bad(targets)
    valid = counted(batch, lead) if wrong.any() else None  # most batches are right
    if valid is None:
        return
    wrong &= valid.reshape(*lead, *(1,) * (targets.ndim - len(lead)))
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        names = zip(("row", "step"), place[: len(lead)], strict=False)
        where = ", ".join(f"{name} {index}" for name, index in names)
        _checks.refuse(function, "targets", wanted, f"{targets[place]} at {where}", way_out)


def as_numpy(a: Any) -> np.ndarray:
    """The numbers on the host, in a dtype that NumPy knows."""
    a = np.asarray(a)
    return a if a.dtype.kind in "biuf" else a.astype(np.float32)  # bfloat16 and its like


def counted(batch: Batch, lead: tuple[int, ...]) -> np.ndarray | None:
    """Which sequences or steps count, on the host; None where it cannot be seen."""
    told = [a for a in (batch.lengths, batch.weights) if a is not None]
    if not all(map(_checks.is_concrete, told)):
        return None
    if any(np.shape(a) != lead[: np.ndim(a)] for a in told):
        return None  # refused where they are used
    valid = np.ones(lead, bool)
    if batch.lengths is not None and len(lead) == 2:
        valid &= np.arange(lead[1]) < np.asarray(batch.lengths)[:, None]
    if batch.weights is not None:
        weights = as_numpy(batch.weights)
        valid &= weights.reshape(*weights.shape, *(1,) * (len(lead) - weights.ndim)) != 0
    return valid


def values_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of one value for each sequence or step: without a last axis of one feature."""
    return shape[:-1] if len(shape) == 3 or (len(shape) == 2 and shape[1] == 1) else shape


def one_each(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Outputs and targets of one value each, `(B,)` or `(B, T)`."""
    lead = values_shape(outputs.shape)
    return outputs.reshape(lead), targets.reshape(lead)

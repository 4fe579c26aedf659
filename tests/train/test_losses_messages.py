"""Bad outputs and targets are refused in one sentence each."""

import jax
import numpy as np
import pytest
from measured import VALID, B, C, T, batch_of
from messages import TYPE, VALUE, check_refused, table

from rnnjax import train
from rnnjax.data import Batch

M, D = 3, 2
MIXTURE = train.mixture_density(M, features=D, least_scale=0.05)
PEN = train.handwriting(M, least_scale=0.05)


def numbers(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def labels(*lead):
    return np.random.default_rng(1).integers(0, C, lead).astype(np.int32)


def pen_targets(*lead):
    lifted = np.random.default_rng(2).integers(0, 2, (*lead, 1)).astype(np.float32)
    return np.concatenate([numbers(*lead, 2, seed=1), lifted], -1)


def probabilities(*lead):
    return np.random.default_rng(1).random((*lead, 1)).astype(np.float32)


def check(measure, outputs, targets, **options):
    """A call of the check, which sees outputs that are abstract."""
    abstract = jax.ShapeDtypeStruct(outputs.shape, outputs.dtype)
    xs = np.zeros((B, T, 1), np.float32)
    return lambda w: measure.check("fit", abstract, Batch(xs, targets, **options))


def with_one(array, place, wrong):
    array = array.copy()
    array[place] = wrong
    return array


Y, K = numbers(B, T, C), labels(B, T)
CE, BCE, SE, CTC = train.cross_entropy, train.binary_cross_entropy, train.squared_error, train.ctc()
FROM_0 = "count classes from 0, and let the model end in one output for each."
WEIGHT = "give what is missing a weight of 0."
ONE_ROW = "give one row of labels for each sequence, padded with the blank."

REFUSED = table(
    classes={
        "too large": (
            check(CE, Y, with_one(K, (2, 0), 4), lengths=[5, 3, 1, 0, 5, 2]),
            VALUE,
            f"fit: `targets` must lie in 0..C-1 = 0..3, got 4 at row 2, step 0; {FROM_0}",
        ),
        "negative": (
            check(CE, Y[:, 0], with_one(K[:, 0], 4, -1)),
            VALUE,
            f"fit: `targets` must lie in 0..C-1 = 0..3, got -1 at row 4; {FROM_0}",
        ),
        "of floats": (
            check(CE, Y, K.astype(np.float32)),
            TYPE,
            "fit: `targets` must be integer labels of shape (6, 5), got float32 of shape (6, 5); "
            "count classes in whole numbers, with .astype(int).",
        ),
        "missing": (
            check(CE, Y, None),
            TYPE,
            "fit: `targets` must be integer labels of shape (6, 5), got NoneType None; "
            "give one class for each of them.",
        ),
        "for sequences": (
            check(CE, Y, K[:, 0]),
            VALUE,
            "fit: `targets` must be integer labels of shape (6, 5), got int32 of shape (6,); "
            "give one class for each output.",
        ),
        "one-hot": (
            check(CE, Y, np.eye(C)[K]),
            VALUE,
            "fit: `targets` must be integer labels of shape (6, 5), "
            "got float64 of shape (6, 5, 4); give labels instead of one-hot rows: "
            "targets.argmax(-1).",
        ),
        "of outputs without classes": (
            check(CE, Y[:, 0, 0], K[:, 0]),
            VALUE,
            "fit: `outputs` must be logits (B, C) or (B, T, C), got float32 of shape (6,); "
            "end in rnnjax.dense(num_classes).",
        ),
        "of outputs that are integers": (
            check(CE, Y.astype(int), K),
            TYPE,
            "fit: `outputs` must be floats, got int64 of shape (6, 5, 4); "
            "hand over what the model says before argmax and thresholds.",
        ),
        "of outputs in a tuple": (
            lambda w: CE.check("fit", (Y, Y), batch_of(K)),
            VALUE,
            "fit: `outputs` must be logits (B, C) or (B, T, C), got a tuple; "
            "end in rnnjax.dense(num_classes).",
        ),
        "smoothing": (
            lambda w: train.smoothed_cross_entropy(1.0),
            VALUE,
            "smoothed_cross_entropy: `smoothing` must lie in 0 <= smoothing < 1, got 1.0; "
            "0.0 leaves labels as they are.",
        ),
        "smoothing that is no number": (
            lambda w: train.smoothed_cross_entropy(None),
            TYPE,
            "smoothed_cross_entropy: `smoothing` must be a float, got NoneType None; "
            "give a number.",
        ),
    },
    binary={
        "labels": (
            check(BCE, Y[..., 0], with_one(K * 0, (1, 2), 2)),
            VALUE,
            "fit: `targets` must be 0 or 1, got 2 at row 1, step 2; 0 is no and 1 is yes.",
        ),
        "probabilities": (
            check(BCE, Y[:, 0, 0], with_one(np.zeros(B), 3, 1.5)),
            VALUE,
            "fit: `targets` must lie in 0..1, got 1.5 at row 3; 0 is no and 1 is yes.",
        ),
        "NaN": (
            check(BCE, Y[..., :1], with_one(np.zeros((B, T, 1)), (0, 1, 0), np.nan)),
            VALUE,
            "fit: `targets` must lie in 0..1, got nan at row 0, step 1; 0 is no and 1 is yes.",
        ),
        "many logits": (
            check(BCE, Y, Y),
            VALUE,
            "fit: `outputs` must be one logit each, (B,), (B, 1), (B, T) or (B, T, 1), "
            "got float32 of shape (6, 5, 4); "
            "end in rnnjax.dense(1), or write mean_of(function) for several.",
        ),
        "shape": (
            check(BCE, Y[..., 0], K[:, 0]),
            VALUE,
            "fit: `targets` must have the outputs' shape (6, 5), got int32 of shape (6,); "
            "give one for each output.",
        ),
        "words": (
            check(BCE, Y[:, 0, 0], np.array(["no"] * B)),
            TYPE,
            "fit: `targets` must have the outputs' shape (6,), got <U2 of shape (6,); "
            "give one for each output.",
        ),
    },
    numbers={
        "missing": (
            check(SE, Y, with_one(Y, (1, 2, 3), np.nan)),
            VALUE,
            f"fit: `targets` must be finite, got nan at row 1, step 2; {WEIGHT}",
        ),
        "shape": (
            check(train.absolute_error, Y, Y[..., :2]),
            VALUE,
            "fit: `targets` must have the outputs' shape (6, 5, 4), got float32 of shape "
            "(6, 5, 2); give one for each output.",
        ),
        "rank": (
            check(SE, Y[..., None], Y[..., None]),
            VALUE,
            "fit: `outputs` must be (B,), (B, D) or (B, T, D), got float32 of shape "
            "(6, 5, 4, 1); hand over one array.",
        ),
        "steps or features": (
            check(SE, Y[..., 0], Y[..., 0], lengths=[5, 3, 1, 0, 5, 2]),
            VALUE,
            "fit: `outputs` must end in an axis of features where steps have lengths, "
            "got (6, 5); give outputs[..., None] for steps, or mean_of(function) for sequences.",
        ),
    },
    mixtures={
        "width": (
            check(MIXTURE.loss, Y, Y[..., :2]),
            VALUE,
            "fit: `outputs` must end in 15 features, got float32 of shape (6, 5, 4); "
            "end in rnnjax.dense(15).",
        ),
        "targets": (
            check(MIXTURE.loss, numbers(B, T, 15), Y),
            VALUE,
            "fit: `targets` must be floats of shape (6, 5, 2), got float32 of shape (6, 5, 4); "
            "give one vector for each output.",
        ),
        "whole numbers": (
            check(MIXTURE.loss, numbers(B, 15), K[:, :2]),
            TYPE,
            "fit: `targets` must be floats of shape (6, 2), got int32 of shape (6, 2); "
            "turn them to floats.",
        ),
        "infinite": (
            check(MIXTURE.loss, numbers(B, 15), with_one(Y[:, 0, :2], (5, 1), np.inf)),
            VALUE,
            f"fit: `targets` must be finite, got inf at row 5; {WEIGHT}",
        ),
        "pen": (
            check(PEN.loss, numbers(B, T, 19), with_one(pen_targets(B, T), (3, 1, 2), 0.5)),
            VALUE,
            "fit: `targets` must be 0 or 1 at index 2, got 0.5 at row 3, step 1; "
            "the last number says whether a stroke ends.",
        ),
        "none": (
            lambda w: train.handwriting(0),
            VALUE,
            "handwriting: `num_mixtures` must be at least 1, got 0; "
            "give the width or count that is meant.",
        ),
        "features": (
            lambda w: train.mixture_density(3, features=2.0),
            TYPE,
            "mixture_density: `features` must be a whole number, got float 2.0; give an int.",
        ),
        "scale": (
            lambda w: train.mixture_density(3, features=2, least_scale=0.0),
            VALUE,
            "mixture_density: `least_scale` must be above 0, got 0.0; "
            "1e-3 suits targets of unit variance.",
        ),
        "samples without a key": (
            lambda w: PEN.sample(0, numbers(19)),
            TYPE,
            "handwriting.sample: `key` must be one random key, got int 0; "
            "make one with jax.random.key(seed).",
        ),
        "samples of other outputs": (
            lambda w: MIXTURE.sample(jax.random.key(0), numbers(3, 19)),
            VALUE,
            "mixture_density.sample: `outputs` must end in 15 features, got float32 of shape "
            "(3, 19); end in rnnjax.dense(15).",
        ),
        "bias": (
            lambda w: PEN.sample(jax.random.key(0), numbers(19), bias=-1),
            VALUE,
            "handwriting.sample: `bias` must be at least 0, got -1.0; "
            "0.0 samples what the model says.",
        ),
    },
    ctc={
        "blank": (
            lambda w: train.ctc(-1),
            VALUE,
            "ctc: `blank` must be at least 0, got -1; give the width or count that is meant.",
        ),
        "outputs": (
            check(train.ctc(4), Y, K),
            VALUE,
            "fit: `outputs` must be logits (B, T, C) with blank 4 in 0..C-1, got (6, 5, 4); "
            "give all steps.",
        ),
        "floats": (
            check(CTC, Y, K * 1.0),
            TYPE,
            f"fit: `targets` must be integer labels of shape (6, N), got float64 of shape (6, 5); "
            f"{ONE_ROW}",
        ),
        "shape": (
            check(CTC, Y, K[:, 0]),
            VALUE,
            f"fit: `targets` must be integer labels of shape (6, N), got int32 of shape (6,); "
            f"{ONE_ROW}",
        ),
        "too large": (
            check(CTC, Y, with_one(K * 0, (4, 0), 9)),
            VALUE,
            "fit: `targets` must lie below C = 4, got 9 at row 4; "
            "let the model end in one output for each class and the blank.",
        ),
        "blank between": (
            check(CTC, Y, with_one(K * 0, (1, 3), 2)),
            VALUE,
            "fit: `targets` must be labels, then padding, "
            "got a label after blank 0 or a number below 0 at row 1; "
            "leave blanks between labels out.",
        ),
        "too many": (
            check(CTC, Y, np.array([[1, 1, 2]] * B), lengths=[5, 4, 3, 5, 5, 5]),
            VALUE,
            "fit: `targets` must fit into the steps of their row, "
            "got 3 labels that need 4 steps at row 2; "
            "give longer inputs, or fewer strides before the loss.",
        ),
    },
)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])


def test_what_does_not_count_is_not_looked_at():
    """Nor what is traced."""
    lengths = np.array([5, 3, 1, 0, 5, 2])
    wild = np.where(VALID, K, 99)
    check(CE, Y, wild, lengths=lengths)(None)
    check(CE, Y, wild, weights=VALID * 1.0)(None)
    check(CE, Y[:, 0], np.where(lengths > 0, K[:, 0], 99), weights=lengths)(None)
    jax.eval_shape(lambda k: check(CE, Y, k)(None), np.full((B, T), 99))
    jax.eval_shape(lambda n: check(CE, Y, wild, lengths=n)(None), lengths)
    jax.eval_shape(lambda k: check(CTC, Y, k)(None), np.full((B, T), 99))

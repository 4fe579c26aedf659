"""Metrics are those of the whole epoch, to the bit, however it was put into batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured import WEIGHTINGS, B, C, T, batch_of, compiled, in_parts, spoil, value
from messages import TYPE, VALUE, check_refused, table

from rnnjax import train
from rnnjax.data import Batch

RNG = np.random.default_rng(9)
Y = RNG.normal(size=(B, T, C)).astype(np.float32)
K = RNG.integers(0, C - 1, (B, T)).astype(np.int32)  # the last class is never right
YES = (RNG.random((B, T)) < 0.4).astype(np.int32)

weightings = pytest.mark.parametrize("weighting", WEIGHTINGS)


def counts(said, true, weight, classes):
    """The table, counted one by one."""
    found = np.zeros((classes, classes))
    for place in np.ndindex(said.shape):
        found[int(true[place]), int(said[place])] += weight[place]
    return found


def scores(found):
    """Precision, recall and F1 of every class by their words; 0 where there is nothing."""
    out = []
    for k in range(len(found)):
        hit, said, true = found[k, k], found[:, k].sum(), found[k].sum()
        p, r = (hit / n if n else 0.0 for n in (said, true))
        out.append((p, r, 2 * p * r / (p + r) if p + r else 0.0))
    return np.array(out)


@weightings
def test_accuracy(weighting):
    options, weight = WEIGHTINGS[weighting]
    y, k = spoil(Y, K, weight != 0)
    batch = batch_of(k, **options)
    train.accuracy.check("evaluate", y, batch)
    found = value(train.accuracy, y, batch)
    np.testing.assert_allclose(found, ((Y.argmax(-1) == K) * weight).sum() / weight.sum())
    np.testing.assert_array_equal(in_parts(train.accuracy, y, batch), found)

    logits, yes = spoil(Y[..., 0], YES, weight != 0)
    batch = batch_of(yes, **options)
    train.binary_accuracy.check("evaluate", logits, batch)
    right = (Y[..., 0] > 0) == (YES == 1)
    found = value(train.binary_accuracy, logits, batch)
    np.testing.assert_allclose(found, (right * weight).sum() / weight.sum())
    np.testing.assert_array_equal(in_parts(train.binary_accuracy, logits, batch), found)


@weightings
def test_confusion_and_its_scores(weighting):
    options, weight = WEIGHTINGS[weighting]
    y, k = spoil(Y, K, weight != 0)
    batch = batch_of(k, **options)
    wanted = counts(Y.argmax(-1), K, weight, C)
    confusion = train.confusion(C)
    confusion.check("evaluate", y, batch)
    np.testing.assert_array_equal(value(confusion, y, batch), wanted)
    np.testing.assert_array_equal(in_parts(confusion, y, batch), wanted)

    each, support = scores(wanted), wanted.sum(1)
    occurs = wanted.sum(0) + support > 0
    for index, make in enumerate((train.precision, train.recall, train.f1)):
        averages = {
            "macro": each[occurs, index].mean(),
            "weighted": (each[:, index] * support).sum() / support.sum(),
            "micro": np.trace(wanted) / wanted.sum(),
        }
        for average, right in averages.items():
            measure = make(C, average=average)
            assert measure.higher_is_better
            np.testing.assert_allclose(measure.value(jnp.float32(wanted)), right, rtol=1e-6)
            absent = np.pad(wanted, (0, 1))  # a class that never occurs changes nothing
            np.testing.assert_allclose(measure.value(jnp.float32(absent)), right, rtol=1e-6)


def test_f1_is_no_mean_over_batches():
    """The score of the epoch is that of all counts together."""
    batch = batch_of(K)
    wanted = scores(counts(Y.argmax(-1), K, np.ones((B, T)), C))[:, 2].mean()
    np.testing.assert_allclose(in_parts(train.f1(C), Y, batch), wanted, rtol=1e-6)
    rows = [value(train.f1(C), Y[i : i + 2], batch_of(K[i : i + 2])) for i in (0, 2, 4)]
    assert abs(np.mean(rows) - wanted) > 1e-3


LOGITS = {
    "one": (Y[:, 0, 0], YES[:, 0]),
    "one feature": (Y[:, 0, :1], YES[:, 0]),
    "of steps": (Y[..., 0], YES),
    "of steps, one feature": (Y[..., :1], YES[..., None]),
    "two": (np.stack([0 * Y[..., 0], Y[..., 0]], -1), YES),
    "two, for sequences": (np.stack([0 * Y[:, 0, 0], Y[:, 0, 0]], -1), YES[:, 0]),
}


@pytest.mark.parametrize("name", LOGITS)
def test_two_classes(name):
    outputs, targets = LOGITS[name]
    batch = batch_of(targets)
    said = outputs.reshape(targets.size, -1)[:, -1] > 0
    wanted = counts(said, targets.reshape(-1), np.ones(targets.size), 2)
    for index, make in enumerate((train.precision, train.recall, train.f1)):
        measure = make(2, average="binary")
        measure.check("evaluate", outputs, batch)
        right = scores(wanted)[1, index]
        np.testing.assert_allclose(measure.value(jnp.float32(wanted)), right, rtol=1e-6)
    np.testing.assert_array_equal(value(train.confusion(2), outputs, batch), wanted)


def test_nothing_to_score():
    for average in ("macro", "micro", "weighted"):
        for make in (train.precision, train.recall, train.f1):
            assert make(C, average=average).value(jnp.zeros((C, C))) == 0
    nothing = batch_of(K, weights=np.zeros(B))
    assert value(train.accuracy, Y, nothing) == 0


def test_tables_on_an_explicit_mesh():
    kinds = (jax.sharding.AxisType.Explicit,)
    lengths = np.array([5, 3, 1, 0, 5, 2])
    heavy = train.class_weighted(train.confusion(C), [1.0, 2.0, 3.0, 4.0])
    with jax.set_mesh(jax.make_mesh((2,), ("data",), axis_types=kinds)):
        y, k, n = jax.device_put((Y, K, lengths), jax.P("data"))
        sums = lambda y, k, n: heavy.sums(y, Batch(y, k, n))
        found = jax.jit(sums)(y, k, n)
    weight = (np.arange(T) < lengths[:, None]) * (1.0 + K)
    np.testing.assert_array_equal(found, counts(Y.argmax(-1), K, weight, C))


# --- Classes that count more.

WEIGHTS = {
    "array": np.array([1.0, 3.0, 0.0, 0.5]),
    "list": [1.0, 3.0, 0.0, 0.5],
    "dict": {1: 3.0, 2: 0, np.int64(3): np.float32(0.5)},
}


KINDS = [(weighting, "dict") for weighting in WEIGHTINGS] + [("steps", "array"), ("plain", "list")]


@pytest.mark.parametrize(("weighting", "kind"), KINDS)
def test_classes_have_weights(weighting, kind):
    options, weight = WEIGHTINGS[weighting]
    y, k = spoil(Y, K, weight != 0)
    batch = batch_of(k, **options)
    measure = train.class_weighted(train.accuracy, WEIGHTS[kind])
    measure.check("evaluate", y, batch)
    assert measure.name == "class_weighted_accuracy" and measure.higher_is_better
    weight = weight * WEIGHTS["array"][K]
    wanted = ((Y.argmax(-1) == K) * weight).sum() / weight.sum()
    np.testing.assert_allclose(value(measure, y, batch), wanted, rtol=1e-6)


def test_class_weights_of_a_loss():
    """Gradients of padding stay zero, and classes beyond those of a dict weigh 1."""
    y, k = spoil(Y, K + 1, WEIGHTINGS["steps"][1] != 0)
    measure = train.class_weighted(train.cross_entropy, {0: 7.0, 1: 2.5})
    batch = batch_of(k, **WEIGHTINGS["steps"][0])
    loss = lambda y: measure.value(measure.sums(y, batch))
    found, slope = jax.jit(jax.value_and_grad(loss))(y)
    weight = WEIGHTINGS["steps"][1] * np.where(K == 0, 2.5, 1)
    costs = -np.take_along_axis(np.asarray(jax.nn.log_softmax(Y)), K[..., None] + 1, -1)[..., 0]
    np.testing.assert_allclose(found, (costs * weight).sum() / weight.sum(), rtol=1e-5)
    assert not np.asarray(slope)[weight == 0].any() and np.isfinite(slope).all()


@pytest.mark.parametrize("name", [name for name in LOGITS if name.startswith("o")])
def test_class_weights_of_yes_and_no(name):
    outputs, targets = LOGITS[name]
    measure = train.class_weighted(train.binary_accuracy, [1.0, 4.0])
    batch = batch_of(targets.astype(bool))
    measure.check("evaluate", outputs, batch)
    weight = 1 + 3 * targets.reshape(-1)
    right = (outputs.reshape(-1) > 0) == (targets.reshape(-1) == 1)
    sums = compiled(measure.sums)(outputs, batch)
    np.testing.assert_allclose(measure.value(sums), (right * weight).sum() / weight.sum())


# --- What is refused.


def check(measure, outputs, targets):
    return lambda w: measure.check("evaluate", outputs, batch_of(targets))


def weighted(weights, measure=train.cross_entropy):
    return lambda w: train.class_weighted(measure, weights)


DICT = "give a dict such as {0: 1.0, 3: 5.0}, or one weight for every class."
EVERY = "give one weight for every class, or a dict."

REFUSED = table(
    metrics={
        "labels": (
            check(train.accuracy, Y, K + 2),
            VALUE,
            "evaluate: `targets` must lie in 0..C-1 = 0..3, got 4 at row "
            f"{np.argwhere(K == 2)[0][0]}, step {np.argwhere(K == 2)[0][1]}; "
            "count classes from 0, and let the model end in one output for each.",
        ),
        "yes and no": (
            check(train.binary_accuracy, Y[..., 0], YES + 1),
            VALUE,
            "evaluate: `targets` must be 0 or 1, got 2 at row "
            f"{np.argwhere(YES == 1)[0][0]}, step {np.argwhere(YES == 1)[0][1]}; "
            "0 is no and 1 is yes.",
        ),
        "yes and no of a score": (
            check(train.f1(2), Y[..., 0], np.full((B, T), 3)),
            VALUE,
            "evaluate: `targets` must be 0 or 1, got 3 at row 0, step 0; 0 is no and 1 is yes.",
        ),
        "classes of a table": (
            check(train.confusion(5), Y, K),
            VALUE,
            "evaluate: `outputs` must be logits of num_classes = 5 classes, got 4 of them; "
            "tell the metric how many outputs there are.",
        ),
        "one-hot rows of two classes": (
            check(train.confusion(2), Y[:, 0, :2], np.eye(2)[YES[:, 0]]),
            VALUE,
            "evaluate: `targets` must be integer labels of shape (6,), got float64 of shape "
            "(6, 2); give labels instead of one-hot rows: targets.argmax(-1).",
        ),
        "one class": (
            lambda w: train.confusion(1),
            VALUE,
            "confusion: `num_classes` must be at least 2, got 1; "
            "give the width or count that is meant.",
        ),
        "half a class": (
            lambda w: train.f1(2.5),
            TYPE,
            "f1: `num_classes` must be a whole number, got float 2.5; give an int.",
        ),
        "average": (
            lambda w: train.recall(3, average="mean"),
            VALUE,
            "recall: `average` must be one of ['macro', 'micro', 'weighted', 'binary'], "
            "got 'mean'; choose one of these.",
        ),
        "binary": (
            lambda w: train.precision(3, average="binary"),
            VALUE,
            'precision: `num_classes` must be 2 where average is "binary", got 3; '
            'take "macro" for more classes.',
        ),
    },
    weights={
        "of a number": (
            weighted([1.0], measure=3),
            TYPE,
            "class_weighted: `measure` must be a Measure, got int 3; "
            "wrap a function in train.mean_of.",
        ),
        "none": (
            weighted([]),
            VALUE,
            f"class_weighted: `class_weights` must have shape (C,), got (0,); {EVERY}",
        ),
        "one number": (
            weighted(2.0),
            VALUE,
            f"class_weighted: `class_weights` must have shape (C,), got (); {EVERY}",
        ),
        "words": (
            weighted("balanced"),
            TYPE,
            "class_weighted: `class_weights` must be an array, got str 'balanced'; "
            "give an array, or wrap numbers in jnp.asarray.",
        ),
        "negative": (
            weighted([1.0, -2.0]),
            VALUE,
            "class_weighted: `class_weights` must be finite and at least 0, "
            f"got -2.0 for class 1; {EVERY}",
        ),
        "infinite": (
            weighted({3: np.inf}),
            VALUE,
            "class_weighted: `class_weights` must be finite and at least 0, "
            f"got inf for class 3; {DICT}",
        ),
        "of names": (
            weighted({"cat": 1.0}),
            VALUE,
            f"class_weighted: `class_weights` must have classes from 0 for keys, got 'cat'; {DICT}",
        ),
        "that are names": (
            weighted({0: "heavy"}),
            VALUE,
            f"class_weighted: `class_weights` must hold numbers, got str 'heavy'; {DICT}",
        ),
        "of other classes": (
            check(train.class_weighted(train.accuracy, [1.0, 2.0]), Y, K),
            VALUE,
            "evaluate: `class_weights` must hold one weight for each of 4 classes, got 2; "
            "or give a dict.",
        ),
        "of probabilities": (
            check(
                train.class_weighted(train.binary_cross_entropy, [1.0, 2.0]), Y[..., 0], YES * 0.5
            ),
            TYPE,
            "evaluate: `targets` must be class labels where classes have weights, "
            "got float64 of shape (6, 5); give whole numbers.",
        ),
        "of wrong labels": (
            check(train.class_weighted(train.accuracy, {0: 2.0}), Y, K[:, 0]),
            VALUE,
            "evaluate: `targets` must be integer labels of shape (6, 5), got int32 of shape "
            "(6,); give one class for each output.",
        ),
    },
)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

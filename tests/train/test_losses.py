"""Losses against NumPy in float64: what counts is counted, and nothing else."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from measured import VALID, WEIGHTINGS, B, C, T, batch_of, compiled, in_parts, spoil, value

from rnnjax import train
from rnnjax.data import Batch

M, D = 3, 2
MIXTURE = train.mixture_density(M, features=D, least_scale=0.05)
PEN = train.handwriting(M, least_scale=0.05)


def numbers(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def softmax(a):
    return np.exp(a - a.max()) / np.exp(a - a.max()).sum()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def cross_entropy(y, k):
    return -np.log(softmax(y)[k])


def smoothed(y, k):
    return -np.log(softmax(y)) @ (0.1 / C + 0.9 * np.eye(C)[k])


def binary(y, p):
    y, p = y.squeeze(), p.squeeze()
    return -p * np.log(sigmoid(y)) - (1 - p) * np.log(sigmoid(-y))


def gaussian(y, mean, covariance):
    away = y - mean
    exponent = away @ np.linalg.solve(covariance, away) / 2
    return np.exp(-exponent) / np.sqrt(np.linalg.det(2 * np.pi * covariance))


def components(y):
    pi, means = softmax(y[:M]), y[M : 3 * M].reshape(M, 2)
    return pi, means, np.exp(y[3 * M :].reshape(M, 2)) + 0.05


def mixture(y, target):
    parts = zip(*components(y), strict=True)
    return -np.log(sum(pi * gaussian(target, mean, np.diag(s**2)) for pi, mean, s in parts))


def strokes(y, target):
    total = 0.0
    for pi, mean, s, r in zip(*components(y[1:-M]), 0.999 * np.tanh(y[-M:]), strict=True):
        covariance = np.diag(s) @ np.array([[1, r], [r, 1]]) @ np.diag(s)
        total += pi * gaussian(target[:2], mean, covariance)
    return -np.log(total) + binary(y[:1], target[2:])


def labels(*lead):
    return np.random.default_rng(1).integers(0, C, lead).astype(np.int32)


def pen_targets(*lead):
    lifted = np.random.default_rng(2).integers(0, 2, (*lead, 1)).astype(np.float32)
    return np.concatenate([numbers(*lead, 2, seed=1), lifted], -1)


def probabilities(*lead):
    return np.random.default_rng(1).random((*lead, 1)).astype(np.float32)


# The measure, the width of outputs, targets of leading axes, the value of one, and of the mean.
LOSSES = {
    "cross entropy": (train.cross_entropy, C, labels, cross_entropy, lambda mean: mean),
    "perplexity": (train.perplexity, C, labels, cross_entropy, np.exp),
    "bits": (train.bits_per_character, C, labels, cross_entropy, lambda mean: mean / np.log(2)),
    "smoothed": (train.smoothed_cross_entropy(0.1), C, labels, smoothed, lambda mean: mean),
    "binary": (train.binary_cross_entropy, 1, probabilities, binary, lambda mean: mean),
    "squared": (
        train.squared_error,
        D,
        lambda *lead: numbers(*lead, D, seed=1),
        lambda y, target: np.mean((y - target) ** 2),
        lambda mean: mean,
    ),
    "absolute": (
        train.absolute_error,
        D,
        lambda *lead: numbers(*lead, D, seed=1),
        lambda y, target: np.mean(np.abs(y - target)),
        lambda mean: mean,
    ),
    "mixture": (
        MIXTURE.loss,
        MIXTURE.out_features,
        lambda *lead: numbers(*lead, D, seed=1),
        mixture,
        lambda mean: mean,
    ),
    "handwriting": (PEN.loss, PEN.out_features, pen_targets, strokes, lambda mean: mean),
}
losses = pytest.mark.parametrize("name", LOSSES)


@functools.cache
def problem(name, *lead):
    measure, width, make, one, of_mean = LOSSES[name]
    outputs, targets = numbers(*lead, width), make(*lead)
    wide = outputs.astype(np.float64), targets if targets.dtype.kind == "i" else targets * 1.0
    each = np.array([one(wide[0][i], wide[1][i]) for i in np.ndindex(*lead)]).reshape(lead)
    return measure, outputs, targets, lambda weight: of_mean((each * weight).sum() / weight.sum())


@losses
@pytest.mark.parametrize("weighting", ["plain", "rows", "steps"])
def test_steps_count_as_they_should(name, weighting):
    """Whatever stands where nothing counts, and however rows are put into batches."""
    measure, outputs, targets, mean = problem(name, B, T)
    options, weight = WEIGHTINGS[weighting]
    outputs, targets = spoil(outputs, targets, weight != 0)
    batch = batch_of(targets, **options)
    measure.check("fit", outputs, batch)
    np.testing.assert_allclose(value(measure, outputs, batch), mean(weight), rtol=2e-5)
    if weighting == "steps":
        np.testing.assert_allclose(in_parts(measure, outputs, batch), mean(weight), rtol=2e-5)


@losses
def test_sequences_count_as_they_should(name):
    measure, outputs, targets, mean = problem(name, B)
    weight = np.array([1.0, 0, 2, 0.5, 0, 1], np.float32)
    outputs, targets = spoil(outputs, targets, weight != 0)
    batch = batch_of(targets, lengths=np.array([5, 3, 1, 0, 5, 2]), weights=weight)
    measure.check("fit", outputs, batch)
    np.testing.assert_allclose(value(measure, outputs, batch), mean(weight), rtol=2e-5)


@losses
def test_gradients_of_padding_are_zero(name):
    measure, outputs, targets, _ = problem(name, B, T)
    clean = batch_of(targets, lengths=np.array([5, 3, 1, 0, 5, 2]))
    dirty, wild = spoil(outputs, targets, VALID)
    slope = jax.jit(jax.grad(lambda y, batch: measure.value(measure.sums(y, batch))))
    got = np.asarray(slope(dirty, clean._replace(targets=wild)))
    assert not got[~VALID].any() and (got[VALID] != 0).any(-1).all()
    np.testing.assert_array_equal(got, slope(outputs, clean))


@losses
def test_nothing_counts(name):
    measure, outputs, targets, _ = problem(name, B, T)
    batch = batch_of(targets, **WEIGHTINGS["rows"][0])._replace(weights=np.zeros(B, np.float32))
    nothing = compiled(measure.sums)(np.full_like(outputs, np.nan), batch)
    assert nothing.count == 0 and nothing.total == 0
    assert np.isfinite(measure.value(nothing))


@losses
def test_extremes_stay_finite(name):
    measure, outputs, targets, _ = problem(name, B, T)
    outputs = np.where(abs(outputs) > 0.5, np.sign(outputs) * np.float32(1e4), outputs)
    loss = lambda y: measure.sums(y, batch_of(targets)).total
    total, slope = jax.jit(jax.value_and_grad(loss))(outputs)
    assert np.isfinite(total) and np.isfinite(slope).all()


@losses
def test_dtypes(name, x64):
    """Half precision is summed in float32, and double stays double, also where both are there."""
    measure, outputs, targets, _ = problem(name, B, T)
    for kind, wanted in (("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")):
        for options, _ in WEIGHTINGS.values():
            abstract = jax.ShapeDtypeStruct(outputs.shape, kind)
            batch = batch_of(targets, **options)
            sums = jax.eval_shape(lambda y, batch=batch: measure.sums(y, batch), abstract)
            assert (sums.total.dtype, sums.count.dtype) == (wanted, wanted)
            jax.eval_shape(measure.value, sums)


def test_optax_agrees():
    outputs, targets = jnp.asarray(numbers(B, T, C)), labels(B, T)
    wanted = optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()
    np.testing.assert_allclose(value(train.cross_entropy, outputs, batch_of(targets)), wanted)
    for kind in (np.uint8, np.int8, np.int64):
        batch = batch_of(targets.astype(kind))
        np.testing.assert_allclose(value(train.cross_entropy, outputs, batch), wanted, rtol=1e-6)


BINARY = [((B,), (B,)), ((B, 1), (B,)), ((B, 1), (B, 1))]
BINARY += [((B, T), (B, T)), ((B, T, 1), (B, T)), ((B, T, 1), (B, T, 1)), ((B, 1, 1), (B, 1))]


KINDS = [(shapes, np.float32) for shapes in BINARY]
KINDS += [(BINARY[0], bool), (BINARY[-1], np.uint8)]


@pytest.mark.parametrize(("shapes", "kind"), KINDS, ids=str)
def test_yes_and_no_in_every_shape(shapes, kind):
    """The last axis of 1 may be there or not; steps and sequences are told apart."""
    outputs = numbers(*shapes[0])
    targets = (numbers(*shapes[1], seed=1) > 0).astype(kind)
    batch = batch_of(targets)
    train.binary_cross_entropy.check("fit", outputs, batch)
    y, p = outputs.astype(np.float64).reshape(-1), targets.astype(np.float64).reshape(-1)
    wanted = -p * np.log(sigmoid(y)) - (1 - p) * np.log(sigmoid(-y))
    sums = compiled(train.binary_cross_entropy.sums)(outputs, batch)
    assert sums.count == p.size
    np.testing.assert_allclose(sums.total, wanted.sum(), rtol=1e-5)


@pytest.mark.parametrize("shapes", [((B,), (B,)), ((B, 1), (B,)), ((B, T, 1), (B, T))], ids=str)
def test_errors_of_one_feature(shapes):
    outputs, targets = numbers(*shapes[0]), np.arange(math.prod(shapes[1])).reshape(shapes[1])
    batch = batch_of(targets)  # whole numbers will do
    wanted = outputs.astype(np.float64).reshape(-1) - targets.reshape(-1)
    for measure, each in ((train.squared_error, wanted**2), (train.absolute_error, abs(wanted))):
        measure.check("fit", outputs, batch)
        np.testing.assert_allclose(value(measure, outputs, batch), each.mean(), rtol=1e-5)


# --- Mixtures are distributions.


def test_densities_integrate_to_one():
    one = train.mixture_density(2, features=1, least_scale=0.1)
    grid = np.linspace(-12, 12, 2000, dtype=np.float32)
    y = np.broadcast_to(numbers(one.out_features, seed=5), (2000, one.out_features))
    likelihoods = by_row(one.loss, y, grid)
    np.testing.assert_allclose(likelihoods.sum() * (grid[1] - grid[0]), 1, atol=1e-3)

    side = np.linspace(-9, 9, 120, dtype=np.float32)
    places = np.stack(np.meshgrid(side, side, [0, 1]), -1).reshape(-1, 3).astype(np.float32)
    y = np.broadcast_to(numbers(PEN.out_features, seed=6, scale=0.5), (len(places), 6 * M + 1))
    likelihoods = by_row(PEN.loss, y, places)
    np.testing.assert_allclose(likelihoods.sum() * (side[1] - side[0]) ** 2, 1, atol=1e-3)


def by_row(measure, outputs, targets):
    """The likelihood of each target."""
    row = lambda y, target: measure.sums(y[None], Batch(y[None, None], target[None])).total
    return np.exp(-np.asarray(jax.jit(jax.vmap(row))(outputs, targets)))


def test_samples_have_the_moments(key):
    y = numbers(PEN.out_features, seed=7)
    y[1 : 1 + M] = [9.0, 0.0, 0.0]  # the first component, nearly always
    outputs = jnp.broadcast_to(y, (20_000, len(y)))
    sample = jax.jit(lambda bias: PEN.sample(key, outputs, bias=bias), static_argnums=0)
    drawn = np.asarray(sample(0.0))
    _, means, scales = components(y[1:-M].astype(np.float64))
    r = 0.999 * np.tanh(y[-M])
    np.testing.assert_allclose(drawn[:, :2].mean(0), means[0], atol=0.05)
    np.testing.assert_allclose(drawn[:, :2].std(0), scales[0], rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(drawn[:, :2].T)[0, 1], r, atol=0.03)
    assert set(drawn[:, 2]) == {0.0, 1.0}
    np.testing.assert_allclose(drawn[:, 2].mean(), sigmoid(y[0]), atol=0.02)
    near = np.asarray(sample(1.0))
    np.testing.assert_allclose(near[:, :2].std(0), scales[0] / np.e, rtol=0.05)


def test_samples_choose_components(key):
    density = train.mixture_density(2, features=2)
    logits, means, scales = [0.0, math.log(3)], [5.0, -5, 7, 70], [-9.0] * 4
    outputs = jnp.broadcast_to(jnp.array(logits + means + scales), (2, 4000, 10))
    for bias, share in ((0.0, 3 / 4), (1.0, 9 / 10)):
        drawn = np.asarray(density.sample(key, outputs, bias=bias))
        second = drawn[..., 0] > 6
        np.testing.assert_allclose(drawn[second], [[7, 70]] * second.sum(), atol=0.05)
        np.testing.assert_allclose(drawn[~second], [[5, -5]] * (~second).sum(), atol=0.05)
        np.testing.assert_allclose(second.mean(), share, atol=0.02)


# --- CTC against the sum over all alignments.

TOKENS = np.array([[1, 2, 0], [1, 1, 0], [2, 0, 0], [0, 0, 0], [1, 2, 1], [2, 2, 0]], np.int32)
FRAMES = np.array([4, 3, 2, 4, 3, 4], np.int32)


def merge(path, blank):
    return [k for k, _ in itertools.groupby(path) if k != blank]


def alignments(logits, tokens, blank):
    """The negative logarithm of the sum over every path through the classes."""
    logs = np.log(np.apply_along_axis(softmax, 1, logits.astype(np.float64)))
    paths = itertools.product(range(logs.shape[1]), repeat=len(logs))
    fit = [path for path in paths if merge(path, blank) == tokens]
    return -np.log(sum(np.exp(sum(logs[t, k] for t, k in enumerate(path))) for path in fit))


def ctc_problem(blank):
    """The same problem with another class for blank."""
    swap = np.array([0, 1, 2])
    swap[[0, blank]] = swap[[blank, 0]]
    outputs = numbers(6, 4, 3, seed=8)
    rows = zip(outputs, FRAMES, swap[TOKENS].tolist(), strict=True)
    each = [alignments(y[:n], [k for k in row if k != blank], blank) for y, n, row in rows]
    return outputs, swap[TOKENS], np.array(each)


@pytest.fixture(scope="module", params=[0, 2])
def ctc(request):
    """The loss of the problem, compiled with its gradient."""
    measure = train.ctc(request.param)
    loss = lambda y, batch: measure.value(measure.sums(y, batch))
    return request.param, measure, jax.jit(jax.value_and_grad(loss))


def test_ctc_is_the_sum_over_alignments(ctc):
    blank, measure, compiled = ctc
    outputs, tokens, each = ctc_problem(blank)
    for weight in np.array([[1, 1, 1, 1, 1, 1], [1, 0, 2, 0.5, 3, 0]], np.float32):
        valid = (np.arange(4) < FRAMES[:, None]) & (weight != 0)[:, None]
        dirty = np.where(valid[..., None], outputs, np.float32(np.nan))
        for padding in (blank, -5):
            wild = np.where(tokens == blank, padding, tokens)
            batch = Batch(outputs, np.where((weight != 0)[:, None], wild, 99), FRAMES, weight)
            measure.check("fit", dirty, batch)
            found, slope = compiled(dirty, batch)
            np.testing.assert_allclose(found, (each * weight).sum() / weight.sum(), rtol=1e-5)
            slope = np.asarray(slope)
            assert not slope[~valid].any() and np.isfinite(slope).all()
            assert slope[valid].any(-1).all()


def test_ctc_without_lengths_and_labels():
    outputs, _, _ = ctc_problem(0)
    batch = Batch(outputs, np.zeros((6, 0), np.int32))
    train.ctc().check("fit", outputs, batch)
    wanted = np.mean([alignments(y, [], 0) for y in outputs])
    found = jax.jit(train.ctc().sums)(outputs, batch)
    np.testing.assert_allclose(found.total / 6, wanted, rtol=1e-5)


def test_ctc_in_other_dtypes(x64):
    outputs, tokens, each = ctc_problem(0)
    batch = Batch(outputs, tokens.astype(np.int8), FRAMES)
    for kind in ("bfloat16", "float32"):
        sums = lambda y: train.ctc().value(train.ctc().sums(y, batch))
        assert jax.eval_shape(sums, jax.ShapeDtypeStruct(outputs.shape, kind)).dtype == "float64"
    found = jax.jit(train.ctc().sums)(outputs.astype(np.float64), batch)
    np.testing.assert_allclose(found.total, each.sum(), rtol=1e-12)


def test_ctc_on_an_explicit_mesh():
    outputs, tokens, each = ctc_problem(0)
    kinds = (jax.sharding.AxisType.Explicit,)
    with jax.set_mesh(jax.make_mesh((2,), ("data",), axis_types=kinds)):
        y, labels, lengths = jax.device_put((outputs, tokens, FRAMES), jax.P("data"))
        sums = jax.jit(lambda *args: train.ctc().sums(args[0], Batch(*args)))(y, labels, lengths)
    np.testing.assert_allclose(sums.total, each.sum(), rtol=1e-5)

"""Activation penalties: means over what is valid, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table
from registry import inputs

import rnnjax

__all__ = ["no_type_checker"]

T, B, H = 6, 3, 4
LENGTHS = np.array([6, 1, 0])
HOLES = np.random.default_rng(0).random((T, B)) < 0.7
AR, TAR = rnnjax.activation_penalty, rnnjax.temporal_penalty


def by_loops(ys, valid):
    """Both means, in float64 and with Python's loops."""
    ys, squares, changes = np.asarray(ys, np.float64), [], []
    for t in range(ys.shape[0]):
        for row in np.ndindex(ys.shape[1:-1]):
            if valid[(t, *row)]:
                squares.extend(ys[(t, *row)] ** 2)
            if t and valid[(t, *row)] and valid[(t - 1, *row)]:
                changes.extend((ys[(t, *row)] - ys[(t - 1, *row)]) ** 2)
    return [np.mean(a) if a else 0.0 for a in (squares, changes)]


OPTIONS = {
    "plain": ({}, np.ones((T, B), bool)),
    "lengths": ({"lengths": LENGTHS}, np.arange(T)[:, None] < LENGTHS),
    "mask": ({"mask": HOLES}, HOLES),
    "both": (
        {"lengths": LENGTHS, "mask": HOLES},
        HOLES & (np.arange(T)[:, None] < LENGTHS),
    ),
    "nothing": ({"lengths": [0, 0, 0]}, np.zeros((T, B), bool)),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_they_are_means_over_what_is_valid(option):
    told, valid = OPTIONS[option]
    ys = inputs(T, B, H)
    squares, changes = by_loops(ys, valid)
    dirty = jnp.where(valid[..., None], ys, jnp.nan)
    for given in (ys, dirty):
        np.testing.assert_allclose(AR(given, alpha=2.0, **told), 2 * squares, rtol=1e-6)
        np.testing.assert_allclose(TAR(given, beta=0.5, **told), 0.5 * changes, rtol=1e-6)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("penalty", [AR, TAR], ids=["ar", "tar"])
def test_gradients_are_those_of_the_valid_steps(penalty, option):
    told, valid = OPTIONS[option]
    weight = {"alpha" if penalty is AR else "beta": 1.5}
    dirty = jnp.where(valid[..., None], inputs(T, B, H), jnp.nan)
    slope = np.asarray(jax.grad(lambda ys: penalty(ys, **weight, **told))(dirty))
    assert not slope[~valid].any() and np.isfinite(slope).all()
    moved = np.random.default_rng(1).normal(size=dirty.shape)
    clean = np.where(valid[..., None], dirty, 0.0).astype(np.float64)
    which = 0 if penalty is AR else 1
    ends = [by_loops(clean + step * moved, valid)[which] for step in (1e-4, -1e-4)]
    wanted = 1.5 * (ends[0] - ends[1]) / 2e-4
    np.testing.assert_allclose((slope * moved)[valid].sum(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 1])
def test_too_few_steps(steps):
    ys = inputs(steps, B, H)
    assert TAR(ys, beta=1.0) == 0.0
    assert (AR(ys, alpha=1.0) == 0.0) == (steps == 0)
    for penalty in (lambda ys: AR(ys, alpha=1.0), lambda ys: TAR(ys, beta=1.0)):
        assert np.isfinite(jax.grad(penalty)(ys)).all()


def test_batch_axes_and_batch_major():
    ys = inputs(T, 2, 3, H)
    lengths = np.array([[6, 0, 2], [1, 5, 3]])
    mask = np.random.default_rng(2).random((T, 2, 3)) < 0.8
    alike = {"lengths": lengths, "mask": np.moveaxis(mask, 0, -1), "time_major": False}
    for penalty, weight in ((AR, {"alpha": 1.0}), (TAR, {"beta": 1.0})):
        wanted = penalty(ys, lengths=lengths, mask=mask, **weight)
        got = penalty(jnp.moveaxis(ys, 0, -2), **alike, **weight)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
        alone = penalty(ys[:, 0, 0], **weight)
        np.testing.assert_allclose(
            alone,
            penalty(
                ys,
                lengths=lengths * 0 + T,
                mask=np.arange(6).reshape(1, 2, 3) + np.zeros((T, 1, 1), int) == 0,
                **weight,
            ),
            rtol=1e-6,
        )


def test_half_precision_is_summed_in_float32():
    ys = jnp.full((4096, 2, 8), 0.1, jnp.bfloat16)
    exact = float(ys[0, 0, 0]) ** 2
    penalty = jax.jit(lambda ys: AR(ys, alpha=1.0, lengths=[4096, 4096]))(ys)
    assert penalty.dtype == jnp.float32
    np.testing.assert_allclose(penalty, exact, rtol=1e-5)


REFUSED = table(
    penalties={
        "weight": (
            lambda w: AR(w.xs, alpha=-1.0),
            VALUE,
            "activation_penalty: `alpha` must be at least 0, got -1.0; "
            "a penalty is added to a loss.",
        ),
        "weight as a bool": (
            lambda w: TAR(w.xs, beta=True),
            TYPE,
            "temporal_penalty: `beta` must be a float, got bool True; give a number.",
        ),
        "pairs": (
            lambda w: TAR((w.xs, w.xs), beta=1.0),
            TYPE,
            "temporal_penalty: `ys` must be one array, got a tuple of 2 (an array of shape "
            "(7, 3, 4), an array of shape (7, 3, 4)); "
            "wrap numbers in jnp.asarray, or stack the arrays.",
        ),
        "mask": (
            lambda w: AR(w.xs, alpha=1.0, mask=jnp.ones((3, 7), bool)),
            VALUE,
            "activation_penalty: `mask` must have shape (T, *batch) = (7, 3), got (3, 7); "
            "give one per step of each batch row.",
        ),
        "lengths": (
            lambda w: AR(w.xs, alpha=1.0, lengths=[8, 0, 0]),
            VALUE,
            "activation_penalty: `lengths` must lie in 0..T = 0..7, got 8 at row 0; "
            "pad or cut the sequences.",
        ),
        "time_major": (
            lambda w: AR(w.xs, alpha=1.0, time_major=0),
            TYPE,
            "activation_penalty: `time_major` must be True or False, got int 0; give a bool.",
        ),
    }
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

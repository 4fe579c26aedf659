"""Bad masks and resets are refused in one sentence; lengths that nobody can see are clipped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import (
    TO_BOOL,
    TYPE,
    VALUE,
    B,
    D,
    T,
    check_refused,
    no_type_checker,
    world,
)

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")


def flags(argument, way_out):
    """What is wrong of a mask is wrong of resets."""
    per_step = "give one per step of each batch row."
    shape = f"unroll: `{argument}` must have shape (T, *batch) = (7, 3), got"
    give = lambda value: lambda w: w.unroll(w.xs, **{argument: value})
    array = "give an array, or wrap numbers in jnp.asarray."
    return {
        f"{argument} rank": (give(np.ones(T, bool)), VALUE, f"{shape} (7,); {per_step}"),
        f"{argument} of features": (
            give(np.ones((T, B, 1), bool)),
            VALUE,
            f"{shape} (7, 3, 1); {per_step}",
        ),
        f"{argument} batch-major": (
            give(np.ones((B, T), bool)),
            VALUE,
            f"{shape} (3, 7); {per_step}",
        ),
        f"{argument} True": (give(True), VALUE, f"{shape} (); {per_step}"),
        f"{argument} of integers": (
            give(np.ones((T, B), np.int32)),
            TYPE,
            f"unroll: `{argument}` must be bool, got int32; {way_out}",
        ),
        f"{argument} of floats": (
            give(np.ones((T, B), np.float32)),
            TYPE,
            f"unroll: `{argument}` must be bool, got float32; {way_out}",
        ),
        f"lengths as {argument}": (
            give([1, 2, 3]),
            TYPE,
            f"unroll: `{argument}` must be bool, got int32; {way_out}",
        ),
        f"{argument} in words": (
            give("all"),
            TYPE,
            f"unroll: `{argument}` must be an array, got str 'all'; {array}",
        ),
    }


FLAGS = flags("mask", f"{TO_BOOL}, and lengths with lengths_to_mask.") | flags(
    "resets", f"{TO_BOOL}."
)


@pytest.mark.parametrize("name", FLAGS)
def test_refused_in_one_sentence(name):
    check_refused(FLAGS[name])


def test_traced_lengths_beyond_the_range_mean_none_and_all():
    w = world()
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(T, B, D)), jnp.float32)
    _, clipped = jax.jit(lambda n: w.unroll(xs, lengths=n))(jnp.array([-5, 99, 2]))
    _, wanted = w.unroll(xs, lengths=[0, T, 2])
    np.testing.assert_array_equal(clipped, wanted)


def test_arrays_in_another_order_of_bytes_are_arrays():
    w = world()
    xs = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
    got, wanted = w.unroll(xs.astype(">f4"))[1], w.unroll(xs)[1]
    np.testing.assert_array_equal(got, wanted)

"""The fused method: its schedules at small sizes, its structure, and what it refuses."""

import functools
import itertools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.methods.fused import schedule

SCHEDULES = {
    "chunks of 3": {"CHUNK_BYTES": 3 * 6 * 20 * 4},
    "halves": {"THREADED_WEIGHTS": 1, "LEAST_HALF": 1},
    "blocks": {"BLOCKED_WORK": 1},
    "blocks, chunks and halves": {
        "BLOCKED_WORK": 1,
        "BLOCKS": (2,),
        "CHUNK_BYTES": 2 * 3 * 20 * 4,
        "THREADED_WEIGHTS": 1,
        "LEAST_HALF": 1,
    },
}
METHODS = {
    "fused": rnnjax.Fused(),
    "gates computed again": rnnjax.Fused(keep_gates=False),
    "segments": rnnjax.Fused(segment=4),
}
T, B, D, H = 11, 6, 3, 5


@pytest.fixture(params=SCHEDULES)
def small_schedule(request, monkeypatch):
    """Schedules of large problems, at a size that tests can afford."""
    for name, value in SCHEDULES[request.param].items():
        monkeypatch.setattr(schedule, name, value)
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


def problem(name):
    """A cell, random parameters, inputs with NaN in the padding, and a carry."""
    cell, params = registry.make(name, features=D, hidden=H)
    xs = registry.inputs(T, B, D)
    return cell, params, xs, registry.randomise(cell.init_carry(params, xs[0]), seed=2)


OPTIONS = {
    "plain": {},
    "lengths": {"lengths": np.array([4, T, 0, 7, 1, 10], np.int32)},
    "head padding": {"mask": np.arange(T)[:, None] >= np.array([4, 0, T, 7, 1, 10])},
    "holes and resets": {
        "mask": np.random.default_rng(1).random((T, B)) < 0.5,
        "resets": np.random.default_rng(2).random((T, B)) < 0.3,
    },
}


def run(cell, method, option, reverse, params, xs, carry):
    return rnnjax.unroll(cell, params, xs, carry, **OPTIONS[option], reverse=reverse, method=method)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru, reset before", "elman, relu"])
def test_every_schedule_is_the_scan(name, small_schedule):
    cell, *point = problem(name)
    for option, reverse in itertools.product(OPTIONS, [False, True]):
        scan = functools.partial(run, cell, rnnjax.Scan(), option, reverse)
        wanted = compare.graded(scan)(*point)
        for method in METHODS.values():
            fused = functools.partial(run, cell, method, option, reverse)
            compare.assert_close(compare.graded(fused)(*point), wanted)
            compare.assert_close(jax.jit(fused)(*point), wanted[0])  # inference has its own loop


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("networks", [2, 6])
def test_vmap_over_networks_and_over_cotangents(name, networks, small_schedule):
    cell, params, xs, carry = problem(name)
    several = jax.tree.map(
        lambda *p: jnp.stack(p), *(registry.randomise(params, n) for n in range(networks))
    )

    def both(method):
        one = functools.partial(run, cell, method, "lengths", False)
        return jax.vmap(one, in_axes=(0, None, None))

    wanted = compare.graded(both(rnnjax.Scan()))(several, xs, carry)
    compare.assert_close(compare.graded(both(rnnjax.Fused()))(several, xs, carry), wanted)

    def jacobian(method):
        final = lambda c: run(cell, method, "lengths", False, params, xs, c)[0]
        return jax.jit(jax.jacrev(final))(carry)

    compare.assert_close(jacobian(rnnjax.Fused()), jacobian(rnnjax.Scan()))

"""The fused method: its schedules at small sizes, and what it refuses."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.methods.fused import schedule

T, B, D, H = 11, 6, 3, 5

# Schedules of large problems, at sizes that tests can afford.
CHUNKS_OF_3 = {"CHUNK_BYTES": 3 * B * 4 * H * 4}
BLOCKS = {"BLOCKED_WORK": 1}
HALVES = {"THREADED_WEIGHTS": 1, "LEAST_HALF": 1}
ALL = {**BLOCKS, **HALVES, "BLOCKS": (2,), "CHUNK_BYTES": 2 * 3 * 4 * H * 4}

OPTIONS = {
    "plain": {},
    "lengths": {"lengths": np.array([4, T, 0, 7, 1, 10], np.int32)},
    "head padding": {"mask": np.arange(T)[:, None] >= np.array([4, 0, T, 7, 1, 10])},
    "holes and resets": {
        "mask": np.random.default_rng(1).random((T, B)) < 0.5,
        "resets": np.random.default_rng(2).random((T, B)) < 0.3,
    },
}

# Cell, schedule, option, method: every two of them meet somewhere, where that says something.
CASES = [
    ("lstm", CHUNKS_OF_3, "plain", rnnjax.Fused()),
    ("lstm", HALVES, "holes and resets", rnnjax.Fused()),
    ("lstm", BLOCKS, "lengths", rnnjax.Fused()),
    ("lstm", ALL, "head padding", rnnjax.Fused(keep_gates=False)),
    ("lstm", ALL, "lengths", rnnjax.Fused(segment=4)),
    ("gru", CHUNKS_OF_3, "lengths", rnnjax.Fused(keep_gates=False)),
    ("gru", HALVES, "plain", rnnjax.Fused(keep_gates=False)),
    ("gru", BLOCKS, "head padding", rnnjax.Fused()),
    ("gru", ALL, "holes and resets", rnnjax.Fused(segment=4)),
    ("gru, reset before", ALL, "lengths", rnnjax.Fused()),
    ("gru, reset before", BLOCKS, "holes and resets", rnnjax.Fused(keep_gates=False)),
    ("elman, relu", ALL, "lengths", rnnjax.Fused()),
    ("elman, relu", CHUNKS_OF_3, "holes and resets", rnnjax.Fused()),
]


@pytest.fixture
def scheduled(monkeypatch):
    """Set the constants of the schedule, with no program of other constants at hand."""

    def set_constants(constants):
        for name, value in constants.items():
            monkeypatch.setattr(schedule, name, value)
        jax.clear_caches()

    yield set_constants
    jax.clear_caches()


def problem(name):
    """A cell, random parameters, inputs with distinct numbers, and a carry."""
    cell, params = registry.make(name, features=D, hidden=H)
    xs = registry.inputs(T, B, D)
    return cell, params, xs, registry.random_carry(cell, params, xs[0], 2)


def run(cell, method, options, reverse, params, xs, carry):
    return rnnjax.unroll(cell, params, xs, carry, **options, reverse=reverse, method=method)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_schedule_is_the_scan(case, reverse, scheduled):
    name, constants, option, method = CASES[case]
    scheduled(constants)
    cell, *point = problem(name)
    scan = functools.partial(run, cell, rnnjax.Scan(), OPTIONS[option], reverse)
    fused = functools.partial(run, cell, method, OPTIONS[option], reverse)
    wanted = compare.graded(scan)(*point)
    compare.assert_close(compare.graded(fused)(*point), wanted)
    inferred = jax.jit(fused)(*point)  # a loop of its own
    compare.assert_close(inferred, wanted[0])


@pytest.mark.parametrize("networks", [2, 6])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_vmap_over_networks(name, networks, scheduled):
    """Few are written out, many are a loop."""
    scheduled(ALL)
    cell, params, xs, carry = problem(name)
    several = [registry.randomise(params, seed) for seed in range(networks)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)

    def both(method):
        one = functools.partial(run, cell, method, OPTIONS["lengths"], False)
        return compare.graded(jax.vmap(one, in_axes=(0, None, None)))(stacked, xs, carry)

    compare.assert_close(both(rnnjax.Fused()), both(rnnjax.Scan()))


def test_vmap_over_cotangents(scheduled):
    scheduled(ALL)
    cell, params, xs, carry = problem("lstm")

    def jacobian(method):
        final = lambda p, c: run(cell, method, OPTIONS["lengths"], False, p, xs, c)[0].h
        return jax.jit(jax.jacrev(final, argnums=(0, 1)))(params, carry)

    compare.assert_close(jacobian(rnnjax.Fused()), jacobian(rnnjax.Scan()))


# What it refuses


def test_cells_without_a_form_are_for_scan():
    cell = rnnjax.with_carries(rnnjax.lstm(H))
    params = cell.init(jax.random.key(0), D)
    xs = jnp.ones((T, B, D))
    with pytest.raises(ValueError, match="Fused.* cannot: it knows the LSTM and GRU, plain or"):
        rnnjax.unroll(cell, params, xs, method=rnnjax.Fused())
    explanation = rnnjax.explain(cell, params, xs)
    assert explanation.method == rnnjax.Scan()
    assert "it knows the LSTM and GRU" in dict(explanation.passed_over)["Fused"]


def test_none_picks_fused_for_plain_cells_without_a_library(monkeypatch):
    monkeypatch.setattr(rnnjax.Native, "why_not", lambda self, call: "it was not built")
    cell, params, xs, _ = problem("gru")
    explanation = rnnjax.explain(cell, params, xs)
    assert explanation.method == rnnjax.Fused()
    assert dict(explanation.passed_over)["Native"] == "it was not built"
    assert "forward mode" in dict(explanation.passed_over)["Scan"]


def test_second_derivatives_say_what_to_do():
    cell, params, xs, carry = problem("lstm")
    loss = lambda xs: run(cell, None, {}, False, params, xs, carry)[1].sum()
    with pytest.raises(TypeError, match=r"give method=rnnjax.Scan\(\)"):
        jax.hessian(loss)(xs)
    with pytest.raises(TypeError, match=r"give method=rnnjax.Scan\(\)"):
        jax.grad(lambda xs: (jax.grad(loss)(xs) ** 2).sum())(xs)


FORWARD_MODE = {
    "jvp": lambda f, x: jax.jvp(f, (x,), (x,)),
    "jitted jvp": lambda f, x: jax.jit(lambda x: jax.jvp(f, (x,), (x,)))(x),
    "linearize": lambda f, x: jax.linearize(f, x)[1](x),
    "jacfwd": lambda f, x: jax.jacfwd(f)(x),
    "jitted jacfwd": lambda f, x: jax.jit(jax.jacfwd(f))(x),
    "hessian": lambda f, x: jax.hessian(f)(x),
    "reverse over forward": lambda f, x: jax.grad(lambda x: jax.jvp(f, (x,), (x,))[1])(x),
}


@pytest.mark.parametrize("ask", FORWARD_MODE)
def test_forward_mode_says_so(ask):
    cell, params, xs, carry = problem("lstm")
    loss = lambda xs: run(cell, None, {}, False, params, xs, carry)[1].sum()
    with pytest.raises(TypeError, match=r"method=rnnjax\.Scan\(\) for forward mode"):
        FORWARD_MODE[ask](loss, xs)


@pytest.mark.parametrize("options", [{"keep_gates": 1}, {"segment": 0}, {"segment": 2.5}])
def test_bad_options(options):
    with pytest.raises((TypeError, ValueError), match=f"Fused: `{next(iter(options))}` must"):
        rnnjax.Fused(**options)

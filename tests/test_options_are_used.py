"""Options do what they say and nothing is taken and forgotten, dropout among them.

Each is a mistake of a released library (see `test_peers_mistakes.py`), as a test of ours.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from registry import inputs, random_params

import rnnjax
from peers import assert_same, differ, run

T, B, D, H = 6, 3, 4, 5
LENGTHS = np.array([T, 4, 0], np.int32)
METHODS = [rnnjax.Scan(), rnnjax.Chunked(4)]
FACTORIES = [rnnjax.lstm, rnnjax.gru, rnnjax.elman]


def identity_cell():
    """A cell whose output is its input, to see what a wrapper did to it."""
    return rnnjax.Cell(
        init=lambda key, in_features: (),
        init_carry=lambda params, like: (),
        project=lambda params, xs: xs,
        step=lambda params, carry, z: (carry, z),
        out_features=400,
    )


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_rates_are_the_ones_given(rate):
    """Keras (keras#19395): recurrent_dropout used the rate of dropout."""
    xs, key = jnp.ones((T, 10, 400)), jax.random.key(5)
    layers = {
        "input": rnnjax.recurrent(rnnjax.input_dropout(identity_cell(), rate)),
        "between": rnnjax.stack(identity_cell(), identity_cell(), dropout=rate),
    }
    for name, layer in layers.items():
        _, ys = run(layer, layer.init(key, 400), xs, key=key)
        np.testing.assert_allclose(np.unique(ys), [0, 1 / (1 - rate)], rtol=1e-6)
        draws = ys[0] if name == "input" else ys
        spread = 5 * np.sqrt(rate * (1 - rate) / draws.size)
        assert abs(np.mean(np.asarray(draws) == 0) - rate) < spread
        fixed_in_time = bool(np.all(ys == ys[:1]))
        assert fixed_in_time == (name == "input")


def test_no_noise_at_evaluation():
    """awd-lstm-lm drops weights at evaluation too; Flax and Keras draw from default keys."""
    cell = rnnjax.lstm(H)
    noisy = rnnjax.stack(rnnjax.input_dropout(cell, 0.5), cell, dropout=0.5)
    plain = rnnjax.stack(cell, cell)
    params, xs = random_params(plain), inputs(T, B, D)
    quiet = run(noisy, params, xs)
    assert_same(quiet, run(plain, params, xs), 0)
    shaken = jax.jit(lambda key: noisy.apply(params, xs, key=key))
    loud = [shaken(jax.random.key(seed)) for seed in (0, 0, 1)]
    assert_same(loud[0], loud[1], 0)
    assert differ(loud[0], loud[2]) and differ(loud[0], quiet)


def test_init_has_no_default_key():
    with pytest.raises(TypeError, match="key"):
        rnnjax.lstm(H).init(in_features=D)


# --- Options: each changes something, none is taken and forgotten.

relu = jax.nn.relu
ones = jax.nn.initializers.ones

FACTORY_OPTIONS = {
    "forget_bias": (rnnjax.lstm, {"forget_bias": 3.0}),
    "forget_bias, chrono": (rnnjax.lstm, {"forget_bias": rnnjax.chrono(50)}),
    "update_bias": (rnnjax.gru, {"update_bias": 3.0}),
    "lstm w_ih_init": (rnnjax.lstm, {"w_ih_init": ones}),
    "lstm w_hh_init": (rnnjax.lstm, {"w_hh_init": ones}),
    "gru w_hh_init": (rnnjax.gru, {"w_hh_init": (ones, ones, jax.nn.initializers.zeros)}),
    "elman w_ih_init": (rnnjax.elman, {"w_ih_init": ones}),
    "reset": (rnnjax.gru, {"reset": "before"}),
    "lstm activation": (rnnjax.lstm, {"activation": relu}),
    "lstm gate_activation": (rnnjax.lstm, {"gate_activation": jax.nn.hard_sigmoid}),
    "gru activation": (rnnjax.gru, {"activation": relu}),
    "gru gate_activation": (rnnjax.gru, {"gate_activation": jax.nn.hard_sigmoid}),
    "elman activation": (rnnjax.elman, {"activation": relu}),
    "dtype": (rnnjax.gru, {"dtype": jnp.bfloat16}),
    "param_dtype": (rnnjax.lstm, {"param_dtype": jnp.float16}),
    "carry_dtype": (rnnjax.elman, {"carry_dtype": jnp.bfloat16}),
}


@functools.cache
def outcome(cell):
    return rnnjax.unroll(cell, cell.init(jax.random.key(0), D), inputs(T, B, D))


@pytest.mark.parametrize("name", FACTORY_OPTIONS)
def test_option_of_a_factory_is_not_ignored(name):
    factory, option = FACTORY_OPTIONS[name]
    assert differ(outcome(factory(H, **option)), outcome(factory(H)))


@pytest.mark.parametrize("option", ["bias", "learned_carry"])
@pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)
def test_option_that_adds_or_takes_parameters_is_not_ignored(factory, option):
    usual = random_params(factory(H))
    other = random_params(factory(H, **{option: option != "bias"}))
    assert jax.tree.structure(usual) != jax.tree.structure(other)
    fields = {"bias": ("b", "b_hn"), "learned_carry": ("initial",)}[option]
    for field in fields:
        if hasattr(usual, field):
            assert (getattr(usual, field) is None) != (getattr(other, field) is None)


RUN_OPTIONS = {
    "carry": {"carry": rnnjax.LSTMCarry(np.ones((B, H), np.float32), np.ones((B, H), np.float32))},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": np.arange(T * B).reshape(T, B) % 2 == 0},
    "resets": {"resets": np.arange(T * B).reshape(T, B) % 3 == 1},
    "reverse": {"reverse": True},
    "key": {"key": 7},
}


@pytest.mark.parametrize("name", RUN_OPTIONS)
def test_option_of_a_run_is_not_ignored(name):
    """Flax nnx: Bidirectional takes `reverse` and `keep_order`, and ignores them."""
    cell, xs = rnnjax.input_dropout(rnnjax.lstm(H), 0.5), inputs(T, B, D)
    params, option = random_params(cell), dict(RUN_OPTIONS[name])
    if name == "key":
        option["key"] = jax.random.key(option["key"])
    usual = rnnjax.unroll(cell, params, xs)
    first, *others = [rnnjax.unroll(cell, params, xs, method=m, **option) for m in METHODS]
    assert differ(usual, first)
    for other in others:
        assert_same(other, first)


def test_reverse_inside_both_ways_is_not_ignored():
    cell, xs = rnnjax.gru(H), inputs(T, B, D)
    usual = rnnjax.bidirectional(cell)
    turned = rnnjax.bidirectional(rnnjax.recurrent(cell, reverse=True))
    params = random_params(usual)
    swapped = jax.tree.map(lambda a: a[::-1], params)
    _, ys = run(usual, params, xs)
    _, turned_ys = run(turned, swapped, xs)
    assert_same(turned_ys, jnp.concatenate(jnp.split(ys, 2, axis=-1)[::-1], axis=-1))


MERGES = [rnnjax.merge.add, rnnjax.merge.multiply, rnnjax.merge.average, rnnjax.merge.concatenate]


def test_merge_and_skip_are_not_ignored():
    cell, xs = rnnjax.gru(D), inputs(T, B, D)
    params = random_params(rnnjax.bidirectional(cell))
    p = (random_params(cell), random_params(cell, seed=1))
    merged = [run(rnnjax.bidirectional(cell, merge=m), params, xs)[1] for m in MERGES]
    skipped = [run(rnnjax.stack(cell, cell, skip=m), p, xs)[1] for m in (None, *MERGES[:3])]
    for ys in (merged[:3], skipped):
        assert all(differ(a, b) for i, a in enumerate(ys) for b in ys[:i])
    assert merged[3].shape == (T, B, 2 * D)

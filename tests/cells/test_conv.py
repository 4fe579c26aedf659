"""Cells with convolutions: windows, weights, sizes, and the two convolutions of the program."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from programs import walk

import rnnjax
from rnnjax import testing

T, B, C, H = 4, 2, 3, 2


def cell_of(*kernel, **options):
    return rnnjax.conv_lstm(H, kernel_size=kernel, **options)


@functools.cache
def problem(cell, space, dtype=jnp.float32):
    """Random params, inputs and carry."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), C))
    params = registry.randomise(jax.tree.map(lambda a: np.zeros(a.shape, dtype), params), 0)
    xs = registry.inputs(T, B, *space, C, dtype=dtype)
    return params, xs, registry.randomise(jax.eval_shape(cell.init_carry, params, xs[0]), 2)


# Windows

WINDOWS = {
    "strides": ((3, 2), (5, 4), {"strides": (2, 3)}),
    "strides beyond the kernel": ((2,), (7,), {"strides": 3}),
    "dilation": ((3, 2), (6, 4), {"dilation": (2, 1)}),
    "valid": ((3, 2), (4, 3), {"padding": "valid"}),
    "all but same": ((2, 2), (6, 5), {"strides": 2, "dilation": 2, "padding": "valid"}),
    "strides and dilation": ((2, 3), (4, 5), {"strides": (1, 2), "dilation": 2}),
    "volumes": ((2, 1, 3), (2, 3, 4), {"strides": (1, 2, 2), "padding": "valid"}),
    "kernel beyond the space": ((5, 1), (2, 2), {}),
    "one place": ((1,), (1,), {}),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_are_those_of_the_oracle(x64, name):
    kernel, space, options = WINDOWS[name]
    cell, oracle = cell_of(*kernel, **options), testing.conv_lstm(kernel, **options)
    params, xs, carry = problem(cell, space, jnp.float64)
    told = {"lengths": np.array([T, 1]), "reverse": True}
    run = compare.graded(functools.partial(rnnjax.unroll, cell, **told))
    close = functools.partial(compare.assert_close, rtol=1e-11, atol=1e-13)
    for begin in (carry, None):
        out, grads = run(params, xs, begin)
        close(out, testing.reference_unroll(oracle, params, xs, begin, **told))
        bars = jax.tree.map(np.cos, out)
        wanted = testing.reference_gradients(oracle, params, xs, begin, cotangents=bars, **told)
        close(tuple(grads), tuple(wanted))


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("name", ["strides", "all but same"])
def test_windows_of_a_gru_are_those_of_the_oracle(x64, name, reset):
    kernel, space, options = WINDOWS[name]
    cell = rnnjax.conv_gru(H, kernel_size=kernel, reset=reset, **options)
    params, xs, carry = problem(cell, space, jnp.float64)
    oracle = testing.conv_gru(kernel, reset=reset, **options)
    for begin in (carry, None):
        got = rnnjax.unroll(cell, params, xs, begin)
        wanted = testing.reference_unroll(oracle, params, xs, begin)
        compare.assert_close(got, wanted, rtol=1e-11, atol=1e-13)


def test_other_activations(x64):
    functions = {"gate_activation": jnp.sin, "activation": jnp.arctan}
    oracle = testing.conv_lstm((3,), gate_activation=np.sin, activation=np.arctan)
    for peepholes in (False, True):
        cell = cell_of(3, peepholes=peepholes, **functions)
        params, xs, carry = problem(cell, (4,), jnp.float64)
        got = rnnjax.unroll(cell, params, xs, carry)
        wanted = testing.reference_unroll(oracle, params, xs, carry)
        compare.assert_close(got, wanted, rtol=1e-11, atol=1e-13)


def test_oracle_by_hand():
    """Three places, a kernel of two: each reads itself and the next, the last one a zero."""
    w = np.zeros((2, 1, 4))
    w[:, 0, 2] = 1.0, 10.0  # of g alone
    params = rnnjax.cells.ConvLSTMParams(w, np.zeros((2, 1, 4)))
    oracle = testing.conv_lstm((2,), gate_activation=np.ones_like, activation=lambda x: x)
    xs = np.array([[[1.0], [2.0], [3.0]]])
    carry, ys = testing.reference_unroll(oracle, params, xs)
    np.testing.assert_array_equal(carry.c[:, 0], [21, 32, 3])
    # In steps of 2 from the first place: one zero at each end goes to the end alone.
    strided = oracle_of_g(params, xs, strides=2)
    np.testing.assert_array_equal(strided, [21, 3])
    np.testing.assert_array_equal(oracle_of_g(params, xs, padding="valid"), [21, 32])
    np.testing.assert_array_equal(oracle_of_g(params, xs, dilation=2), [20, 31, 2])


def oracle_of_g(params, xs, **options):
    """The input convolution of the third gate, by itself."""
    linear = {"gate_activation": np.ones_like, "activation": lambda x: x}
    return testing.reference_unroll(testing.conv_lstm((2,), **options, **linear), params, xs)[0].c[
        :, 0
    ]


def test_a_kernel_of_one_place_is_an_lstm_at_every_place():
    cell, lstm = cell_of(1, 1, learned_carry=True), rnnjax.lstm(H, learned_carry=True)
    params, xs, carry = problem(cell, (3, 2))
    flat = rnnjax.LSTMParams(params.w_ih[0, 0], params.w_hh[0, 0], params.b, params.initial)
    for begin in (carry, None):
        got = rnnjax.unroll(cell, params, xs, begin)
        compare.assert_close(got, rnnjax.unroll(lstm, flat, xs, begin))


# Weights


def test_weights_start_gate_by_gate():
    cell = rnnjax.conv_lstm(
        40, kernel_size=(3, 2), peepholes=True, learned_carry=True, forget_bias=2.0
    )
    params = cell.init(jax.random.key(0), 20)
    assert params.w_ih.shape == (3, 2, 20, 160) and params.w_hh.shape == (3, 2, 40, 160)
    bound = np.sqrt(6 / (6 * 20 + 6 * 40))
    for gate in np.split(params.w_ih, 4, axis=-1):
        assert 0.95 * bound < np.abs(gate).max() <= bound
    for gate in np.split(params.w_hh, 4, axis=-1):
        columns = gate.reshape(-1, 40)
        np.testing.assert_allclose(columns.T @ columns, np.eye(40), atol=1e-5)
    np.testing.assert_array_equal(params.b, np.repeat([0.0, 2.0, 0.0, 0.0], 40))
    np.testing.assert_array_equal(params.p, np.zeros((3, 40)))
    assert params.initial.h.shape == params.initial.c.shape == (40,)
    bare = rnnjax.conv_lstm(4, kernel_size=(3,), bias=False).init(jax.random.key(0), 2)
    assert bare.b is None and bare.p is None and bare.initial is None


def test_weights_of_a_gru_start_gate_by_gate():
    cell = rnnjax.conv_gru(4, kernel_size=(3, 2), update_bias=2.0, learned_carry=True)
    params = cell.init(jax.random.key(0), 5)
    assert params.w_ih.shape == (3, 2, 5, 12) and params.w_hh.shape == (3, 2, 4, 12)
    np.testing.assert_array_equal(params.b, np.repeat([0.0, 2.0, 0.0], 4))
    np.testing.assert_array_equal(params.b_hn, np.zeros(4))
    assert params.initial.h.shape == (4,)
    before = rnnjax.conv_gru(4, kernel_size=(3,), reset="before").init(jax.random.key(0), 5)
    assert before.b_hn is None and before.initial is None


def test_chrono_bias():
    forget_bias = rnnjax.chrono(50)
    cell = rnnjax.conv_lstm(40, kernel_size=(3,), forget_bias=forget_bias)
    i, f, g, o = np.split(cell.init(jax.random.key(0), 2).b, 4)
    np.testing.assert_array_equal(i, -f)
    assert f.max() > 2.5 and not g.any() and not o.any()


# Batch axes and sizes


@pytest.mark.parametrize("batch", [(), (1,), (2, 1), (0,), (2, 0)], ids=str)
def test_any_number_of_batch_axes(batch):
    cell = cell_of(3, 2, strides=2, learned_carry=True)
    params, _, _ = problem(cell, (4, 3))
    xs = registry.inputs(T, *batch, 4, 3, C)
    run = compare.graded(functools.partial(rnnjax.unroll, cell))
    (carry, ys), grads = run(params, xs, None)
    assert carry.c.shape == (*batch, 2, 2, H) and ys.shape == (T, *batch, 2, 2, H)
    flat = xs.reshape(T, -1 if xs.size else 0, 4, 3, C)
    (flat_carry, flat_ys), flat_grads = run(params, flat, None)
    back = lambda a, like: a.reshape(like.shape)
    compare.assert_close((carry.c, ys), (back(flat_carry.c, carry.c), back(flat_ys, ys)))
    compare.assert_close(grads.params, flat_grads.params)


@pytest.mark.parametrize("num_steps", [0, 1])
def test_few_steps(num_steps):
    cell = cell_of(3)
    params, xs, carry = problem(cell, (4,))
    (final, ys), grads = compare.graded(functools.partial(rnnjax.unroll, cell))(
        params, xs[:num_steps], carry
    )
    assert ys.shape == (num_steps, B, 4, H)
    if num_steps:
        alone, y = cell.step(params, carry, cell.project(params, xs[0]))
        compare.assert_close((final, ys[0]), (alone, y))
    else:
        compare.assert_equal(final, carry)
        assert not any(leaf.any() for leaf in jax.tree.leaves(grads.params))


# The program


PROGRAMS = {
    "lstm, images": (cell_of(3, 2), [False, True]),
    "lstm, strides": (cell_of(3, strides=2), [False, True]),
    "lstm, volumes": (cell_of(1, 2, 3, peepholes=True), [False, True]),
    "gru": (rnnjax.conv_gru(H, kernel_size=(3, 2)), [False, True]),
    "gru, reset before": (
        rnnjax.conv_gru(H, kernel_size=(3,), reset="before"),
        [False, True, True],
    ),
}


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "bidirectional"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_one_convolution_in_the_loop_and_one_outside(name, bidirectional):
    cell, wanted = PROGRAMS[name]
    layer = rnnjax.bidirectional(cell) if bidirectional else rnnjax.recurrent(cell)
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), C))
    dims = params.w_ih.ndim - 2 - bidirectional
    xs = jnp.ones((T, B, *(4,) * dims, C))
    program = jax.make_jaxpr(functools.partial(layer.apply, lengths=[T, 0]))(params, xs)
    found = [(equation.primitive.name, in_loop) for equation, in_loop in walk(program.jaxpr)]
    names = [name for name, _ in found]
    assert [in_loop for name, in_loop in found if name == "conv_general_dilated"] == wanted
    assert names.count("scan") == 1 and "while" not in names and "dot_general" not in names

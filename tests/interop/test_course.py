"""The functions of the NumPy course: equal to its equations, and the same weights in and out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop.course_data import N_X, M, T, gru_weights, head_weights, lstm_weights, normal
from messages import made

import rnnjax
from rnnjax.interop import course, course_to_rnnjax, rnnjax_to_course

TOLERANCE = {"float32": 2e-6, "float64": 1e-12}

# The course's own functions, written from its equations.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm_cell(xt, a_prev, c_prev, p):
    both = np.concatenate([a_prev, xt])
    f = sigmoid(p["Wf"] @ both + p["bf"])
    i = sigmoid(p["Wi"] @ both + p["bi"])
    o = sigmoid(p["Wo"] @ both + p["bo"])
    candidate = np.tanh(p["Wc"] @ both + p["bc"])
    c_next = f * c_prev + i * candidate
    a_next = o * np.tanh(c_next)
    return a_next, c_next, (xt, a_prev, c_prev, a_next, c_next, f, i, o, candidate)


def numpy_lstm_forward(x, a0, p):
    a, c, caches = a0, np.zeros_like(a0), []
    for t in range(x.shape[2]):
        a, c, cache = numpy_lstm_cell(x[:, :, t], a, c, p)
        caches.append(cache)
    return (
        np.stack([cache[3] for cache in caches], axis=2),
        np.stack([cache[4] for cache in caches], axis=2),
        caches,
    )


def numpy_model_forward(x, lstm_layers, dense_layers):
    cells, caches, before = [], [], []
    for p in lstm_layers:
        a0 = np.zeros((p["Wf"].shape[0], x.shape[1]), x.dtype)
        x, c, steps = numpy_lstm_forward(x, a0, p)
        cells.append(c)
        caches.append(steps)
    y = x[:, :, -1]
    for p in dense_layers:
        before.append(p["W"] @ y + p["b"])
        y = sigmoid(before[-1])
    return y, x, cells, caches, before


def numpy_gru_cell(a_prev, x, p, update="new"):
    both = np.concatenate([a_prev, x])
    r = sigmoid(p["W_r"] @ both + p["b_r"])
    z = sigmoid(p["W_z"] @ both + p["b_z"])
    candidate = np.tanh(p["W_a"] @ np.concatenate([r * a_prev, x]) + p["b_a"])
    new = z if update == "new" else 1 - z
    a_t = (1 - new) * a_prev + new * candidate
    return a_t, (a_prev, x, r, z, candidate, a_t)


# Random numbers in every leaf.


def assert_same(got, wanted, dtype):
    """Equal trees of tuples and lists, leaf by leaf, in dtype and up to rounding."""
    if isinstance(wanted, tuple | list):
        assert isinstance(got, type(wanted)) and len(got) == len(wanted)
        for a, b in zip(got, wanted, strict=True):
            assert_same(a, b, dtype)
        return
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def test_the_functions_return_what_the_course_s_do(dtype):
    lower, upper = lstm_weights(5, N_X, dtype), lstm_weights(2, 5, dtype, seed=1)
    x, a0, c0 = (normal(n, M, *t, dtype=dtype) for n, t in ((N_X, (T,)), (5, ()), (5, ())))
    one = (x[:, :, 0], a0, c0, lower)
    assert_same(course.lstm_cell(*one), numpy_lstm_cell(*one), dtype)
    sequence = (x, a0, lower)
    assert_same(course.lstm_forward(*sequence), numpy_lstm_forward(*sequence), dtype)
    heads = head_weights([2, 6, 1], dtype)
    whole = (x, [lower, upper], heads)
    wanted = numpy_model_forward(*whole)
    assert_same(course.model_forward(*whole), wanted, dtype)
    assert_same(course.lstm_model_forward(x, [lower, upper]), wanted[1:4], dtype)
    a, head = normal(2, M, dtype=dtype), heads[0]
    before = head["W"] @ a + head["b"]
    got = course.dense_layer_forward(a, head["W"], head["b"])
    assert_same(got, (sigmoid(before), before), dtype)
    gru = (a0, x[:, :, 0], gru_weights(5, N_X, dtype))
    assert_same(course.gru_cell(*gru), numpy_gru_cell(*gru), dtype)


def test_caches_have_the_names_of_the_equations():
    cache = course.LSTMCache._fields
    assert cache == ("xt", "a_prev", "c_prev", "a_next", "c_next", "f", "i", "o", "candidate")
    assert course.GRUCache._fields == ("a_prev", "x", "r", "z", "candidate", "a_t")


def test_gradients_through_time_are_those_of_small_differences(x64):
    weights, x, a0 = lstm_weights(2, N_X), normal(N_X, M, T), normal(2, M)

    def loss(weights, run):
        a, c, caches = run(x, a0, weights)
        return (a[..., -1] ** 2).sum() + (c * caches[1][5][..., None]).sum()

    slopes = jax.grad(loss)(weights, course.lstm_forward)
    for name in ("Wf", "bc"):
        for index in ((0, 0), (1, weights[name].shape[1] - 1)):
            step = np.zeros_like(weights[name])
            step[index] = 1e-6
            ends = [
                loss(weights | {name: weights[name] + s * step}, numpy_lstm_forward)
                for s in (1, -1)
            ]
            assert slopes[name][index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_lists_and_whole_numbers_are_numbers():
    weights = {name: np.ones_like(a, dtype=int).tolist() for name, a in lstm_weights(2, 1).items()}
    a, c, _ = course.lstm_cell([[1, 2]], np.zeros((2, 2), int), np.zeros((2, 2)), weights)
    wanted = numpy_lstm_cell(np.array([[1, 2]]), np.zeros((2, 2)), np.zeros((2, 2)), weights)
    np.testing.assert_allclose(a, wanted[0], atol=1e-6)
    assert a.dtype == c.dtype == jnp.float32


# Weights in and out.


def test_a_model_becomes_a_stack_and_comes_back(x64):
    layers = [lstm_weights(5, N_X), lstm_weights(2, 5, seed=1), *head_weights([2, 6, 1])]
    layer, params, report = course_to_rnnjax(layers)
    x = normal(N_X, M, T)
    _, ys = layer.apply(params, x.transpose(2, 1, 0))
    wanted = numpy_model_forward(x, layers[:2], layers[2:])[0]
    np.testing.assert_allclose(ys[-1].T, wanted, atol=1e-12)
    weights = rnnjax_to_course(layer, params).weights
    assert len(report.rows) == sum(map(len, layers))
    for one, back in zip(layers, weights, strict=True):
        assert one.keys() == back.keys()
        assert all(np.array_equal(one[k], back[k]) for k in one)


@pytest.mark.parametrize("update", ["new", "old"])
def test_the_gru_of_both_blends(x64, update):
    weights = gru_weights(5, N_X)
    cell, params, _ = course_to_rnnjax(weights, update=update)
    assert cell.form == rnnjax.gru(5, reset="before").form
    x, a0 = normal(N_X, M, 2), normal(5, M)
    carry, _ = rnnjax.unroll(cell, params, x.transpose(2, 1, 0), rnnjax.GRUCarry(jnp.array(a0.T)))
    for t in range(2):
        a0, _ = numpy_gru_cell(a0, x[:, :, t], weights, update)
    np.testing.assert_allclose(carry.h.T, a0, atol=1e-12)
    there = rnnjax_to_course(cell, params, update=update)
    assert there.options == {"update": update}
    assert all(np.array_equal(there.weights[k], weights[k]) for k in weights)


def test_no_bias_is_a_bias_of_zero():
    cell = rnnjax.lstm(2, bias=False)
    there = rnnjax_to_course(*made(cell))
    assert there.report.notes == ("the layer: has no bias; there it is zero",)
    assert not there.weights["bf"].any() and there.weights["bf"].shape == (2, 1)

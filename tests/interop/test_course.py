"""The functions of the NumPy course: equal to its equations, and the same weights in and out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table  # noqa: F401

import rnnjax
from rnnjax.interop import course, course_to_rnnjax, rnnjax_to_course

N_X, M, T = 3, 4, 5
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


def lstm_weights(n_a, n_x, dtype="float64", seed=0):
    return draw({f"W{g}": (n_a, n_a + n_x) for g in "fioc"}, "fioc", "b", n_a, dtype, seed)


def gru_weights(n_a, n_x, dtype="float64", seed=0):
    return draw({f"W_{g}": (n_a, n_a + n_x) for g in "rza"}, "rza", "b_", n_a, dtype, seed)


def draw(shapes, gates, b, n_a, dtype, seed):
    rng = np.random.default_rng(seed)
    shapes = shapes | {f"{b}{g}": (n_a, 1) for g in gates}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def head_weights(sizes, dtype="float64"):
    rng = np.random.default_rng(9)
    shape = lambda n, below: {"W": (n, below), "b": (n, 1)}
    return [
        {k: rng.normal(size=s).astype(dtype) for k, s in shape(n, below).items()}
        for below, n in zip(sizes, sizes[1:], strict=False)
    ]


def normal(*shape, dtype="float64", seed=5):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


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


# What is refused.

X = normal(N_X, M, T)
LSTM, GRU = lstm_weights(5, N_X), gru_weights(5, N_X)
NAMES = ["Wi", "bi", "Wf", "bf", "Wc", "bc", "Wo", "bo"]
# The example of the text: weights for 3 features, and 10 features, 5 examples and 3 steps.
TEXT_X = normal(10, 5, 3)
TEXT_LAYERS = [lstm_weights(5, 3), lstm_weights(3, 5)]
TEXT_HEAD = [{"W": normal(1, 5), "b": normal(1, 1)}]


def spoiled(weights, **changes):
    return weights | changes


def without(weights, name):
    return {k: v for k, v in weights.items() if k != name}


def made(layer, in_features=3):
    """With params of zeros, which take no program to make."""
    like = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features))
    return layer, jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)


CASES = table(
    text={
        "features": (
            lambda w: course.model_forward(TEXT_X, TEXT_LAYERS, TEXT_HEAD),
            VALUE,
            "model_forward: `x` must have 3 features in its first axis, as weights of shape (5, 8) "
            "ask for, got (10, 5, 3): 10 features, 5 examples, 3 steps; bring it into the order "
            "(n_x, m, T_x), or make weights for 10 features.",
        ),
        "features of a layer": (
            lambda w: course.lstm_forward(TEXT_X, normal(5, 5), TEXT_LAYERS[0]),
            VALUE,
            "lstm_forward: `x` must have 3 features in its first axis, as weights of shape (5, 8) "
            "ask for, got (10, 5, 3): 10 features, 5 examples, 3 steps; bring it into the order "
            "(n_x, m, T_x), or make weights for 10 features.",
        ),
        "head": (
            lambda w: course.model_forward(TEXT_X.transpose(2, 1, 0), TEXT_LAYERS, TEXT_HEAD),
            VALUE,
            "model_forward: `dense_layers[0]['W']` must have 3 columns, one for each unit below, "
            "got shape (1, 5); give weights of shape (1, 3).",
        ),
        "layers": (
            lambda w: course.lstm_model_forward(X, [LSTM, LSTM]),
            VALUE,
            "lstm_model_forward: `layers[1]['Wi']` must have shape (5, 10), for 5 units in the "
            "layer below, got (5, 8); its columns are for its own state and, after it, the layer "
            "below.",
        ),
    },
    arguments={
        "features of a step": (
            lambda w: course.lstm_cell(normal(2, M), normal(5, M), normal(5, M), LSTM),
            VALUE,
            "lstm_cell: `xt` must have 3 features in its first axis, as weights of shape (5, 8) "
            "ask for, got (2, 4): 2 features, 4 examples; bring it into the order (n_x, m), or "
            "make weights for 2 features.",
        ),
        "state": (
            lambda w: course.gru_cell(normal(M, 5), normal(N_X, M), GRU),
            VALUE,
            "gru_cell: `a_prev` must have shape (n_a, m) = (5, 4), got (4, 5); n_a is that of the "
            "weights, m that of the input.",
        ),
        "axes": (
            lambda w: course.lstm_forward(X[:, :, 0], normal(5, M), LSTM),
            VALUE,
            "lstm_forward: `x` must have shape (n_x, m, T_x), got (3, 4); columns are examples "
            "here.",
        ),
        "words": (
            lambda w: course.lstm_cell("x", normal(5, M), normal(5, M), LSTM),
            TYPE,
            "lstm_cell: `xt` must be an array, got str 'x'; give an array, or wrap numbers in "
            "jnp.asarray.",
        ),
        "complex": (
            lambda w: course.gru_cell(normal(5, M), 1j * normal(N_X, M), GRU),
            TYPE,
            "gru_cell: `x` must hold real numbers, got complex128 of shape (3, 4); give an array "
            "of floats.",
        ),
        "no steps": (
            lambda w: course.model_forward(X[:, :, :0], [LSTM], head_weights([5, 1])),
            VALUE,
            "model_forward: `x` must have a last step, got (3, 4, 0); give a sequence.",
        ),
    },
    weights={
        "no dictionary": (
            lambda w: course.lstm_cell(X[:, :, 0], normal(5, M), normal(5, M), [1]),
            TYPE,
            "lstm_cell: `parameters` must be a dictionary, got list [1]; give the weights by "
            "name: Wi, bi, Wf, bf, Wc, bc, Wo, bo.",
        ),
        "missing": (
            lambda w: course.lstm_forward(X, normal(5, M), without(LSTM, "Wo")),
            VALUE,
            "lstm_forward: `parameters` must hold 'Wo', got only ['Wc', 'Wf', 'Wi', 'bc', 'bf', "
            f"'bi', 'bo']; the weights of an LSTM are {NAMES}.",
        ),
        "square": (
            lambda w: course.lstm_forward(X, normal(5, M), spoiled(LSTM, Wi=normal(5, 5))),
            VALUE,
            "lstm_forward: `parameters['Wi']` must have shape (n_a, n_a + n_x), got (5, 5); its "
            "columns are for the state and, after it, the input.",
        ),
        "unequal": (
            lambda w: course.gru_cell(normal(5, M), normal(N_X, M), spoiled(GRU, W_a=normal(5, 7))),
            VALUE,
            "gru_cell: `parameters['W_a']` must have shape (5, 8), got (5, 7); all gates have one "
            "shape.",
        ),
        "flat bias": (
            lambda w: course.lstm_forward(X, normal(5, M), spoiled(LSTM, bo=normal(5))),
            VALUE,
            "lstm_forward: `parameters['bo']` must have shape (5, 1), got (5,); columns are "
            "examples here.",
        ),
        "row of biases": (
            lambda w: course.lstm_forward(X, normal(5, M), spoiled(LSTM, bo=normal(1, 5))),
            VALUE,
            "lstm_forward: `parameters['bo']` must have shape (5, 1), got (1, 5); a bias is a "
            "column.",
        ),
        "no list": (
            lambda w: course.lstm_model_forward(X, LSTM["Wf"]),
            TYPE,
            "lstm_model_forward: `layers` must be a list, got float64 of shape (5, 8); give the "
            "weights of each layer, from bottom to top.",
        ),
        "no layers": (
            lambda w: course.lstm_model_forward(X, []),
            VALUE,
            "lstm_model_forward: `layers` must hold a layer, got none; give the weights of one.",
        ),
        "head by name": (
            lambda w: course.model_forward(X, [LSTM], [(normal(1, 5), normal(1, 1))]),
            VALUE,
            "model_forward: `dense_layers[0]` must be a dictionary with 'W' and 'b', got a tuple "
            "of 2 (an array of shape (1, 5), an array of shape (1, 1)); give its weights by name.",
        ),
        "bias of the head": (
            lambda w: course.dense_layer_forward(normal(5, M), normal(2, 5), normal(1, 1)),
            VALUE,
            "dense_layer_forward: `b` must have shape (2, 1), got (1, 1); a bias is a column.",
        ),
    },
    course_to_rnnjax={
        "blend": (
            lambda w: course_to_rnnjax(GRU),
            VALUE,
            "course_to_rnnjax: `update` must be 'new' or 'old' for a GRU, got None; look at its "
            "last line: 'new' is a = (1 - z) * a_prev + z * candidate, 'old' is z * a_prev + "
            "(1 - z) * candidate.",
        ),
        "unknown blend": (
            lambda w: course_to_rnnjax(GRU, update="z"),
            VALUE,
            "course_to_rnnjax: `update` must be one of ['new', 'old'], got 'z'; choose one of "
            "these.",
        ),
        "missing": (
            lambda w: course_to_rnnjax([LSTM, without(lstm_weights(2, 5), "bc")]),
            VALUE,
            "course_to_rnnjax: `parameters['1.bc']` must be there, got only ['1.Wo', '1.bo']; give "
            "all arrays of the network.",
        ),
        "too many": (
            lambda w: course_to_rnnjax(lstm_weights(5, 3, "float32") | {"Wy": normal(2, 5)}),
            VALUE,
            "course_to_rnnjax: `parameters['Wy']` must belong to the network, got (2, 5); leave it "
            "out, or convert the part it belongs to by itself.",
        ),
        "square": (
            lambda w: course_to_rnnjax(spoiled(LSTM, Wi=normal(5, 5))),
            VALUE,
            "course_to_rnnjax: `parameters['Wi']` must have shape (n_a, n_a + n_x), got (5, 5); "
            "its columns are for the state and, after it, the input.",
        ),
        "nothing": (
            lambda w: course_to_rnnjax([]),
            VALUE,
            "course_to_rnnjax: `parameters` must hold a layer, got none; give the weights of one.",
        ),
        "float64": (
            lambda w: course_to_rnnjax(LSTM),
            VALUE,
            "course_to_rnnjax: `dtype` must be of a dtype that JAX has switched on, got float64; "
            'call jax.config.update("jax_enable_x64", True), or give dtype="float32".',
        ),
    },
    rnnjax_to_course={
        "reset after": (
            lambda w: rnnjax_to_course(*made(rnnjax.gru(4)), update="new"),
            VALUE,
            "rnnjax_to_course: `layer` must reset before the product, got reset='after'; no "
            "weights make it equal.",
        ),
        "blend": (
            lambda w: rnnjax_to_course(*made(rnnjax.gru(4, reset="before"))),
            VALUE,
            "rnnjax_to_course: `update` must be 'new' or 'old' for a GRU, got None; 'new' is a = "
            "(1 - z) * a_prev + z * candidate, 'old' is z * a_prev + (1 - z) * candidate.",
        ),
        "both ways": (
            lambda w: rnnjax_to_course(*made(rnnjax.bidirectional(rnnjax.lstm(4)))),
            VALUE,
            "rnnjax_to_course: `layer` must read forwards, got both directions; the course has no "
            "other direction.",
        ),
        "backwards": (
            lambda w: rnnjax_to_course(*made(rnnjax.recurrent(rnnjax.lstm(4), reverse=True))),
            VALUE,
            "rnnjax_to_course: `layer` must read forwards, got reverse=True; the course has no "
            "other direction.",
        ),
        "another cell": (
            lambda w: rnnjax_to_course(*made(rnnjax.elman(4))),
            VALUE,
            "rnnjax_to_course: `layer` must be one of ['lstm', 'gru'], got elman; convert it by "
            "hand.",
        ),
        "another head": (
            lambda w: rnnjax_to_course(*made(rnnjax.stack(rnnjax.lstm(4), rnnjax.dense(1)))),
            VALUE,
            "rnnjax_to_course: `layer.layers_1` must have activation=jax.nn.sigmoid, got another "
            "activation; the course has no other dense layer.",
        ),
    },
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", CASES)
def test_messages(name):
    check_refused(CASES[name])

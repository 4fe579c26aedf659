"""What the course's functions and converters refuse, in one sentence."""

import pytest
from interop.course_data import N_X, M, T, gru_weights, head_weights, lstm_weights, normal
from messages import TYPE, VALUE, check_refused, made, no_type_checker, table  # noqa: F401

import rnnjax
from rnnjax.interop import course, course_to_rnnjax, rnnjax_to_course

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


CASES = table(
    update={
        "from an LSTM": (
            lambda w: course_to_rnnjax(LSTM, update="new"),
            VALUE,
            "course_to_rnnjax: `update` must be None where no layer is gru, got str 'new'; leave "
            "it out.",
        ),
        "of a stack without a GRU": (
            lambda w: course_to_rnnjax([LSTM], update="new"),
            VALUE,
            "course_to_rnnjax: `update` must be None where no layer is gru, got str 'new'; leave "
            "it out.",
        ),
        "to an LSTM": (
            lambda w: rnnjax_to_course(*made(rnnjax.lstm(4)), update="old"),
            VALUE,
            "rnnjax_to_course: `update` must be None where no layer is gru, got str 'old'; leave "
            "it out.",
        ),
    },
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

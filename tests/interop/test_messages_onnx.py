"""What cannot come from ONNX's operators or go there, and what is told; without ONNX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused_by_name, table
from registry import random_params

import rnnjax
from rnnjax.interop import onnx_to_rnnjax, rnnjax_to_onnx


def zeros(*shape):
    return np.zeros(shape, "float32")


def arrays(gates=4, dirs=1, width=4, below=3, **more):
    rows = gates * width
    given = {"W": zeros(dirs, rows, below), "R": zeros(dirs, rows, width)}
    return given | {"B": zeros(dirs, 2 * rows)} | more


def take(given=None, **attributes):
    return onnx_to_rnnjax(arrays() if given is None else given, attributes=attributes)


def there(layer):
    return rnnjax_to_onnx(layer, random_params(layer, 3))


class Node:
    """As far as the converter looks."""

    op_type, attribute = "LSTM", ()


KNOWN = "['Sigmoid', 'Tanh', 'Relu', 'Elu', 'LeakyRelu', 'HardSigmoid', 'Softplus', 'Softsign']"
FROM = {
    "no mapping": (
        lambda: take([zeros(2)]),
        TYPE,
        "source` must be a mapping, got list [array([0., 0.], dtype=float32)]; give names and "
        "arrays, such as a state dict.",
    ),
    "initializers of arrays": (
        lambda: onnx_to_rnnjax(arrays(), attributes={}, initializers={"a": zeros(2)}),
        VALUE,
        "initializers` must be None where source is arrays, got a dict with ['a']; put them into "
        "source.",
    ),
    "no attributes": (
        lambda: onnx_to_rnnjax(arrays()),
        VALUE,
        "attributes` must be the attributes of the operator, got None; the arrays do not tell: {} "
        "stands for ONNX's defaults.",
    ),
    "attributes of another kind": (
        lambda: onnx_to_rnnjax(arrays(), attributes=["clip"]),
        TYPE,
        "attributes` must be a mapping, got list ['clip']; give names and values, {} for ONNX's "
        "defaults.",
    ),
    "a node with attributes": (
        lambda: onnx_to_rnnjax(Node(), attributes={"clip": 1.0}),
        VALUE,
        "attributes` must be None where the node says its own, got a dict with ['clip']; leave it "
        "out.",
    ),
    "nothing": (
        lambda: take({}),
        VALUE,
        "source['W']` must be there, got nothing more; give all arrays of the network.",
    ),
    "no recurrent weights": (
        lambda: take({"W": zeros(1, 16, 3)}),
        VALUE,
        "source['R']` must be there, got nothing more; give all arrays of the network.",
    ),
    "two gates": (
        lambda: take(arrays(2)),
        VALUE,
        "source['W']` must have 4, 3 or 1 times 4 rows, as R says, got 8; give the W and R of one "
        "operator.",
    ),
    "another operator": (
        lambda: take(op_type="Gemm"),
        VALUE,
        "op_type` must be one of ['LSTM', 'GRU', 'RNN'], got 'Gemm'; the rest of a model has no "
        "place here.",
    ),
    "a gru's arrays": (
        lambda: take(arrays(3), op_type="LSTM"),
        VALUE,
        "source['W']` must have 4 times 4 rows for LSTM, got 12; give the W and R of one operator.",
    ),
    "three directions": (
        lambda: take(arrays(dirs=3)),
        VALUE,
        "source['W']` must have 1 or 2 directions, got 3; they stand on its first axis.",
    ),
    "one bias": (
        lambda: take(arrays(B=zeros(1, 16))),
        VALUE,
        "source['B']` must have shape (1, 32), got (1, 16); give the arrays of one network as "
        "they are.",
    ),
    "peepholes of a gru": (
        lambda: take(arrays(3, P=zeros(1, 12))),
        VALUE,
        "source['P']` must belong to the network, got (1, 12); leave it out, or convert the part "
        "it belongs to by itself.",
    ),
    "an attribute of one's own": (
        lambda: take(peephole=1),
        VALUE,
        "source.peephole` must be an attribute of LSTM, got int 1; leave it out.",
    ),
    "another operator's attribute": (
        lambda: take(arrays(3), input_forget=1),
        VALUE,
        "source.input_forget` must be an attribute of GRU, got int 1; leave it out.",
    ),
    "where an LSTM resets": (
        lambda: take(linear_before_reset=0),
        VALUE,
        "source.linear_before_reset` must be an attribute of LSTM, got int 0; leave it out.",
    ),
    "a list of directions": (
        lambda: take(direction=["forward"]),
        TYPE,
        "source.direction` must be a word, got list ['forward']; see ONNX's operator.",
    ),
    "a list of operators": (
        lambda: take(op_type=["LSTM"]),
        VALUE,
        "op_type` must be one of ['LSTM', 'GRU', 'RNN'], got ['LSTM']; the rest of a model has no "
        "place here.",
    ),
    "one word for activations": (
        lambda: take(activations="Tanh"),
        TYPE,
        "source.activations` must be a list of words, got str 'Tanh'; see ONNX's operator.",
    ),
    "one slope for all": (
        lambda: take(activations=["Elu"] * 3, activation_alpha=1.0),
        TYPE,
        "source.activation_alpha` must be a list of floats, got float 1.0; see ONNX's operator.",
    ),
    "words for slopes": (
        lambda: take(activations=["Elu"] * 3, activation_alpha=["a"] * 3),
        TYPE,
        "source.activation_alpha` must be a list of floats, got list ['a', 'a', 'a']; see ONNX's "
        "operator.",
    ),
    "widths in an array": (
        lambda: take(hidden_size=np.array([4, 4])),
        TYPE,
        "source.hidden_size` must be a whole number, got list [4, 4]; see ONNX's operator.",
    ),
    "a layout of words": (
        lambda: take(layout="NTC"),
        TYPE,
        "source.layout` must be 0 or 1, got str 'NTC'; see ONNX's operator.",
    ),
    "no units": (
        lambda: take(arrays(width=0), op_type="LSTM"),
        VALUE,
        "source['R']` must have units, got (1, 0, 0); its last axis counts them.",
    ),
    "a path": (
        lambda: onnx_to_rnnjax("x.onnx"),
        TYPE,
        "source` must be a model, a node or arrays, got str 'x.onnx'; give onnx.load(path).",
    ),
    "initializers of another kind": (
        lambda: onnx_to_rnnjax(Node(), initializers=[zeros(2)]),
        TYPE,
        "initializers` must be a mapping, got list [array([0., 0.], dtype=float32)]; give names "
        "and arrays.",
    ),
    "one direction of two": (
        lambda: take(direction="bidirectional"),
        VALUE,
        "source.direction` must fit 1 direction, got 'bidirectional'; the first axis of W counts "
        "directions.",
    ),
    "two directions unsaid": (
        lambda: take(arrays(dirs=2)),
        VALUE,
        "source.direction` must fit 2 directions, got None; the first axis of W counts directions.",
    ),
    "another width": (
        lambda: take(hidden_size=5),
        VALUE,
        "source.hidden_size` must be 4, as R says, got 5; leave it out.",
    ),
    "clipping": (
        lambda: take(clip=3.0),
        VALUE,
        "source.clip` must be left out, got 3.0; our cells do not clip: export the model without.",
    ),
    "a coupled gate with peepholes": (
        lambda: take(arrays(P=zeros(1, 12)), input_forget=1),
        VALUE,
        "source.input_forget` must be 0 with peepholes, got 1; our coupled_lstm has no peepholes, "
        "and our peephole_lstm is not coupled.",
    ),
    "hard sigmoid of ONNX's own slope": (
        lambda: take(activations=["HardSigmoid", "Tanh", "Tanh"]),
        VALUE,
        "source.activation_alpha` must be [0.16666666666666666], got [0.2]; our functions have no "
        "other.",
    ),
    "an activation that we lack": (
        lambda: take(activations=[b"Affine", b"Tanh", b"Tanh"]),
        VALUE,
        f"source.activations` must be some of {KNOWN}, got ['Affine']; no cell of ours has "
        "that function.",
    ),
    "too few activations": (
        lambda: take(activations=["Sigmoid", "Tanh"]),
        VALUE,
        "source.activations` must be 3 names, got 2; see ONNX's operator.",
    ),
    "activations that differ by direction": (
        lambda: take(arrays(1, 2), direction="bidirectional", activations=["Tanh", "Relu"]),
        VALUE,
        "source.activations` must be the same for both directions, got ['Tanh', 'Relu']; both "
        "directions are one cell here.",
    ),
    "activations that differ inside": (
        lambda: take(activations=["Sigmoid", "Tanh", "Relu"]),
        VALUE,
        "source.activations` must be the same for g and h, got ['Sigmoid', 'Tanh', 'Relu']; our "
        "lstm has one activation for both.",
    ),
    "another slope": (
        lambda: take(arrays(1), activations=["LeakyRelu"], activation_alpha=[0.2]),
        VALUE,
        "source.activation_alpha` must be [0.01], got [0.2]; our functions have no other.",
    ),
    "peepholes with other activations": (
        lambda: take(arrays(P=zeros(1, 12)), activations=["Sigmoid", "Relu", "Relu"]),
        VALUE,
        "source` must have the usual activations with peepholes, got ['Sigmoid', 'Relu', 'Relu']; "
        "our cell of this kind has no others.",
    ),
    "states that differ in the batch": (
        lambda: take(arrays(initial_h=np.arange(8, dtype="float32").reshape(1, 2, 4))),
        VALUE,
        "source['initial_h']` must be the same for the whole batch, got rows that differ; leave "
        "it out, and give it as the carry of a run.",
    ),
}
TO = {
    "two levels": (
        lambda: there(rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(4))),
        VALUE,
        "layer` must be one level, got 2 of them; convert each level by itself; "
        "rnnjax.export.to_onnx writes whole models.",
    ),
    "a projection": (
        lambda: there(rnnjax.projected_lstm(4, out_features=2)),
        VALUE,
        "layer` must be one of ['lstm', 'peephole_lstm', 'coupled_lstm', 'gru', 'elman'], got "
        "projected_lstm, which projects its outputs; convert it by hand.",
    ),
    "another merge": (
        lambda: there(rnnjax.bidirectional(rnnjax.gru(4), merge=rnnjax.merge.add)),
        VALUE,
        "layer` must concatenate its directions, got add; merge after it.",
    ),
    "another activation": (
        lambda: there(rnnjax.gru(4, activation=jnp.sin)),
        VALUE,
        f"layer` must have activations among {KNOWN}, got another; train with one of these.",
    ),
}
CASES = table(onnx_to_rnnjax=FROM, rnnjax_to_onnx=TO)


@pytest.mark.parametrize("name", CASES)
def test_refused(name):
    check_refused_by_name(name, CASES)


def test_notes():
    given = {k: a for k, a in arrays().items() if k != "B"}
    assert take(given, input_forget=1, layout=1).report.notes == (
        "source: f = 1 - i there; its weights of f are not used",
        "source: layout=1 has the batch first; here time is first",
        "source: b is zero, there is no B",
    )


def test_numbers_in_arrays_are_read():
    given = take(activations=np.array(["Elu"] * 3), activation_alpha=np.ones(3, "float32"))
    assert given.layer.recipe.options["cell"].recipe.options["activation"] is jax.nn.elu


def test_biases_are_summed_in_the_wanted_dtype():
    """In 16 bits the sum is rounded, and that is said."""
    rng = np.random.default_rng(0)
    half = {name: rng.normal(size=a.shape).astype("float16") for name, a in arrays().items()}
    wanted = sum(np.split(half["B"][0].astype("float32"), 2))
    whole = onnx_to_rnnjax(half, attributes={}, dtype="float32")
    i, o, f, g = np.split(wanted, 4)
    np.testing.assert_array_equal(whole.params.b, np.concatenate([i, f, g, o]))
    assert whole.report.notes == () and whole.layer.init(jax.random.key(0), 3).b.dtype == "float32"
    assert take(half).report.notes == (
        'b: summed in float16, which rounds; dtype="float32" sums them in that',
    )


def test_what_comes_back_otherwise_is_noted():
    lstm = rnnjax.lstm(4)
    assert there(rnnjax.stack(lstm)).report.notes == (
        "layers_0: one level; it comes back without the stack",
    )
    assert there(rnnjax.bidirectional(lstm, merge=rnnjax.merge.pair)).report.notes == (
        "the layer: a pair here; it comes back concatenated",
    )


LAYERS = {
    "lstm": lambda: rnnjax.recurrent(rnnjax.lstm(4, learned_carry=True), reverse=True),
    "peephole": lambda: rnnjax.bidirectional(rnnjax.peephole_lstm(4)),
    "coupled": lambda: rnnjax.bidirectional(rnnjax.coupled_lstm(4, learned_carry=True)),
    "gru": lambda: rnnjax.bidirectional(rnnjax.gru(4)),
    "gru, before": lambda: rnnjax.recurrent(rnnjax.gru(4, reset="before", bias=False)),
    "elman": lambda: rnnjax.bidirectional(rnnjax.elman(4, activation=jax.nn.relu)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_round_trip_is_bitwise(name):
    layer = LAYERS[name]()
    params = random_params(layer, 3)
    there = rnnjax_to_onnx(layer, params)
    again = onnx_to_rnnjax(there.weights, attributes=there.options)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, again.params))
    back = rnnjax_to_onnx(again.layer, again.params)
    assert back.options == there.options and back.weights.keys() == there.weights.keys()
    for key, array in there.weights.items():
        np.testing.assert_array_equal(back.weights[key], array)


def test_gates_stand_where_onnx_has_them():
    """By hand: gates i, o, f, c there from i, f, g, o, and peepholes i, o, f from i, f, o."""
    layer = rnnjax.peephole_lstm(1)
    params = random_params(layer, 1)
    weights = rnnjax_to_onnx(layer, params).weights
    i, f, g, o = params.w_ih[0]
    np.testing.assert_array_equal(weights["W"][0, :, 0], np.array([i, o, f, g]))
    i, f, o = params.p[:, 0]
    np.testing.assert_array_equal(weights["P"][0], np.array([i, o, f]))
    np.testing.assert_array_equal(weights["B"][0, 4:], np.zeros(4))


def test_one_state_of_two():
    """The other begins at zero."""
    given = arrays(initial_c=np.ones((1, 2, 4), "float32"))
    params = take(given).params
    np.testing.assert_array_equal(params.initial.h, np.zeros(4))
    np.testing.assert_array_equal(params.initial.c, np.ones(4))

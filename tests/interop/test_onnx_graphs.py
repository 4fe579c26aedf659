"""Which graphs of ONNX are chains of recurrent operators, and what else is refused or noted."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from registry import random_params

import rnnjax
from rnnjax.export import to_onnx
from rnnjax.interop import onnx_to_rnnjax

node = onnx.helper.make_node
FLOATS = onnx.TensorProto.FLOAT
rng = np.random.default_rng(0)
ARRAYS = {
    "W": rng.normal(size=(1, 2, 3)),
    "V": rng.normal(size=(1, 2, 2)),
    "R": rng.normal(size=(1, 2, 2)),
    "W2": rng.normal(size=(2, 2, 3)),
    "R2": rng.normal(size=(2, 2, 2)),
    "V4": rng.normal(size=(1, 2, 4)),
    "M": rng.normal(size=(2, 2)),
    "half": np.array(0.5),
}
NUMBERS = {
    "first": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "way0": np.array(0),
    "way1": np.array(1),
    "joined": np.array([0, 0, -1]),
    "fixed": np.array([5, 2, 4]),
    "swapped": np.array([2, 5, 4]),
    "flat": np.array([10, 1, 4]),
    "lens": np.array([3, 2], np.int32),
    "yes": np.array(True),
    "no": np.array(False),
}


def graph_of(nodes, outputs, *, sizes=("T", "B", 3), more=()):
    values = ARRAYS | NUMBERS
    constants = [
        onnx.numpy_helper.from_array(a.astype("float32") if name in ARRAYS else a, name)
        for name, a in values.items()
    ]
    named = lambda name, shape: onnx.helper.make_tensor_value_info(name, FLOATS, shape)
    inputs = [named("X", sizes), *(named(name, None) for name in more)]
    made = [named(name, None) for name in outputs]
    return onnx.helper.make_graph(nodes, "g", inputs, made, constants)


def rnn(x, w, r, outputs, name, *more, **attributes):
    return node("RNN", [x, w, r, *more], outputs, name=name, hidden_size=2, **attributes)


def chain(*between, outputs=("Y1",), head=(), sizes=("T", "B", 3)):
    """Two RNNs with nodes between them and above."""
    low, high = rnn("X", "W", "R", ["Y0"], "low"), rnn("Z", "V", "R", ["Y1", "h1"], "high")
    return graph_of([low, *between, high, *head], outputs, sizes=sizes)


def both_ways(*between, outputs=("Y1",), sizes=("T", "B", 3)):
    """The lower one reads both ways."""
    low = rnn("X", "W2", "R2", ["Y0"], "low", direction="bidirectional")
    return graph_of([low, *between, rnn("Z", "V4", "R", ["Y1"], "high")], outputs, sizes=sizes)


SQUEEZE = node("Squeeze", ["Y0", "one"], ["Z"], name="squeeze")
UPPER = node("Squeeze", ["Y1", "one"], ["O"], name="upper")
TURN = node("Transpose", ["Y0"], ["t"], name="turn", perm=[0, 2, 1, 3])
WAYS = [node("Gather", ["Y0", f"way{k}"], [f"g{k}"], name=f"way {k}", axis=1) for k in (0, 1)]


def reshape(shape):
    return node("Reshape", ["t", shape], ["Z"], name="join")


def dropout(*more, name="drop"):
    return graph_of([node("Dropout", ["X", *more], ["d"], name=name), last("d")], ["Y"])


def last(x, *more, outputs=("Y",), **attributes):
    return rnn(x, "W", "R", outputs, "last", *more, **attributes)


CHAINS = {  # graph, number of operators, notes
    "plain": (lambda: chain(SQUEEZE), 2, ()),
    "squeezed above": (lambda: chain(SQUEEZE, outputs=["O"], head=[UPPER]), 2, ()),
    "joined": (lambda: both_ways(TURN, reshape("joined")), 2, ()),
    "joined by known sizes": (lambda: both_ways(TURN, reshape("fixed"), sizes=(5, 2, 3)), 2, ()),
    "concatenated": (lambda: both_ways(*WAYS, node("Concat", ["g0", "g1"], ["Z"], axis=-1)), 2, ()),
    "a shape that is computed": (
        lambda: both_ways(TURN, node("Shape", ["X"], ["s"]), reshape("s")),
        2,
        ("source: Reshape 'join' computes its shape; taken to join directions",),
    ),
    "the lower outputs alone": (
        lambda: chain(SQUEEZE, outputs=["Z"]),
        1,
        ("source['high']: left out, no output needs it",),
    ),
    "states alone": (
        lambda: chain(SQUEEZE, outputs=["h"], head=[node("Squeeze", ["h1", "first"], ["h"])]),
        2,
        ("source: answers with final states; take them from the carry",),
    ),
    "dropout": (
        lambda: dropout("half", "no"),
        1,
        ("source: without dropout 'drop', which is off at inference",),
    ),
    "batch first": (
        lambda: graph_of(
            [
                node("Transpose", ["X"], ["x"], perm=[1, 0, 2]),
                last("x", outputs=["y"]),
                node("Squeeze", ["y", "one"], ["s"]),
                node("Transpose", ["s"], ["Y"], perm=[1, 0, 2]),
            ],
            ["Y"],
        ),
        1,
        (
            "source: the inputs have the batch first; here time is first",
            "source: 'Y' has the batch first; here time is first",
        ),
    ),
    "fixed lengths": (
        lambda: graph_of([last("X", "", "lens")], ["Y"]),
        1,
        ("source['last']: takes sequence_lens [3, 2]; give lengths=",),
    ),
    "lengths of nothing": (
        lambda: graph_of([node("Cast", [], ["n"], to=6), last("X", "", "n")], ["Y"]),
        1,
        ("source['last']: takes sequence_lens; give lengths=",),
    ),
    "a state that is an input": (
        lambda: graph_of([last("X", "", "", "H0")], ["Y"], more=["H0"]),
        1,
        ("source['last']: initial_h is an input of the graph; give it as the carry",),
    ),
    "a state that is computed": (
        lambda: graph_of([node("Relu", ["H0"], ["h"]), last("X", "", "", "h")], ["Y"], more=["H0"]),
        1,
        ("source['last']: initial_h is computed in a run, by Relu; give it as the carry",),
    ),
    "a state of zeros of the batch's size": (
        lambda: graph_of(
            [
                node("Shape", ["X"], ["n"]),
                node("ConstantOfShape", ["n"], ["z"]),
                last("X", "", "", "z"),
            ],
            ["Y"],
        ),
        1,
        (),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_read(name):
    make, number, notes = CHAINS[name]
    _, params, report = onnx_to_rnnjax(make())
    assert sum(row.source == "W" for row in report.rows) == number
    assert report.notes == notes
    assert len(jax.tree.leaves(params)) == 2 * number


ALONE = "; give the recurrent nodes one by one with their initializers."
ONLY = "source` must have only recurrent operators in a chain, "
OUTPUTS = "source` must have no outputs but the states and those of its last operator, got "
REFUSED = {
    "an activation between": (
        lambda: chain(
            node("Squeeze", ["Y0", "one"], ["S"]), node("Relu", ["S"], ["Z"], name="relu")
        ),
        f"{ONLY}as the input of 'high', got Relu 'relu'{ALONE}",
    ),
    "an activation below another layout": (
        lambda: chain(
            node("Relu", ["Y0"], ["S"], name="relu"), node("Squeeze", ["S", "one"], ["Z"])
        ),
        f"{ONLY}as the input of 'high', got Relu 'relu'{ALONE}",
    ),
    "another layout between": (
        lambda: chain(node("Transpose", ["Y0"], ["Z"], name="turn", perm=[1, 0, 2, 3])),
        f"{ONLY}as the input of 'high', got Transpose 'turn'{ALONE}",
    ),
    "another axis squeezed": (
        lambda: chain(node("Squeeze", ["Y0", "two"], ["Z"], name="squeeze")),
        f"{ONLY}as the input of 'high', got Squeeze 'squeeze'{ALONE}",
    ),
    "time and batch in one": (
        lambda: both_ways(TURN, reshape("flat"), sizes=(5, 2, 3)),
        f"{ONLY}as the input of 'high', got Reshape 'join'{ALONE}",
    ),
    "time and batch in each other's place": (
        lambda: both_ways(TURN, reshape("swapped"), sizes=(5, 2, 3)),
        f"{ONLY}as the input of 'high', got Reshape 'join'{ALONE}",
    ),
    "directions in the other order": (
        lambda: both_ways(*WAYS, node("Concat", ["g1", "g0"], ["Z"], name="join", axis=2)),
        f"{ONLY}as the input of 'high', got Concat 'join'{ALONE}",
    ),
    "one direction of two": (
        lambda: graph_of(
            [
                rnn("X", "W2", "R2", ["Y0"], "low", direction="bidirectional"),
                node("Gather", ["Y0", "way0"], ["Z"], name="one way", axis=1),
            ],
            ["Z"],
        ),
        f"{ONLY}as an output, got Gather 'one way'{ALONE}",
    ),
    "layout 1 below layout 0": (
        lambda: graph_of(
            [
                rnn("X", "W", "R", ["Y0"], "low", layout=1),
                node("Squeeze", ["Y0", "two"], ["Z"], name="squeeze"),
                rnn("Z", "V", "R", ["Y1"], "high"),
            ],
            ["Y1"],
        ),
        f"{ONLY}as the input of 'high', got Squeeze 'squeeze'{ALONE}",
    ),
    "a head": (
        lambda: chain(SQUEEZE, outputs=["O"], head=[node("MatMul", ["Y1", "M"], ["O"], name="w")]),
        f"{ONLY}beside the recurrent operators, got MatMul 'w'{ALONE}",
    ),
    "dropout in training": (
        lambda: dropout("half", "yes"),
        f"{ONLY}as the input of 'last', got Dropout 'drop'{ALONE}",
    ),
    "two outputs": (lambda: chain(SQUEEZE, outputs=["Z", "Y1"]), f"{OUTPUTS}'Z'{ALONE}"),
    "inputs handed on": (
        lambda: graph_of([last("X"), node("Identity", ["X"], ["I"])], ["Y", "I"]),
        f"{OUTPUTS}'I'{ALONE}",
    ),
    "zeros of one's own": (
        lambda: graph_of(
            [node("Where", ["c", "X", "way0"], ["x"], name="mask"), last("x")], ["Y"], more=["c"]
        ),
        f"{ONLY}as the input of 'last', got Where 'mask'{ALONE}",
    ),
    "two readers": (
        lambda: graph_of([rnn("X", "W", "R", ["Y0"], "low"), last("X")], ["Y0", "Y"]),
        f"{ONLY}as the input of 'last', got 'X'{ALONE}",
    ),
    "lengths of one operator": (
        lambda: graph_of(
            [
                rnn("X", "W", "R", ["Y0"], "low", "", "lens"),
                SQUEEZE,
                rnn("Z", "V", "R", ["Y1"], "high"),
            ],
            ["Y1"],
        ),
        "source['high']` must take the sequence_lens of the operator below, got ''; lengths here "
        "are one for all.",
    ),
    "no order": (
        lambda: graph_of([SQUEEZE, rnn("X", "W", "R", ["Y0"], "low")], ["Z"]),
        "source` must have its nodes in order, got 'Y0' too late; onnx.checker.check_model says "
        "more.",
    ),
    "nothing recurrent": (
        lambda: graph_of([node("Relu", ["X"], ["Y"])], ["Y"]),
        "source` must have one of ['LSTM', 'GRU', 'RNN'], got ['Relu']; give the node, or its "
        "arrays.",
    ),
    "no input": (
        lambda: graph_of([node("RNN", [], ["Y"], name="last", hidden_size=2)], ["Y"]),
        "source['last']` must have inputs X, W and R, got []; the operator needs these.",
    ),
    "a constant of nothing": (
        lambda: graph_of([node("Constant", [], ["c"]), rnn("X", "c", "R", ["Y"], "last")], ["Y"]),
        "source['last']` must know the array of its input W, got only its name 'c'; give it in "
        "initializers, or as arrays.",
    ),
    "another domain": (
        lambda: graph_of([last("X", domain="com.acme")], ["Y"]),
        "source['last'].domain` must be ONNX's own, got 'com.acme'; another domain's operator may "
        "compute something else.",
    ),
    "widths that do not fit": (
        lambda: graph_of(
            [rnn("X", "W", "R", ["Y0"], "low"), SQUEEZE, rnn("Z", "W", "R", ["Y1"], "high")], ["Y1"]
        ),
        "source['high']` must read the 2 features of `source['low']`, got 3; give the parts from "
        "bottom to top.",
    ),
    "a node without its arrays": (
        lambda: last("X"),
        "source['last']` must know the array of its input W, got only its name 'W'; give it in "
        "initializers, or as arrays.",
    ),
    "another node": (
        lambda: node("Relu", ["X"], ["Y"], name="relu"),
        "op_type` must be one of ['LSTM', 'GRU', 'RNN'], got 'Relu'; the rest of a model has no "
        "place here.",
    ),
    "an old opset": (
        lambda: onnx.helper.make_model(
            graph_of([last("X")], ["Y"]), opset_imports=[onnx.helper.make_opsetid("", 1)]
        ),
        "source` must be of opset 7 or newer, got 1; bring it up to date with "
        "onnx.version_converter.convert_version.",
    ),
}


@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED)
def test_graphs_that_do_something_else(make, message):
    with pytest.raises(ValueError) as caught:
        onnx_to_rnnjax(make())
    assert str(caught.value) == f"onnx_to_rnnjax: `{message}"


def test_arrays_that_are_cut_short_or_elsewhere():
    graph = chain(SQUEEZE)
    tensor = graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:8]
    with pytest.raises(ValueError, match="as its shape says, got another number in 'W'; fetch"):
        onnx_to_rnnjax(graph)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(ValueError, match="`source` must have its arrays inside, got 'W' in"):
        onnx_to_rnnjax(graph)


OWN = rnnjax.stack(
    rnnjax.bidirectional(rnnjax.lstm(2, learned_carry=True)), rnnjax.gru(3, learned_carry=True)
)
GIVEN = "source['layers_{}_y']: initial_{} may be given in a run there; give it as the carry"
LENGTHS = tuple(f"source['layers_{k}_y']: takes sequence_lens; give lengths=" for k in (0, 1))


@pytest.mark.parametrize(
    "options, notes",
    [
        ({}, LENGTHS),
        ({"lengths": False}, ()),
        (
            {"lengths": False, "carry": True},
            tuple(GIVEN.format(*end) for end in ("0h", "0c", "1h")),
        ),
        (
            {"lengths": False, "time_major": False},
            (
                "source: the inputs have the batch first; here time is first",
                "source: 'ys' has the batch first; here time is first",
            ),
        ),
    ],
    ids=["lengths", "no lengths", "carry", "batch first"],
)
def test_our_own_models_come_back(options, notes):
    """With their learned initial states, bit by bit."""
    params = random_params(OWN, 3)
    _, again, report = onnx_to_rnnjax(to_onnx(OWN, params, **options))
    assert report.notes == notes
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, again, params))


def test_zeros_at_padding_that_the_operators_do_not_see():
    """Without their lengths, a reverse direction would read them."""
    model = to_onnx(OWN, random_params(OWN, 3))
    for one in model.graph.node:
        if one.op_type in ("LSTM", "GRU"):
            one.input[4] = ""
    with pytest.raises(ValueError) as caught:
        onnx_to_rnnjax(model)
    got = f"{ONLY}as the input of 'layers_0_y', got Where 'where'{ALONE}"
    assert str(caught.value) == f"onnx_to_rnnjax: `{got}"

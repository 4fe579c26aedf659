"""ONNX's recurrent operators here and back: equal outputs, and the same bits.

ONNX Runtime computes in float32; in float64 there is the reference of the package onnx, which
knows neither `input_forget` nor activations.
"""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import random_params

import rnnjax
from rnnjax.interop import onnx_to_rnnjax, rnnjax_to_onnx

MISSING = 'ONNX is missing: pip install -e ".[parity]"'
onnx = pytest.importorskip("onnx", reason=MISSING)
reference = pytest.importorskip("onnx.reference", reason=MISSING)
onnxruntime = pytest.importorskip("onnxruntime", reason=MISSING)

pytestmark = pytest.mark.usefixtures("x64")

PLAIN = {
    "lstm": rnnjax.lstm,
    "lstm, no bias": lambda n, **more: rnnjax.lstm(n, bias=False, **more),
    "peephole": rnnjax.peephole_lstm,
    "gru": rnnjax.gru,
    "gru, no bias": lambda n, **more: rnnjax.gru(n, bias=False, **more),
    "gru, before": lambda n, **more: rnnjax.gru(n, reset="before", **more),
    "elman": rnnjax.elman,
}
OTHERS = {
    "coupled": rnnjax.coupled_lstm,
    "elman, relu": lambda n, **more: rnnjax.elman(n, activation=jax.nn.relu, **more),
    "elman, elu": lambda n, **more: rnnjax.elman(n, activation=jax.nn.elu, **more),
    "lstm, softsign": lambda n, **more: rnnjax.lstm(n, activation=jax.nn.soft_sign, **more),
    "gru, leaky": lambda n, **more: rnnjax.gru(n, activation=jax.nn.leaky_relu, **more),
    "gru, softplus": lambda n, **more: rnnjax.gru(n, activation=jax.nn.softplus, **more),
    "lstm, tanh gates": lambda n, **more: rnnjax.lstm(n, gate_activation=jnp.tanh, **more),
}
WAYS = {
    "forward": rnnjax.recurrent,
    "reverse": lambda cell: rnnjax.recurrent(cell, reverse=True),
    "bidirectional": rnnjax.bidirectional,
}


def model_of(foreign, shape, *, lengths=False, opset=14):
    """A model of one operator."""
    attributes = dict(foreign.options)
    op_type = attributes.pop("op_type")
    known = set(foreign.weights) | {"X"} | ({"lengths"} if lengths else set())
    names = ["X", "W", "R", "B", "lengths", "initial_h", "initial_c", "P"]
    names = [name if name in known else "" for name in names[: 8 if op_type == "LSTM" else 6]]
    node = onnx.helper.make_node(op_type, names, ["Y", "Y_h"], name="rnn", **attributes)
    weights = [onnx.numpy_helper.from_array(a, name) for name, a in foreign.weights.items()]
    kind = weights[0].data_type
    inputs = [onnx.helper.make_tensor_value_info("X", kind, shape)]
    if lengths:
        inputs.append(onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["B"]))
    shapes = {"Y": ("T", "N", "B", "H"), "Y_h": ("N", "B", "H")}
    outputs = [onnx.helper.make_tensor_value_info(n, kind, axes) for n, axes in shapes.items()]
    graph = onnx.helper.make_graph([node], "one", inputs, outputs, weights)
    operators = [onnx.helper.make_opsetid("", opset)]
    made = onnx.helper.make_model(graph, opset_imports=operators, ir_version=8)
    onnx.checker.check_model(made)
    return made


def joined(y):
    """Both directions next to each other."""
    return np.concatenate(list(np.moveaxis(y, 1, 0)), axis=-1)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([*PLAIN, *OTHERS]),
    st.sampled_from(list(WAYS)),
    st.sampled_from(["float32", "float64"]),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.booleans(),
)
def test_outputs_are_equal_and_weights_come_back(name, way, dtype, sizes, learned):
    width, hidden = sizes
    double = dtype == "float64" and name in PLAIN
    make = {**PLAIN, **OTHERS}[name]
    cell = make(hidden, learned_carry=learned, param_dtype=jnp.dtype(dtype))
    layer = WAYS[way](cell)
    params = random_params(layer, width, 3)
    there = rnnjax_to_onnx(layer, params)
    again = onnx_to_rnnjax(there.weights, attributes=there.options)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, params, again.params))
    back = rnnjax_to_onnx(again.layer, again.params)
    assert back.options == there.options and back.weights.keys() == there.weights.keys()
    for key, array in there.weights.items():
        np.testing.assert_array_equal(back.weights[key], array)
    if dtype == "float64" and not double:
        return
    batch = 1 if learned else 3
    xs = np.random.default_rng(1).normal(size=(4, batch, width)).astype(dtype)
    lengths = np.array([4, 2, 0][:batch], np.int32)
    feed = {"X": xs} if double else {"X": xs, "lengths": lengths}
    model = model_of(there, xs.shape, lengths=not double)
    if double:
        y, _ = reference.ReferenceEvaluator(model).run(None, feed)
    else:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        y, _ = session.run(None, feed)
    with jax.disable_jit():
        _, ys = again.layer.apply(again.params, xs, lengths=None if double else lengths)
    close = {"rtol": 1e-12, "atol": 1e-12} if double else {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(ys, joined(y), **close)


def test_two_biases_and_weights_of_an_unused_gate():
    """What other writers of ONNX put there, which ours never does."""
    rng = np.random.default_rng(0)
    for op_type, rows, attributes in (
        ("LSTM", 4, {}),
        ("LSTM", 4, {"input_forget": 1}),
        ("GRU", 3, {}),
        ("GRU", 3, {"linear_before_reset": 1}),
        ("RNN", 1, {"activations": ["Relu", "Relu"]}),
    ):
        shapes = {"W": (rows * 4, 3), "R": (rows * 4, 4), "B": (rows * 8,)}
        weights = {
            name: rng.normal(size=(2, *shape)).astype("float32") / 2
            for name, shape in shapes.items()
        }
        options = {"hidden_size": 4, "direction": "bidirectional", **attributes}
        theirs = rnnjax.interop.Foreign(weights, {"op_type": op_type, **options}, None)
        xs = rng.normal(size=(4, 2, 3)).astype("float32")
        model = model_of(theirs, xs.shape)
        y, _ = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": xs})
        for layer, params, _ in (
            onnx_to_rnnjax(weights, attributes=options),
            onnx_to_rnnjax(model),
            onnx_to_rnnjax(model.graph.node[0], initializers=weights),
        ):
            _, ys = layer.apply(params, xs)
            np.testing.assert_allclose(ys, joined(y), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of the tracing exporter there are many
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_what_pytorch_writes(kind, both):
    """A chain of operators, between which axes are laid out anew."""
    torch = pytest.importorskip("torch", reason='PyTorch is missing: pip install -e ".[parity]"')
    module = getattr(torch.nn, kind)(3, 4, num_layers=2, bidirectional=both, batch_first=both)
    xs = np.random.default_rng(1).normal(size=(5, 2, 3)).astype("float32")
    file = io.BytesIO()
    torch.onnx.export(module, (torch.from_numpy(xs),), file, opset_version=17, dynamo=False)
    layer, params, report = onnx_to_rnnjax(onnx.load_from_string(file.getvalue()))
    with torch.no_grad():
        wanted, _ = module(torch.from_numpy(xs))
    swap = lambda x: np.swapaxes(x, 0, 1) if both else x
    _, ys = layer.apply(params, swap(xs))
    np.testing.assert_allclose(swap(ys), wanted.numpy(), rtol=1e-6, atol=1e-6)
    assert len(report.rows) == 6
    assert sum("batch first" in note for note in report.notes) == 2 * both == len(report.notes)

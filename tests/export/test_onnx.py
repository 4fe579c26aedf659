"""What is written into a model of ONNX; `tests/parity/test_onnx.py` runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from registry import random_params

import rnnjax
from rnnjax.export import onnx_report, save, to_onnx

DEEP = rnnjax.stack(
    rnnjax.embedding(9, 3),
    rnnjax.bidirectional(rnnjax.zoneout(rnnjax.lstm(4), 0.1)),
    rnnjax.stack(rnnjax.gru(5, learned_carry=True), jax.nn.relu),
    rnnjax.dense(2, activation=jax.nn.softmax),
    dropout=0.2,
)

REPORT = """\
in   xs  int32 (T, B)
in   lengths  int32 (B)
in   initial_layers_1_h  float32 (2, 1 or B, 4)
in   initial_layers_1_c  float32 (2, 1 or B, 4)
in   initial_layers_2_layers_0_h  float32 (1 or B, 5)
out  ys  float32 (T, B, 2)
out  final_layers_1_h  float32 (2, B, 4)
out  final_layers_1_c  float32 (2, B, 4)
out  final_layers_2_layers_0_h  float32 (B, 5)
layers_0, embedding: Less, Where, Gather, Unsqueeze
layers_1, lstm: Gather, Concat, Expand, LSTM, Where, Identity
layers_2.layers_0, gru: Unsqueeze, Gather, Concat, Expand, GRU, Where, Squeeze
layers_2.layers_1, pointwise: Relu, Unsqueeze, Where
layers_3, dense: MatMul, Add, Softmax, Unsqueeze, Where
note: dropout 0.2 between layers, left out: off at inference
note: zoneout, left out: off at inference"""


def ports(values):
    """Names and sizes, words for those that are open."""
    dims = lambda value: value.type.tensor_type.shape.dim
    return {value.name: [d.dim_param or d.dim_value for d in dims(value)] for value in values}


def constants(model):
    return {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}


def test_the_report_says_it_all_and_stands_in_the_model():
    params = random_params(DEEP, None)
    report = onnx_report(DEEP, params, carry=True)
    assert str(report) == REPORT
    model = to_onnx(DEEP, params, carry=True)
    assert model.doc_string == REPORT
    assert ports(model.graph.input) == {
        "xs": ["T", "B"],
        "lengths": ["B"],
        "initial_layers_1_h": [2, 0, 4],  # 0 where nothing is said
        "initial_layers_1_c": [2, 0, 4],
        "initial_layers_2_layers_0_h": [0, 5],
    }
    assert ports(model.graph.output) == {port.name: list(port.shape) for port in report.outputs}
    names = [name for node in model.graph.node for name in node.output]
    assert len(set(names)) == len(names) and all(name.isidentifier() for name in names)


def test_what_may_be_given_has_the_fresh_carry_as_default():
    params = random_params(DEEP, None)
    found = constants(to_onnx(DEEP, params, carry=True))
    assert found["initial_layers_1_c"].shape == (2, 1, 4) and not found["initial_layers_1_c"].any()
    learned = params[2][0].initial.h
    np.testing.assert_array_equal(found["initial_layers_2_layers_0_h"], learned[None])


def test_gates_stand_in_the_order_of_onnx():
    cell = rnnjax.lstm(2)
    params = random_params(cell, 3)
    model = to_onnx(cell, params, lengths=False)
    i, f, g, o = np.split(np.asarray(params.w_ih), 4, axis=1)
    np.testing.assert_array_equal(constants(model)["w"], np.concatenate([i, o, f, g], 1).T[None])
    assert ports(model.graph.input) == {"xs": ["T", "B", 3]}


def test_both_ways_are_merged_as_asked_for():
    merges = {"add": ["Add"], "average": ["Add", "Mul"], "multiply": ["Mul"]}
    for name, wanted in merges.items():
        layer = rnnjax.bidirectional(rnnjax.elman(2), merge=getattr(rnnjax.merge, name))
        report = onnx_report(layer, random_params(layer, 3), lengths=False)
        assert [one for one in report.parts[0].operators if one in ("Add", "Mul")] == wanted


def test_batch_major_and_other_opsets():
    params = random_params(rnnjax.gru(2), 3)
    model = to_onnx(rnnjax.gru(2), params, time_major=False, opset=14)
    assert ports(model.graph.input)["xs"] == ["B", "T", 3]
    assert ports(model.graph.output) == {"ys": ["B", "T", 2], "final_h": ["B", 2]}
    assert model.opset_import[0].version == 14 and model.ir_version == 7
    assert to_onnx(rnnjax.gru(2), params).opset_import[0].version == 17


def test_functions_alone_have_any_width():
    model = to_onnx(rnnjax.pointwise(jnp.tanh), ())
    assert ports(model.graph.input)["xs"] == ports(model.graph.output)["ys"] == ["T", "B", "D"]


def test_narrow_weights_are_exact_and_small_ones_multiplied_out():
    cell = rnnjax.elman(2, param_dtype=jnp.bfloat16)
    params = random_params(cell, 3)
    found = constants(to_onnx(cell, params))
    np.testing.assert_array_equal(found["w"][0], np.asarray(params.w_ih, np.float32).T)
    small = rnnjax.quantize(rnnjax.elman(2), random_params(rnnjax.elman(2), 3))
    model = to_onnx(*small)
    whole = small.params.w_ih.values.astype(jnp.float32) * small.params.w_ih.scale
    np.testing.assert_array_equal(constants(model)["w"][0], whole.T)
    assert model.doc_string.endswith("\nnote: int8 weights, multiplied out to float32")


def test_the_file_is_the_model(tmp_path):
    cell = rnnjax.gru(2)
    model = to_onnx(cell, random_params(cell, 3))
    path = tmp_path / "gru.onnx"
    path.write_text("old")
    save(path, model)
    assert onnx.load(path) == model
    with pytest.raises(TypeError):
        save(path, "words")
    assert onnx.load(path) == model and list(tmp_path.iterdir()) == [path]

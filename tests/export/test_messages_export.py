"""What other runtimes cannot say is refused by name, and before their packages are asked for.

Each entry of a table is a call and the whole message.
"""

import sys

import jax
import jax.numpy as jnp
import onnx
import pytest
from messages import NO_LINEAR, TYPE, VALUE, check_refused, no_type_checker, table, world
from registry import random_params

import rnnjax
from rnnjax.export import onnx_report, save, to_onnx, to_stablehlo

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

INSTEAD = "rnnjax.export.to_stablehlo takes every layer."
OPERATORS = "be something that ONNX has operators for"
PLAIN = f"use jnp.tanh, jax.nn.sigmoid or jax.nn.relu; {INSTEAD}"
INIT = "give what init made for this very layer."


def exported(layer, features=4, **options):
    """The call that writes a layer with random params."""
    return lambda w: to_onnx(layer, random_params(layer, features), **options)


def no_operator(layer, got, name="layer"):
    message = f"to_onnx: `{name}` must {OPERATORS}, got {got}; {INSTEAD}"
    return exported(layer), VALUE, message


def own_activation(x):
    return x * 2


def own_merge(a, b):
    return a


CELLS = {
    "a projection": no_operator(
        rnnjax.stack(rnnjax.lstm(3), rnnjax.projected_lstm(3, out_features=2)),
        "projected_lstm, which projects its outputs",
        "layers_1",
    ),
    "layer norm": no_operator(
        rnnjax.layer_norm_gru(3), "layer_norm_gru, which normalises inside its gates"
    ),
    "an mLSTM": no_operator(rnnjax.mlstm(3), "mlstm, which is none of them"),
    "expectations": no_operator(
        rnnjax.zoneout(rnnjax.lstm(3), 0.1, expectation=True),
        "zoneout with expectation=True, which mixes old and new states",
    ),
    "one's own cell": no_operator(
        rnnjax.lstm(3)._replace(form=None), "a cell or layer whose factory is unknown"
    ),
    "skip connections": no_operator(
        rnnjax.stack(rnnjax.gru(4), rnnjax.gru(4), skip=rnnjax.merge.add),
        "a stack with skip connections",
    ),
    "both ways of a stack": no_operator(
        rnnjax.bidirectional(rnnjax.stack(rnnjax.gru(4), rnnjax.gru(4))),
        "bidirectional around more than a cell",
    ),
}

FUNCTIONS = {
    "inside a cell": (
        exported(rnnjax.lstm(3, activation=jax.nn.gelu)),
        VALUE,
        "to_onnx: `layer` must have activations that ONNX's recurrent operators have, "
        f"got the function gelu; {PLAIN}",
    ),
    "of a dense layer": (
        exported(rnnjax.stack(rnnjax.lstm(3), rnnjax.dense(2, activation=own_activation))),
        VALUE,
        "to_onnx: `layers_1` must be a function that ONNX has, got the function own_activation; "
        f"use one of jax.nn such as jax.nn.relu; {INSTEAD}",
    ),
    "by itself": (
        lambda w: to_onnx(rnnjax.pointwise(own_activation), ()),
        VALUE,
        "to_onnx: `layer` must be a function that ONNX has, got the function own_activation; "
        f"use one of jax.nn such as jax.nn.relu; {INSTEAD}",
    ),
    "merge": (
        exported(rnnjax.bidirectional(rnnjax.lstm(3), merge=own_merge)),
        VALUE,
        "to_onnx: `layer` must merge both ways by concatenate, add, multiply or average, "
        f"got own_merge; {INSTEAD}",
    ),
}

WIDE = "give params in float32, or build it with dtype=jnp.float32."
DTYPES = {
    "computing in bfloat16": (
        exported(rnnjax.lstm(3, dtype=jnp.bfloat16)),
        TYPE,
        f"to_onnx: `layer` must compute in float32, got bfloat16; {WIDE}",
    ),
    "vectors in bfloat16": (
        exported(rnnjax.stack(rnnjax.embedding(5, 3, param_dtype=jnp.bfloat16), rnnjax.gru(3))),
        TYPE,
        f"to_onnx: `layers_0` must compute in float32, got bfloat16; {WIDE}",
    ),
    "carry": (
        exported(rnnjax.lstm(3, carry_dtype=jnp.bfloat16)),
        TYPE,
        "to_onnx: `layer` must keep its carry in float32, got bfloat16; "
        "build it without carry_dtype.",
    ),
}

ARGUMENTS = {
    "no layer": (
        lambda w: to_onnx("lstm", w.p),
        TYPE,
        "to_onnx: `layer` must be cells, layers or functions of the features, got str 'lstm'; "
        "build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like.",
    ),
    "params of another": (
        lambda w: onnx_report(w.gru, w.p),
        TYPE,
        "onnx_report: `params` must be GRUParams(w_ih, w_hh, b, b_hn), "
        "got LSTMParams(w_ih, w_hh, b); give what init made for this very cell or layer.",
    ),
    "params of another above a function": (
        lambda w: to_onnx(rnnjax.stack(jax.nn.relu, w.gru), ((), w.p)),
        TYPE,
        "to_onnx: `params` must be a tuple of 2 (an empty tuple, "
        "GRUParams(w_ih, w_hh, b, b_hn)), got a tuple of 2 (an empty tuple, "
        f"LSTMParams(w_ih, w_hh, b)); {INIT}",
    ),
    "too few params": (
        lambda w: to_onnx(rnnjax.stack(jax.nn.relu, w.gru), ((),)),
        TYPE,
        f"to_onnx: `params` must be from init, got a tuple of 1 (an empty tuple); {INIT}",
    ),
    "under jit": (
        lambda w: jax.jit(lambda p: to_onnx(w.gru, p))(w.p_gru),
        TYPE,
        "to_onnx: `params.w_ih` must be concrete, got a tracer; call to_onnx outside of jit.",
    ),
    "an embedding above": (
        lambda w: to_onnx(
            rnnjax.stack(jax.nn.relu, rnnjax.embedding(5, 3)),
            ((), random_params(rnnjax.embedding(5, 3), None)),
        ),
        VALUE,
        "to_onnx: `layers_1` must read what is not tokens, "
        "got an embedding above another layer; put it at the bottom.",
    ),
    "no flag": (
        lambda w: to_onnx(w.lstm, w.p, lengths=[3]),
        TYPE,
        "to_onnx: `lengths` must be True or False, got list [3]; give a bool.",
    ),
    "an old opset": (
        lambda w: to_onnx(w.lstm, w.p, opset=7),
        VALUE,
        "to_onnx: `opset` must be at least 14, got 7; the operators differ in older ones.",
    ),
    "no path": (
        lambda w: save(3, b"program"),
        TYPE,
        'save: `path` must be a path, got int 3; give one such as "model.onnx".',
    ),
    "nothing to save": (
        lambda w: save("x.onnx", w.p.b),
        TYPE,
        "save: `program` must be a model of ONNX or bytes, got float32 of shape (20,); "
        "give what to_onnx or to_stablehlo returns.",
    ),
}

OTHER = "leave it out, or give rnnjax.Fused() with num_steps and batch."
STABLEHLO = {
    "platform": (
        lambda w: to_stablehlo(w.lstm, w.p, platform="gpu"),
        VALUE,
        "to_stablehlo: `platform` must be one of ['cpu', 'cuda', 'rocm', 'tpu'], got 'gpu'; "
        "choose one of these.",
    ),
    "our library": (
        lambda w: to_stablehlo(w.lstm, w.p, method=rnnjax.Native()),
        VALUE,
        "to_stablehlo: `method` must run without the library of rnnjax, got Native(); " + OTHER,
    ),
    "a method that must know T": (
        lambda w: to_stablehlo(w.lstm, w.p, method=rnnjax.Fused()),
        VALUE,
        "to_stablehlo: `method` must serve any T and B, "
        "got Fused(keep_gates=True, segment=None); "
        "give num_steps and batch, or leave the method out.",
    ),
    "a method that cannot serve": (
        lambda w: to_stablehlo(w.lstm, w.p, method=rnnjax.Linear(), num_steps=3, batch=2),
        VALUE,
        f"to_stablehlo: `method` must serve this call, got {NO_LINEAR}",
    ),
    "a method of first derivatives": (
        lambda w: to_stablehlo(
            w.lstm, w.p, method=rnnjax.Fused(), num_steps=3, batch=2, vjp_order=2
        ),
        VALUE,
        "to_stablehlo: `vjp_order` must be at most 1 with method=Fused(keep_gates=True, "
        "segment=None), got 2; give method=rnnjax.Scan().",
    ),
    "no method": (
        lambda w: to_stablehlo(w.lstm, w.p, method="scan"),
        TYPE,
        "to_stablehlo: `method` must be a method, got 'scan'; "
        "give a value such as Scan(unroll=1) or Chunked(size=128).",
    ),
    "sizes of space left open": (
        lambda w: to_stablehlo(*conv()),
        VALUE,
        "to_stablehlo: `in_shape` must be given where params leave it open, (any, 4), got None; "
        "give one such as (28, 28, 1).",
    ),
    "a width left open": (
        lambda w: to_stablehlo(rnnjax.pointwise(jnp.tanh), ()),
        VALUE,
        "to_stablehlo: `in_shape` must be given where params leave it open, (any), got None; "
        "give one such as (3,).",
    ),
    "another width": (
        lambda w: to_stablehlo(*conv(), in_shape=(5, 3)),
        VALUE,
        "to_stablehlo: `in_shape` must fit the params, (any, 4), got (5, 3); "
        "give the sizes of the axes behind time and batch, such as (28, 28, 1).",
    ),
    "no tuple": (
        lambda w: to_stablehlo(w.lstm, w.p, in_shape=4),
        TYPE,
        "to_stablehlo: `in_shape` must be a tuple, got int 4; "
        "give the sizes of the axes behind time and batch, such as (28, 28, 1).",
    ),
    "no steps": (
        lambda w: to_stablehlo(w.lstm, w.p, num_steps=0),
        VALUE,
        "to_stablehlo: `num_steps` must be at least 1, got 0; "
        "give the width or count that is meant.",
    ),
    "a dtype": (
        lambda w: to_stablehlo(w.lstm, w.p, dtype=jnp.int32),
        TYPE,
        "to_stablehlo: `dtype` must be a floating dtype, got int32; give one such as jnp.float32.",
    ),
}


def conv():
    cell = rnnjax.conv_lstm(3, kernel_size=(3,))
    return cell, random_params(cell, 4)


BAD = table(cell=CELLS, function=FUNCTIONS, dtype=DTYPES, argument=ARGUMENTS, stablehlo=STABLEHLO)


@pytest.mark.parametrize("name", BAD)
def test_refused_in_one_sentence(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    check_refused(BAD[name])


def test_more_weights_than_a_file_holds(monkeypatch):
    monkeypatch.setattr("rnnjax.export.onnx_model.LARGEST", 100)
    message = "to_onnx: `params` must fit into the 2 GiB of one ONNX file, got 0.0 GiB; "
    check_refused((exported(rnnjax.lstm(3)), VALUE, f"{message}give fewer weights; {INSTEAD}"))


def test_an_opset_of_the_future():
    message = (
        f"to_onnx: `opset` must be known to onnx {onnx.__version__}, got 999; "
        "install a newer onnx, or leave it out for 17."
    )
    check_refused((exported(rnnjax.lstm(3), opset=999), VALUE, message))


def test_without_onnx_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    onnx_report(world().lstm, world().p)
    with pytest.raises(ImportError) as caught:
        to_onnx(world().lstm, world().p)
    assert str(caught.value) == "to_onnx: onnx is not installed; pip install rnnjax[export]."


def test_without_flatbuffers_it_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("jax._src.export.serial")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError) as caught:
        to_stablehlo(world().gru, world().p_gru)
    message = "to_stablehlo: flatbuffers is not installed; pip install rnnjax[export]."
    assert str(caught.value) == message

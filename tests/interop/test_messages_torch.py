"""What cannot come from PyTorch or go there, and what the user is told; without PyTorch."""

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop.torch_data import KINDS, ORDER, Scaled, model, model_there, state, there, zeros
from messages import TYPE, VALUE, check_refused_by_name, table

import rnnjax
from rnnjax import nnx
from rnnjax.interop import rnnjax_to_torch, torch_to_rnnjax

OWN = Scaled.__module__
FROM = {
    "nonlinearity of a GRU": (
        lambda: torch_to_rnnjax(state(gates=3), nonlinearity="relu"),
        VALUE,
        "nonlinearity` must be None where no layer is elman, got str 'relu'; leave it out.",
    ),
    "no mapping": (
        lambda: torch_to_rnnjax([zeros(2)]),
        TYPE,
        "source` must be a mapping, got list [array([0., 0.], dtype=float32)]; give names and "
        "arrays, such as a state dict.",
    ),
    "whole numbers": (
        lambda: torch_to_rnnjax(state() | {"weight_ih_l0": np.zeros((16, 3), int)}),
        TYPE,
        "source['weight_ih_l0']` must be an array of floats, got int64 of shape (16, 3); give the "
        "array of weights itself.",
    ),
    "nothing": (
        lambda: torch_to_rnnjax({}),
        VALUE,
        "source['weight_ih_l0']` must be there, got nothing more; give all arrays of the network.",
    ),
    "one bias": (
        lambda: torch_to_rnnjax({k: a for k, a in state().items() if k != "bias_hh_l0"}),
        VALUE,
        "source['bias_hh_l0']` must be there, got nothing more; give all arrays of the network.",
    ),
    "too many": (
        lambda: torch_to_rnnjax(state() | {"norm.weight": zeros(3)}),
        VALUE,
        "source['norm.weight']` must belong to the network, got (3,); leave it out, or convert "
        "the part it belongs to by itself.",
    ),
    "a gap in the layers": (
        lambda: torch_to_rnnjax(state() | state(below=4, end="_l2")),
        VALUE,
        "source['bias_hh_l2']` must belong to the network, got (16,); leave it out, or convert "
        "the part it belongs to by itself.",
    ),
    "a layer that reads another width": (
        lambda: torch_to_rnnjax(state() | state(below=5, end="_l1")),
        VALUE,
        "source['weight_ih_l1']` must have shape (any, 4), got (16, 5); give the arrays of one "
        "network as they are.",
    ),
    "two gates": (
        lambda: torch_to_rnnjax(state(gates=2)),
        VALUE,
        "source['weight_ih_l0']` must have 4, 3 or 1 times 4 rows, got 8; give an LSTM, a GRU or "
        "a simple RNN.",
    ),
    "an unknown nonlinearity": (
        lambda: torch_to_rnnjax(state(gates=1)),
        VALUE,
        "nonlinearity` must be 'tanh' or 'relu' for an nn.RNN, got None; its weights do not tell: "
        "look at the module's constructor.",
    ),
    "another nonlinearity": (
        lambda: torch_to_rnnjax(state(gates=1), nonlinearity="sigmoid"),
        VALUE,
        "nonlinearity` must be one of ['tanh', 'relu'], got 'sigmoid'; choose one of these.",
    ),
    "another prefix": (
        lambda: torch_to_rnnjax(model(), prefix="decoder"),
        VALUE,
        "prefix` must begin names of the state dict, got 'decoder'; there are ['lstm'].",
    ),
    "a dtype that is off": (
        lambda: torch_to_rnnjax(state(), dtype="float64"),
        VALUE,
        "dtype` must be of a dtype that JAX has switched on, got float64; call "
        'jax.config.update("jax_enable_x64", True), or give dtype="float32".',
    ),
    "a prefix that is none": (
        lambda: torch_to_rnnjax(state(), prefix=5),
        TYPE,
        'prefix` must be a name, got int 5; such as "encoder.gru".',
    ),
    "a name twice": (
        lambda: torch_to_rnnjax({"a": {"weight_ih_l0": zeros(16, 3)}, "a.weight_ih_l0": zeros(2)}),
        VALUE,
        "source` must name every array once, got 'a.weight_ih_l0' twice; its names are joined by "
        "dots: rename one of them.",
    ),
    "a name twice below a prefix": (
        lambda: torch_to_rnnjax({"a": state(), "a.bias_ih_l0": zeros(2)}, prefix="a"),
        VALUE,
        "source` must name every array once, got 'a.bias_ih_l0' twice; its names are joined by "
        "dots: rename one of them.",
    ),
    "a module of one's own": (
        lambda: torch_to_rnnjax(Scaled(state())),
        TYPE,
        "source` must be a recurrent module of torch.nn itself, got a Scaled of "
        f"{OWN}; give its state_dict() if its forward is the usual one, or a whole model "
        "with prefix= or order=.",
    ),
    "a module of one's own within": (
        lambda: torch_to_rnnjax(Scaled(state(start="gru.")), prefix="gru"),
        TYPE,
        "source['gru']` must be a recurrent module of torch.nn itself, got a Scaled of "
        f"{OWN}; give its state_dict() if its forward is the usual one, or a whole model "
        "with prefix= or order=.",
    ),
    "a module of one's own in order": (
        lambda: torch_to_rnnjax(Scaled(state(start="gru.")), order=["gru"]),
        VALUE,
        "order['gru']` must be a module of torch.nn itself, got a Scaled of "
        f"{OWN}; give the state_dict() if its forward is the usual one.",
    ),
    "one name": (
        lambda: torch_to_rnnjax(model(), order="lstm"),
        TYPE,
        "order` must be names of parts from bottom to top, got str 'lstm'; such as "
        '("embed", "lstm", "head").',
    ),
    "a part without weights": (
        lambda: torch_to_rnnjax(model(), order=("embed", "drop", "lstm", "head")),
        VALUE,
        "order['drop']` must begin names of weights, got 'drop'; arrays tell of ['embed', 'head', "
        "'lstm']: leave out what has none.",
    ),
    "a table alone": (
        lambda: torch_to_rnnjax({"embed.weight": zeros(9, 3)}, order=["embed"]),
        VALUE,
        "order['embed']` must be an Embedding or a Linear without bias, by its shape, got (9, 3) "
        "below no features; both would fit: give the module instead.",
    ),
    "a part too few": (
        lambda: torch_to_rnnjax(model(), order=("embed", "lstm")),
        VALUE,
        "source['head.bias']` must belong to the network, got (2,); leave it out, or convert the "
        "part it belongs to by itself.",
    ),
    "an embedding that could be linear": (
        lambda: torch_to_rnnjax(model(**{"embed.weight": zeros(3, 3)}), order=ORDER),
        VALUE,
        "order['embed']` must be an Embedding or a Linear without bias, by its shape, got (3, 3) "
        "below 3 features; both would fit: give the module instead.",
    ),
    "an embedding of another width": (
        lambda: torch_to_rnnjax(model(**{"embed.weight": zeros(9, 5)}), order=ORDER),
        VALUE,
        "order['embed']` must be an Embedding or a Linear without bias, by its shape, got (9, 5) "
        "below 3 features; neither fits: name the parts from bottom to top.",
    ),
    "a head of another width": (
        lambda: torch_to_rnnjax(model(**{"head.weight": zeros(2, 7)}), order=ORDER),
        VALUE,
        "source['head.weight']` must have shape (any, 4), got (2, 7); give the arrays of one "
        "network as they are.",
    ),
}
TO = {
    "no layer": (
        lambda: rnnjax_to_torch("lstm", ()),
        TYPE,
        "layer` must be a cell or a layer, got str 'lstm'; give what made the params, such as "
        "rnnjax.lstm(8).",
    ),
    "another cell": (
        lambda: there(rnnjax.peephole_lstm(4)),
        VALUE,
        "layer` must be one of ['lstm', 'projected_lstm', 'gru', 'elman'], got peephole_lstm; "
        "convert it by hand.",
    ),
    "reset before": (
        lambda: there(rnnjax.gru(4, reset="before")),
        VALUE,
        "layer` must reset after the product, got reset='before'; no weights make it equal.",
    ),
    "other gates": (
        lambda: there(rnnjax.lstm(4, gate_activation=jax.nn.hard_sigmoid)),
        VALUE,
        "layer` must have sigmoid gates and tanh, as there, got another gate_activation; train "
        "with the usual ones.",
    ),
    "another nonlinearity": (
        lambda: there(rnnjax.elman(4, activation=jnp.sin)),
        VALUE,
        "layer` must have tanh or relu, got another activation; train with one of these.",
    ),
    "backwards": (
        lambda: there(rnnjax.recurrent(rnnjax.lstm(4), reverse=True)),
        VALUE,
        "layer` must read forwards, got reverse=True; make it bidirectional, or turn the sequence "
        "around yourself.",
    ),
    "a sum of directions": (
        lambda: there(rnnjax.bidirectional(rnnjax.lstm(4), merge=rnnjax.merge.add)),
        VALUE,
        "layer` must concatenate its directions, got add; merge after it.",
    ),
    "layers that differ": (
        lambda: there(rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(5))),
        VALUE,
        "layer.layers_1` must be of one kind, width and direction with layers_0, got lstm; name "
        'a module for each, such as order=("embed", "lstm", "head").',
    ),
    "another number of names": (
        lambda: model_there(("embed", "head")),
        VALUE,
        "order` must hold 4 names or 3, got 2; the parts are embedding, lstm, lstm, dense; levels "
        "of one module may have its name in a row.",
    ),
    "a name apart": (
        lambda: model_there(("a", "lstm", "lstm", "a")),
        VALUE,
        "order` must name a module once, got 'a'; levels of one module stand in a row.",
    ),
    "one name for unlike parts": (
        lambda: model_there(("lstm", "lstm", "lstm", "head")),
        VALUE,
        f"layer.layers_0` must be one of {KINDS}, got embedding; convert it by hand.",
    ),
    "no names": (
        lambda: model_there("embed"),
        TYPE,
        "order` must be names of modules from bottom to top, got str 'embed'; such as "
        'order=("embed", "lstm", "head").',
    ),
    "a function that has no module": (
        lambda: rnnjax_to_torch(rnnjax.pointwise(jnp.sin), (), order=["sin"]),
        VALUE,
        "layer` must apply one of ['ReLU', 'Tanh', 'Sigmoid', 'SiLU', 'Softsign'], got the "
        "function sin; apply it after the module.",
    ),
    "a head": (
        lambda: there(rnnjax.stack(rnnjax.lstm(4), rnnjax.dense(2))),
        VALUE,
        "layer.layers_1` must be recurrent without order=, got dense; name the modules of the "
        'model, such as order=("embed", "lstm", "head").',
    ),
    "a stack both ways": (
        lambda: there(rnnjax.bidirectional(rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(4)))),
        VALUE,
        f"layer` must be one of {KINDS}, got bidirectional around more than a cell; convert it "
        "by hand.",
    ),
    "skip connections": (
        lambda: there(rnnjax.stack(rnnjax.lstm(3), rnnjax.lstm(3), skip=jnp.add)),
        VALUE,
        f"layer` must be one of {KINDS}, got a stack with skip connections; convert it by hand.",
    ),
    "expected zoneout": (
        lambda: there(rnnjax.zoneout(rnnjax.lstm(4), 0.1, expectation=True)),
        VALUE,
        f"layer` must be one of {KINDS}, got zoneout with expectation=True, which mixes old and "
        "new states; convert it by hand.",
    ),
    "norms": (
        lambda: there(rnnjax.layer_norm_lstm(4)),
        VALUE,
        f"layer` must be one of {KINDS}, got layer_norm_lstm, which normalises inside its gates; "
        "convert it by hand.",
    ),
    "a cell of one's own": (
        lambda: there(rnnjax.lstm(4)._replace(output_is_h=False)),
        VALUE,
        f"layer` must be one of {KINDS}, got a cell or layer whose factory is unknown; convert it "
        "by hand.",
    ),
    "a module of NNX": (
        lambda: rnnjax_to_torch(nnx.LSTM(3, 4, rngs=flax.nnx.Rngs(0)), None),
        TYPE,
        "layer` must be a cell or a layer, got a LSTM; give module.layer, and "
        "module.functional_params() as the params.",
    ),
    "a wide projection": (
        lambda: there(rnnjax.projected_lstm(4, out_features=4)),
        VALUE,
        "layer` must have out_features below 4, as PyTorch asks for, got 4; make it narrower.",
    ),
}
CASES = table(torch_to_rnnjax=FROM, rnnjax_to_torch=TO)


@pytest.mark.parametrize("name", CASES)
def test_refused(name):
    check_refused_by_name(name, CASES)

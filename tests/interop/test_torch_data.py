"""PyTorch from plain data and back: modules, notes, whole models, files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interop.torch_data import ORDER, model, model_there, state, there, zeros
from registry import random_params

import rnnjax
from rnnjax.interop import rnnjax_to_torch, torch_to_rnnjax


class RNN(dict):
    """A module, as far as the converter looks."""

    __module__ = "torch.nn.modules.rnn"
    nonlinearity, batch_first, dropout = "relu", True, 0.25

    def state_dict(self):
        return dict(self)


def test_a_module_that_says_otherwise():
    with pytest.raises(ValueError) as caught:
        torch_to_rnnjax(RNN(state(gates=1)), nonlinearity="tanh")
    assert str(caught.value) == (
        "torch_to_rnnjax: `nonlinearity` must be 'relu' as in the module, got tanh; leave it out."
    )


def test_notes():
    assert torch_to_rnnjax(RNN(state())).report.notes == (
        "batch_first=True there; here time is first",
        "without dropout 0.25 between layers, which is off at inference",
    )
    layer = rnnjax.stack(rnnjax.lstm(4, learned_carry=True), rnnjax.lstm(4), dropout=0.5)
    assert there(layer).report.notes == (
        "layers_0: without dropout 0.5 between layers, which is off at inference",
        "layers_1: without dropout 0.5 between layers, which is off at inference",
        "layers_0: the learned initial carry has no place there; give layer.init_carry(params, x) "
        "as the initial state",
    )


def test_a_prefix_of_nested_names():
    nested = {"net": {"gru": state(gates=3), "count": np.zeros(1, int)}}
    assert torch_to_rnnjax(nested, prefix="net.gru").params[0].b_hn.shape == (4,)


def test_a_model_from_its_names():
    params = torch_to_rnnjax(model(), order=ORDER).params
    assert [type(p).__name__ for p in params] == ["EmbeddingParams", "LSTMParams", "DenseParams"]
    linear = model(**{"embed.weight": zeros(3, 9)})
    params = torch_to_rnnjax(linear, order=ORDER).params
    assert params[0].w.shape == (9, 3) and params[0].b is None


def test_what_arrays_do_not_tell_is_noted():
    source = model() | {"top.weight": zeros(3, 2)}
    assert torch_to_rnnjax(source, order=(*ORDER, "top")).report.notes == (
        "embed: taken for an Embedding; arrays do not tell it from an EmbeddingBag",
        "top: follows straight on a Linear; arrays do not tell of an activation between them",
    )


LAYERS = {
    "embed": lambda: rnnjax.embedding(9, 3),
    "lstm": lambda: rnnjax.bidirectional(rnnjax.lstm(4)),
    "lstm again": lambda: rnnjax.bidirectional(rnnjax.lstm(4)),
    "gru": lambda: rnnjax.gru(5),
    "head": lambda: rnnjax.dense(2),
}


@pytest.mark.parametrize(
    "order",
    [
        ("embed", "lstm", "gru", "head"),
        ("embed", "lstm", "lstm", "gru", "head"),
        ("net.embed", "a", "b", "c", "head"),
    ],
)
def test_a_model_there_and_back(order):
    layer = rnnjax.stack(*(make() for make in LAYERS.values()))
    params = random_params(layer, None)
    there = rnnjax_to_torch(layer, params, order=order)
    names = tuple(dict.fromkeys(order))
    assert tuple(there.options) == names
    assert [made["module"] for made in there.options.values()] == [
        "Embedding",
        *["LSTM"] * (len(names) - 3),
        "GRU",
        "Linear",
    ]
    again = torch_to_rnnjax(there.weights, order=names)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again.params, params)
    back = rnnjax_to_torch(again.layer, again.params, order=order)
    assert back.options == there.options
    assert list(back.weights) == list(there.weights)
    jax.tree.map(np.testing.assert_array_equal, back.weights, there.weights)


def test_layers_that_differ_and_activations_have_modules_of_their_own():
    top = rnnjax.dense(2, activation=jnp.tanh, bias=False)
    layer = rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(5), rnnjax.pointwise(jax.nn.relu), top)
    there = rnnjax_to_torch(layer, random_params(layer, 3), order=("a", "b", "act", "head", "end"))
    assert {n: o["module"] for n, o in there.options.items()} == {
        "a": "LSTM",
        "b": "LSTM",
        "act": "ReLU",
        "head": "Linear",
        "end": "Tanh",
    }
    assert there.options["head"] == {
        "module": "Linear",
        "in_features": 5,
        "out_features": 2,
        "bias": False,
    }
    assert {name.partition(".")[0] for name in there.weights} == {"a", "b", "head"}


def test_arrays_that_pytorch_may_write_to():
    for array in model_there(("embed", "lstm", "head")).weights.values():
        assert array.flags.writeable and array.flags.c_contiguous


def test_a_bias_that_is_made_is_noted():
    layer = rnnjax.stack(rnnjax.lstm(4, bias=False), rnnjax.lstm(4))
    assert there(layer).report.notes == ("layers_0: has no bias; there it is zero, and trained",)


def test_a_file(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    safetensors.save_file(model(**{"head.bias": np.ones(2, "float32")}), path)
    for source in (path, str(path)):
        np.testing.assert_array_equal(torch_to_rnnjax(source, order=ORDER).params[2].b, np.ones(2))
    with pytest.raises(FileNotFoundError):
        torch_to_rnnjax(tmp_path / "none")

"""Whole models of PyTorch from one call, and modules in half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.interop import rnnjax_to_torch, torch_to_rnnjax

torch = pytest.importorskip("torch", reason='PyTorch is missing: pip install -e ".[parity]"')

ORDER = ("embed", "drop", "lstm", "gru", "act", "head")


class Tagger(torch.nn.Module):
    """Embedding, two kinds of recurrent modules, and a head."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 5, padding_idx=0)
        self.drop = torch.nn.Dropout(0.3)
        self.lstm = torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True, dropout=0.2)
        self.gru = torch.nn.GRU(8, 3, batch_first=False, bias=False)
        self.act = torch.nn.ReLU()
        self.head = torch.nn.Linear(3, 2)

    def forward(self, tokens):
        ys = self.gru(self.lstm(self.drop(self.embed(tokens)))[0])[0]
        return self.head(self.act(ys))


class SimpleGRU(torch.nn.Module):
    """Of the founding texts."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(input_size=3, hidden_size=5)

    def forward(self, xs, hidden=None):
        return self.gru(xs, hidden)


def test_a_model_by_its_parts():
    torch.manual_seed(0)
    model = Tagger().eval()
    tokens = np.random.default_rng(1).integers(0, 11, size=(6, 2))
    layer, params, report = torch_to_rnnjax(model, order=ORDER)
    with torch.no_grad():
        wanted = model(torch.from_numpy(tokens)).numpy()
    _, ys = layer.apply(params, tokens)
    np.testing.assert_allclose(ys, wanted, rtol=1e-6, atol=1e-6)
    assert len(report.rows) == len(model.state_dict())
    assert report.notes == (
        "embed: padding_idx changes gradients only; its vector comes along",
        "drop: without Dropout 0.3, which is off at inference",
        "lstm: without dropout 0.2 between layers, which is off at inference",
    )
    # Under a name, as a part of something larger.
    outer = torch.nn.ModuleDict({"tagger": model})
    again = torch_to_rnnjax(outer, prefix="tagger", order=ORDER)
    np.testing.assert_array_equal(again.params[0].w, params[0].w)


def test_a_state_dict_by_the_names_of_its_parts():
    model = Tagger().eval()
    order = tuple(name for name in ORDER if name not in ("drop", "act"))
    layer, params, report = torch_to_rnnjax(model.state_dict(), order=order)
    tokens = np.random.default_rng(1).integers(0, 11, size=(6, 2))
    model.act = torch.nn.Identity()
    with torch.no_grad():
        wanted = model(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(layer.apply(params, tokens)[1], wanted, rtol=1e-6, atol=1e-6)
    assert report.rows[0].target == "layers_0.w" and report.rows[-1].target == "layers_4.b"


def test_the_gru_of_the_founding_texts():
    torch.manual_seed(0)
    model = SimpleGRU()
    xs = np.random.default_rng(1).normal(size=(7, 2, 3)).astype("float32")
    hidden = np.random.default_rng(2).normal(size=(1, 2, 5)).astype("float32")
    with torch.no_grad():
        outputs, last = model(torch.from_numpy(xs), torch.from_numpy(hidden))
    for source in (model, model.state_dict()):
        layer, params, _ = torch_to_rnnjax(source, prefix="gru")
        (begin,) = layer.init_carry(params, xs[0])
        carry, ys = layer.apply(params, xs, (begin._replace(h=jnp.asarray(hidden[0])),))
        np.testing.assert_allclose(ys, outputs.numpy(), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(carry[0].h, last[0].numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_its_bits(dtype):
    module = torch.nn.GRU(3, 4).to(getattr(torch, dtype))
    layer, params, _ = torch_to_rnnjax(module)
    assert params[0].w_ih.dtype == dtype
    wanted = module.weight_ih_l0.detach().float().numpy().T
    np.testing.assert_array_equal(params[0].w_ih.astype("float32"), wanted)
    xs = np.random.default_rng(1).normal(size=(5, 2, 3)).astype("float32")
    single = torch_to_rnnjax(module, dtype="float32")
    with torch.no_grad():
        outputs, _ = torch.nn.GRU.float(module)(torch.from_numpy(xs))
    # One bias is rounded once where there were two.
    close = {"rtol": 2e-2, "atol": 2e-2}
    np.testing.assert_allclose(single.layer.apply(single.params, xs)[1], outputs.numpy(), **close)


@pytest.mark.parametrize(
    "change, message",
    {
        "max_norm": (
            lambda model: setattr(model.embed, "max_norm", 2.0),
            "torch_to_rnnjax: `order['embed']` must have no max_norm, got 2.0; scale its weight "
            "once, and take max_norm off.",
        ),
        "another module": (
            lambda model: setattr(model, "act", torch.nn.LayerNorm(3)),
            "torch_to_rnnjax: `order['act']` must be one of ['LSTM', 'GRU', 'RNN', 'Embedding', "
            "'Linear', 'ReLU', 'Tanh', 'Sigmoid', 'SiLU', 'Softsign', 'Dropout'], got LayerNorm; "
            "convert the parts around it.",
        ),
        "no such part": (
            lambda model: delattr(model, "act"),
            "torch_to_rnnjax: `order['act']` must be a part of the module, got no such name; "
            "there are ['embed', 'drop', 'lstm', 'gru', 'head'].",
        ),
    }.values(),
)
def test_parts_that_have_no_equal(change, message):
    model = Tagger()
    change(model)
    with pytest.raises(ValueError) as caught:
        torch_to_rnnjax(model, order=ORDER)
    assert str(caught.value) == message


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_goes_back_by_its_order(dtype):
    torch.manual_seed(0)
    model = Tagger().to(getattr(torch, dtype))
    order = tuple(name for name in ORDER if name != "drop")
    layer, params, _ = torch_to_rnnjax(model, order=order)
    there = rnnjax_to_torch(layer, params, order=order)
    assert {name: made["module"] for name, made in there.options.items()} == {
        name: type(model.get_submodule(name)).__name__ for name in order
    }
    single = lambda array: torch.from_numpy(array.astype("float32")).to(getattr(torch, dtype))
    other = Tagger().to(getattr(torch, dtype))
    other.load_state_dict(
        {name: single(array) for name, array in there.weights.items()}
        if dtype == "bfloat16"
        else {name: torch.from_numpy(array) for name, array in there.weights.items()}
    )
    again = torch_to_rnnjax(other, order=order)
    jax.tree.map(np.testing.assert_array_equal, again.params, params)
    if dtype == "float32":
        tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 11, size=(6, 2)))
        with torch.no_grad():
            wanted, got = model.eval()(tokens), other.eval()(tokens)
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-6, atol=1e-6)


def test_a_module_with_a_forward_of_its_own():
    class Scaled(torch.nn.GRU):
        def forward(self, *args):
            ys, last = super().forward(*args)
            return 2 * ys, last

    with pytest.raises(TypeError, match="a recurrent module of torch.nn itself, got a Scaled of"):
        torch_to_rnnjax(Scaled(3, 4))
    with pytest.raises(ValueError, match="a module of torch.nn itself, got a Scaled of"):
        torch_to_rnnjax(torch.nn.Sequential(Scaled(3, 4)), order=["0"])
    assert torch_to_rnnjax(Scaled(3, 4).state_dict()).params[0].w_ih.shape == (3, 12)

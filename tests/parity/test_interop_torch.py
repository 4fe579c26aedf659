"""PyTorch's modules here and back: equal outputs, and the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.interop import rnnjax_to_torch, torch_to_rnnjax

torch = pytest.importorskip("torch", reason='PyTorch is missing: pip install -e ".[parity]"')

KINDS = {"LSTM": {}, "GRU": {}, "tanh": {"nonlinearity": "tanh"}, "relu": {"nonlinearity": "relu"}}
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


@st.composite
def modules(draw):
    """A module with random numbers in every leaf, in either precision."""
    kind = draw(st.sampled_from([*KINDS, "projected"]))
    width = draw(st.integers(2, 5))
    options = dict(KINDS.get(kind, {}))
    if kind == "projected":
        options["proj_size"] = draw(st.integers(1, width - 1))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    make = getattr(torch.nn, {"LSTM": "LSTM", "GRU": "GRU", "projected": "LSTM"}.get(kind, "RNN"))
    module = make(
        draw(st.integers(1, 6)),
        width,
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        bias=draw(st.booleans()),
        dtype=getattr(torch, dtype),
        **options,
    )
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.from_numpy(rng.normal(size=tuple(tensor.shape)) / 2))
    return module, dtype


@pytest.mark.usefixtures("x64")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@settings(max_examples=25, deadline=None)
@given(modules())
def test_outputs_are_equal_and_weights_come_back(case):
    module, dtype = case
    layer, params, _ = torch_to_rnnjax(module)
    xs = np.random.default_rng(1).normal(size=(4, 2, module.input_size)).astype(dtype)
    with torch.no_grad():
        wanted, states = module(torch.from_numpy(xs))
    with jax.disable_jit():
        carry, ys = layer.apply(params, xs)
    assert ys.dtype == dtype
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(ys, wanted.numpy(), **close)
    there = rnnjax_to_torch(layer, params)
    for state, name in zip(states if isinstance(states, tuple) else (states,), "hc", strict=False):
        ours = [np.reshape(getattr(c, name), (-1, 2, state.shape[-1])) for c in carry]
        np.testing.assert_allclose(np.concatenate(ours), state.numpy(), **close)
    # What comes back is the same function in one bias, and from then on the same bits.
    again = torch_to_rnnjax(there.weights, nonlinearity=getattr(module, "nonlinearity", None))
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.array_equal(a, b), params, again.params))
    for name in ("weight_ih_l0", "weight_hh_l0"):
        np.testing.assert_array_equal(there.weights[name], module.state_dict()[name].numpy())

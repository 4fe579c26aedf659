"""The PyTorch module of the course's text runs here with equal outputs."""

import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import torch_to_rnnjax

torch = pytest.importorskip("torch", reason='PyTorch is missing: pip install -e ".[parity]"')


class SimpleGRU(torch.nn.Module):
    """As in the text: a GRU of 3 inputs and 5 units, time first."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(input_size=3, hidden_size=5)

    def forward(self, x, hidden=None):
        return self.gru(x, hidden)


@pytest.mark.parametrize("source", ["module", "state dict"])
def test_the_simple_gru_loads(source):
    torch.manual_seed(0)
    model = SimpleGRU()
    weights = model if source == "module" else {k: v.numpy() for k, v in model.state_dict().items()}
    layer, params, _ = torch_to_rnnjax(weights, prefix="gru")
    rng = np.random.default_rng(0)
    x, hidden = (rng.normal(size=s).astype("float32") for s in ((7, 2, 3), (1, 2, 5)))
    for start in (None, hidden):
        with torch.no_grad():
            output, final = model(
                torch.from_numpy(x), None if start is None else torch.from_numpy(start)
            )
        carry = None if start is None else (rnnjax.GRUCarry(jnp.asarray(start[0])),)
        (last,), ys = layer.apply(params, x, carry)
        np.testing.assert_allclose(ys, output.numpy(), atol=1e-6)
        np.testing.assert_allclose(last.h, final[0].numpy(), atol=1e-6)

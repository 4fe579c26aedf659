"""What the native loops do not serve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.methods.native import library

FEATURES = 3
reason = library.why_not_loaded()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"Native: {reason}")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_dtypes_are_refused_by_name_and_served_by_fused(dtype):
    cell = rnnjax.lstm(4, dtype=dtype)
    params, xs = cell.init(jax.random.key(0), FEATURES), jnp.ones((3, 2, FEATURES))
    with pytest.raises(ValueError, match=rf"float32, and here is {np.dtype(dtype).name}"):
        rnnjax.unroll(cell, params, xs, method=rnnjax.Native())
    assert rnnjax.explain(cell, params, xs).method == rnnjax.Fused()


def test_other_activations_are_refused():
    cell = rnnjax.elman(4, activation=jnp.sin)
    params, xs = cell.init(jax.random.key(0), FEATURES), jnp.ones((3, 2, FEATURES))
    with pytest.raises(ValueError, match="jnp.tanh and jax.nn.relu"):
        rnnjax.unroll(cell, params, xs, method=rnnjax.Native())

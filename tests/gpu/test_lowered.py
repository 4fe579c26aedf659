"""Programs for CUDA have the kernels, and those for CPU have none; on a machine without a GPU."""

import cuda
import jax
import jax.numpy as jnp
import pytest
import registry

import rnnjax
from rnnjax.methods.gpu import call

T, B, D = 5, 3, 4
SEVERAL = rnnjax.PallasGPU(multiprocessors=108)

# Layer, method and dtype: programs of every kind that is claimed.
CASES = {
    "lstm": (rnnjax.recurrent(rnnjax.lstm(6)), rnnjax.PallasGPU(), jnp.float32),
    "gru, bfloat16": (rnnjax.recurrent(rnnjax.gru(100)), rnnjax.PallasGPU(), jnp.bfloat16),
    "both ways": (rnnjax.bidirectional(rnnjax.gru(20)), rnnjax.PallasGPU(), jnp.float32),
    "heads": (
        rnnjax.recurrent(rnnjax.multihead_lstm(96, num_heads=3)),
        rnnjax.PallasGPU(),
        jnp.float32,
    ),
    "slices": (rnnjax.recurrent(rnnjax.lstm(300)), SEVERAL, jnp.bfloat16),
    "slices of heads": (
        rnnjax.recurrent(rnnjax.multihead_gru(400, num_heads=2)),
        SEVERAL,
        jnp.float32,
    ),
}


def graded(layer, method, dtype):
    params = jax.tree.map(lambda a: a.astype(dtype), registry.random_params(layer, D))
    xs = registry.inputs(T, B, D, dtype=dtype)
    run = lambda params, xs: layer.apply(params, xs, method=method)[1]
    loss = lambda *point: run(*point).astype(jnp.float32).sum()
    return jax.grad(loss, argnums=(0, 1)), params, xs


@pytest.mark.parametrize("name", CASES)
def test_a_program_for_cuda_has_the_kernels_and_one_for_cpu_has_none(name):
    function, *point = graded(*CASES[name])
    # Forward and back, each with both directions.
    assert cuda.lowered(function, *point).count(cuda.KERNEL) == 2
    assert cuda.KERNEL not in jax.jit(function).lower(*point).as_text()


def test_exact_products_are_asked_for_as_three_of_tf32():
    assert call.precision_of(jnp.float32) is None
    with jax.default_matmul_precision("highest"):
        assert call.precision_of(jnp.float32) == jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3
        assert call.precision_of(jnp.bfloat16) is None

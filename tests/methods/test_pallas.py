"""What holds of the kernels of both, TPU and GPU, where neither is: see `test_tpu`, `test_gpu`."""

import functools

import compare
import jax
import numpy as np
import pytest
import registry

import rnnjax

T, B, D, H = 5, 3, 4, 6
TPU, GPU = rnnjax.PallasTPU(), rnnjax.PallasGPU()
CASES = {
    "lstm, tpu": (TPU, rnnjax.lstm(H)),
    "gru, tpu": (TPU, rnnjax.gru(H)),
    "lru, tpu": (TPU, rnnjax.lru(H)),
    "gru of heads, gpu": (GPU, rnnjax.multihead_gru(H, num_heads=2)),
}
METHODS = pytest.mark.parametrize("method", [TPU, GPU], ids=["TPU", "GPU"])


def point_of(cell):
    return registry.random_params(cell, D), registry.inputs(T, B, D)


@pytest.mark.parametrize("name", CASES)
def test_they_are_the_scan(name):
    method, cell = CASES[name]
    params, xs = point_of(cell)
    carry = registry.random_carry(cell, params, xs[0], 1)
    lengths = np.array([T, 0, 2], np.int32)
    both = [
        compare.graded(functools.partial(rnnjax.unroll, cell, lengths=lengths, method=method))(
            params, xs, carry
        )
        for method in (method, rnnjax.Scan())
    ]
    compare.assert_close(*both)


@METHODS
def test_inside_shard_map_they_are_refused_where_their_chip_is_not(method, request):
    cell = rnnjax.lstm(H)
    params, xs = point_of(cell)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    run = lambda params, xs: rnnjax.unroll(cell, params, xs, method=method)[1]
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(jax.P(), jax.P()), out_specs=jax.P())
    chip = request.node.callspec.id
    with pytest.raises(ValueError, match=f"which cannot: inside shard_map it runs on {chip} alone"):
        mapped(params, xs)


@pytest.mark.parametrize(
    "method, cell",
    [(TPU, rnnjax.gru(H)), (TPU, rnnjax.min_gru(H)), (GPU, rnnjax.gru(H))],
    ids=["gru, tpu", "min gru, tpu", "gru, gpu"],
)
def test_no_rows_are_no_error(method, cell):
    params, xs = point_of(cell)
    carry, ys = rnnjax.unroll(cell, params, xs[:, :0], method=method)
    assert ys.shape == (T, 0, H) and carry.h.shape == (0, H)

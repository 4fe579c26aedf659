"""The kernels compile for TPUs that are not there, and stand in the programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, SingleDeviceSharding

import rnnjax

pytest.importorskip("libtpu", reason="libtpu compiles for TPU: pip install -e .[tpu]")

GENERATIONS = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
T, D = 12, 24

# Cell, dtype, B, H, lengths and both ways or not: what is claimed, and the edges of what fits.
CASES = [
    ("lstm", "float32", 8, 128, False, False),
    ("lstm", "bfloat16", 64, 512, True, False),
    ("lstm", "float32", 5, 100, True, True),
    ("gru", "float32", 32, 256, False, True),
    ("gru", "bfloat16", 30, 200, True, False),
    ("gru", "bfloat16", 300, 1024, False, False),
    ("lstm", "float32", 8, 1792, False, False),  # the most units
    ("gru", "bfloat16", 16, 2944, False, False),
]


@functools.cache
def devices(generation):
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=GENERATIONS[generation], chips_per_host_bounds=(2, 2, 1)
    )
    return topology.devices


def placed(sharding, tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def programs(generation, name, dtype, batch, hidden, lengths, both):
    """Of inference and of a gradient."""
    cell = getattr(rnnjax, name)(hidden, dtype=jnp.dtype(dtype))
    layer = rnnjax.bidirectional(cell) if both else rnnjax.recurrent(cell)
    place = functools.partial(placed, SingleDeviceSharding(devices(generation)[0]))
    params = place(jax.eval_shape(lambda key: layer.init(key, D), jax.random.key(0)))
    xs = place(jax.ShapeDtypeStruct((T, batch, D), dtype))
    lengths = place(jax.ShapeDtypeStruct((batch,), jnp.int32)) if lengths else None

    def infer(params, xs, lengths):
        return layer.apply(params, xs, lengths=lengths, method=rnnjax.PallasTPU())

    def loss(params, xs, lengths):
        out = jax.tree.leaves(infer(params, xs, lengths))
        return sum(leaf.astype(jnp.float32).sum() for leaf in out)

    for function in (infer, jax.grad(loss, argnums=(0, 1))):
        yield jax.jit(function).lower(params, xs, lengths).compile().as_text()


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_programs_for_tpu_have_the_kernels(case, generation):
    inferred, trained = programs(generation, *case)
    assert inferred.count("forward_kernel") and "while" not in inferred
    assert trained.count("forward_kernel") and trained.count("backward_kernel")
    assert "while" not in trained


def test_what_none_stands_for_runs_forward_once():
    """On a machine without a TPU the way back asks for the forward pass again."""
    cell = rnnjax.lstm(128)
    place = functools.partial(placed, SingleDeviceSharding(devices("v5e")[0]))
    params = place(jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0)))
    xs = place(jax.ShapeDtypeStruct((T, 8, D), jnp.float32))
    loss = lambda params, xs: (rnnjax.unroll(cell, params, xs)[1] ** 2).sum()
    text = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, xs).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2


def test_inside_shard_map_each_device_runs_its_rows(monkeypatch):
    """Its gradients of weights are added up, and nothing is gathered."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    mesh = Mesh(np.array(devices("v5e")), ("rows",), axis_types=(AxisType.Auto,))
    cell = rnnjax.lstm(128)
    shapes = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    params = placed(NamedSharding(mesh, jax.P()), shapes)
    by_row = jax.P(None, "rows")
    xs = placed(NamedSharding(mesh, by_row), jax.ShapeDtypeStruct((T, 32, D), jnp.float32))
    run = jax.shard_map(
        lambda params, xs: rnnjax.unroll(cell, params, xs, method=rnnjax.PallasTPU())[1],
        mesh=mesh,
        in_specs=(jax.P(), by_row),
        out_specs=by_row,
    )
    grad = jax.jit(jax.grad(lambda params, xs: run(params, xs).sum()))
    text = grad.lower(params, xs).compile().as_text()
    assert text.count("forward_kernel") and text.count("backward_kernel")
    assert "all-gather" not in text and text.count("all-reduce(") >= 1

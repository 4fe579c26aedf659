"""The kernels compile for TPUs that are not there, and stand in the programs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, SingleDeviceSharding

import rnnjax
from rnnjax.methods.tpu.linear import by_kernel

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
]
# These take long to compile. Two generations tell: the first one, and that of the least memory.
LARGE = [
    ("gru", "bfloat16", 300, 1024, False, False),
    ("lstm", "float32", 8, 1792, False, False),  # the most units
    ("lstm", "bfloat16", 16, 2432, False, False),
    ("gru", "float32", 8, 2048, False, False),
    ("gru", "bfloat16", 16, 2944, False, False),
]
LINEAR = [
    ("min_gru", "float32", 8, 128, False, False),
    ("min_lstm", "bfloat16", 64, 512, True, False),
    ("lru", "float32", 5, 100, True, True),
    ("hgrn", "bfloat16", 32, 256, False, True),
    ("qrnn", "float32", 30, 200, True, False),
    ("sru", "float32", 1, 1024, False, False),
    ("rg_lru", "bfloat16", 20, 256, True, False),
]
# Shape and dtype of recurrences: many blocks, of which the last one is cut, tiles that are cut.
RECURRENCES = [
    ((1001,), "float32"),
    ((1001, 1024), "float32"),
    ((1001, 20, 3000), "float32"),
    ((1001, 20, 3000), "bfloat16"),
    ((1001, 20, 3000), "complex64"),
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
    features = hidden if name == "rg_lru" else D
    params = place(jax.eval_shape(lambda key: layer.init(key, features), jax.random.key(0)))
    xs = place(jax.ShapeDtypeStruct((T, batch, features), dtype))
    lengths = place(jax.ShapeDtypeStruct((batch,), jnp.int32)) if lengths else None

    def infer(params, xs, lengths):
        return layer.apply(params, xs, lengths=lengths, method=rnnjax.PallasTPU())

    def loss(params, xs, lengths):
        out = jax.tree.leaves(infer(params, xs, lengths))
        return sum(leaf.astype(jnp.float32).sum() for leaf in out)

    for function in (infer, jax.grad(loss, argnums=(0, 1))):
        yield jax.jit(function).lower(params, xs, lengths).compile().as_text()


@pytest.mark.parametrize(
    "generation, case",
    [
        *itertools.product(GENERATIONS, CASES),
        *itertools.product(("v5e", "tpu7x"), LARGE),
    ],
    ids=str,
)
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


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_programs_of_linear_cells_have_their_kernel(case, generation):
    inferred, trained = programs(generation, *case)
    networks = 1 + case[-1]
    for program, kernels in ((inferred, 1), (trained, 2)):
        assert program.count('custom_call_target="tpu_custom_call"') >= kernels * networks
        assert "linear_kernel" in program and "while" not in program


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape, dtype", RECURRENCES, ids=str)
def test_recurrences_of_any_size_compile(shape, dtype, reverse, generation):
    place = functools.partial(placed, SingleDeviceSharding(devices(generation)[0]))
    x, h = (place(jax.ShapeDtypeStruct(s, dtype)) for s in (shape, shape[1:]))
    run = jax.jit(functools.partial(by_kernel, reverse=reverse))
    text = run.lower(x, x, h).compile().as_text()
    assert "linear_kernel" in text and "while" not in text


@pytest.mark.parametrize(
    "cell, kernels",
    [
        (rnnjax.lstm(128), ("forward_kernel", "backward_kernel")),
        (rnnjax.min_gru(128), ("linear_kernel",)),
    ],
    ids=["lstm", "min gru"],
)
def test_inside_shard_map_each_device_runs_its_rows(cell, kernels, monkeypatch):
    """Its gradients of weights are added up, and nothing is gathered."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    mesh = Mesh(np.array(devices("v5e")), ("rows",), axis_types=(AxisType.Auto,))
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
    assert all(kernel in text for kernel in kernels) and "while" not in text
    assert "all-gather" not in text and text.count("all-reduce(") >= 1

"""Inputs with axes of space on several devices: numbers of one, and no talk between them."""

import functools

import compare
import jax
import numpy as np
import pytest
import registry
from jax.sharding import AxisType, NamedSharding

import rnnjax

DEVICES = 8
T, B, C, H = 3, 2 * DEVICES, 2, 3
COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
LAYERS = {
    "lines": (rnnjax.recurrent(rnnjax.conv_lstm(H, kernel_size=(3,), learned_carry=True)), (4,)),
    "images": (rnnjax.bidirectional(rnnjax.conv_lstm(H, kernel_size=(3, 2), strides=2)), (4, 3)),
}
cases = pytest.mark.parametrize("name", LAYERS)
kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=lambda k: k.name)
LENGTHS = np.linspace(T, 0, B).round().astype(np.int32)


def problem(name):
    layer, space = LAYERS[name]
    params = registry.random_params(layer, C, 0)
    return layer, params, registry.inputs(T, B, *space, C)


def on_mesh(kind, name):
    """The mesh, and params and inputs on it: whole, and with rows over the devices."""
    _, params, xs = problem(name)
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))
    whole = NamedSharding(mesh, jax.P())
    return mesh, jax.device_put(params, whole), jax.device_put(xs, rows(mesh))


def rows(mesh):
    return NamedSharding(mesh, jax.P(None, "data"))


@kinds
@cases
def test_mesh_equals_one_device(kind, name):
    layer, params, xs = problem(name)
    run = compare.graded(functools.partial(layer.apply, lengths=LENGTHS))
    wanted = run(params, xs, None)
    mesh, params, xs = on_mesh(kind, name)
    with jax.set_mesh(mesh):
        (carry, ys), gradients = run(params, xs, None)
    compare.assert_close(((carry, ys), gradients), wanted)
    assert ys.sharding.is_equivalent_to(rows(mesh), ys.ndim)


@cases
def test_shard_map_equals_one_device(name):
    layer, params, xs = problem(name)
    run = lambda params, xs: layer.apply(params, xs)[1]
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    spec = jax.P(None, "data")
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(jax.P(), spec), out_specs=spec)
    compare.assert_close(jax.jit(mapped)(params, xs), jax.jit(run)(params, xs))


@kinds
def test_devices_do_not_talk_in_the_forward_pass(kind):
    """One way. Both ways share a grouped convolution, whose rows XLA gathers; `shard_map` helps."""
    layer, _, _ = problem("lines")
    mesh, params, xs = on_mesh(kind, "lines")
    with jax.set_mesh(mesh):
        text = jax.jit(layer.apply).lower(params, xs).compile().as_text()
    assert not [word for word in COLLECTIVES if word in text]

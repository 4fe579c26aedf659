"""The three faces (functions, NNX, Linen) are one: equal weights give equal numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from flax import linen, nnx

import rnnjax

pytestmark = pytest.mark.usefixtures("any_promotion")

NETWORKS = {
    "lstm": (rnnjax.nnx.LSTM, rnnjax.linen.LSTM, rnnjax.lstm),
    "gru": (rnnjax.nnx.GRU, rnnjax.linen.GRU, rnnjax.gru),
    "elman": (rnnjax.nnx.Elman, rnnjax.linen.Elman, rnnjax.elman),
}
DEPTHS = {"one layer": (1, False), "two layers, both ways": (2, True)}


def batch_major_options(options: dict) -> dict:
    return {k: v if k == "lengths" else np.moveaxis(v, 0, 1) for k, v in options.items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_functions_nnx_and_linen_agree(name, depth):
    nnx_class, linen_class, cell = NETWORKS[name]
    num_layers, both_ways = DEPTHS[depth]
    options = registry.sequence_options()["all"]
    xs = registry.inputs(registry.B, registry.T, registry.D)
    one = rnnjax.bidirectional(cell(registry.H)) if both_ways else cell(registry.H)
    layer = rnnjax.stack(*[one] * num_layers)
    params = registry.random_params(layer, registry.D, 3)
    tree = rnnjax.params_to_dict(params)

    def functions(tree, xs):
        params_again = rnnjax.params_from_dict(params, tree)
        carry, ys = layer.apply(params_again, jnp.moveaxis(xs, 1, 0), **options)
        return carry, jnp.moveaxis(ys, 0, 1)

    network = {"num_layers": num_layers, "bidirectional": both_ways}
    module = nnx_class(registry.D, registry.H, **network, rngs=nnx.Rngs(0))
    graph, state = nnx.split(module)

    def in_nnx(tree, xs):
        nnx.replace_by_pure_dict(state, {"params": tree})
        return nnx.merge(graph, state)(xs, **batch_major_options(options))

    def in_linen(tree, xs):
        module = linen_class(registry.H, **network)
        return module.apply({"params": tree}, xs, **batch_major_options(options))

    def loss(face, tree, xs):
        carry, ys = face(tree, xs)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves((carry, ys)))

    wanted = functions(tree, xs)
    wanted_gradient = jax.grad(loss, argnums=(1, 2))(functions, tree, xs)
    for face in (in_nnx, in_linen):
        jax.tree.map(np.testing.assert_array_equal, face(tree, xs), wanted)
        gradient = jax.grad(loss, argnums=(1, 2))(face, tree, xs)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient, wanted_gradient
        )


@pytest.mark.parametrize("cell", [rnnjax.rg_lru(4), rnnjax.residual(rnnjax.gru(4))])
def test_linen_runs_cells_that_keep_the_width(cell):
    params, xs = registry.random_params(cell, 4, 5), registry.inputs(2, 7, 4)
    rnn = linen.RNN(rnnjax.linen.RNNCell(cell))
    ys = rnn.apply({"params": {"cell": rnnjax.params_to_dict(params)}}, xs)
    _, wanted = rnnjax.unroll(cell, params, jnp.moveaxis(xs, 1, 0))
    np.testing.assert_allclose(ys, jnp.moveaxis(wanted, 0, 1), atol=1e-6)


def test_flax_runs_our_cells_to_the_same_numbers():
    cell = rnnjax.lstm(registry.H)
    params = registry.random_params(cell, registry.D, 4)
    tree = rnnjax.params_to_dict(params)
    xs = registry.inputs(registry.B, registry.T, registry.D)
    carry, ys = rnnjax.unroll(cell, params, jnp.moveaxis(xs, 1, 0))

    in_linen = linen.RNN(rnnjax.linen.RNNCell(cell), return_carry=True)
    linen_carry, linen_ys = in_linen.apply({"params": {"cell": tree}}, xs)

    module = rnnjax.nnx.RNNCell(cell, registry.D, rngs=nnx.Rngs(0))
    nnx.update(module, nnx.State({"params": jax.tree.map(nnx.Param, tree)}))
    nnx_carry, nnx_ys = nnx.RNN(module, return_carry=True)(xs)

    for other_carry, other_ys in ((linen_carry, linen_ys), (nnx_carry, nnx_ys)):
        np.testing.assert_allclose(other_ys, jnp.moveaxis(ys, 0, 1), atol=1e-6)
        assert isinstance(other_carry, rnnjax.LSTMCarry)
        np.testing.assert_allclose(other_carry.c, carry.c, atol=1e-6)

"""The cells with diagonal recurrences: that they contract at the start, options, extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax

D, H = 4, 64
FACTORIES = {"para_gru": rnnjax.para_gru, "para_lstm": rnnjax.para_lstm}
factories = pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)


def slopes(cell, params, carry, z):
    """`slopes[i][j]`: how state i after a step answers state j before it, unit by unit."""
    leaves, structure = jax.tree.flatten(carry)
    columns = []
    for moved in range(len(leaves)):
        ones = [jnp.full_like(leaf, n == moved) for n, leaf in enumerate(leaves)]
        tangent = jax.tree.unflatten(structure, ones)
        columns.append(jax.jvp(lambda c: cell.step(params, c, z)[0], (carry,), (tangent,))[1])
    return np.abs([[column[i] for column in columns] for i in range(len(leaves))])


@factories
@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_fresh_cells_contract_wherever_they_stand(factory, scale):
    """By the weighted norms that `contracting` names."""
    cell = factory(H)
    params = cell.init(jax.random.key(0), D)
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(1000, 3 * H)) * scale, jnp.float32)
    like = cell.init_carry(params, z[:, :D])
    carry = jax.tree.map(lambda a: jnp.asarray(rng.uniform(-1, 1, a.shape), a.dtype), like)
    size = slopes(cell, params, carry, z)
    weights = np.array([1.2, 1.0])[: len(size)]  # h may be 1.2 times as large as c
    norm = np.einsum("ijbh,j->ibh", size, weights) / weights[:, None, None]
    assert norm.max() <= 1.0  # gates may be shut, to the last bit
    if scale < 1:
        assert norm.max() < 0.99


@factories
def test_recurrent_weights_start_as_they_are_told(factory):
    ones, zeros = jax.nn.initializers.ones, jax.nn.initializers.zeros
    params = factory(H, a_init=(zeros, ones, zeros)).init(jax.random.key(0), D)
    np.testing.assert_array_equal(params.a, np.repeat([[0.0], [1.0], [0.0]], H, axis=1))
    usual = factory(H).init(jax.random.key(0), D)
    assert 0.2 < np.abs(usual.a).max() <= 0.25
    assert len(np.unique(usual.a)) == 3 * H


def test_biases_and_peepholes_start_as_they_are_told():
    params = rnnjax.para_lstm(H, forget_bias=2.5).init(jax.random.key(0), D)
    np.testing.assert_array_equal(params.b, np.repeat([2.5, 0, 0], H))
    assert not params.p.any()
    drawn = rnnjax.para_lstm(H, forget_bias=rnnjax.chrono(100)).init(jax.random.key(0), D)
    assert 0 <= drawn.b[:H].min() < drawn.b[:H].max() < np.log(99)
    assert not drawn.b[H:].any()


@factories
def test_a_learned_carry_is_where_it_begins(factory):
    cell = factory(5, learned_carry=True)
    params = registry.random_params(cell, D, 1)
    carry = cell.init_carry(params, jnp.ones((2, D)))
    for leaf, initial in zip(carry, params.initial, strict=True):
        np.testing.assert_array_equal(leaf, np.stack([initial] * 2))


@factories
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_saturated_gates_have_finite_values_and_gradients(factory, size):
    cell = factory(5)
    params = registry.random_params(cell, D, 1)

    def loss(params, xs, method):
        carry, ys = rnnjax.unroll(cell, params, xs, method=method)
        return ys.sum() + carry.h.sum(), ys

    xs = registry.inputs(9, 3, D) * size
    gradient = jax.jit(jax.grad(loss, (0, 1), has_aux=True), static_argnums=2)
    scanned = gradient(params, xs, rnnjax.Scan())
    newton = gradient(params, xs, rnnjax.Newton(fallback="nan"))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((scanned, newton)))
    for a, b in zip(jax.tree.leaves(newton), jax.tree.leaves(scanned), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("name", FACTORIES)
def test_options_are_refused_in_one_sentence(name):
    factory = FACTORIES[name]
    with pytest.raises(ValueError, match=f"^{name}: `hidden_features` must be at least 1, got 0;"):
        factory(0)
    with pytest.raises(ValueError, match=f"^{name}: `a_init` must name 3 gates, got 2;"):
        factory(H, a_init=(jax.nn.initializers.zeros,) * 2)
    with pytest.raises(ValueError, match=f"^{name}.init: `in_features` must be at least 1, got 0;"):
        factory(H).init(jax.random.key(0), 0)

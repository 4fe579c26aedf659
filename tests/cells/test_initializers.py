"""Where weights start: each gate by itself, in the stated order, in every dtype."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax

D, H = 40, 60
FACTORIES = {"lstm": rnnjax.lstm, "gru": rnnjax.gru, "elman": rnnjax.elman}
GATES = {"lstm": 4, "gru": 3, "elman": 1}
KINDS = ["float64", "float32", "bfloat16", "float16"]

cells = pytest.mark.parametrize("name", FACTORIES)


@functools.cache
def drawn(name, kind="float32", **options):
    return FACTORIES[name](H, param_dtype=kind, **options).init(jax.random.key(7), D)


def gates(name, packed):
    """The blocks of packed weights or biases, as float64."""
    return np.split(np.asarray(packed, np.float64), GATES[name], axis=-1)


def constant(number):
    """An initialiser of one number; shape and key are its own business."""
    return lambda key, shape, dtype: jnp.full(shape, number, dtype)


@cells
def test_input_weights_are_glorot_uniform_gate_by_gate(name):
    bound = np.sqrt(6 / (D + H))
    blocks = gates(name, drawn(name).w_ih)
    for block in blocks:
        assert block.shape == (D, H)
        assert 0.99 * bound < np.abs(block).max() <= bound
        np.testing.assert_allclose(block.std(), bound / np.sqrt(3), rtol=0.05)
        assert abs(block.mean()) < 0.05 * bound
    for block in blocks[1:]:
        assert abs(np.corrcoef(block.ravel(), blocks[0].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("kind", KINDS)
@cells
def test_recurrent_weights_are_orthogonal_gate_by_gate(x64, name, kind):
    tolerance = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 1e-2, "float16": 1e-3}[kind]
    blocks = gates(name, drawn(name, kind).w_hh)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(H), atol=tolerance)
    for block in blocks[1:]:
        assert np.abs(block - blocks[0]).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@cells
def test_every_parameter_has_the_dtype_asked_for(x64, name, kind):
    params = drawn(name, kind, learned_carry=True)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {kind}
    same = drawn(name, "float32", learned_carry=True)
    if kind != "float64":  # drawn in float32 and rounded
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(kind)), params, same)


def test_default_biases():
    ones, zeros = np.ones(H), np.zeros(H)
    np.testing.assert_array_equal(drawn("lstm").b, np.concatenate([zeros, ones, zeros, zeros]))
    np.testing.assert_array_equal(drawn("gru").b, np.zeros(3 * H))
    np.testing.assert_array_equal(drawn("gru").b_hn, zeros)
    np.testing.assert_array_equal(drawn("elman").b, zeros)
    assert drawn("gru", reset="before").b_hn is None


@pytest.mark.parametrize("kind", KINDS)
def test_gate_biases_are_stored(x64, kind):
    """In the second block: f of an LSTM, z of a GRU."""
    for name, option in [("lstm", "forget_bias"), ("gru", "update_bias")]:
        wanted = np.zeros(GATES[name] * H)
        wanted[H : 2 * H] = -2.5
        np.testing.assert_array_equal(drawn(name, kind, **{option: -2.5}).b, wanted)


def test_chrono():
    """Time scales spread evenly over 1..T-1; the input gate starts from the negative."""
    cell = rnnjax.lstm(1000, forget_bias=rnnjax.chrono(50), w_hh_init=constant(0.0))
    i, f, g, o = gates("lstm", cell.init(jax.random.key(0), 1).b)
    np.testing.assert_array_equal(i, -f)
    assert not g.any() and not o.any()
    check_chrono(f, 50)
    cell = rnnjax.gru(1000, update_bias=rnnjax.chrono(800), w_hh_init=constant(0.0))
    params = cell.init(jax.random.key(0), 1)
    r, z, n = gates("gru", params.b)
    assert not r.any() and not n.any() and not params.b_hn.any()
    check_chrono(z, 800)


def check_chrono(bias, max_steps):
    """The 1000 steps lie as evenly over the range as uniform ones do (Kolmogorov-Smirnov)."""
    steps = np.sort(np.exp(bias))
    assert 1 - 1e-6 < steps[0] and steps[-1] < (max_steps - 1) * (1 + 1e-6)
    uniform = np.linspace(1, max_steps - 1, 1000)
    assert np.abs(steps - uniform).max() < 0.062 * (max_steps - 2)  # one in a thousand


@pytest.mark.parametrize("kind", KINDS)
def test_chrono_in_every_dtype(x64, kind):
    i, f, _, _ = gates("lstm", drawn("lstm", kind, forget_bias=rnnjax.chrono(30)).b)
    np.testing.assert_array_equal(i, -f)
    assert 0 <= f.min() < 1 and 3 < f.max() <= np.log(29) + 0.02


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_one_initialiser_for_each_gate(name):
    """In the order in which gates are packed: i, f, g, o and r, z, n."""
    count = GATES[name]
    cell = FACTORIES[name](
        H,
        w_ih_init=tuple(constant(1.0 + n) for n in range(count)),
        w_hh_init=tuple(constant(10.0 + n) for n in range(count)),
    )
    params = cell.init(jax.random.key(0), D)
    for n in range(count):
        np.testing.assert_array_equal(gates(name, params.w_ih)[n], np.full((D, H), 1.0 + n))
        np.testing.assert_array_equal(gates(name, params.w_hh)[n], np.full((H, H), 10.0 + n))


def test_the_named_gate_gets_its_initialiser():
    """An LSTM whose forget gate alone has weights forgets by them, and a GRU keeps by z."""
    zero, big = constant(0.0), constant(100.0)
    x = jnp.ones((1, 1))
    cell = rnnjax.lstm(1, w_ih_init=(zero, big, zero, zero), w_hh_init=zero)
    params = cell.init(jax.random.key(0), 1)
    for sign, wanted in [(1.0, 3.0), (-1.0, 0.0)]:
        begin = rnnjax.LSTMCarry(jnp.zeros(1), jnp.full(1, 3.0))
        carry, _ = rnnjax.unroll(cell, params, sign * x, begin)
        np.testing.assert_allclose(carry.c, [wanted], atol=1e-6)
    cell = rnnjax.gru(1, w_ih_init=(zero, big, zero), w_hh_init=zero)
    params = cell.init(jax.random.key(0), 1)
    for sign, wanted in [(1.0, 3.0), (-1.0, 0.0)]:
        carry, _ = rnnjax.unroll(cell, params, sign * x, rnnjax.GRUCarry(jnp.full(1, 3.0)))
        np.testing.assert_allclose(carry.h, [wanted], atol=1e-6)


@cells
def test_scaled_identity(name):
    params = drawn(name, w_hh_init=rnnjax.scaled_identity(0.25))
    for block in gates(name, params.w_hh):
        np.testing.assert_array_equal(block, 0.25 * np.eye(H))
    np.testing.assert_array_equal(rnnjax.scaled_identity()(None, (3, 3), jnp.bfloat16), np.eye(3))


def test_a_relu_cell_from_the_identity_remembers():
    """The reason for it: without input, the carry comes through unchanged."""
    cell = rnnjax.elman(4, activation=jax.nn.relu, w_hh_init=rnnjax.scaled_identity())
    params = cell.init(jax.random.key(0), 2)
    begin = rnnjax.ElmanCarry(jnp.arange(1.0, 5.0))
    carry, _ = rnnjax.unroll(cell, params, jnp.zeros((9, 2)), begin)
    np.testing.assert_array_equal(carry.h, begin.h)


@cells
def test_without_bias(name):
    params, full = drawn(name, bias=False), drawn(name)
    assert params.b is None and getattr(params, "b_hn", None) is None
    np.testing.assert_array_equal(params.w_ih, full.w_ih)
    np.testing.assert_array_equal(params.w_hh, full.w_hh)
    assert len(jax.tree.leaves(params)) == 2


@cells
def test_a_learned_carry_starts_from_zero_and_learns(name):
    cell = FACTORIES[name](5, learned_carry=True)
    params = cell.init(jax.random.key(0), 3)
    assert drawn(name).initial is None
    assert not any(leaf.any() for leaf in jax.tree.leaves(params.initial))
    xs = jax.random.normal(jax.random.key(1), (4, 2, 3))

    def loss(params, carry=None):
        return (rnnjax.unroll(cell, params, xs, carry)[1] ** 2).sum()

    gradient = jax.grad(loss)(params).initial
    assert type(gradient) is type(params.initial)
    for leaf in gradient:
        assert leaf.shape == (5,) and np.abs(leaf).min() > 1e-4

    # Every row begins with it, and none does where another carry is given.
    begin = cell.init_carry(params, xs[0])
    rows = jax.grad(loss, argnums=1)(params, begin)
    for leaf, total in zip(gradient, rows, strict=True):
        np.testing.assert_allclose(leaf, total.sum(0), rtol=1e-5)
    assert not any(leaf.any() for leaf in jax.grad(loss)(params, begin).initial)


@cells
def test_keys_decide(name):
    cell = FACTORIES[name](H)
    first, again, other = (cell.init(jax.random.key(seed), D) for seed in (7, 7, 8))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for a, b in [(first.w_ih, other.w_ih), (first.w_hh, other.w_hh)]:
        assert np.abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 0.1


def test_input_and_recurrent_weights_have_keys_of_their_own():
    normal = jax.nn.initializers.normal()
    params = rnnjax.elman(H, w_ih_init=normal, w_hh_init=normal).init(jax.random.key(0), H)
    assert abs(np.corrcoef(np.ravel(params.w_ih), np.ravel(params.w_hh))[0, 1]) < 0.1

"""NNX modules: layout, dropout habits, training, metadata and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import registry
from flax import nnx

import rnnjax

pytestmark = pytest.mark.usefixtures("any_promotion")


def network(**options):
    options = {"num_layers": 2, "dropout": 0.5, **options}
    return rnnjax.nnx.LSTM(registry.D, 16, **options, rngs=nnx.Rngs(0))


@pytest.fixture
def xs():
    return registry.inputs(registry.B, registry.T, registry.D)


def test_time_major_turns_inputs_masks_and_outputs_around(xs):
    layer = rnnjax.bidirectional(rnnjax.gru(5))
    batch_major = rnnjax.nnx.RNN(layer, registry.D, rngs=nnx.Rngs(0))
    time_major = rnnjax.nnx.RNN(layer, registry.D, time_major=True, rngs=nnx.Rngs(0))
    mask = np.random.default_rng(0).random((registry.B, registry.T)) < 0.5
    carry, ys = batch_major(xs, mask=mask, resets=~mask)
    carry_t, ys_t = time_major(jnp.moveaxis(xs, 1, 0), mask=mask.T, resets=~mask.T)
    np.testing.assert_array_equal(ys, jnp.moveaxis(ys_t, 0, 1))
    np.testing.assert_array_equal(carry.h, carry_t.h)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_number_of_batch_axes(batch):
    module = rnnjax.nnx.GRU(registry.D, 5, rngs=nnx.Rngs(0))
    xs = registry.inputs(*batch, registry.T, registry.D)
    lengths = np.arange(np.prod(batch, dtype=int)).reshape(batch)
    (carry,), ys = module(xs, lengths=lengths)
    assert ys.shape == (*batch, registry.T, 5)
    flat = xs.reshape(-1, registry.T, registry.D)
    (flat_carry,), flat_ys = module(flat, lengths=lengths.reshape(-1))
    np.testing.assert_allclose(ys.reshape(flat_ys.shape), flat_ys, atol=1e-6)
    np.testing.assert_allclose(carry.h.reshape(flat_carry.h.shape), flat_carry.h, atol=1e-6)


def test_dropout_is_on_until_eval(xs):
    module = network()
    first, second = module(xs)[1], module(xs)[1]
    assert np.abs(first - second).max() > 1e-3
    module.eval()
    np.testing.assert_array_equal(module(xs)[1], module(xs)[1])
    np.testing.assert_array_equal(module(xs)[1], network(dropout=0.0)(xs)[1])
    module.train()
    assert np.abs(module(xs)[1] - first).max() > 1e-3


def test_a_call_may_override_mode_and_noise(xs):
    module = network()
    np.testing.assert_array_equal(module(xs, deterministic=True)[1], network(dropout=0.0)(xs)[1])
    key = jax.random.key(5)
    np.testing.assert_array_equal(module(xs, rngs=key)[1], module(xs, rngs=key)[1])
    stream = nnx.Rngs(dropout=7)
    assert np.abs(module(xs, rngs=stream)[1] - module(xs, rngs=stream)[1]).max() > 1e-3


def test_noise_without_a_source_is_refused(xs):
    module = network()
    module.rngs = None
    with pytest.raises(ValueError, match=r"LSTM: `rngs` must be given for noise.*\.eval\(\)"):
        module(xs)
    module(xs, deterministic=True)


def test_training_lowers_the_loss_and_moves_every_parameter(xs):
    model = rnnjax.nnx.RNN(rnnjax.lstm(5, learned_carry=True), registry.D, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, gradient = nnx.value_and_grad(lambda m: ((m(xs)[1] - 0.3) ** 2).mean())(model)
        optimizer.update(model, gradient)
        return loss

    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    losses = [float(step(model, optimizer)) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), before, nnx.state(model, nnx.Param))
    assert all(float(m) > 1e-4 for m in jax.tree.leaves(moved))


def test_carry_hands_on_between_calls(xs):
    model = rnnjax.nnx.LSTM(registry.D, 5, num_layers=2, rngs=nnx.Rngs(0))
    carry, ys = model(xs)
    middle, first = model(xs[:, :3])
    end, second = model(xs[:, 3:], middle)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), ys, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), end, carry)
    start = model.init_carry(xs[:, 0])
    np.testing.assert_array_equal(model(xs, start)[1], ys)


def test_partitioning_metadata_stands_on_the_parameters():
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    names = {"w_hh": (None, "model"), "b": ("model",)}
    with jax.set_mesh(mesh):
        module = rnnjax.nnx.LSTM(4, 8, bidirectional=True, partitioning=names, rngs=nnx.Rngs(0))
    param = module.params["layers_0"]["w_hh"]
    assert param.out_sharding == (None, None, "model")
    assert param[...].sharding.spec == jax.P(None, None, "model")
    assert module.params["layers_0"]["w_ih"][...].sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rnnjax.nnx.LSTM(4, 5, partitioning={"w": (None,)}, rngs=nnx.Rngs(0)),
            "LSTM: `partitioning` must name parameters that exist, got w",
        ),
        (
            lambda: rnnjax.nnx.LSTM(4, 5, dropout=0.5, rngs=nnx.Rngs(0)),
            "stack: `dropout` must be 0 where one layer has no gap, got 0.5",
        ),
        (
            lambda: rnnjax.nnx.LSTM(4, 5, num_layers=0, rngs=nnx.Rngs(0)),
            "stack: `num_layers` must be at least 1, got 0",
        ),
        (
            lambda: rnnjax.nnx.RNN("lstm", 4, rngs=nnx.Rngs(0)),
            "RNN: `layers` must be cells, layers or functions",
        ),
        (
            lambda: rnnjax.nnx.RNNCell(
                rnnjax.input_dropout(rnnjax.gru(3), 0.5), 4, rngs=nnx.Rngs(0)
            ),
            "RNNCell: `cell` must have no noise",
        ),
        (
            lambda: network()(jnp.ones((2, 7, 3)), deterministic=True),
            r"LSTM: `xs` must have shape \(\*batch, T, 4\), got \(2, 7, 3\)",
        ),
        (
            lambda: network()(jnp.ones((2, 7, 4)), mask=jnp.ones((7, 2), bool), deterministic=True),
            r"LSTM: `mask` must have shape \(\*batch, T\) = \(2, 7\), got \(7, 2\)",
        ),
        (
            lambda: network()(jnp.ones((2, 7, 4)), lengths=[8, 1], deterministic=True),
            "LSTM: `lengths` must lie in 0..T = 0..7, got 8 at row 0",
        ),
    ],
)
def test_messages_speak_of_the_module(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()

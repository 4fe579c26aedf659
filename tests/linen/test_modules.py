"""Linen modules: layout, dropout habits, boxed metadata and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from flax import linen as nn

import rnnjax

pytestmark = pytest.mark.usefixtures("any_promotion")


@pytest.fixture
def xs():
    return registry.inputs(registry.B, registry.T, registry.D)


def test_parameters_have_the_names_of_the_functional_face(xs):
    module = rnnjax.linen.LSTM(5, num_layers=2, bidirectional=True)
    variables = module.init(jax.random.key(0), xs)
    layer = rnnjax.stack(*[rnnjax.bidirectional(rnnjax.lstm(5))] * 2)
    wanted = rnnjax.params_to_dict(layer.init(jax.random.key(0), registry.D))
    got = jax.tree.map(jnp.shape, dict(variables["params"]))
    assert got == jax.tree.map(jnp.shape, wanted)


def test_time_major_turns_inputs_and_outputs_around(xs):
    module = rnnjax.linen.GRU(5, reset="before")
    variables = module.init(jax.random.key(0), xs)
    lengths = np.array([7, 3, 0])
    _, ys = module.apply(variables, xs, lengths=lengths)
    _, ys_t = rnnjax.linen.GRU(5, reset="before", time_major=True).apply(
        variables, jnp.moveaxis(xs, 1, 0), lengths=lengths
    )
    np.testing.assert_array_equal(ys, jnp.moveaxis(ys_t, 0, 1))
    assert np.all(ys[1, 3:] == 0) and np.all(ys[1, :3] != 0)


def test_dropout_follows_linen(xs):
    module = rnnjax.linen.LSTM(16, num_layers=2, dropout=0.5)
    variables = module.init(jax.random.key(0), xs, deterministic=True)

    def run(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, xs, deterministic=False, rngs=rngs)[1]

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3
    quiet = module.apply(variables, xs, deterministic=True)[1]
    bare = rnnjax.linen.LSTM(16, num_layers=2).apply(variables, xs)[1]
    np.testing.assert_array_equal(quiet, bare)
    assert np.abs(run(1) - quiet).max() > 1e-3


def test_metadata_is_boxed(xs):
    names = {"w_ih": ("embed", "hidden"), "b": ("hidden",)}
    module = rnnjax.linen.RNN(rnnjax.bidirectional(rnnjax.lstm(5)), partitioning=names)
    variables = module.init(jax.random.key(0), xs)
    specs = nn.get_partition_spec(variables)["params"]
    assert specs["w_ih"] == jax.P(None, "embed", "hidden")
    assert specs["b"] == jax.P(None, "hidden")
    assert specs["w_hh"] == jax.P()
    carry, ys = module.apply(variables, xs)
    again, ys_again = module.apply(nn.unbox(variables), xs)
    np.testing.assert_array_equal(ys, ys_again)


def test_inside_another_module_under_jit_and_grad(xs):
    class Tagger(nn.Module):
        @nn.compact
        def __call__(self, xs, lengths):
            _, ys = rnnjax.linen.LSTM(5, bidirectional=True, name="rnn")(xs, lengths=lengths)
            return nn.Dense(2)(ys)

    model, lengths = Tagger(), jnp.array([7, 3, 0])
    variables = jax.jit(model.init)(jax.random.key(0), xs, lengths)
    assert set(variables["params"]) == {"rnn", "Dense_0"}
    loss = lambda v, xs: (model.apply(v, xs, lengths) ** 2).sum()
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, xs)
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient[0]))
    assert np.all(gradient[1][1, 3:] == 0) and np.all(gradient[1][2] == 0)


def test_carry_hands_on_between_calls(xs):
    module = rnnjax.linen.RNN(rnnjax.gru(5))
    variables = module.init(jax.random.key(0), xs)
    carry, ys = module.apply(variables, xs)
    middle, _ = module.apply(variables, xs[:, :4])
    end, second = module.apply(variables, xs[:, 4:], middle)
    np.testing.assert_allclose(second, ys[:, 4:], atol=1e-6)
    np.testing.assert_allclose(end.h, carry.h, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "call", "message"),
    [
        (
            rnnjax.linen.LSTM(5, num_layers=2, dropout=0.5),
            {},
            'Parameter "deterministic" must be passed',
        ),
        (
            rnnjax.linen.LSTM(5, num_layers=2, dropout=0.5),
            {"deterministic": False},
            'LSTM: `rngs` must hold a key for noise, got none; give rngs={"dropout": key}',
        ),
        (
            rnnjax.linen.GRU(5),
            {"lengths": [7, 3]},
            r"GRU: `lengths` must have shape \(3,\), got \(2,\)",
        ),
        (rnnjax.linen.RNN(rnnjax.gru(5)), {"carry": (1, 2)}, "RNN: `carry` must be GRUCarry"),
        (rnnjax.linen.Elman(5, dropout=0.5), {}, "stack: `dropout` must be 0"),
    ],
)
def test_messages_speak_of_the_module(xs, module, call, message):
    variables = {"params": {}}
    if "dropout` must be 0" not in message:
        variables = module.init(jax.random.key(0), xs, deterministic=True)
    with pytest.raises((TypeError, ValueError), match=message):
        module.apply(variables, xs, **call)


def test_another_input_width_is_named(xs):
    module = rnnjax.linen.GRU(5)
    variables = module.init(jax.random.key(0), xs)
    with pytest.raises(ValueError, match=r"GRU: `xs` must have shape \(\*batch, T, 4\), got"):
        module.apply(variables, xs[..., :2])


def test_flax_rnn_refuses_what_it_cannot_honour(xs):
    learned = rnnjax.lstm(5, learned_carry=True)
    for cell in (learned, rnnjax.layer_norm_outputs(learned)):
        with pytest.raises(ValueError, match="RNNCell: `cell` must start from zeros"):
            nn.RNN(rnnjax.linen.RNNCell(cell)).init(jax.random.key(0), xs)
    noisy = nn.RNN(rnnjax.linen.RNNCell(rnnjax.input_dropout(rnnjax.lstm(5), 0.5)))
    with pytest.raises(ValueError, match="RNNCell: `cell` must have no noise"):
        noisy.init(jax.random.key(0), xs)

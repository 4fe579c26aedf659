"""Models of layers, functions and Flax modules: one protocol, the same numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from registry import random_params, randomise

import rnnjax
from rnnjax import train
from rnnjax.data import Batch

B, T, D, H = 3, 6, 4, 5
XS = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, D)), jnp.float32)
BATCH = Batch(XS, lengths=jnp.array([6, 2, 0]))
KEY = jax.random.key(0)
GRU, DENSE = rnnjax.gru(H), rnnjax.dense(2)


def front(a):
    return jnp.moveaxis(a, 1, 0)


def say(model, *args):
    """One program is quicker than its many small ones."""
    return jax.jit(model.apply)(*args)


def drawn(model, batch=BATCH):
    """Random weights; nothing is compiled for them."""
    return randomise(jax.eval_shape(model.init, KEY, batch), 0)


def read_out(ys, head):
    return np.asarray(ys) @ np.asarray(head.w) + np.asarray(head.b)


@pytest.fixture(scope="module")
def by_hand():
    """Params, and what the GRU says of the batch."""
    params = train.NetworkParams(random_params(GRU, D, 0), random_params(DENSE, H, 1))
    carry, ys = rnnjax.unroll(GRU, params.layer, front(XS), lengths=BATCH.lengths)
    return params, carry, front(ys)


def test_every_step_is_read_by_the_head(by_hand):
    params, carry, ys = by_hand
    model = train.from_layer(GRU, head=DENSE)
    said = say(model, train.Weights(params), BATCH, None, None)
    np.testing.assert_allclose(said.outputs, read_out(ys, params.head), atol=1e-6)
    chex.assert_trees_all_close(said.carry, carry, atol=1e-6)
    assert said.penalty == 0.0 and said.buffers == ()


def test_pooled_features_are_read_by_the_head(by_hand):
    params, _, ys = by_hand
    for pool in (train.last_step, train.max_over_time, lambda ys, lengths: ys.sum(1)):
        model = train.from_layer(GRU, pool=pool, head=DENSE)
        said = say(model, train.Weights(params), BATCH, None, None)
        wanted = read_out(pool(ys, BATCH.lengths), params.head)
        np.testing.assert_allclose(said.outputs, wanted, atol=1e-6)


def test_params_are_those_of_the_layer_or_of_both():
    init = lambda model: jax.eval_shape(model.init, KEY, BATCH)
    alone = init(train.from_layer(GRU, pool=train.last_step))
    assert [leaf.shape for leaf in jax.tree.leaves(alone.params)] == [(4, 15), (5, 15), (15,), (5,)]
    both = train.from_layer(rnnjax.bidirectional(GRU), pool=train.both_ends, head=DENSE)
    params = init(both).params
    assert isinstance(params, train.NetworkParams)
    assert params.layer.w_ih.shape == (2, D, 3 * H)
    assert params.head.w.shape == (2 * H, 2)
    assert alone.buffers == ()


def test_activity_is_measured_on_what_the_layer_says(by_hand):
    params, _, ys = by_hand

    def activity(ys, lengths):
        return rnnjax.activation_penalty(ys, alpha=2.0, lengths=lengths, time_major=False)

    model = train.from_layer(GRU, pool=train.last_step, head=DENSE, activity=activity)
    said = say(model, train.Weights(params), BATCH, None, None)
    squares = [float((ys[b, :n] ** 2).sum()) for b, n in enumerate(BATCH.lengths)]
    np.testing.assert_allclose(said.penalty, 2 * sum(squares) / (8 * H), rtol=1e-5)


def test_a_key_is_noise_and_none_is_not():
    noisy = rnnjax.stack(GRU, rnnjax.dense(4), dropout=0.5)
    head = rnnjax.stack(rnnjax.dense(4), DENSE, dropout=0.5)
    for model in (
        train.from_layer(noisy),
        train.from_layer(GRU, pool=train.last_step, head=head),
    ):
        weights = drawn(model)
        ask = lambda key, model=model, weights=weights: say(model, weights, BATCH, None, key)
        quiet, one, two = (ask(key).outputs for key in (None, KEY, jax.random.key(1)))
        assert (ask(KEY).outputs == one).all() and (ask(None).outputs == quiet).all()
        assert (one != two).any() and (one != quiet).any()


def test_a_head_over_space_reads_every_step():
    layer = rnnjax.conv_gru(H, kernel_size=(3,))
    xs = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 7, D)), jnp.float32)
    model = train.from_layer(layer, head=DENSE)
    weights = drawn(model, Batch(xs))
    said = say(model, weights, Batch(xs), None, None).outputs
    _, ys = rnnjax.unroll(layer, weights.params.layer, front(xs))
    assert said.shape == (2, 3, 7, 2)
    np.testing.assert_allclose(said, read_out(front(ys), weights.params.head), atol=1e-6)


def test_equal_arguments_make_the_same_model():
    """So a program that was compiled for one serves the other."""
    make = lambda: train.from_layer(rnnjax.gru(4), pool=train.last_step, head=rnnjax.dense(2))
    assert make() is make()
    assert train.from_layer(GRU) is not train.from_layer(GRU, pool=train.last_step)
    assert train.from_linen(nn.Dense(3)) is train.from_linen(nn.Dense(3))
    init, apply = (lambda key: ()), (lambda params, batch, key: batch.xs)
    assert train.from_functions(init, apply) is train.from_functions(init, apply)


def test_functions():
    model = train.from_functions(
        lambda key: jax.random.normal(key, (D, 2)),
        lambda w, batch, key: batch.xs @ w + (0.0 if key is None else 1.0),
    )
    weights = model.init(KEY, BATCH)
    assert (weights.params == jax.random.normal(KEY, (D, 2))).all()
    quiet, loud = (say(model, weights, BATCH, None, key) for key in (None, KEY))
    assert (quiet.outputs == XS @ weights.params).all()
    np.testing.assert_allclose(loud.outputs, quiet.outputs + 1)
    assert quiet.carry is None and quiet.penalty == 0.0
    penalised = train.from_functions(
        lambda key: (), lambda params, batch, key: train.Applied(batch.xs, penalty=3.0)
    )
    assert penalised.apply(train.Weights(()), BATCH, None, None).penalty == 3.0


def carried(kind):
    """A model that hands its carry on, and the layer that it runs."""
    layer = rnnjax.stack(rnnjax.elman(H), GRU)
    if kind == "layer":
        return train.from_layer(layer), layer
    if kind == "nnx":
        return train.from_nnx(rnnjax.nnx.RNN(layer, D, rngs=nnx.Rngs(0))), layer
    return train.from_linen(rnnjax.linen.RNN(layer)), layer


@pytest.mark.parametrize("kind", ["layer", "nnx", "linen"])
def test_the_carry_is_handed_on(kind):
    model, layer = carried(kind)
    resets = np.zeros((B, T), bool)
    resets[1, 1] = resets[0, 4] = True
    weights = drawn(model)
    whole = say(model, weights, Batch(XS, resets=resets), None, None)
    carry, said = None, []
    for part in (slice(3), slice(3, T)):
        batch = Batch(XS[:, part], resets=resets[:, part])
        outputs, carry, *_ = say(model, weights, batch, carry, None)
        said.append(outputs)
    np.testing.assert_allclose(jnp.concatenate(said, 1), whole.outputs, atol=1e-6)
    chex.assert_trees_all_close(carry, whole.carry, atol=1e-6)
    plain = say(model, weights, Batch(XS), None, None).outputs
    assert (plain[0, 4:] != whole.outputs[0, 4:]).any()
    assert (plain[2] == whole.outputs[2]).all()


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_flax_modules_of_ours_say_what_their_layer_says(kind):
    model, layer = carried(kind)
    weights = drawn(model)
    like = jax.eval_shape(lambda: layer.init(KEY, D))
    tree = weights.params["params"] if kind == "nnx" else weights.params
    params = rnnjax.params_from_dict(like, tree)
    _, ys = layer.apply(params, front(XS), lengths=BATCH.lengths)
    said = say(model, weights, BATCH, None, None).outputs
    np.testing.assert_allclose(said, front(ys), atol=1e-6)


@pytest.mark.parametrize("preset", [None, True])
def test_linen_may_say_beforehand_that_noise_is_off(preset):
    module = rnnjax.linen.GRU(H, num_layers=2, dropout=0.5, deterministic=preset)
    model = train.from_linen(module)
    weights = drawn(model)
    quiet, loud = (say(model, weights, BATCH, None, key).outputs for key in (None, KEY))
    assert (quiet == loud).all() == (preset is True)


def test_linen_noise_follows_its_key():
    model = train.from_linen(rnnjax.linen.GRU(H, num_layers=2, dropout=0.5))
    weights = drawn(model)
    one, again, other = (
        say(model, weights, BATCH, None, key).outputs for key in (KEY, KEY, jax.random.key(1))
    )
    assert (one == again).all() and (one != other).any()


def test_linen_keeps_statistics_beside():
    def call(module, batch, carry, training):
        return None, module(batch.xs, use_running_average=not training)

    model = train.from_linen(nn.BatchNorm(momentum=0.5), call=call)
    weights = model.init(KEY, BATCH)
    assert set(weights.buffers) == {"batch_stats"}
    trained = say(model, weights, BATCH, None, KEY)
    mean = trained.buffers["batch_stats"]["mean"]
    np.testing.assert_allclose(mean, 0.5 * XS.mean((0, 1)), atol=1e-6)
    asked = say(model, weights, BATCH, None, None)
    chex.assert_trees_all_equal(asked.buffers, weights.buffers)


class Normed(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(D, momentum=0.5, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, xs):
        return self.drop(self.norm(xs))


def test_nnx_keeps_statistics_and_streams_beside():
    module = Normed(nnx.Rngs(0))
    model = train.from_nnx(module)
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(module)))
    weights, batch = model.init(KEY, Batch(XS)), Batch(XS)
    assert set(weights.params) == {"norm"} and set(weights.params["norm"]) == {"bias", "scale"}
    one = say(model, weights, batch, None, KEY)
    np.testing.assert_allclose(one.buffers["norm"]["mean"], 0.5 * XS.mean((0, 1)), atol=1e-6)
    two = say(model, weights._replace(buffers=one.buffers), batch, None, KEY)
    assert (one.outputs != two.outputs).any()  # the stream has moved on
    again = say(model, weights, batch, None, KEY)
    assert (one.outputs == again.outputs).all()
    asked = say(model, weights, batch, None, None)
    chex.assert_trees_all_equal(asked.buffers, weights.buffers)
    assert (asked.outputs != 0).all()
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(module)), before)
    model.store(train.Weights(weights.params, two.buffers))
    stored = nnx.to_pure_dict(nnx.state(module))
    np.testing.assert_array_equal(stored["norm"]["mean"], two.buffers["norm"]["mean"])


@pytest.mark.parametrize("kind", ["layer", "nnx", "linen"])
def test_buffers_may_be_left_out_where_there_are_none(kind):
    model, _ = carried(kind)
    weights = drawn(model)
    wanted = say(model, weights, BATCH, None, None).outputs
    got = train.predict(train.Trained(model, weights.params), BATCH)
    np.testing.assert_allclose(got, wanted, atol=1e-6)

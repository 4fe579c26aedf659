"""The pure step: its gradient, what it skips, what it gives away, and what it averages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax import train
from rnnjax.data import Batch

B, T, D, C = 4, 5, 3, 2


def make_batch(seed=0, **parts):
    draw = np.random.default_rng(seed)
    xs = draw.normal(size=(B, T, D)).astype(np.float32)
    targets = draw.integers(0, C, (B, T)).astype(np.int32)
    return Batch(xs, targets, lengths=np.array([5, 3, 1, 4], np.int32))._replace(**parts)


MODEL = train.from_layer(rnnjax.stack(rnnjax.gru(4), rnnjax.dense(C)))
NOISY = train.from_layer(rnnjax.stack(rnnjax.gru(4), rnnjax.dense(C), dropout=0.5))
SGD = optax.sgd(1.0)


def begin(model=MODEL, optimizer=SGD, **options):
    return train.init_state(model, optimizer, make_batch(), key=jax.random.key(3), **options)


def moved(before, after):
    """What a step of plain descent at rate 1 has taken away: the gradient."""
    return jax.tree.map(lambda a, b: a - b, before.params, after.params)


@pytest.fixture(scope="module")
def step():
    return train.make_train_step(MODEL, train.cross_entropy, SGD, metrics=[train.accuracy])


def test_the_gradient_is_that_of_the_mean_over_valid_tokens(step):
    batch, state = make_batch(), begin()

    def mean(params):
        outputs = MODEL.apply(train.Weights(params), batch, None, None).outputs
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
        valid = jnp.arange(T)[None] < batch.lengths[:, None]
        return jnp.where(valid, losses, 0).sum() / float(batch.lengths.sum())

    with jax.numpy_dtype_promotion("standard"):  # for Optax's loss
        value, wanted = jax.value_and_grad(mean)(state.params)
    before = jax.tree.map(jnp.copy, state)
    after, sums = step(state, batch)
    chex.assert_trees_all_close(moved(before, after), wanted, atol=1e-6)
    np.testing.assert_allclose(train.cross_entropy.value(sums["loss"]), value, rtol=1e-6)
    assert int(sums["accuracy"].count) == int(batch.lengths.sum())


def test_parts_of_a_batch_add_up_to_its_gradient(step):
    parts = train.make_train_step(MODEL, train.cross_entropy, SGD, accumulate=2)
    batch = make_batch()
    one, _ = step(begin(), batch)
    two, _ = parts(begin(), batch)
    chex.assert_trees_all_close(one.params, two.params, atol=1e-6)


def test_the_state_is_given_away(step):
    state = begin()
    step(state, make_batch())
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_two_calls_are_one_compilation(step):
    state, _ = step(begin(), make_batch())
    step(state, make_batch(1))
    assert step._cache_size() == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_batch_changes_nothing_but_the_count(step, bad):
    state = begin()
    kept = jax.tree.map(jnp.copy, state)
    spoilt = make_batch()
    spoilt.xs[0, 0, 0] = bad
    after, sums = step(state, spoilt)
    chex.assert_trees_all_equal(after.params, kept.params)
    chex.assert_trees_all_equal(after.opt_state, kept.opt_state)
    assert (int(after.step), int(after.bad.total), int(after.bad.in_row)) == (1, 1, 1)
    assert not any(leaf.any() for leaf in jax.tree.leaves(sums))
    again, _ = step(after, make_batch())
    assert (int(again.bad.total), int(again.bad.in_row)) == (1, 0)
    assert not np.array_equal(again.params[1].w, kept.params[1].w)


def test_a_gradient_alone_can_be_bad():
    """The square root has a value at 0, and no slope."""
    root = lambda outputs, targets: jnp.sqrt(jnp.zeros_like(outputs) * outputs).sum((1, 2))
    step = train.make_train_step(MODEL, root, SGD)
    after, _ = step(begin(), make_batch())
    assert int(after.bad.total) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


def test_after_too_many_bad_batches_nothing_moves():
    step = train.make_train_step(MODEL, train.cross_entropy, SGD, max_bad=2)
    state = begin()
    kept = jax.tree.map(jnp.copy, state.params)
    spoilt = make_batch()
    spoilt.xs[:] = np.nan
    for batch in (spoilt, spoilt, make_batch()):
        state, _ = step(state, batch)
    chex.assert_trees_all_equal(state.params, kept)
    assert (int(state.bad.in_row), int(state.bad.since)) == (3, 0)


def test_noise_differs_from_step_to_step_and_not_from_run_to_run():
    frozen = optax.set_to_zero()
    step = train.make_train_step(NOISY, train.cross_entropy, frozen)
    batch = make_batch()

    def losses():
        state = train.init_state(NOISY, frozen, batch, key=jax.random.key(3))
        out = []
        for _ in range(3):
            state, sums = step(state, batch)
            out.append(float(sums["loss"].total))
        return out

    assert len(set(losses())) == 3
    assert losses() == losses()


def test_penalties_are_added_to_the_loss():
    plain = train.make_train_step(MODEL, train.cross_entropy, SGD)
    heavy = train.make_train_step(MODEL, train.cross_entropy, SGD, penalty=train.l2(0.5))
    batch, start = make_batch(), begin()
    slope = jax.grad(train.l2(0.5))(start.params)
    one, two = plain(begin(), batch)[0], heavy(start, batch)[0]
    difference = jax.tree.map(lambda a, b: a - b, one.params, two.params)
    chex.assert_trees_all_close(difference, slope, atol=1e-6)


def test_activity_is_penalised_where_the_model_says_so():
    layer = rnnjax.stack(rnnjax.gru(4), rnnjax.dense(C))

    def penalty(ys, lengths):
        return rnnjax.activation_penalty(ys, alpha=3.0, lengths=lengths, time_major=False)

    model = train.from_layer(layer, activity=penalty)
    nothing = lambda outputs, targets: jnp.zeros(B)
    state = begin(model)
    before = jax.tree.map(jnp.copy, state)
    after, sums = train.make_train_step(model, nothing, SGD)(state, make_batch())

    def alone(params):
        batch = make_batch()
        ys = model.apply(train.Weights(params), batch, None, None).outputs
        return penalty(ys, batch.lengths)

    chex.assert_trees_all_close(moved(before, after), jax.grad(alone)(before.params), atol=1e-6)
    assert float(sums["loss"].total) == 0.0


def test_the_average_follows_the_params():
    averaging = train.ema(0.9)
    step = train.make_train_step(MODEL, train.cross_entropy, SGD, averaging=averaging)
    state = begin(averaging=averaging)
    wanted = np.array(state.params[1].w)
    for count in range(3):
        state, _ = step(state, make_batch(count))
        share = averaging.rate(jnp.asarray(count))
        wanted = wanted + share * (state.params[1].w - wanted)
    np.testing.assert_allclose(state.weights.params[1].w, wanted, rtol=1e-6)


def test_an_average_that_waits_is_the_params():
    averaging = train.nt_asgd(2)
    step = train.make_train_step(MODEL, train.cross_entropy, SGD, averaging=averaging)
    state, _ = step(begin(averaging=averaging), make_batch())
    chex.assert_trees_all_equal(state.average.params, state.params)
    assert int(state.average.count) == -1


def test_computation_in_bfloat16_keeps_params_and_loss(any_promotion):
    step = train.make_train_step(
        MODEL, train.cross_entropy, optax.adam(1e-2), compute_dtype=jnp.bfloat16
    )
    state = begin(optimizer=optax.adam(1e-2))
    assert "bf16" in step.lower(state, make_batch()).as_text()
    state, sums = step(state, make_batch())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {"float32"}
    assert sums["loss"].total.dtype == jnp.float32


def test_the_carry_is_handed_on_and_resets_are_obeyed():
    cell = rnnjax.gru(4)
    model, hold = train.from_layer(cell), optax.set_to_zero()
    loss = lambda outputs, targets: (outputs**2).mean(-1)
    draw = np.random.default_rng(1)
    xs = draw.normal(size=(B, 2 * T, D)).astype(np.float32)
    resets = np.zeros((B, 2 * T), bool)
    resets[:, 0] = resets[1, T + 2] = True
    halves = [Batch(xs[:, s], xs[:, s], resets=resets[:, s]) for s in (slice(T), slice(T, 2 * T))]
    state = train.init_state(model, hold, halves[0], key=jax.random.key(0), stateful=True)
    step = train.make_train_step(model, loss, hold)
    total = 0.0
    for half in halves:
        state, sums = step(state, half)
        total += float(sums["loss"].total)
    _, ys = rnnjax.unroll(
        cell, state.params, jnp.moveaxis(xs, 1, 0), resets=jnp.moveaxis(resets, 1, 0)
    )
    np.testing.assert_allclose(total, (ys**2).mean(-1).sum(), rtol=1e-5)


def test_weights_leave_rows_out(step):
    """Whatever targets and padding hold there."""
    batch = make_batch(weights=np.array([1, 0, 2, 1], np.float32))
    wild = batch._replace(xs=batch.xs.copy(), targets=batch.targets.copy())
    wild.xs[1, 3:], wild.xs[1, :3], wild.targets[1] = np.nan, 9.0, 77
    one, two = step(begin(), batch)[0], step(begin(), wild)[0]
    assert int(two.bad.total) == 0
    chex.assert_trees_all_equal(one.params, two.params)

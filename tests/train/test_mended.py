"""What a reader of the code found wrong: each was a wrong number or lost work."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax import data, train

XS = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
LABELS = (XS[:, -1, 0] > 0).astype(np.int32)
MODEL = train.from_layer(rnnjax.gru(4), pool=train.last_step, head=rnnjax.dense(2))
SGD = optax.sgd(0.1)


def fit(given=(XS, LABELS), model=MODEL, **options):
    task = {"loss": train.cross_entropy, "optimizer": SGD, "key": jax.random.key(0)}
    return train.fit(model, given, **task | options)


def test_a_signal_in_the_first_epoch_keeps_what_was_learned():
    class Interrupted:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return data.Batch(XS, LABELS)

    trained = fit(Interrupted(), callbacks=[train.EarlyStopping(2)])
    assert trained.reason == "SIGINT"
    jax.tree.map(np.testing.assert_array_equal, trained.params, trained.state.params)


def test_the_result_outlives_a_further_step():
    trained = fit()
    step = train.make_train_step(MODEL, train.cross_entropy, SGD)
    step(trained.state, data.Batch(XS, LABELS))
    assert train.predict(trained, XS).shape == (9, 2)


def test_a_bare_function_cannot_say_which_epoch_was_best():
    mine = lambda outputs, targets: (outputs.argmax(-1) == targets).astype(jnp.float32)
    mine.__name__ = "mine"
    with pytest.raises(ValueError, match="`monitor` must be a measure that says what is better"):
        fit(metrics=[mine], monitor="mine")
    fit(metrics=[train.mean_of(mine, higher_is_better=True)], monitor="mine")


def test_statistics_of_batches_are_not_trained_as_weights():
    cell = rnnjax.batch_norm_lstm(4, max_steps=4)
    with pytest.raises(ValueError, match="from_layer: `layer` must have no statistics of batches"):
        fit(model=train.from_layer(cell, pool=train.last_step, head=rnnjax.dense(2)))


def test_a_batch_is_filled_with_other_rows():
    rows = data.rows((XS, LABELS), batch_size=4, shuffle=False)
    assert rows[2].weights.tolist() == [1, 0, 0, 0]
    np.testing.assert_array_equal(rows[2].xs, XS[[8, 0, 1, 2]])
    assert rows.rows_of(2).tolist() == [8, -1, -1, -1]


def test_where_nothing_counts_nothing_moves():
    state = train.init_state(MODEL, optax.adam(0.1), (XS, LABELS), key=jax.random.key(0))
    before = jax.device_get(state.params)
    step = train.make_train_step(MODEL, train.cross_entropy, optax.adam(0.1))
    after, _ = step(state, data.Batch(XS, LABELS, weights=np.zeros(9, np.float32)))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(after.params))
    assert int(after.bad.total) == 0 and int(after.step) == 1


def test_predictions_of_windows_are_those_of_the_whole():
    windows = data.windows(XS.reshape(-1, 3), batch_size=2, num_steps=3, shuffle=False)
    trained = train.Trained(rnnjax.gru(4), rnnjax.gru(4).init(jax.random.key(0), 3))
    pieces = np.concatenate(train.predict(trained, windows), axis=1)[:, :17]  # behind are pads
    whole = np.concatenate([batch.xs for batch in windows], axis=1)
    np.testing.assert_allclose(pieces, train.predict(trained, whole)[:, :17], atol=1e-6)


def test_validation_in_streams_hands_the_carry_on_as_training_does():
    resets = np.zeros((9, 4), bool)
    resets[:, 0] = True
    first, second = data.Batch(XS, XS, resets=resets), data.Batch(XS, XS, resets=~resets & False)
    task = {"loss": train.squared_error, "stateful": True, "validation": [first, second]}
    trained = fit([first, second], rnnjax.stack(rnnjax.gru(4), rnnjax.dense(3)), **task)
    measured = train.evaluate(trained, [first, second], [train.squared_error], stateful=True)
    assert measured["squared_error"] == pytest.approx(trained.history["val_loss"][0])


def test_find_rate_follows_losses_below_zero():
    lower = lambda outputs, targets: (
        optax.softmax_cross_entropy_with_integer_labels(outputs, targets) - 5
    )
    curve = train.find_rate(
        MODEL, (XS, LABELS), loss=lower, optimizer=optax.adam, key=jax.random.key(0), steps=20
    )
    assert len(curve.rates) == 20


def test_another_monitor_cannot_resume(tmp_path):
    fit(checkpoints=tmp_path, metrics=[train.accuracy])
    for wrong in ({"monitor": "accuracy"}, {"metrics": []}, {"shuffle": False}):
        with pytest.raises(ValueError, match=f"^fit: `{next(iter(wrong))}` must be"):
            fit(checkpoints=tmp_path, resume=True, **{"metrics": [train.accuracy]} | wrong)


def test_rows_that_come_again_are_not_checked_again():
    seen = []

    def check(function, outputs, batch):
        seen.append(isinstance(batch.targets, np.ndarray))
        train.cross_entropy.check(function, outputs, batch)

    loss = train.cross_entropy._replace(check=check)
    fit(data.rows((XS, LABELS), batch_size=3), loss=loss, epochs=4)
    assert sum(seen) == 1 + 3  # an example, and each of the first epoch
    assert len(seen) - sum(seen) == 1  # the step, as it is traced


def test_step_and_state_agree_on_averaging():
    begun = train.init_state(MODEL, SGD, (XS, LABELS), key=jax.random.key(0))
    step = train.make_train_step(MODEL, train.cross_entropy, SGD, averaging=train.ema(0.9))
    with pytest.raises(ValueError, match="`averaging` must be what init_state was given"):
        step(begun, data.Batch(XS, LABELS))


def test_find_rate_hands_the_carry_on_as_fit_does():
    windows = data.windows(XS.reshape(-1, 3), XS.reshape(-1, 3), batch_size=2, num_steps=3)
    layer = rnnjax.stack(rnnjax.gru(4), rnnjax.dense(3))
    task = {"loss": train.squared_error, "key": jax.random.key(0)}
    curve = train.find_rate(layer, windows, optimizer=lambda rate: optax.sgd(0.0), steps=10, **task)
    fitted = fit(
        windows,
        layer,
        optimizer=optax.sgd(0.0),
        steps_per_epoch=1,
        epochs=10,
        **{"loss": train.squared_error},
    )
    apart = train.find_rate(
        layer, list(windows) * 2, optimizer=lambda rate: optax.sgd(0.0), steps=10, **task
    )
    assert curve.losses[0] == pytest.approx(fitted.history["loss"][0])
    assert not np.allclose(curve.losses, apart.losses)

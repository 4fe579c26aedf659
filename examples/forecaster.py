"""Small LSTMs that say a Gaussian for the next step of a series, and paths drawn from it."""

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import data, decoding, train

HIDDEN, DROPOUT, RATE, PATHS = 16, 0.5, 5e-3, 100
gaussian = train.mixture_density(1, features=1, least_scale=0.02)
# The dense layer reads the inputs, too.
lstm = rnnjax.recurrent_dropout(rnnjax.lstm(HIDDEN), DROPOUT)
both = rnnjax.stack(lstm, skip=rnnjax.merge.concatenate)
network = rnnjax.stack(both, rnnjax.dense(gaussian.out_features))


def at_steps(series, steps):
    """What is known at these steps: last values `(..., lags)`, drift, and whether one was seen."""
    recent = series.values[steps[..., None] + np.arange(1 - series.lags, 1)]
    seen = ~np.isnan(series.truth[steps])
    return [jnp.asarray(a, jnp.float32) for a in (recent, series.drift[steps], seen)]


def read(series, recent, drift, seen):
    """What a network reads, and the value that its answer is counted from."""
    raised = recent + drift[..., None] * jnp.arange(series.lags - 1, -1, -1.0)
    level = raised.mean(-1, keepdims=True) if series.level is None else series.level
    xs = jnp.concatenate([(raised - level) / series.scale, seen[..., None]], -1)
    weights = jnp.asarray(series.linear, jnp.float32)
    return xs, raised @ weights[:-1] + weights[-1] + drift


def rows(series, members):
    """The steps to train on, cut in pieces, all of them for each member."""
    steps = np.arange(series.start, series.fitted - 1)
    steps = steps[len(steps) % series.pieces :].reshape(series.pieces, -1)
    xs, centre = read(series, *at_steps(series, steps))
    targets = (series.values[steps + 1] - centre) / series.scale
    weights = ~np.isnan(series.truth[steps + 1])
    whole = (xs, targets[..., None], weights.astype(np.float32))
    xs, targets, weights = (np.concatenate([a] * members) for a in whole)
    return data.Batch(xs, targets, weights=weights)


def learn(series, members, epochs, seed, folder):
    """Train all members at once, each on rows of its own."""

    def init(key):
        one = lambda key: network.init(key, series.lags + 1)
        return jax.vmap(one)(jax.random.split(key, members))

    def apply(params, batch, key):
        xs = batch.xs.reshape(members, -1, *batch.xs.shape[1:]).swapaxes(1, 2)
        keys = None if key is None else jax.random.split(key, members)
        one = lambda params, xs, key: network.apply(params, xs, key=key)[1]
        ys = jax.vmap(one, in_axes=(0, 0, None if key is None else 0))(params, xs, keys)
        return ys.swapaxes(1, 2).reshape(*batch.xs.shape[:2], -1)

    batch = rows(series, members)
    return train.fit(
        train.from_functions(init, apply),
        batch,
        loss=gaussian.loss,
        optimizer=train.adamw(RATE, weight_decay=series.decay),
        key=jax.random.key(seed),
        epochs=epochs,
        batch_size=len(batch.xs),
        shuffle=False,
        checkpoints=folder,
        resume=True,
    )


def forecast(series, params):
    """Paths from each origin, `(paths, S, O)`."""
    origins, ahead = series.origins, series.ahead
    history, _ = read(series, *at_steps(series, np.arange(series.start, origins.max())))
    history = jnp.repeat(history[:, None], len(origins), 1)
    recent, _, _ = at_steps(series, np.repeat(origins - 1, PATHS))
    latest, drift, seen = at_steps(series, np.repeat(origins, PATHS))

    def step(state, inputs):
        one, carry, recent = state
        value, seen = inputs
        recent = jnp.concatenate([recent[:, 1:], value[:, None]], 1)
        xs, centre = read(series, recent, drift, seen)
        carry, said = decoding.step_of(network, one)(carry, xs)
        return (one, carry, recent), (said, centre)

    def draw(key, outputs):
        said, centre = outputs
        value = centre + series.scale * gaussian.sample(key, said)[:, 0]
        return value, jnp.ones_like(value)

    def member(one, key):
        carry, _ = network.apply(one, history, lengths=origins - series.start)
        carry = jax.tree.map(lambda a: jnp.repeat(a, PATHS, 0), carry)
        state, first = (one, carry, recent), (latest[:, -1], seen)
        drawn = decoding.generate(step, state, first, num_steps=ahead, choose=draw, key=key)
        return drawn.values[0].reshape(ahead, len(origins), PATHS)

    members = len(jax.tree.leaves(params)[0])
    paths = jax.jit(jax.vmap(member))(params, jax.random.split(jax.random.key(0), members))
    paths = np.asarray(paths).transpose(0, 3, 1, 2).reshape(-1, ahead, len(origins))
    return series.restore(paths, series.steps)

"""Who is speaking? Bidirectional LSTMs tell nine speakers apart by two vowels.

JapaneseVowels: 270 utterances to train, 370 to test, 7 to 29 frames of 12 cepstrum coefficients.
The test utterances were recorded in other sessions, so the work lies in not learning the session:
features are whitened, every utterance gets an offset of its own at every step (a change of
microphone is an offset of the cepstrum), and pairs of utterances are mixed. All of this was chosen
by cross-validation within the training set (`--validate`); the test set is read after training.

Run: python examples/speaker_identification.py [--quick | --validate]
"""

import argparse
import pathlib
import time
from typing import NamedTuple

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pictures
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import rnnjax

HERE = pathlib.Path(__file__).parent
SPEAKERS, HIDDEN, BATCH, MEMBERS = 9, 48, 30, 3
OFFSET, MIX, DROPOUT = 1.1, 0.5, 0.3
PUBLISHED = {  # see data/japanese_vowels/README.md
    "bidirectional LSTM": 0.954,
    "RBF-SVM": 0.981,
    "kernel method (KSig)": 0.986,
    "11-LSTM ensemble": 0.989,
}

layer = rnnjax.bidirectional(rnnjax.lstm(HIDDEN))


class Params(NamedTuple):
    rnn: rnnjax.LSTMParams
    w: jax.Array
    b: jax.Array


def init(key):
    key_rnn, key_w = jax.random.split(key)
    w = jax.nn.initializers.glorot_uniform()(key_w, (3 * 2 * HIDDEN, SPEAKERS))
    return Params(layer.init(key_rnn, in_features=24), w, jnp.zeros(SPEAKERS))


def whitened(train):
    """Scale away how a speaker varies: by the covariance around each speaker's own mean."""
    frames = train.xs[np.arange(train.xs.shape[1]) < train.lengths[:, None]]
    speakers = np.repeat(train.labels, train.lengths)
    around = [frames[speakers == s] - frames[speakers == s].mean(0) for s in range(SPEAKERS)]
    variances, axes = np.linalg.eigh(np.cov(np.concatenate(around).T))

    def whiten(xs):
        return ((xs - frames.mean(0)) @ (axes / np.sqrt(variances)) @ axes.T).astype(np.float32)

    return train._replace(xs=whiten(train.xs)), whiten


def with_deltas(xs, lengths):
    """Append to each frame how the features move around it."""
    steps = jnp.arange(xs.shape[1])
    after = jnp.minimum(steps + 1, lengths[:, None] - 1)
    before = xs[:, jnp.maximum(steps - 1, 0)]
    moves = jnp.take_along_axis(xs, after[..., None], axis=1) - before
    return jnp.concatenate([xs, moves], axis=-1)


def pool(ys, lengths):
    """Average the outputs over the beginning, the middle and the end of each utterance."""
    place = (jnp.arange(len(ys))[:, None] + 0.5) / lengths  # (T, B), 0 to 1 over an utterance
    weights = jax.nn.relu(1 - 2 * jnp.abs(place[..., None] - jnp.array([0.0, 0.5, 1.0])))
    weights = weights * (place < 1)[..., None]
    means = jnp.einsum("tbh,tbp->bph", ys, weights / weights.sum(0))
    return means.reshape(len(lengths), -1)


def logits(params, xs, lengths, key=None):
    steps_first = jnp.moveaxis(with_deltas(xs, lengths), 1, 0)
    _, ys = layer.apply(params.rnn, steps_first, lengths=lengths)
    features = pool(ys, lengths)
    if key is not None:
        kept = jax.random.bernoulli(key, 1 - DROPOUT, features.shape)
        features = jnp.where(kept, features / (1 - DROPOUT), 0)
    return features @ params.w + params.b


def loss(params, batch, key):
    """Cross-entropy on utterances from pretended sessions, mixed in pairs."""
    xs, lengths, labels = batch
    key_offset, key_mix, key_drop = jax.random.split(key, 3)
    xs = xs + OFFSET * jax.random.normal(key_offset, (len(xs), 1, xs.shape[-1]))
    share = jax.random.beta(key_mix, MIX, MIX, (len(xs), 1, 1))
    share = jnp.maximum(share, 1 - share)
    # The partner is the batch turned around, stretched to the utterance's own length.
    stretch = (lengths[::-1] - 1) / (lengths - 1)
    place = jnp.round(jnp.arange(xs.shape[1]) * stretch[:, None]).astype(int)
    place = jnp.minimum(place, lengths[::-1, None] - 1)
    partner = jnp.take_along_axis(xs[::-1], place[..., None], axis=1)
    targets = jax.nn.one_hot(labels, SPEAKERS)
    targets = share[:, 0] * targets + (1 - share[:, 0]) * targets[::-1]
    mixed = share * xs + (1 - share) * partner
    return optax.softmax_cross_entropy(logits(params, mixed, lengths, key_drop), targets).mean()


def make_epoch(train, epochs):
    """The optimizer, and one jitted epoch of all networks side by side."""
    size, batches = len(train.xs), len(train.xs) // BATCH
    total = epochs * batches
    rate = optax.warmup_cosine_decay_schedule(3e-4, 3e-3, total // 10, total)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    train = jax.tree.map(jnp.asarray, train)

    def step(state, inputs):
        (params, moments), (rows, key) = state, inputs
        batch = jax.tree.map(lambda a: a[rows], train)
        value, gradient = jax.value_and_grad(loss)(params, batch, key)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    def epoch(params, moments, key):
        key_order, key_steps = jax.random.split(key)
        rows = jax.random.permutation(key_order, size)[: batches * BATCH].reshape(batches, BATCH)
        keys = jax.random.split(key_steps, batches)
        (params, moments), values = jax.lax.scan(step, (params, moments), (rows, keys))
        return params, moments, values.mean()

    return optimizer, jax.jit(jax.vmap(epoch), donate_argnums=(0, 1))


@jax.jit
def probabilities(params, xs, lengths):
    """What each seed says, `(seeds, N, SPEAKERS)`: the mean of its members."""
    each = jax.vmap(lambda p: jax.nn.softmax(logits(p, xs, lengths)))(params)
    return each.reshape(-1, MEMBERS, *each.shape[1:]).mean(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs: a smoke run")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "output", help="for pictures")
    parser.add_argument("--validate", action="store_true", help="cross-validate, no test set")
    arguments = parser.parse_args()
    seeds, epochs = (1, 6) if arguments.quick else (5, 60)
    started = time.perf_counter()
    train = datasets.japanese_vowels("TRAIN")
    if arguments.validate:
        return validate(train, seeds, epochs)
    train, whiten = whitened(train)
    losses, snapshots = fit(train, seeds, epochs)

    test = datasets.japanese_vowels("TEST")  # opened here, when nothing is left to choose
    test = test._replace(xs=whiten(test.xs))
    histories = {}
    for name, data in (("training", train), ("test", test)):
        said = [np.asarray(probabilities(p, data.xs, data.lengths)) for _, p in snapshots]
        hits = np.array([(s.argmax(-1) == data.labels).mean(1) for s in said])  # (times, seeds)
        histories[name] = ([epoch for epoch, _ in snapshots], hits)
    accuracy = histories["test"][1][-1]
    report(accuracy, time.perf_counter() - started)

    counts = np.zeros((SPEAKERS, SPEAKERS), int)
    for said_by_one in said[-1].argmax(-1):
        np.add.at(counts, (test.labels, said_by_one), 1)
    title = f"{len(accuracy)} seeds, {len(test.labels)} test utterances each"
    output = arguments.output
    print("wrote", pictures.curves(output / "speaker_curves.png", losses, histories, PUBLISHED))
    print("wrote", pictures.confusion(output / "speaker_confusion.png", counts, title))


def fit(train, seeds, epochs):
    """Train all networks; return the loss of each seed by epoch, and parameters along the way."""
    optimizer, epoch = make_epoch(train, epochs)
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds * MEMBERS))
    params = jax.vmap(init)(keys)
    moments = jax.vmap(optimizer.init)(params)
    count = rnnjax.count_parameters(params) // len(keys)
    print(f"{seeds} seeds of {MEMBERS} networks with {count:,} parameters, {epochs} epochs")
    losses, snapshots = [], []
    columns = (*Progress.get_default_columns(), "loss {task.fields[loss]}")
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=epochs, loss="-")
        for number in range(1, epochs + 1):
            folded = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
            params, moments, values = epoch(params, moments, folded)
            losses.append(np.asarray(values).reshape(seeds, MEMBERS).mean(1))
            progress.update(task, advance=1, loss=f"{losses[-1].mean():.3f}")
            if number % 6 == 0:
                snapshots.append((number, jax.device_get(params)))
    return np.array(losses), snapshots


def validate(data, seeds, epochs):
    """Hold out ten consecutive utterances of every speaker at a time, as if of another session."""
    block = np.arange(len(data.labels)) % 30 // 10  # 30 utterances a speaker, in order
    right = []
    for held_out in range(3):
        train, whiten = whitened(jax.tree.map(lambda a, h=held_out: a[block != h], data))
        rest = jax.tree.map(lambda a, h=held_out: a[block == h], data)
        _, snapshots = fit(train, seeds, epochs)
        said = np.asarray(probabilities(snapshots[-1][1], whiten(rest.xs), rest.lengths))
        right.append((said.argmax(-1) == rest.labels).mean(1))
        print(f"utterances {10 * held_out + 1} to {10 * held_out + 10}: {right[-1].mean():.4f}")
    print(f"cross-validated accuracy {np.mean(right):.4f}, mean of {seeds} seeds")


def report(accuracy, seconds):
    """Our accuracy beside the published ones."""
    table = Table("JapaneseVowels", "test accuracy", title="Who is speaking?")
    for name, value in PUBLISHED.items():
        table.add_row(name, f"{value:.3f}")
    each = " ".join(f"{value:.3f}" for value in accuracy)
    table.add_row(
        f"[b]ours, {MEMBERS} bidirectional LSTMs, mean of {len(accuracy)} seeds",
        f"[b]{accuracy.mean():.4f}",
    )
    table.add_row("  each seed", each)
    Console(width=90).print(table)
    print(f"{seconds:.0f} s, compilation included")


if __name__ == "__main__":
    main()

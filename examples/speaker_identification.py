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

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pictures
from rich.console import Console
from rich.progress import track
from rich.table import Table

import rnnjax
from rnnjax import data, plots, train

HERE = pathlib.Path(__file__).parent
SPEAKERS, HIDDEN, BATCH, MEMBERS = 9, 48, 30, 3
OFFSET, MIX, DROPOUT, SNAPSHOT = 1.1, 0.5, 0.3, 6
PUBLISHED = {  # see data/japanese_vowels/README.md
    "bidirectional LSTM": 0.954,
    "RBF-SVM": 0.981,
    "kernel method (KSig)": 0.986,
    "11-LSTM ensemble": 0.989,
}


def thirds(ys, lengths):
    """Average the outputs over the beginning, the middle and the end of each utterance."""
    place = (jnp.arange(ys.shape[1]) + 0.5) / lengths[:, None]  # (B, T), 0 to 1 over an utterance
    weights = jax.nn.relu(1 - 2 * jnp.abs(place[..., None] - jnp.array([0.0, 0.5, 1.0])))
    weights = weights * (place < 1)[..., None]
    means = jnp.einsum("bth,btp->bph", ys, weights / weights.sum(1, keepdims=True))
    return means.reshape(len(lengths), -1)


model = train.from_layer(
    rnnjax.bidirectional(rnnjax.lstm(HIDDEN)),
    pool=thirds,
    head=rnnjax.stack(lambda features: features, rnnjax.dense(SPEAKERS), dropout=DROPOUT),
)


def whitened(recordings):
    """Scale away how a speaker varies: by the covariance around each speaker's own mean."""
    xs, lengths, labels = recordings
    frames = xs[np.arange(xs.shape[1]) < lengths[:, None]]
    speakers = np.repeat(labels, lengths)
    around = [frames[speakers == s] - frames[speakers == s].mean(0) for s in range(SPEAKERS)]
    variances, axes = np.linalg.eigh(np.cov(np.concatenate(around).T))

    def whiten(xs):
        return ((xs - frames.mean(0)) @ (axes / np.sqrt(variances)) @ axes.T).astype(np.float32)

    return recordings._replace(xs=whiten(xs)), whiten


def with_deltas(xs, lengths):
    """Append to each frame how the features move around it."""
    steps = np.arange(xs.shape[1])
    after = np.minimum(steps + 1, lengths[:, None] - 1)
    before = xs[:, np.maximum(steps - 1, 0)]
    moves = np.take_along_axis(xs, after[..., None], axis=1) - before
    return np.concatenate([xs, moves], axis=-1)


class Sessions:
    """Batches of utterances from pretended sessions, mixed in pairs; each is drawn anew."""

    def __init__(self, recordings, seed):
        self.recordings, self.seed = recordings, seed

    def __len__(self):
        return len(self.recordings.labels) // BATCH

    def __getitem__(self, index):
        epoch, place = divmod(index, len(self))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.recordings.labels))
        rows = order[place * BATCH : (place + 1) * BATCH]
        xs, lengths, labels = (part[rows] for part in self.recordings)
        draw = np.random.default_rng([self.seed, epoch, place])
        xs = xs + OFFSET * draw.standard_normal((BATCH, 1, xs.shape[-1]), np.float32)
        share = draw.beta(MIX, MIX, (BATCH, 1)).astype(np.float32)
        share = np.maximum(share, 1 - share)
        # The partner is the batch turned around, stretched to the utterance's own length.
        stretch = (lengths[::-1] - 1) / (lengths - 1)
        place = np.round(np.arange(xs.shape[1]) * stretch[:, None]).astype(int)
        place = np.minimum(place, lengths[::-1, None] - 1)
        partner = np.take_along_axis(xs[::-1], place[..., None], axis=1)
        targets = np.eye(SPEAKERS, dtype=np.float32)[labels]
        mixed = share[..., None] * xs + (1 - share[..., None]) * partner
        targets = share * targets + (1 - share) * targets[::-1]
        return data.Batch(with_deltas(mixed, lengths), targets, lengths)


class Snapshots(train.Callback):
    """Keep the weights of every few epochs."""

    def __init__(self):
        self.weights = []

    def on_epoch(self, run, entry):
        if entry["epoch"] % SNAPSHOT == 0:
            self.weights.append(jax.device_get(run.weights))


def learn(recordings, seeds, epochs):
    """Train all networks; return their losses by epoch, `(epochs, seeds)`, and their snapshots."""
    total = epochs * (len(recordings.labels) // BATCH)
    rate = train.warmup_cosine(3e-3, total, warmup_steps=total // 10)
    optimizer = train.adamw(rate, clip=1.0)
    losses, snapshots = [], []
    for seed in track(range(seeds * MEMBERS), "training networks"):
        kept = Snapshots()
        trained = train.fit(
            model,
            Sessions(recordings, seed),
            loss=optax.softmax_cross_entropy,
            optimizer=optimizer,
            key=jax.random.key(seed),
            epochs=epochs,
            callbacks=[kept],
            progress=False,
        )
        losses.append(trained.history["loss"])
        snapshots.append(kept.weights)
    count = rnnjax.count_parameters(trained.params)
    print(f"{seeds} seeds of {MEMBERS} networks with {count:,} parameters, {epochs} epochs")
    return np.array(losses).reshape(seeds, MEMBERS, epochs).mean(1).T, snapshots


def answers(snapshots, recordings, when=-1):
    """What each seed says at a snapshot, `(seeds, N)`: the mean of its members decides."""
    xs = with_deltas(recordings.xs, recordings.lengths)
    said = [
        train.predict(train.Trained(model, *kept[when]), (xs, None, recordings.lengths))
        for kept in snapshots
    ]
    shares = np.asarray(jax.nn.softmax(jnp.stack(said)))
    return shares.reshape(-1, MEMBERS, *shares.shape[1:]).mean(1).argmax(-1)


def validate(recordings, seeds, epochs):
    """Hold out ten consecutive utterances of every speaker at a time, as if of another session."""
    block = np.arange(len(recordings.labels)) % 30 // 10  # 30 utterances a speaker, in order
    right = []
    for held_out in range(3):
        inner, whiten = whitened(jax.tree.map(lambda a, h=held_out: a[block != h], recordings))
        outer = jax.tree.map(lambda a, h=held_out: a[block == h], recordings)
        _, snapshots = learn(inner, seeds, epochs)
        said = answers(snapshots, outer._replace(xs=whiten(outer.xs)))
        right.append((said == outer.labels).mean(1))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs: a smoke run")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "output", help="for pictures")
    parser.add_argument("--validate", action="store_true", help="cross-validate, no test set")
    arguments = parser.parse_args()
    seeds, epochs = (1, 6) if arguments.quick else (5, 60)
    started = time.perf_counter()
    recordings = datasets.japanese_vowels("TRAIN")
    if arguments.validate:
        return validate(recordings, seeds, epochs)
    recordings, whiten = whitened(recordings)
    losses, snapshots = learn(recordings, seeds, epochs)

    test = datasets.japanese_vowels("TEST")  # opened here, when nothing is left to choose
    test = test._replace(xs=whiten(test.xs))
    times = range(len(snapshots[0]))
    when = [SNAPSHOT * (time + 1) for time in times]
    histories = {}
    for name, part in (("training", recordings), ("test", test)):
        hits = [(answers(snapshots, part, time) == part.labels).mean(1) for time in times]
        histories[name] = (when, np.array(hits))  # (times, seeds)
    accuracy = histories["test"][1][-1]
    report(accuracy, time.perf_counter() - started)

    counts = np.zeros((SPEAKERS, SPEAKERS), int)
    for said_by_one in answers(snapshots, test):
        np.add.at(counts, (test.labels, said_by_one), 1)
    output = arguments.output
    print("wrote", pictures.curves(output / "speaker_curves.png", losses, histories, PUBLISHED))
    confusion = plots.confusion(counts, [f"speaker {n + 1}" for n in range(SPEAKERS)])
    print("wrote", pictures.save(confusion, output / "speaker_confusion.png"))


if __name__ == "__main__":
    main()

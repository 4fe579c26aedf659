"""Pictures of what networks do: the images of `docs/pictures.md`, one call of `rnnjax.plots` each.

Three small networks are trained first: one that reads digits line by line, one that foretells the
next letter of a text, and one that writes digits in reverse with attention.

    python examples/pictures_of_a_network.py
"""

import argparse
import functools
import pathlib
from typing import Any, NamedTuple

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from rnnjax import plots

HERE = pathlib.Path(__file__).parent
TEXT = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the
age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season
of Light, it was the season of Darkness, it was the spring of hope, it was the winter of despair.
""".replace("\n", " ")
SHOWN = "it was the best of times, it was the worst of times"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "docs" / "images")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (digits() | letters() | lags() | reversal()).items():
        path = folder / f"plots_{name}.png"
        figure.savefig(path, dpi=100)
        print(path, f"{path.stat().st_size / 1000:.0f} kB")


class Network(NamedTuple):
    """A cell, and a dense layer over its outputs."""

    cell: Any
    w: Any


def network(key, cell, in_features, out_features):
    key_cell, key_w = jax.random.split(key)
    w = jax.nn.initializers.glorot_uniform()(key_w, (cell.out_features, out_features))
    return Network(cell.init(key_cell, in_features), w)


def trainer(loss, rate=0.005):
    """A step of Adam for `loss(params, *batch)`; state is params and optimiser state."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    @jax.jit
    def step(state, *batch):
        params, opt_state = state
        value, grads = jax.value_and_grad(loss)(params, *batch)
        updates, opt_state = optimiser.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    return lambda params: (params, optimiser.init(params)), step


def digits():
    """Read digits in 8 lines of 8 pixels; 1,437 train and 360 test, as in `pixel_digits.py`."""
    data = datasets.digits()
    xs = jnp.asarray(data.xs.reshape(-1, 8, 8).swapaxes(0, 1))  # (T, B, D)
    labels = jnp.asarray(data.labels)
    cell = rnnjax.gru(32)

    def logits(params, xs):
        _, ys = rnnjax.unroll(cell, params.cell, xs)
        return ys[-1] @ params.w

    def loss(params, xs, labels):
        each = optax.softmax_cross_entropy_with_integer_labels(logits(params, xs), labels)
        return each.mean()

    @jax.jit
    def measure(params, xs, labels):
        said = logits(params, xs).argmax(-1)
        return loss(params, xs, labels), (said == labels).mean(), said

    begin, step = trainer(loss)
    state, rng = begin(network(jax.random.key(0), cell, 8, 10)), np.random.default_rng(0)
    history = []
    for epoch in range(1, 26):
        for rows in rng.permutation(1437)[:1408].reshape(22, 64):
            state, _ = step(state, xs[:, rows], labels[rows])
        train = measure(state[0], xs[:, :1437], labels[:1437])
        *test, said = measure(state[0], xs[:, 1437:], labels[1437:])
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        history.append({"epoch": epoch} | dict(zip(names, [*train[:2], *test], strict=True)))
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (np.asarray(labels[1437:]), np.asarray(said)), 1)
    return {"curves": plots.curves(history), "confusion": plots.confusion(counts)}


def letters():
    """Foretell the next letter of a text, with an LSTM."""
    alphabet = sorted(set(TEXT))
    codes = jnp.array([alphabet.index(letter) for letter in TEXT], jnp.int32)
    one_hot = functools.partial(jax.nn.one_hot, num_classes=len(alphabet))
    cell = rnnjax.lstm(32)

    def loss(params, text):
        _, ys = rnnjax.unroll(cell, params.cell, one_hot(text[:-1]))
        logits = ys @ params.w
        return optax.softmax_cross_entropy_with_integer_labels(logits, text[1:]).mean()

    begin, step = trainer(loss, rate=0.01)
    state = begin(network(jax.random.key(1), cell, len(alphabet), len(alphabet)))
    rng = np.random.default_rng(1)
    for start in rng.integers(0, len(TEXT) - 61, (200, 8)):
        windows = start + np.arange(61)[:, None]  # (T, B)
        state, _ = step(state, codes[windows])
    params = state[0].cell
    shown = one_hot(jnp.array([alphabet.index(letter) for letter in SHOWN], jnp.int32))
    whole = one_hot(codes)
    return {
        "gates": plots.gates(cell, params, shown, tokens=SHOWN),
        "time_constants": plots.time_constants(cell, params, whole),
        "saturation": plots.saturation(cell, params, whole),
    }


def lags():
    """How far back gradients reach before any training, in cells of 64 units."""
    cells = {
        "Elman": rnnjax.elman(64),
        "GRU": rnnjax.gru(64),
        "LSTM": rnnjax.lstm(64),
        "LSTM, chrono(200)": rnnjax.lstm(64, forget_bias=rnnjax.chrono(200)),
    }
    key, key_xs = jax.random.split(jax.random.key(2))
    made = {name: (cell, cell.init(key, in_features=8)) for name, cell in cells.items()}
    return {"gradient_by_lag": plots.gradient_by_lag(made, jax.random.normal(key_xs, (200, 8, 8)))}


def reversal():
    """Write 10 digits in reverse: a GRU reads both ways, another asks it with attention."""
    steps = 10
    reader = rnnjax.bidirectional(rnnjax.gru(16))
    writer = rnnjax.gru(32)

    def init(key):
        keys = jax.random.split(key, 3)
        return (
            reader.init(keys[0], 10),
            writer.init(keys[1], steps),
            0.1 * jax.random.normal(keys[2], (32, 32)),
            jnp.zeros((32, 10)),
        )

    def run(params, codes):  # (T, B)
        read, wrote, w_key, w_out = params
        _, memory = reader.apply(read, jax.nn.one_hot(codes, 10))
        clock = jnp.broadcast_to(jnp.eye(steps)[:, None], (*codes.shape, steps))
        _, asked = rnnjax.unroll(writer, wrote, clock)
        weights = jax.nn.softmax(jnp.einsum("tbh,hk,sbk->bts", asked, w_key, memory))
        return jnp.einsum("bts,sbk->tbk", weights, memory) @ w_out, weights

    def loss(params, codes):
        logits, _ = run(params, codes)
        return optax.softmax_cross_entropy_with_integer_labels(logits, codes[::-1]).mean()

    begin, step = trainer(loss, rate=0.01)
    state, rng = begin(init(jax.random.key(3))), np.random.default_rng(3)
    for codes in rng.integers(0, 10, (400, steps, 32), dtype=np.int32):
        state, _ = step(state, jnp.asarray(codes))
    codes = jax.random.randint(jax.random.key(4), (steps, 1), 0, 10)
    logits, weights = run(state[0], codes)
    read, written = codes[:, 0].tolist(), logits[:, 0].argmax(-1).tolist()
    return {"attention": plots.attention(weights[0], read, written)}


if __name__ == "__main__":
    main()

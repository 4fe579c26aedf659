"""Pictures of what networks do: the images of `docs/pictures.md`, one call of `rnnjax.plots` each.

Three small networks are trained first: one that reads digits line by line, one that foretells the
next letter of a text, and one that writes digits in reverse with attention.

    python examples/pictures_of_a_network.py
"""

import argparse
import pathlib

import datasets
import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import data, plots, train

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


def digits():
    """Read digits in 8 lines of 8 pixels; 1,437 train and 360 test, as in `pixel_digits.py`."""
    images = datasets.digits()
    lines = images.xs.reshape(-1, 8, 8)  # (N, T, D)
    test = (lines[1437:], images.labels[1437:])
    trained = train.fit(
        train.from_layer(rnnjax.gru(32), pool=train.last_step, head=rnnjax.dense(10)),
        (lines[:1437], images.labels[:1437]),
        loss=train.cross_entropy,
        metrics=[train.accuracy],
        optimizer=train.adamw(0.005),
        key=jax.random.key(0),
        epochs=25,
        batch_size=64,
        validation=test,
    )
    counts = train.evaluate(trained, test, [train.confusion(10)])["confusion"]
    return {"curves": plots.curves(trained.history), "confusion": plots.confusion(counts)}


def letters():
    """Foretell the next letter of a text, with an LSTM."""
    alphabet = sorted(set(TEXT))
    codes_of = lambda text: np.array([alphabet.index(letter) for letter in text], np.int32)
    count, cell = len(alphabet), rnnjax.lstm(32)
    trained = train.fit(
        rnnjax.stack(rnnjax.embedding(count, 16), cell, rnnjax.dense(count)),
        data.windows(codes_of(TEXT), batch_size=4, num_steps=36),
        loss=train.cross_entropy,
        metrics=[train.bits_per_character],
        optimizer=train.adamw(0.01),
        key=jax.random.key(1),
        epochs=100,
        progress=False,
    )
    vectors, params, _ = trained.params
    whole = vectors.w[codes_of(TEXT)]
    return {
        "gates": plots.gates(cell, params, vectors.w[codes_of(SHOWN)], tokens=SHOWN),
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
        return jnp.einsum("bts,sbk->btk", weights, memory) @ w_out, weights

    codes = np.random.default_rng(3).integers(0, 10, (12_800, steps), dtype=np.int32)
    trained = train.fit(
        train.from_functions(init, lambda params, batch, key: run(params, batch.xs.T)[0]),
        (codes, codes[:, ::-1]),
        loss=train.cross_entropy,
        metrics=[train.accuracy],
        optimizer=train.adamw(0.01),
        key=jax.random.key(3),
        epochs=1,
    )
    asked = jax.random.randint(jax.random.key(4), (steps, 1), 0, 10)
    logits, weights = run(trained.params, asked)
    read, written = asked[:, 0].tolist(), logits[0].argmax(-1).tolist()
    return {"attention": plots.attention(weights[0], read, written)}


if __name__ == "__main__":
    main()

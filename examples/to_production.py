"""From training to a small machine: one network in a file, smaller, as ONNX, as StableHLO, live.

A GRU learns who is speaking (JapaneseVowels, 9 speakers) and answers at every frame. Then it
leaves, and each step says what it is worth against the network as trained.

Run: python examples/to_production.py [--quick] [--out FOLDER]
"""

import argparse
import importlib.util
import pathlib
import time

import datasets
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import rnnjax
from rnnjax import export, train

SPEAKERS, HIDDEN = 9, 64
layer = rnnjax.stack(rnnjax.gru(HIDDEN), rnnjax.gru(HIDDEN), rnnjax.dense(SPEAKERS), dropout=0.3)


def learn(epochs):
    """Train on the last valid frame of each utterance; return the params of `layer`."""
    xs, lengths, labels = datasets.japanese_vowels("TRAIN")
    model = train.from_layer(layer, pool=train.last_step)
    trained = train.fit(
        model,
        (xs, labels, lengths),
        loss=train.cross_entropy,
        optimizer=train.adamw(3e-3),
        key=jax.random.key(0),
        epochs=epochs,
        batch_size=30,
        progress=False,
    )
    return trained.params


def logits(layer, params, xs, lengths):
    """What a network says of every frame, `(T, B, 9)`."""
    return np.asarray(layer.apply(params, xs, lengths=lengths)[1])


def apart(ys, wanted):
    """The largest difference between two probabilities of a speaker, of all frames."""
    return float(abs(jax.nn.softmax(ys) - jax.nn.softmax(wanted)).max())


def accuracy(ys, lengths, labels):
    """How often the last valid frame names the speaker."""
    last = np.asarray(rnnjax.last_output(ys, lengths))
    return float((last.argmax(-1) == labels).mean())


def smaller(params, xs, lengths, labels, folder):
    """The network in three dtypes: bytes of its file, accuracy, how far probabilities are off."""
    wanted = logits(layer, params, xs, lengths)
    for dtype in ("float32", "bfloat16", "int8"):
        network = (layer, params) if dtype == "float32" else rnnjax.quantize(layer, params, dtype)
        path = folder / f"speaker_{dtype}.safetensors"
        rnnjax.save(path, *network)
        loaded = rnnjax.load(path)  # the layer, too: the file describes it
        ys = logits(*loaded, xs, lengths)
        yield dtype, path.stat().st_size, accuracy(ys, lengths, labels), apart(ys, wanted)


def as_onnx(params, xs, lengths, folder):
    """Write ONNX; what ONNX Runtime computes with it, where that is installed."""
    path = folder / "speaker.onnx"
    export.save(path, export.to_onnx(layer, params))
    if importlib.util.find_spec("onnxruntime") is None:
        return path, None
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return path, session.run(["ys"], {"xs": xs, "lengths": lengths})[0]


def as_stablehlo(params, xs, lengths, folder):
    """Write StableHLO; what JAX alone computes with it."""
    path = folder / "speaker.stablehlo"
    export.save(path, export.to_stablehlo(layer, params))
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    return path, np.asarray(program.call(xs, lengths)[1])


def live(network, xs):
    """Hear one utterance frame by frame; outputs, and microseconds for each frame."""
    step = rnnjax.stepper(*network)
    carry, ys, times = step.init_carry(), [], []
    for x in xs:
        start = time.perf_counter()
        carry, y = step(carry, x)
        times.append(time.perf_counter() - start)
        ys.append(y)
    return np.stack(ys), 1e6 * np.median(times[1:])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 epochs, as a smoke test")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("examples/output"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()

    params = learn(epochs=2 if options.quick else 40)
    xs, lengths, labels = datasets.japanese_vowels("TEST")
    xs = np.ascontiguousarray(xs.swapaxes(0, 1))  # time first
    wanted = logits(layer, params, xs, lengths)

    table = Table("as", "bytes", "test accuracy", "largest difference of a probability")
    for dtype, size, score, difference in smaller(params, xs, lengths, labels, options.out):
        table.add_row(f"safetensors, {dtype}", f"{size:,}", f"{score:.4f}", f"{difference:.1e}")
    for name, (path, ys) in (
        ("ONNX, in ONNX Runtime", as_onnx(params, xs, lengths, options.out)),
        ("StableHLO", as_stablehlo(params, xs, lengths, options.out)),
    ):
        told = (
            ["not installed", ""]
            if ys is None
            else [f"{accuracy(ys, lengths, labels):.4f}", f"{apart(ys, wanted):.1e}"]
        )
        table.add_row(name, f"{path.stat().st_size:,}", *told)
    console.print(table)

    one = xs[: lengths[0], 0]
    for dtype, network in (("float32", (layer, params)), ("int8", rnnjax.quantize(layer, params))):
        ys, microseconds = live(network, one)
        whole = np.asarray(network[0].apply(network[1], jnp.asarray(one))[1])
        console.print(
            f"live, {dtype}: {microseconds:.0f} us a frame, "
            f"largest difference from the whole run {abs(ys - whole).max():.1e}"
        )


if __name__ == "__main__":
    main()

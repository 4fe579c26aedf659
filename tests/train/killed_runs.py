"""Two runs of `fit` to be killed, and a server that forks a process for each attempt at one.

Run alone: it reads a line of JSON for each attempt from the standard input, and answers with the
exit status of the process, below 0 for the signal that ended it.
"""

import gc
import json
import os
import signal
import sys
import time
import warnings

import jax
import numpy as np
import optax

import rnnjax
import rnnjax.train.run
from rnnjax import data, train
from rnnjax.storage import leaves

VOCABULARY, PATIENCE = 7, 120


def sequences(seed, count):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, VOCABULARY, n).astype(np.int32) for n in draw.integers(1, 10, count)]


def in_buckets():
    """Three shapes, dropout, an average, clipped AdamW, validation, callbacks that remember."""
    train_on, validate_on = sequences(0, 13), sequences(1, 6)
    label = lambda tokens: np.array([len(t) % 2 for t in tokens], np.int32)
    layer = rnnjax.stack(rnnjax.embedding(VOCABULARY, 6), rnnjax.gru(4), dropout=0.3)
    return {
        "model": train.from_layer(layer, pool=train.last_step, head=rnnjax.dense(2)),
        "data": data.buckets(train_on, label(train_on), batch_size=3, max_shapes=3),
        "validation": data.buckets(
            validate_on, label(validate_on), batch_size=6, max_shapes=1, shuffle=False
        ),
        "optimizer": train.adamw(optax.linear_schedule(0.1, 0.0, 60), clip=0.5),
        "averaging": train.ema(0.9),
        "epochs": 9,
        "callbacks": [
            train.EarlyStopping(3, min_delta=1.0),
            train.ReduceOnPlateau(factor=0.5, patience=1, min_delta=1.0),
        ],
    }


def in_windows():
    """Truncated backpropagation: the carry goes on from batch to batch."""
    layer = rnnjax.stack(
        rnnjax.embedding(VOCABULARY, 6), rnnjax.gru(4), rnnjax.dense(VOCABULARY), dropout=0.3
    )
    return {
        "model": train.from_layer(layer),
        "data": data.windows(sequences(2, 20), batch_size=3, num_steps=5),
        "optimizer": optax.adam(0.03),
        "epochs": 4,
    }


class Tell(train.Callback):
    """A byte at the start of an attempt, and after each of its steps."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_start(self, run):
        os.write(self.pipe, b".")

    def on_tick(self, run, values):
        os.write(self.pipe, b".")


def attempt(kind, folder, out, pipe):
    """Begin a run or go on with it, and write what it comes to."""
    rnnjax.train.run.TICK = -1.0  # a look after every step
    options = {"buckets": in_buckets, "windows": in_windows}[kind]()
    model, given = options.pop("model"), options.pop("data")
    shapes = jax.eval_shape(lambda key: model.init(key, given[0]), jax.random.key(0))
    draw = np.random.default_rng(0)
    fill = lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype)
    trained = train.fit(
        model,
        given,
        loss=train.cross_entropy,
        key=jax.random.key(5),
        weights=jax.tree.map(fill, shapes),  # to draw them takes a while
        checkpoints=train.Checkpoints(folder, every_steps=2, every_seconds=None),
        resume=True,
        callbacks=[*options.pop("callbacks", []), Tell(pipe)],
        **options,
    )
    write(out, trained)


def write(out, trained):
    """Every array by its name, and what else there is to compare; complete or absent."""
    named = leaves.named_leaves("write", "trained", (trained.state, trained.params))
    raw = lambda leaf: jax.random.key_data(leaf) if leaves.is_key(leaf) else leaf
    arrays = {name: np.asarray(raw(leaf)) for name, leaf in named.items()}
    record = {"history": trained.history.entries, "reason": trained.reason}
    np.savez(f"{out}.part.npz", record=json.dumps(record), **arrays)
    os.replace(f"{out}.part.npz", out)


def one_attempt(kind, folder, out, moment):
    """Fork, wait for so many steps and then so many seconds, and kill; None lets it live."""
    done, pipe = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        status = 1
        try:
            attempt(kind, folder, out, pipe)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(pipe)
    with open(done, "rb", buffering=0) as bytes_of:
        if moment is not None:
            steps, seconds = moment
            while steps >= 0 and bytes_of.read(1):  # nothing comes when the process is over
                steps -= 1
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)  # its number is its own until we have waited for it
        bytes_of.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve():
    """Whatever attempts share is imported here; no backend is started, for none outlives a fork."""
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.filterwarnings("ignore", ".*fork")
    import grain  # noqa: F401
    from orbax import checkpoint  # noqa: F401

    gc.disable()
    for line in sys.stdin:
        print(one_attempt(**json.loads(line)), flush=True)


if __name__ == "__main__":
    serve()

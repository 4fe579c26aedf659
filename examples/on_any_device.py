"""A language model in one compiled program: sharded over all devices, in bfloat16, resumable.

This is how a TPU wants to be used, and it runs unchanged on GPUs and CPUs. The text lies on the
devices; a hundred steps of training are one call that cuts windows, carries states on, computes in
bfloat16 and updates parameters in float32. Rows of the batch are spread over the devices,
parameters are on all of them, and XLA adds up the gradients. After each call the state is saved; a
killed run goes on where it stopped. Text and held-out books are those of `character_model.py`.

Run: python examples/on_any_device.py [--quick]
On a CPU that plays four devices: XLA_FLAGS=--xla_force_host_platform_device_count=4 before it.
"""

import functools
import math
import time
from typing import Any, NamedTuple

import bible
import jax
import jax.numpy as jnp
import judging
import optax
import pictures
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from rich.progress import Progress

import rnnjax
from rnnjax import plots, train

LETTER, HIDDEN, LAYERS = 64, 256, 2
ROWS, STEPS, CALL, RATE = 64, 64, 100, 4e-3  # rows at a time, steps of a window, windows of a call

mesh = jax.make_mesh((jax.device_count(),), ("devices",), axis_types=(AxisType.Auto,))
by_row = NamedSharding(mesh, PartitionSpec("devices"))
everywhere = NamedSharding(mesh, PartitionSpec())


class State(NamedTuple):
    """All that training changes."""

    params: Any
    moments: Any  # of the optimizer
    carry: Any
    window: jax.Array  # how many windows have been read


class Program:
    """A network and its training, `calls` calls long."""

    def __init__(self, hidden, layers, calls):
        cells = [rnnjax.lstm(hidden, dtype=jnp.bfloat16) for _ in range(layers)]
        letters = len(bible.LETTERS)
        self.network = rnnjax.stack(
            rnnjax.embedding(letters, LETTER), *cells, rnnjax.dense(letters)
        )
        self.calls = calls
        rate = train.warmup_cosine(RATE, calls * CALL, warmup_steps=CALL // 2)
        self.optimizer = train.adamw(rate)

    def begin(self, key):
        """The state before the first step, where it belongs."""
        params = self.network.init(key, in_features=None)
        carry = self.network.init_carry(params, jnp.zeros(ROWS, jnp.int32))
        state = State(params, self.optimizer.init(params), carry, jnp.array(0))
        places = jax.tree.map(lambda leaf: everywhere, state)
        return jax.device_put(state, places._replace(carry=jax.tree.map(lambda _: by_row, carry)))

    def bits(self, params, carry, tokens):
        """Bits for a letter of a window, `tokens (rows, steps + 1)`, and the carry behind it."""
        carry, logits = self.network.apply(params, tokens[:, :-1].T, carry)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:].T)
        return losses.mean() / math.log(2), carry

    def step(self, state, text):
        """Train on the next window of every row."""
        place = state.window % ((text.shape[1] - 1) // STEPS) * STEPS
        tokens = jax.lax.dynamic_slice_in_dim(text, place, STEPS + 1, axis=1)
        carry = jax.tree.map(lambda leaf: leaf * (place > 0), state.carry)
        grad = jax.value_and_grad(self.bits, has_aux=True)
        (loss, carry), gradient = grad(state.params, carry, tokens)
        changes, moments = self.optimizer.update(gradient, state.moments, state.params)
        params = optax.apply_updates(state.params, changes)
        return State(params, moments, carry, state.window + 1), loss

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def call(self, state, text):
        """`CALL` windows of training: the new state, and the mean of bits."""
        state, losses = jax.lax.scan(lambda s, _: self.step(s, text), state, length=CALL)
        return state, losses.mean()

    def learn(self, seed, folder):
        """Train, or go on where a run stopped."""
        text = jax.device_put(rows_of(bible.READ), by_row)
        state, entries = self.begin(jax.random.key(seed)), []
        if train.latest_step(folder) is not None:
            restored = train.restore(folder, state)
            state, entries = restored.tree, restored.record["entries"]
        with Progress(transient=True) as progress:
            task = progress.add_task("training", total=self.calls, completed=len(entries))
            while len(entries) < self.calls:
                started = time.perf_counter()
                state, loss = self.call(state, text)
                entry = {"epoch": len(entries) + 1, "loss": float(loss)}
                entries.append(entry | {"seconds": time.perf_counter() - started})
                train.save(folder, len(entries), state, {"entries": entries}, keep=2)
                progress.update(task, advance=1, description=f"{entry['loss']:.3f} bits")
        return train.Trained(self.network, state.params, history=train.History(entries))

    def score(self, trained):
        """Bits for a letter of the held-out books."""
        tokens = rows_of(bible.UNSEEN)
        carry = self.network.init_carry(trained.params, jnp.zeros(ROWS, jnp.int32))
        return float(jax.jit(self.bits)(trained.params, carry, tokens)[0])


def rows_of(texts):
    """Texts end to end, cut into rows of equal length."""
    ids = bible.LETTERS.encode("".join(texts))
    return ids[: len(ids) // ROWS * ROWS].reshape(ROWS, -1)


def main():
    told = judging.arguments(__doc__)
    task = judging.Judged(
        name="on_any_device",
        title="Bits for a letter, in one compiled program",
        measure="bits per character",
        form=".3f",
        baselines=bible.baselines(),
        trivial="how frequent each letter is",
        goal=1.8,
        higher=False,
    )
    devices = f"{jax.device_count()} {jax.devices()[0].device_kind}"
    print(f"{devices}: {ROWS // jax.device_count()} of {ROWS} rows on each")
    program = Program(64, 1, 3) if told.quick else Program(HIDDEN, LAYERS, 20)
    entrant = judging.Entrant(program.learn, program.score)
    verdicts = judging.judge(task, {"LSTMs in bfloat16": entrant}, told)
    figure = plots.curves(verdicts["LSTMs in bfloat16"].trained[0].history, names=["loss"])
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=80))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

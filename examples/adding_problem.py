"""The adding problem: remember two numbers among 600, and add them.

Each step brings a number between 0 and 1 and a mark; two steps are marked, one in each half. The
answer is the sum of the two marked numbers. To say 1 always costs 1/6; whoever does better than
that has carried a number over hundreds of steps. A GRU and an LSTM with chrono biases learn it.

Run: python examples/adding_problem.py [--quick] [--cell gru|chrono_lstm|lstm] [--seeds N]

Reference: Hochreiter & Schmidhuber, *Long short-term memory* (1997), task 4.
"""

import argparse
import functools
import pathlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.progress import Progress

import rnnjax

HERE = pathlib.Path(__file__).parent
STEPS, BATCH, HIDDEN, RATE, GOAL = 600, 64, 64, 4e-3, 1e-3
CELLS = {
    "gru": rnnjax.gru(HIDDEN, update_bias=rnnjax.chrono(STEPS)),
    "chrono_lstm": rnnjax.lstm(HIDDEN, forget_bias=rnnjax.chrono(STEPS)),
    "lstm": rnnjax.lstm(HIDDEN),
}


class Params(NamedTuple):
    rnn: rnnjax.GRUParams | rnnjax.LSTMParams
    w: jax.Array
    b: jax.Array


def draw(key, num_steps, batch):
    """Numbers and marks, (T, B, 2), and the sums of the marked numbers."""
    key_numbers, key_first, key_second = jax.random.split(key, 3)
    numbers = jax.random.uniform(key_numbers, (num_steps, batch))
    half = num_steps // 2
    first = jax.random.randint(key_first, (batch,), 0, half)
    second = jax.random.randint(key_second, (batch,), half, num_steps)
    steps = jnp.arange(num_steps)[:, None]
    marks = ((steps == first) | (steps == second)).astype(jnp.float32)
    return jnp.stack([numbers, marks], axis=-1), (numbers * marks).sum(0)


def init(cell, key):
    key_rnn, key_w = jax.random.split(key)
    w = jax.nn.initializers.glorot_uniform()(key_w, (HIDDEN, 1))
    return Params(cell.init(key_rnn, in_features=2), w, jnp.zeros(1))


def loss(cell, params, xs, answers):
    carry, _ = rnnjax.unroll(cell, params.rnn, xs)
    return jnp.square((carry.h @ params.w + params.b)[:, 0] - answers).mean()


def make_rounds(cell, num_steps, total):
    """The optimizer, and so many steps of training in one call."""
    rate = optax.cosine_decay_schedule(RATE, total)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def step(state, key):
        params, moments = state
        value, gradient = jax.value_and_grad(functools.partial(loss, cell))(
            params, *draw(key, num_steps, BATCH)
        )
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    def rounds(params, moments, keys):
        (params, moments), values = jax.lax.scan(step, (params, moments), keys)
        return params, moments, values.mean()

    return optimizer, jax.jit(rounds, donate_argnums=(0, 1))


def train(cell, seed, *, num_steps, total, every, say):
    """The error on 2,000 fresh sequences after training, and what was said on the way."""
    key_init, key_train, key_test = jax.random.split(jax.random.key(seed), 3)
    optimizer, rounds = make_rounds(cell, num_steps, total)
    params = init(cell, key_init)
    moments = optimizer.init(params)
    keys = jax.random.split(key_train, (total // every, every))
    for number, some in enumerate(keys, start=1):
        params, moments, value = rounds(params, moments, some)
        say(number * every, float(value))
    test = draw(key_test, num_steps, 2000)
    return float(jax.jit(functools.partial(loss, cell))(params, *test))


def teller(progress, title, total):
    """A function that moves the bar."""
    task = progress.add_task(title, total=total)

    def say(step, value):
        progress.update(task, completed=step, description=f"{title}: {value:.2e}")

    return say


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 numbers, a smoke run")
    parser.add_argument("--cell", choices=CELLS, action="append", help="may be given several times")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000, help="of training")
    arguments = parser.parse_args()
    size = {"num_steps": 20, "total": 40, "every": 20} if arguments.quick else None
    size = size or {"num_steps": STEPS, "total": arguments.steps, "every": 100}
    console = Console(soft_wrap=True)
    lines = []
    for name in arguments.cell or ("gru", "chrono_lstm"):
        for seed in range(1 if arguments.quick else arguments.seeds):
            begin = time.perf_counter()
            title = f"{name}, seed {seed}"
            with Progress(console=console, transient=True) as progress:
                error = train(CELLS[name], seed, **size, say=teller(progress, title, size["total"]))
            seconds = time.perf_counter() - begin
            lines.append(f"| {name} | {seed} | {error:.2e} | {seconds:.0f} |")
            console.print(lines[-1])


if __name__ == "__main__":
    main()

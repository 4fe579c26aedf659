"""The adding problem: remember two numbers among 600, and add them.

Each step brings a number between 0 and 1 and a mark; two steps are marked, one in each half. The
answer is the sum of the two marked numbers. To say 1 always costs 1/6; whoever does better than
that has carried a number over hundreds of steps. A GRU and an LSTM with chrono biases learn it.

Run: python examples/adding_problem.py [--quick] [--cell gru|chrono_lstm|lstm] [--seeds N]

Reference: Hochreiter & Schmidhuber, *Long short-term memory* (1997), task 4; the biases, Tallec &
Ollivier, *Can recurrent neural networks warp time?* (2018); published errors, of networks with
70,000 parameters, Bai, Kolter & Koltun, *An empirical evaluation of generic convolutional and
recurrent networks for sequence modeling* (2018).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import training

import rnnjax

STEPS, BATCH, HIDDEN, RATE, TEST = 600, 32, 32, 8e-3, 2000
CELLS = {
    "gru": rnnjax.gru(HIDDEN, update_bias=rnnjax.chrono(STEPS)),
    "chrono_lstm": rnnjax.lstm(HIDDEN, forget_bias=rnnjax.chrono(STEPS)),
    "lstm": rnnjax.lstm(HIDDEN),
}
PUBLISHED = {"LSTM of Bai et al. (2018)": 0.164, "GRU of Bai et al. (2018)": 5.3e-5}


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


def model(cell, num_steps):
    def init(key):
        key_rnn, key_w = jax.random.split(key)
        w = jax.nn.initializers.glorot_uniform()(key_w, (HIDDEN, 1))
        return Params(cell.init(key_rnn, in_features=2), w, jnp.zeros(1))

    def error(params, key, batch):
        xs, answers = draw(key, num_steps, batch)
        carry, _ = rnnjax.unroll(cell, params.rnn, xs)
        return jnp.square((carry.h @ params.w + params.b)[:, 0] - answers).mean()

    return training.Model(
        init=init,
        loss=lambda params, key: error(params, key, BATCH),
        score=lambda params, key: error(params, key, TEST),
        rate=RATE,
    )


def main():
    told = training.arguments(__doc__, CELLS)
    num_steps, total, every = (20, 40, 20) if told.quick else (STEPS, 2000, 50)
    models = {name: model(cell, num_steps) for name, cell in told.cells.items()}
    report = training.Report(
        name="adding_problem",
        title=f"The adding problem, T = {num_steps}",
        measure="test mean squared error",
        form=".1e",
        baselines={"always 1": 1 / 6},
        published=PUBLISHED,
        curve="mean squared error on fresh data",
        log=True,
    )
    training.tell(report, models, told, total=total, every=every)


if __name__ == "__main__":
    main()

"""The copy task: read ten symbols, wait 100 steps, and say them again.

Of eight symbols ten are drawn and read; then come blanks, at last a mark, and after it the network
must put out the ten in order, and blanks at all steps before. Whoever remembers nothing can say
blanks and then guess, at a loss of 10 ln 8 / (T + 20) a step. A linear recurrent unit whose
memory begins long learns it to the last symbol in some hundreds of steps of training; the gated
networks here do not in 2,000.

Run: python examples/copy_memory.py [--quick] [--cell lru|gru|chrono_lstm] [--seeds N]

Reference: Hochreiter & Schmidhuber, *Long short-term memory* (1997); in this form, Arjovsky, Shah &
Bengio, *Unitary evolution recurrent neural networks* (2016).
"""

import math

import jax
import jax.numpy as jnp
import optax
import training

import rnnjax

DELAY, SYMBOLS, LENGTH = 100, 8, 10
BATCH, HIDDEN, STATE, RATE, TEST = 32, 64, 128, 8e-3, 1000
MEMORY = rnnjax.chrono(DELAY + LENGTH)
CELLS = {
    # No unit forgets within the delay, so the states' phases tell the steps apart.
    "lru": rnnjax.lru(HIDDEN, state_features=STATE, min_radius=0.98, max_radius=0.999),
    "gru": rnnjax.gru(HIDDEN, update_bias=MEMORY),
    "chrono_lstm": rnnjax.lstm(HIDDEN, forget_bias=MEMORY),
}


def draw(key, delay, batch):
    """Inputs, (T + 20, B, 10) in one-hot form, and what to say, (T + 20, B); 0 is a blank."""
    symbols = jax.random.randint(key, (LENGTH, batch), 1, SYMBOLS + 1)
    mark = jnp.full((1, batch), SYMBOLS + 1)
    blanks = lambda num_steps: jnp.zeros((num_steps, batch), int)
    xs = jnp.concatenate([symbols, blanks(delay - 1), mark, blanks(LENGTH)])
    answers = jnp.concatenate([blanks(delay + LENGTH), symbols])
    return jax.nn.one_hot(xs, SYMBOLS + 2), answers


def model(cell, delay):
    layer = rnnjax.stack(cell, rnnjax.dense(SYMBOLS + 1))

    def loss(params, key, batch):
        xs, answers = draw(key, delay, batch)
        _, ys = layer.apply(params, xs)
        return optax.softmax_cross_entropy_with_integer_labels(ys, answers).mean()

    return training.Model(
        init=lambda key: layer.init(key, in_features=SYMBOLS + 2),
        loss=lambda params, key: loss(params, key, BATCH),
        score=lambda params, key: loss(params, key, TEST),
        rate=RATE,
    )


def main():
    told = training.arguments(__doc__, CELLS)
    delay, total, every = (10, 40, 20) if told.quick else (DELAY, 2000, 50)
    models = {name: model(cell, delay) for name, cell in told.cells.items()}
    report = training.Report(
        name="copy_memory",
        title=f"The copy task, T = {delay}",
        measure="test cross-entropy a step",
        form=".2e",
        baselines={"no memory": LENGTH * math.log(SYMBOLS) / (delay + 2 * LENGTH)},
        curve="cross-entropy a step on fresh data",
        top=None if told.quick else 0.3,
    )
    training.tell(report, models, told, total=total, every=every)


if __name__ == "__main__":
    main()

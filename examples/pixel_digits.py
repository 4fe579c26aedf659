"""Digits pixel by pixel: read 64 numbers one at a time, and say which digit they were.

1,797 images of 8 by 8 pixels; the first 1,437 train, the last 360 test. One pixel is a step, and
the answer is read from the last step alone, so the network must keep the first rows in mind
until then. Beside it stands the nearest neighbour, which sees all pixels at once. Everything was
chosen within the training set (`--validate` holds out its last fifth).

Run: python examples/pixel_digits.py [--quick | --validate] [--cell lru|gru|...] [--seeds N]

Reference: Le, Jaitly & Hinton, *A simple way to initialize recurrent networks of rectified linear
units* (2015), who read MNIST this way.
"""

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax
import training

import rnnjax

STEPS, DIGITS, TRAIN = 64, 10, 1437
BATCH, HIDDEN = 50, 64


def two_layers(cell):
    """For cells that are linear in their carry: what is not linear stands between them."""
    between = rnnjax.dense(HIDDEN, activation=jax.nn.gelu)
    return rnnjax.stack(rnnjax.dense(HIDDEN), cell, between, cell, between, rnnjax.dense(DIGITS))


def one_layer(cell):
    return rnnjax.stack(cell, rnnjax.dense(DIGITS))


CELLS = {  # each with the rate of learning that suits it
    "gru": (one_layer(rnnjax.gru(HIDDEN, update_bias=rnnjax.chrono(STEPS))), 8e-3),
    "chrono_lstm": (one_layer(rnnjax.lstm(HIDDEN, forget_bias=rnnjax.chrono(STEPS))), 8e-3),
    "lstm": (one_layer(rnnjax.lstm(HIDDEN)), 8e-3),
    "stacked_lru": (two_layers(rnnjax.lru(HIDDEN)), 4e-3),
    "stacked_min_gru": (two_layers(rnnjax.min_gru(HIDDEN)), 8e-3),
}


def model(layer, rate, train, test):
    images, digits = jnp.asarray(train.xs), jnp.asarray(train.labels)
    test_images, test_digits = jnp.asarray(test.xs), jnp.asarray(test.labels)

    def logits(params, xs):
        _, ys = layer.apply(params, jnp.moveaxis(xs, 1, 0))
        return rnnjax.last_output(ys)

    def loss(params, key):
        rows = jax.random.randint(key, (BATCH,), 0, len(images))
        said = logits(params, images[rows])
        return optax.softmax_cross_entropy_with_integer_labels(said, digits[rows]).mean()

    def accuracy(params, key):
        return (logits(params, test_images).argmax(-1) == test_digits).mean()

    init = lambda key: layer.init(key, in_features=1)
    return training.Model(init, loss, accuracy, rate, scored_on_the_way=True)


def nearest_neighbour(train, test):
    """How often the most similar image of the training set is of the same digit."""
    squares = [((train.xs - image) ** 2).sum((1, 2)) for image in test.xs]
    return float((train.labels[np.argmin(squares, axis=1)] == test.labels).mean())


def rows_of(data, begin, end):
    return jax.tree.map(lambda a: a[begin:end], data)


def main():
    flags = {"validate": "hold out the last fifth of the training set, and test on that"}
    told = training.arguments(__doc__, CELLS, flags)
    data = datasets.digits()
    begin, end = (TRAIN * 4 // 5, TRAIN) if told.validate else (TRAIN, len(data.xs))
    train, test = rows_of(data, 0, begin), rows_of(data, begin, end)
    total, every = (40, 20) if told.quick else (1700, 50)
    models = {name: model(*cell, train, test) for name, cell in told.cells.items()}
    report = training.Report(
        name="pixel_digits",
        title="Digits pixel by pixel",
        measure="validation accuracy" if told.validate else "test accuracy",
        form=".3f",
        baselines={"nearest neighbour": nearest_neighbour(train, test)},
        curve="validation accuracy" if told.validate else "test accuracy",
        top=1.0,
    )
    training.tell(report, models, told, total=total, every=every)


if __name__ == "__main__":
    main()

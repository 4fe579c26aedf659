"""Draft."""

import time

import datasets
import jax
import jax.numpy as jnp
import judging
import numpy as np
import pictures
import strokes
import window

import rnnjax
from rnnjax import data, decoding, train

HIDDEN, MIXTURES, PACE = 128, 20, 1 / 14
BATCH, RATE = 64, 5e-3
FIRST = np.float32([0, 0, 1])  # what is read before the first point
LETTERS = len(strokes.SYMBOLS)


class Network:
    """LSTM, or one that reads a text, an LSTM above it, and a density of the next point."""

    def __init__(self, mixtures, *, reads, hidden=HIDDEN, narrow=64):
        self.pen, self.reads = train.handwriting(mixtures), reads
        below = window.window(narrow, LETTERS, pace=PACE) if reads else rnnjax.lstm(narrow)
        above = rnnjax.stack(rnnjax.lstm(hidden), skip=rnnjax.merge.concatenate)
        self.layers = rnnjax.stack(below, above, rnnjax.dense(self.pen.out_features))
        self.model = train.from_functions(lambda key: self.layers.init(key, 3), self.apply)

    def hold(self, params, texts):
        """Params that hold the texts to be written."""
        if not self.reads:
            return params
        below, *rest = params
        return below._replace(text=jax.nn.one_hot(texts, LETTERS)), *rest

    def apply(self, params, batch, key):
        points, texts = batch.xs
        params = self.hold(params, texts)
        _, ys = self.layers.apply(params, points.swapaxes(0, 1), lengths=batch.lengths)
        return ys.swapaxes(0, 1)


    def write(self, params, texts, key, *, bias, num_steps):
        """Points that the network draws, (N, B, 3), and what of the texts it then reads, (N, B, U).

        Higher `bias`, tidier writing.
        """
        params = self.hold(params, texts)
        advance = decoding.step_of(self.layers, params)

        def step(carry, inputs):
            carry, outputs = advance(carry, inputs[0])
            return carry, (outputs, carry[0].weights if self.reads else ())

        def choose(key, outputs):
            said, weights = outputs
            return self.pen.sample(key, said, bias=bias), weights

        first = jnp.broadcast_to(FIRST, (len(texts), 3))
        read = jnp.zeros(texts.shape) if self.reads else ()
        carry = self.layers.init_carry(params, first)
        options = {"num_steps": num_steps, "choose": choose, "key": key}
        return decoding.generate(step, carry, (first, read), **options).values


def batch_of(lines, scale):
    targets = lines.points / scale
    first = np.broadcast_to(FIRST, targets[:, :1].shape)
    xs = np.concatenate([first, targets[:, :-1]], 1)
    return data.Batch((xs, lines.texts), targets, lines.lengths)

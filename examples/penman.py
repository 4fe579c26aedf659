"""The networks of `handwriting`: where the pen goes next, with or without a text to be read."""

import functools

import jax
import jax.numpy as jnp
import strokes
import window

import rnnjax
from rnnjax import decoding, train

NARROW, HIDDEN, PACE = 64, 160, 1 / 14  # the last in letters a point, to begin with
LETTERS = len(strokes.SYMBOLS)


class Network:
    """An LSTM, or one that reads a text; an LSTM above it; and a density of the next point."""

    def __init__(self, mixtures, *, reads, narrow=NARROW, hidden=HIDDEN):
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

    @functools.partial(jax.jit, static_argnames=("self", "bias", "num_steps"))
    def write(self, params, texts, key, *, bias, num_steps):
        """Points that are drawn, (N, B, 3), and what of the texts is then read, (N, B, U).

        The higher the `bias`, the tidier the hand.
        """
        params = self.hold(params, texts)
        advance = decoding.step_of(self.layers, params)

        def step(carry, inputs):
            carry, said = advance(carry, inputs[0])
            return carry, (said, carry[0].weights if self.reads else ())

        def choose(key, outputs):
            said, weights = outputs
            return self.pen.sample(key, said, bias=bias), weights

        first = jnp.broadcast_to(strokes.FIRST, (len(texts), 3))
        begin = first, jnp.zeros(texts.shape) if self.reads else ()
        carry = self.layers.init_carry(params, first)
        options = {"num_steps": num_steps, "choose": choose, "key": key}
        return decoding.generate(step, carry, begin, **options).values

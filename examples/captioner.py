"""The network of `captioning`: a Flax encoder, an LSTM that writes, and attention between them."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from glyphs import SIDE

import rnnjax
from rnnjax import decoding, train

WIDTH, HIDDEN, CHANNELS = 48, 128, (24, 48, 96)
CELLS = (SIDE // 8) ** 2  # of the grid that a picture becomes
DROPOUT, SHIFT = 0.15, 1  # the latter in pixels, at most
END, LONGEST = 0, 14  # the token that begins and ends a caption, and most words of it


class Encoder(nn.Module):
    """Pictures, (B, 48, 48), as grids of vectors, (B, 36, 96), that know where they are."""

    @nn.compact
    def __call__(self, pictures):
        grid = pictures[..., None]
        for channels, size in zip(CHANNELS, (5, 3, 3), strict=True):
            grid = nn.relu(nn.LayerNorm()(nn.Conv(channels, (size, size), strides=2)(grid)))
        cells = grid.reshape(len(grid), CELLS, CHANNELS[-1])
        return cells + self.param("place", nn.initializers.normal(0.5), cells.shape[1:])


class Captioner(NamedTuple):
    """The params of the network."""

    encoder: Any
    glance: Any  # the whole grid as one vector, beside each word that is read
    hints: Any  # for which words each cell speaks, wherever they stand
    table: Any
    decoder: Any
    attention: Any
    join: Any
    out: Any


class Seen(NamedTuple):
    """What a picture says before a word is written."""

    glance: Any  # (B, H)
    hints: Any  # (B, V)
    memory: rnnjax.Memory


def shifted(key, pictures):
    """Each picture a little elsewhere."""
    by = jax.random.randint(key, (len(pictures), 2), -SHIFT, SHIFT + 1)
    return jax.vmap(lambda picture, by: jnp.roll(picture, by, (0, 1)))(pictures, by)


class Network:
    """Layers around a vocabulary, and what they do together."""

    def __init__(self, size, hidden=HIDDEN):
        self.hidden = hidden
        self.encoder = Encoder()
        self.glance, self.hints = rnnjax.dense(hidden), rnnjax.dense(size)
        self.table = rnnjax.embedding(size, WIDTH, dropout=DROPOUT)
        self.decoder = rnnjax.input_dropout(rnnjax.lstm(hidden), DROPOUT)
        # Sharper than by default at the beginning, or it looks everywhere for long.
        sharp = jax.nn.initializers.variance_scaling(4.0, "fan_avg", "uniform")
        self.attention = rnnjax.dot_attention(hidden, w_init=sharp)
        self.join, self.out = rnnjax.dense(hidden), rnnjax.dense(size)
        self.model = train.from_functions(self.init, self.learnt)

    def init(self, key):
        keys, hidden, deep = jax.random.split(key, 8), self.hidden, CHANNELS[-1]
        return Captioner(
            self.encoder.init(keys[0], jnp.zeros((1, SIDE, SIDE))),
            self.glance.init(keys[1], CELLS * deep),
            self.hints.init(keys[2], deep),
            self.table.init(keys[3]),
            self.decoder.init(keys[4], WIDTH + hidden),
            self.attention.init(keys[5], query_features=hidden, memory_features=deep),
            self.join.init(keys[6], hidden + deep),
            self.out.init(keys[7], hidden),
        )

    def look(self, params, pictures):
        cells = self.encoder.apply(params.encoder, pictures)
        _, glance = self.glance.apply(params.glance, cells.reshape(1, len(pictures), -1))
        cells = cells.swapaxes(0, 1)
        _, hints = self.hints.apply(params.hints, cells)
        memory = self.attention.memorise(params.attention, cells)
        return Seen(jnp.tanh(glance[0]), jax.nn.logsumexp(hints, 0), memory)

    def say(self, params, seen, words, carry=None, keys=(None, None)):
        """The carry; logits of the next words, (T, B, V), and where each step looks, (T, B, S)."""
        _, vectors = self.table.apply(params.table, words, key=keys[0])
        glance = jnp.broadcast_to(seen.glance, (*words.shape, self.hidden))
        inputs = jnp.concatenate([vectors, glance], -1)
        carry, states = rnnjax.unroll(self.decoder, params.decoder, inputs, carry, key=keys[1])
        context, weights = self.attention.read(params.attention, seen.memory, states)
        _, joined = self.join.apply(params.join, jnp.concatenate([context, states], -1))
        _, logits = self.out.apply(params.out, jnp.tanh(joined))
        return carry, (logits + seen.hints, weights)

    def learnt(self, params, batch, key):
        """Logits of every next word where the caption is known, (B, T, V)."""
        pictures, words = batch.xs
        keys = (None, None)
        if key is not None:
            key, *keys = jax.random.split(key, 3)
            pictures = shifted(key, pictures)
        _, (logits, _) = self.say(params, self.look(params, pictures), words.T, keys=keys)
        return logits.swapaxes(0, 1)

    def write(self, params, pictures):
        """The most likely next word, again and again, (N, B)."""
        seen = self.look(params, pictures)

        def step(carry, words):
            carry, (logits, _) = self.say(params, seen, words[None], carry)
            return carry, logits[0]

        first = jnp.full(len(pictures), END, jnp.int32)
        carry = self.decoder.init_carry(params.decoder, seen.glance)
        return decoding.generate(step, carry, first, num_steps=LONGEST, end=END).values

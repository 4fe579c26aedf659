"""The network of `captioning`: a Flax encoder, an LSTM that writes, and attention between them."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import decoding, train

WIDTH, HIDDEN, GLANCE, CHANNELS = 48, 128, 64, (24, 48, 96)
DROPOUT, MOVED, WARPED = 0.2, 2.0, 0.05
END, LONGEST = 0, 14  # the token that begins and ends a caption, and most words of it


class Encoder(nn.Module):
    """A picture, (B, 48, 48), to a grid of vectors, (B, 36, 96), that know where they are."""

    channels: tuple[int, ...] = CHANNELS

    @nn.compact
    def __call__(self, pictures):
        grid = pictures[..., None]
        for channels, size, stride in zip(self.channels, (5, 3, 3), (2, 2, 2), strict=True):
            grid = nn.Conv(channels, (size, size), (stride, stride))(grid)
            grid = nn.relu(nn.LayerNorm()(grid))
        cells = grid.reshape(len(grid), -1, self.channels[-1])
        return cells + self.param("place", nn.initializers.normal(0.1), cells.shape[1:])


class Captioner(NamedTuple):
    """The params of the network."""

    encoder: Any
    table: Any
    glance: Any  # the whole grid as one vector, beside each word that is read
    decoder: Any
    attention: Any
    join: Any  # what was seen and the state
    out: Any


def moved(pictures, key):
    """Each picture a little shifted, turned, stretched and slanted."""
    side, count = pictures.shape[1], len(pictures)
    shift_key, warp_key = jax.random.split(key)
    shift = jax.random.uniform(shift_key, (count, 1, 1, 2), minval=-MOVED, maxval=MOVED)
    warp = jnp.eye(2) + jax.random.uniform(warp_key, (count, 2, 2), minval=-WARPED, maxval=WARPED)
    here = jnp.stack(jnp.meshgrid(*2 * [jnp.arange(side) - side / 2], indexing="ij"), -1)
    there = jnp.einsum("nij,yxj->nyxi", warp, here) + side / 2 + shift
    read = lambda picture, at: jax.scipy.ndimage.map_coordinates(picture, [*at], order=1)
    return jax.vmap(read)(pictures, jnp.moveaxis(there, -1, 1))


class Network:
    """Layers around a vocabulary, and what they do together."""

    def __init__(self, size, hidden=HIDDEN):
        self.size, self.hidden = size, hidden
        self.encoder = Encoder()
        self.table = rnnjax.embedding(size, WIDTH, dropout=DROPOUT)
        self.glance = rnnjax.dense(GLANCE)
        self.decoder = rnnjax.input_dropout(rnnjax.lstm(hidden), DROPOUT)
        self.attention = rnnjax.dot_attention(hidden)
        self.join, self.out = rnnjax.dense(hidden), rnnjax.dense(size)
        self.model = train.from_functions(self.init, self.learnt)

    def init(self, key):
        keys = jax.random.split(key, 7)
        deep = CHANNELS[-1]
        return Captioner(
            self.encoder.init(keys[0], jnp.zeros((1, 48, 48))),
            self.table.init(keys[1]),
            self.glance.init(keys[2], 36 * deep),
            self.decoder.init(keys[3], WIDTH + GLANCE),
            self.attention.init(keys[4], query_features=self.hidden, memory_features=deep),
            self.join.init(keys[5], self.hidden + deep),
            self.out.init(keys[6], self.hidden),
        )

    def look(self, params, pictures):
        """A memory of the cells of pictures, and one vector for each picture, (1, B, H)."""
        cells = self.encoder.apply(params.encoder, pictures)
        _, glance = self.glance.apply(params.glance, cells.reshape(1, len(pictures), -1))
        memory = self.attention.memorise(params.attention, cells.swapaxes(0, 1))
        return memory, jnp.tanh(glance)

    def read(self, params, words, glance, carry=None, keys=(None, None)):
        """States behind each word, (T, B, H), and the last of them."""
        _, vectors = self.table.apply(params.table, words, key=keys[0])
        glance = jnp.broadcast_to(glance, (*words.shape, GLANCE))
        inputs = jnp.concatenate([vectors, glance], -1)
        return rnnjax.unroll(self.decoder, params.decoder, inputs, carry, key=keys[1])

    def say(self, params, memory, states, key=None):
        """Logits of the next word, (T, B, V), and where each state looks, (T, B, S)."""
        seen, weights = self.attention.read(params.attention, memory, states)
        _, joined = self.join.apply(params.join, jnp.concatenate([seen, states], -1))
        joined = jnp.tanh(joined)
        if key is not None:
            kept = jax.random.bernoulli(key, 1 - DROPOUT, joined.shape)
            joined = jnp.where(kept, joined / (1 - DROPOUT), 0)
        return self.out.apply(params.out, joined)[1], weights

    def follow(self, params, batch, key=None):
        pictures, words = batch.xs
        keys = [None] * 4 if key is None else jax.random.split(key, 4)
        if key is not None:
            pictures = moved(pictures, keys[0])
        memory, glance = self.look(params, pictures)
        _, states = self.read(params, words.T, glance, keys=keys[1:3])
        return self.say(params, memory, states, keys[3])

    def learnt(self, params, batch, key):
        return self.follow(params, batch, key)[0].swapaxes(0, 1)

    def write(self, params, pictures):
        """The most likely next word, again and again: (N, B)."""
        memory, glance = self.look(params, pictures)

        def step(carry, tokens):
            carry, states = self.read(params, tokens[None], glance, carry)
            return carry, self.say(params, memory, states)[0][0]

        carry = self.decoder.init_carry(params.decoder, jnp.zeros((len(pictures), 1)))
        first = jnp.full(len(pictures), END, jnp.int32)
        return decoding.generate(step, carry, first, num_steps=LONGEST, end=END).values

"""The network of `translation`: an encoder, a decoder, and attention between them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import verses

import rnnjax
from rnnjax import decoding, train

WIDTH, HIDDEN, DROPOUT = 128, 192, 0.1
BEAMS, PENALTY, LONGEST = 4, 1.0, 60  # of beam search; the last in pieces


class Translator(NamedTuple):
    """The params of the network."""

    table: Any  # vectors of pieces, of both languages, read and said
    encoder: Any
    bridge: Any  # from the last states of the encoder to the first of the decoder
    decoder: Any
    attention: Any
    join: Any  # what was seen and the state, to a vector near that of the next piece
    b: Any


class Network:
    """Layers around a vocabulary, and what they do together."""

    def __init__(self, vocabulary, width=WIDTH, hidden=HIDDEN):
        self.size, self.width, self.hidden = len(vocabulary), width, hidden
        self.table = rnnjax.embedding(self.size, width, dropout=DROPOUT / 2)
        self.encoder = rnnjax.stack(
            rnnjax.bidirectional(rnnjax.input_dropout(rnnjax.gru(hidden), DROPOUT))
        )
        self.decoder = rnnjax.input_dropout(rnnjax.lstm(hidden), DROPOUT)
        self.bridge = rnnjax.dense(hidden)
        self.attention = rnnjax.dot_attention(hidden)
        self.join = rnnjax.dense(width)
        self.model = train.from_functions(self.init, self.learnt)

    def init(self, key):
        keys = jax.random.split(key, 6)
        return Translator(
            self.table.init(keys[0]),
            self.encoder.init(keys[1], self.width),
            self.bridge.init(keys[2], 2 * self.hidden),
            self.decoder.init(keys[3], self.width),
            self.attention.init(
                keys[4], query_features=self.hidden, memory_features=2 * self.hidden
            ),
            self.join.init(keys[5], 3 * self.hidden),
            jnp.zeros(self.size),
        )

    def read(self, params, spanish, keys=(None, None)):
        """A memory of Spanish pieces, (B, S), and the state to begin with."""
        lengths = (spanish != verses.PADDING).sum(1)
        _, vectors = self.table.apply(params.table, spanish.T, key=keys[0])
        (carry,), states = self.encoder.apply(params.encoder, vectors, lengths=lengths, key=keys[1])
        _, h = self.bridge.apply(params.bridge, jnp.concatenate([*carry.h], -1)[None])
        h = jnp.tanh(h[0])
        memory = self.attention.memorise(params.attention, states, lengths=lengths)
        return memory, rnnjax.LSTMCarry(h=h, c=h)

    def say(self, params, memory, states, key=None):
        """Logits of the next piece, (T, B, V), and where each state looks, (T, B, S)."""
        seen, weights = self.attention.read(params.attention, memory, states)
        _, said = self.join.apply(params.join, jnp.concatenate([seen, states], -1))
        said = jnp.tanh(said)
        if key is not None:
            kept = jax.random.bernoulli(key, 1 - DROPOUT, said.shape)
            said = jnp.where(kept, said / (1 - DROPOUT), 0)
        return said @ params.table.w.T + params.b, weights

    def follow(self, params, batch, key=None):
        """Logits of every next piece where the English is known, and where each step looks."""
        keys = [None] * 5 if key is None else jax.random.split(key, 5)
        memory, carry = self.read(params, batch.xs[..., 0], keys[:2])
        _, vectors = self.table.apply(params.table, batch.xs[..., 1].T, key=keys[2])
        _, states = rnnjax.unroll(self.decoder, params.decoder, vectors, carry, key=keys[3])
        return self.say(params, memory, states, keys[4])

    def learnt(self, params, batch, key):
        """Logits, (B, T, V)."""
        return self.follow(params, batch, key)[0].swapaxes(0, 1)

    def write(self, params, spanish):
        """The best translation that beam search finds, (N, B)."""
        memory, carry = self.read(params, spanish)

        def step(carry, tokens):
            _, vectors = self.table.apply(params.table, tokens[None])
            carry, states = rnnjax.unroll(self.decoder, params.decoder, vectors, carry)
            return carry, self.say(params, memory, states)[0][0]

        first = jnp.full(len(spanish), verses.END, jnp.int32)
        options = {"num_steps": LONGEST, "width": BEAMS, "length_penalty": PENALTY}
        return decoding.beam_search(step, carry, first, end=verses.END, **options).tokens[0]

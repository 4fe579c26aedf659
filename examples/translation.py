"""From the Reina-Valera to the King James: a network that reads Spanish verses and writes English.

Verses of at most 25 words in both Bibles, as word pieces, lower-case; six books are held out for
the test, and every twentieth verse of the others for validation. A bidirectional GRU reads Spanish;
an LSTM that starts from what was read writes English, and each of its states looks at what was read
(Luong, Pham & Manning, "Effective approaches to attention-based neural machine translation", 2015,
without input feeding, so that all steps are learnt at once). Beam search writes the translation;
BLEU and chrF are those of sacrebleu. Baselines: the Spanish as it is, and the English of the verse
that was read whose Spanish is nearest, by tf-idf.

Run: python examples/translation.py [--quick]
"""

from typing import Any, NamedTuple

import datasets
import jax
import jax.numpy as jnp
import judging
import numpy as np
import pictures
import verses

import rnnjax
from rnnjax import data, decoding, plots, train

WIDTH, HIDDEN, DROPOUT, SMOOTHING = 128, 192, 0.1, 0.1
BATCH, EPOCHS, RATE, MERGES = 48, 10, 4e-3, 2000
BEAMS, PENALTY, LONGEST = 4, 1.0, 60  # of beam search, in pieces
GOAL = 15.0  # BLEU; the nearest verse has 5.3
SHOWN = 10  # words of the verse in the picture


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


class Books(NamedTuple):
    """Pairs of verses: to be read, to look how it goes, and for the test."""

    read: list
    checked: list
    unseen: list


def books(longest: int, most: int | None = None) -> Books:
    """`longest` words a verse at most, and `most` verses to be read."""
    known, unseen = (verses.pairs(part, longest) for part in datasets.books())
    read = [pair for place, pair in enumerate(known) if place % 20]
    return Books(read[:most], known[::20], unseen)


def learn(network, texts, of, seed, folder, *, epochs, shapes):
    bounds = texts.bounds([*of.read, *of.checked], shapes)
    batches = texts.batches(of.read, BATCH, bounds, seed=seed)
    total = epochs * len(batches)
    return train.fit(
        network.model,
        batches,
        loss=train.smoothed_cross_entropy(SMOOTHING),
        metrics=[train.perplexity],
        validation=texts.batches(of.checked, BATCH, bounds, shuffle=False),
        optimizer=train.adamw(train.warmup_cosine(RATE, total, warmup_steps=total // 20)),
        key=jax.random.key(seed),
        epochs=epochs,
        checkpoints=folder,
        resume=folder is not None,
    )


def translate(network, texts, trained, pairs):
    spanish = data.pad_sequences([texts.encode(spanish) for spanish, _ in pairs]).xs
    written = jax.jit(network.write)(trained.params, spanish)
    return list(map(texts.decode, np.asarray(written).T))


def attention(network, texts, trained, pair):
    """A verse in both languages, and what of the one was read while the other was written."""
    (batch,) = texts.batches([pair], 1, texts.bounds([pair], 1))
    weights = np.asarray(jax.jit(network.follow)(trained.params, batch)[1])[:, 0]
    spanish, english = (texts.split(words) for words in pair)
    marks = [[piece.strip() for piece in side] + ["<end>"] for side in (spanish, english)]
    figure = plots.attention(weights[: len(marks[1]), : len(marks[0])], *marks)
    figure.axes[0].set(xlabel="", ylabel="")
    return figure


def main():
    told = judging.arguments(__doc__)
    of = books(16, 2500) if told.quick else books(verses.LONGEST)
    size = {"epochs": 6, "shapes": 1} if told.quick else {"epochs": EPOCHS, "shapes": 3}
    texts = verses.Texts(of.read, 500 if told.quick else MERGES)
    network = Network(texts.vocabulary, *(64, 64) * told.quick)
    true = [" ".join(english) for _, english in of.unseen]
    said = lambda trained: translate(network, texts, trained, of.unseen)
    task = judging.Judged(
        name="translation",
        title="Verses of books that were not read, from Spanish to English",
        measure="BLEU",
        form=".1f",
        baselines=verses.baselines(of.read, of.unseen, verses.bleu),
        trivial="the Spanish as it is",
        goal=GOAL,
    )
    entrant = judging.Entrant(
        learn=lambda seed, folder: learn(network, texts, of, seed, folder, **size),
        score=lambda trained: verses.bleu(said(trained), true),
        apart=lambda trained: {"chrF": verses.chrf(said(trained), true)},
    )
    verdicts = judging.judge(task, {"translator": entrant}, told)
    trained = verdicts["translator"].trained[0]
    for (spanish, _), english, verse in list(zip(of.unseen, said(trained), true, strict=True))[
        ::40
    ]:
        print(f"\n{' '.join(spanish)}\n  it says  {english}\n  it is    {verse}")
    shown = next(pair for pair in of.unseen if len(pair[0]) == SHOWN)
    figure = attention(network, texts, trained, shown)
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=90))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

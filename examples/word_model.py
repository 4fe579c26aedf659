"""What is the next word of the King James Bible? AWD-LSTM with tied embeddings, beside trigrams.

The recipe of Merity, Keskar & Socher (2018): recurrent weights are dropped, inputs of every layer
and the last outputs have one dropout mask a sequence, whole words are dropped, outputs and their
changes are penalised, one matrix reads words and says them, and weights are averaged: by a moving
average, since in three passes validation never stops getting better, which NT-ASGD waits for. Six
books are held out for the test and three more for choices. Words that come once are one word,
`<unknown>`, to everyone. The baseline is a trigram model with interpolated Kneser-Ney smoothing on
the same words.

Run: python examples/word_model.py [--quick]
"""

import bible
import datasets
import jax
import jax.numpy as jnp
import judging
import numpy as np
import pictures
import trigrams

import rnnjax
from rnnjax import data, plots, train

VALIDATION = ("Esth", "Mal", "Eph")
WIDTH, LAYERS, BATCH, STEPS, EPOCHS, RATE = 256, 2, 32, 40, 3, 8e-3
WORDS, INPUTS, OUTPUTS, RECURRENT = 0.05, 0.15, 0.2, 0.25  # rates of dropout
ALPHA, BETA = 1.0, 0.5  # of the penalties on outputs and on their changes
BEGINNING = "and it came to pass".split()


def words_of(book):
    return [word for verse in book for word in data.words(verse.english)]


class AWD:
    """Words in, logits of the next word out, with the state carried on."""

    def __init__(self, words, width):
        cell = rnnjax.input_dropout(rnnjax.drop_connect(rnnjax.lstm(width), RECURRENT), INPUTS)
        self.embedding = rnnjax.embedding(words, width, dropout=WORDS)
        self.body = rnnjax.stack(*[cell] * LAYERS)
        self.layer = rnnjax.tied_embedding(self.embedding, self.body)
        self.model = train.Model("AWD-LSTM", self.init, self.apply)

    def init(self, key, batch):
        return train.Weights(self.layer.init(key))

    def apply(self, weights, batch, carry, key):
        """The tied layer; in training taken apart, for what is done to its last outputs."""
        params, tokens = weights.params, batch.xs.T
        where = {"lengths": batch.lengths, "resets": batch.resets.T}
        if key is None:
            carry, logits = self.layer.apply(params, tokens, carry, **where)
            return train.Applied(logits.swapaxes(0, 1), carry)
        key_words, key_body, key_outputs = jax.random.split(key, 3)
        _, xs = self.embedding.apply(params.embedding, tokens, key=key_words, **where)
        carry, ys = self.body.apply(params.body, xs, carry, key=key_body, **where)
        kept = jax.random.bernoulli(key_outputs, 1 - OUTPUTS, (1, *ys.shape[1:]))
        dropped = jnp.where(kept, ys / (1 - OUTPUTS), 0.0)
        penalty = rnnjax.activation_penalty(dropped, alpha=ALPHA, lengths=batch.lengths)
        penalty += rnnjax.temporal_penalty(ys, beta=BETA, lengths=batch.lengths)
        logits = dropped @ params.embedding.w.T + params.b
        return train.Applied(logits.swapaxes(0, 1), carry, penalty=penalty)


def entrant(awd, read, chosen_by, unseen, *, epochs, rate, steps=None):
    """The network, which learns from some books and is judged by others."""
    stream = data.windows(read, batch_size=BATCH, num_steps=STEPS)
    total = epochs * (steps or len(stream))
    rate = train.warmup_cosine(rate, total, warmup_steps=total // 20)
    validation, test = (
        data.windows(books, batch_size=1, num_steps=500, shuffle=False)
        for books in (chosen_by, unseen)
    )

    def learn(seed, folder):
        return train.fit(
            awd.model,
            stream,
            loss=train.cross_entropy,
            metrics=[train.perplexity],
            validation=validation,
            optimizer=train.adamw(rate),
            averaging=train.ema(0.99),
            key=jax.random.key(seed),
            epochs=epochs,
            steps_per_epoch=steps,
            checkpoints=folder,
            resume=True,
        )

    def score(trained):
        return train.evaluate(trained, test, [train.perplexity])["perplexity"]

    return judging.Entrant(learn, score)


def main():
    told = judging.arguments(__doc__)
    read, unseen = ([(book[0].book, words_of(book)) for book in b] for b in datasets.books())
    chosen_by = [words for name, words in read if name in VALIDATION]
    read = [words for name, words in read if name not in VALIDATION]
    vocabulary = data.vocabulary(read, min_count=2)
    encode = lambda books: [vocabulary.encode(words) for words in books]
    read, chosen_by, unseen = encode(read), encode(chosen_by), encode([w for _, w in unseen])
    shares = np.bincount(np.concatenate(read), minlength=len(vocabulary)) + 1
    surprises = np.log(shares.sum() / shares)[np.concatenate(unseen)]
    lists = lambda books: [ids.tolist() for ids in books]
    task = judging.Judged(
        name="word_model",
        title=f"Perplexity of books that were not read, {len(vocabulary):,} words",
        measure="perplexity",
        form=".1f",
        baselines={
            "how frequent each word is": float(np.exp(surprises.mean())),
            "trigrams, Kneser-Ney": trigrams.perplexity(
                lists([*read, *chosen_by]), lists(unseen), len(vocabulary)
            ),
        },
        trivial="how frequent each word is",
        goal=70.0,
        higher=False,
    )
    awd = AWD(len(vocabulary), 64 if told.quick else WIDTH)
    whole, quick = {"epochs": EPOCHS, "rate": RATE}, {"epochs": 3, "steps": 50, "rate": 0.02}
    limits = quick if told.quick else whole
    ours = entrant(awd, read, chosen_by[-1:] if told.quick else chosen_by, unseen, **limits)
    verdicts = judging.judge(task, {"AWD-LSTM": ours}, told)
    trained = verdicts["AWD-LSTM"].trained[0]
    print(" ".join(bible.go_on(awd.layer, trained.params, vocabulary, BEGINNING, 80)))
    figure = plots.curves(trained.history, names=["perplexity"])
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=100))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

"""Where do the commas go? LSTMs put punctuation back, reading one way or both.

The King James Bible without its punctuation and capitals, a passage of some verses at a time:
after each word the network says which mark follows, or none. Whether a sentence ends depends on
what comes next, so reading both ways should help. Six books are held out. The baseline says what
most often stands between a word and the next one, as far as that pair was seen.

Run: python examples/punctuation.py [--quick]
"""

import collections

import datasets
import jax
import judging
import numpy as np
import pictures

import rnnjax
from rnnjax import data, plots, train

VERSES = 4  # in a passage
MARKS = ("none", ",", ";", ":", ".", "?")
NAMES = ("none", "comma", "semicolon", "colon", "full stop", "question")
WIDTH, HIDDEN, DROPOUT, BATCH, EPOCHS, RATE = 64, 96, 0.2, 16, 5, 3e-3


def passages(books):
    """The words of each passage of some verses, and the mark after each word."""
    for verses in books:
        for begin in range(0, len(verses), VERSES):
            some = verses[begin : begin + VERSES]
            yield apart([token for verse in some for token in data.words(verse.english)])


def apart(tokens):
    """Words, and the number of the mark behind each."""
    words, marks = [], []
    for token in tokens:
        if any(letter.isalnum() for letter in token):
            words.append(token)
            marks.append(0)
        elif token in MARKS and words:
            marks[-1] = MARKS.index(token)
    return words, marks


def by_counts(read, unseen, *, pairs):
    """The most frequent mark behind a word; with `pairs` before its next word, if that was seen."""
    seen = collections.defaultdict(collections.Counter)
    for words, marks in read:
        for word, following, mark in zip(words, [*words[1:], ""], marks, strict=True):
            seen[word, following][mark] += 1
            seen[word][mark] += 1
    said = []
    for words, _ in unseen:
        for word, following in zip(words, [*words[1:], ""], strict=True):
            counts = seen.get((word, following)) if pairs else None
            said.append((counts or seen.get(word) or collections.Counter([0])).most_common(1)[0][0])
    return f_score(table(said, [mark for _, marks in unseen for mark in marks]))


def table(said, marks):
    counts = np.zeros((len(MARKS), len(MARKS)), int)
    np.add.at(counts, (marks, said), 1)
    return counts


def f_score(counts):
    """The harmonic mean of precision and recall of marks: the right one in the right place."""
    right = np.diag(counts)[1:].sum()
    return 2 * right / (counts[:, 1:].sum() + counts[1:].sum())


class Tagger:
    """A layer under a dense head, and the passages that it learns from and is judged by."""

    def __init__(self, layer, vocabulary, read, unseen, *, epochs):
        self.model = rnnjax.stack(
            rnnjax.embedding(len(vocabulary), WIDTH),
            layer,
            rnnjax.dense(len(MARKS)),
            dropout=DROPOUT,
        )
        tokens, marks = encoded(vocabulary, read)
        self.batches = data.buckets(tokens, marks, batch_size=BATCH)
        self.unseen = data.pad_sequences(*encoded(vocabulary, unseen))
        self.epochs = epochs

    def learn(self, seed, folder):
        total = self.epochs * len(self.batches)
        return train.fit(
            self.model,
            self.batches,
            loss=train.cross_entropy,
            optimizer=train.adamw(train.warmup_cosine(RATE, total, warmup_steps=total // 20)),
            key=jax.random.key(seed),
            epochs=self.epochs,
            checkpoints=folder,
            resume=True,
        )

    def counts(self, trained):
        measured = train.evaluate(trained, self.unseen, [train.confusion(len(MARKS))])
        return np.asarray(measured["confusion"]).astype(int)

    def score(self, trained):
        return f_score(self.counts(trained))


def encoded(vocabulary, passages):
    return (
        [vocabulary.encode(words) for words, _ in passages],
        [np.array(marks, np.int32) for _, marks in passages],
    )


def main():
    told = judging.arguments(__doc__)
    read, unseen = (list(passages(books)) for books in datasets.books())
    by_word, by_pair = (by_counts(read, unseen, pairs=pairs) for pairs in (False, True))
    task = judging.Judged(
        name="punctuation",
        title="Punctuation of books that were not read",
        measure="F1 of marks",
        form=".3f",
        baselines={
            "the most frequent mark behind a word": by_word,
            "the most frequent mark between two words": by_pair,
        },
        trivial="the most frequent mark behind a word",
        goal=by_pair + 0.15,
    )
    if told.quick:
        read = read[::5]
    vocabulary = data.vocabulary((words for words, _ in read), min_count=2)
    layers = {
        "LSTM": rnnjax.lstm(2 * HIDDEN),
        "bidirectional LSTM": rnnjax.bidirectional(rnnjax.lstm(HIDDEN)),
    }
    taggers = {
        name: Tagger(layer, vocabulary, read, unseen, epochs=2 if told.quick else EPOCHS)
        for name, layer in layers.items()
    }
    entrants = {name: judging.Entrant(t.learn, t.score) for name, t in taggers.items()}
    verdicts = judging.judge(task, entrants, told)
    tagger, verdict = taggers["bidirectional LSTM"], verdicts["bidirectional LSTM"]
    counts = sum(tagger.counts(trained) for trained in verdict.trained)
    figure = plots.confusion(counts, NAMES)
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=100))
    words, _ = unseen[0]
    ids = vocabulary.encode(words)[None]
    said = train.predict(verdict.trained[0], ids).argmax(-1)[0]
    print(
        " ".join(word + ("" if m == 0 else MARKS[m]) for word, m in zip(words, said, strict=True))
    )
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

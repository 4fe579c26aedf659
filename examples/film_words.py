"""The film sentences as words, counted: naive Bayes, and what networks read."""

from typing import NamedTuple

import datasets
import numpy as np

from rnnjax import data

STRETCH, LONGEST, CLEAR = 20, 48, 1.5  # lines; words; the slope of targets


class Part(NamedTuple):
    """Sentences as words, and their ratings."""

    sentences: list[list[str]]
    ratings: np.ndarray  # (N,)


def split(share: float) -> list[Part]:
    """Sentences for training, validation and test, of a share of the data."""
    stretches, seen = {}, set()
    for line, (rating, text) in enumerate(datasets.movie_sentences()):
        words = data.words(text)[:LONGEST]
        if abs(rating) >= 0.5 and tuple(words) not in seen:
            seen.add(tuple(words))
            stretches.setdefault(line // STRETCH, []).append((words, rating))
    order = np.random.default_rng(0).permutation(sorted(stretches))
    order = order[: round(share * len(order))]
    parts = []
    for chosen in np.split(order, [round(0.7 * len(order)), round(0.8 * len(order))]):
        sentences, ratings = zip(*[row for n in chosen for row in stretches[n]], strict=True)
        parts.append(Part(list(sentences), np.array(ratings, np.float32)))
    return parts


def joined(*parts: Part) -> Part:
    """Parts as one."""
    sentences = [words for part in parts for words in part.sentences]
    return Part(sentences, np.concatenate([part.ratings for part in parts]))


def pairs(words):
    return [f"{before} {word}" for before, word in zip(["", *words], words, strict=False)]


class Counts:
    """In how many negative and positive sentences each token comes."""

    def __init__(self, sentences, ratings):
        self.known = data.vocabulary(sentences)
        self.sentences = np.array([(ratings < 0).sum(), (ratings > 0).sum()])
        self.tokens = np.zeros((2, len(self.known)))
        for tokens, rating in zip(sentences, ratings, strict=True):
            self.tokens[int(rating > 0), self.known.encode(sorted(set(tokens)))] += 1

    def ratios(self, tokens, rating=0.0):
        """Logarithms of how much likelier each token is in positive sentences, `(T,)`.

        A rating is that of a sentence that was counted, and is left out.
        """
        ids = self.known.encode(tokens)
        own = np.array([rating < 0, rating > 0])[:, None]
        shares = (self.tokens[:, ids] - own + 1) / (self.sentences[:, None] - own + 2)
        return np.where(ids > 0, np.log(shares[1] / shares[0]), 0.0)


class Reader:
    """Sentences as networks read them: the number of each word, and two ratios."""

    def __init__(self, learn: Part):
        self.words = Counts(learn.sentences, learn.ratings)
        self.pairs = Counts([pairs(words) for words in learn.sentences], learn.ratings)
        self.known = data.vocabulary(learn.sentences, min_count=2)

    def naive_bayes(self, part: Part) -> float:
        """Accuracy by the words and pairs of words that a sentence has, each counted once."""
        words, two = self.words, self.pairs
        said = [
            words.ratios(sorted(set(s))).sum() + two.ratios(sorted(set(pairs(s)))).sum() > 0
            for s in part.sentences
        ]
        return float(np.mean(said == (part.ratings > 0)))

    def batch(self, part: Part, *, counted: bool = False) -> data.Batch:
        """A whole part; `counted` if it is that which the counts are of."""
        rows = []
        for words, rating in zip(part.sentences, part.ratings * counted, strict=True):
            ratios = self.words.ratios(words, rating), self.pairs.ratios(pairs(words), rating)
            rows.append(np.stack([self.known.encode(words), *ratios], 1).astype(np.float32))
        clear = 1 / (1 + np.exp(-CLEAR * part.ratings))
        return data.pad_sequences(rows, clear, num_steps=LONGEST)

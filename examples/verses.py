"""Verses of the Bible in two languages as text, for the translator; and what needs no network."""

import collections
import logging
import math

import numpy as np
import pieces
import sacrebleu

from rnnjax import data

LONGEST = 25  # words of a verse, on either side
SPECIALS = PADDING, END, UNKNOWN = range(3)

logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # that words stand apart is as it should be


def pairs(books, longest=LONGEST):
    """Spanish and English words of each verse that is not too long; no marks of paragraphs."""
    words = lambda text: data.words(text.replace("¶", ""))
    # Most that are too long can be told without looking at marks, which takes its time.
    short = lambda v: max(v.spanish.count(" "), v.english.count(" ")) <= longest
    both = [(words(v.spanish), words(v.english)) for book in books for v in book if short(v)]
    return [pair for pair in both if all(0 < len(side) <= longest for side in pair)]


def bleu(said: list[str], true: list[str]) -> float:
    return sacrebleu.corpus_bleu(said, [true]).score


def chrf(said: list[str], true: list[str]) -> float:
    return sacrebleu.corpus_chrf(said, [true]).score


def nearest(read, asked) -> list[str]:
    """The English of the verse that was read whose Spanish is nearest, by tf-idf of words."""
    found_in = collections.Counter(word for spanish, _ in read for word in set(spanish))
    rare = {word: math.log(len(read) / count) for word, count in found_in.items()}
    place = {word: n for n, word in enumerate(rare)}

    def vectors(verses):
        matrix = np.zeros((len(verses), len(rare)), np.float32)
        for row, (spanish, _) in zip(matrix, verses, strict=True):
            for word in spanish:
                if word in rare:
                    row[place[word]] += rare[word]
        return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-6)

    # A part at a time: all vectors of a language at once would take gigabytes.
    wanted, parts = vectors(asked).T, range(0, len(read), 1000)
    likeness = np.concatenate([vectors(read[at : at + 1000]) @ wanted for at in parts])
    return [" ".join(read[best][1]) for best in likeness.argmax(0)]


def baselines(read, asked, measure) -> dict[str, float]:
    """What needs no network: its BLEU or chrF."""
    true = [" ".join(english) for _, english in asked]
    return {
        "the Spanish as it is": measure([" ".join(spanish) for spanish, _ in asked], true),
        "the English of the nearest verse read": measure(nearest(read, asked), true),
    }


class Texts:
    """Words to pieces to numbers, and back."""

    def __init__(self, pairs, merges):
        words = [word for pair in pairs for words in pair for word in words]
        self.split = pieces.Splitter(words, merges)
        texts = [self.split(words) for pair in pairs for words in pair]
        joined = list(map("".join, self.split.ranks))  # a part of others only, until now
        self.vocabulary = data.vocabulary(
            [*texts, joined], specials=("<padding>", "<end>", "<unknown>")
        )

    def encode(self, words):
        return self.vocabulary.encode([*self.split(words), "<end>"])

    def decode(self, numbers):
        said = self.vocabulary.decode([n for n in numbers if n not in SPECIALS])
        return "".join(said).strip()

    def bounds(self, pairs, count):
        """So many padded lengths, each for as many of the pairs."""
        longest = [max(len(self.encode(words)) for words in pair) for pair in pairs]
        return np.unique(np.quantile(longest, np.linspace(0, 1, count + 1)[1:]).astype(int))

    def batches(self, pairs, batch_size, bounds, *, seed=0, shuffle=True):
        """Steps of both languages side by side; what is learnt is the English, a step ahead."""
        rows, said, counted = [], [], []
        for spanish, english in (map(self.encode, pair) for pair in pairs):
            row = np.full((max(len(spanish), len(english)), 2), PADDING, np.int32)
            row[: len(spanish), 0] = spanish
            row[: len(english), 1] = [END, *english[:-1]]
            rows.append(row)
            said.append(np.pad(english, (0, len(row) - len(english))))
            counted.append((np.arange(len(row)) < len(english)).astype(np.float32))
        return data.buckets(
            rows,
            said,
            weights=counted,
            batch_size=batch_size,
            boundaries=tuple(map(int, bounds)),
            shuffle=shuffle,
            seed=seed,
        )

"""The King James Bible as letters, for the examples that model language, and what others need."""

import bz2
import gzip

import datasets
import numpy as np

from rnnjax import data


def text_of(book) -> str:
    """A verse a line."""
    return "".join(verse.english + "\n" for verse in book)


READ, UNSEEN = (list(map(text_of, books)) for books in datasets.books())
LETTERS = data.vocabulary("".join([*READ, *UNSEEN]), specials=())


def baselines() -> dict[str, float]:
    """Bits for a letter by other means."""
    rest, whole = "".join(READ).encode(), "".join([*READ, *UNSEEN]).encode()
    shares = np.bincount(LETTERS.encode(whole.decode())) / len(whole)
    behind = len(bz2.compress(whole)) - len(bz2.compress(rest))
    return {
        "how frequent each letter is": float(-(shares * np.log2(shares)).sum()),
        "gzip, the whole text": 8 * len(gzip.compress(whole)) / len(whole),
        "bz2, the whole text": 8 * len(bz2.compress(whole)) / len(whole),
        "bz2, held-out books behind the rest": 8 * behind / (len(whole) - len(rest)),
    }

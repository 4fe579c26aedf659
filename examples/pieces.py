"""Pieces of words: frequent words whole, rare ones in parts, so that none is unknown.

Byte-pair encoding (Sennrich, Haddow & Birch, "Neural machine translation of rare words with subword
units", 2016), on letters: the pair of neighbours that is most frequent becomes one piece, again and
again. The first piece of a word begins with a space, so a text is its pieces, joined.
"""

import collections
import functools
import heapq
import itertools
from collections.abc import Iterable


def letters(word: str) -> list[str]:
    return [" " + word[0], *word[1:]]


def joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The parts of a word with every such pair made one."""
    done = []
    for part in parts:
        if done and (done[-1], part) == pair:
            done[-1] += part
        else:
            done.append(part)
    return done


def learn(words: Iterable[str], merges: int) -> dict[tuple[str, str], int]:
    """The pairs to be joined, with their rank."""
    counts = collections.Counter(words)
    parts = {word: letters(word) for word in counts}
    pairs, found_in = collections.Counter(), collections.defaultdict(set)

    def count(word, sign):
        for pair in itertools.pairwise(parts[word]):
            pairs[pair] += sign * counts[word]
            found_in[pair].add(word)

    for word in counts:
        count(word, 1)
    ranks, heap = {}, [(-times, pair) for pair, times in pairs.items()]
    heapq.heapify(heap)
    while len(ranks) < merges and heap:
        times, best = heapq.heappop(heap)
        if pairs[best] != -times:  # counted anew since
            continue
        ranks[best] = len(ranks)
        changed = set()
        for word in found_in.pop(best):
            changed.update(itertools.pairwise(parts[word]))
            count(word, -1)
            parts[word] = joined(parts[word], best)
            count(word, 1)
            changed.update(itertools.pairwise(parts[word]))
        for pair in changed - {best}:
            heapq.heappush(heap, (-pairs[pair], pair))
    return ranks


class Splitter:
    """Words to pieces."""

    def __init__(self, words: Iterable[str], merges: int):
        self.ranks = learn(words, merges)
        self.pieces = functools.cache(self.split)

    def split(self, word: str) -> list[str]:
        """Join what was learnt first, first."""
        parts = letters(word)
        while len(parts) > 1:
            best = min(
                itertools.pairwise(parts), key=lambda pair: self.ranks.get(pair, len(self.ranks))
            )
            if best not in self.ranks:
                break
            parts = joined(parts, best)
        return parts

    def __call__(self, words: list[str]) -> list[str]:
        return [piece for word in words for piece in self.pieces(word)]

"""A trigram model of words: interpolated Kneser-Ney smoothing, the best of its simple kind.

Reference: Chen & Goodman, *An empirical study of smoothing techniques for language modeling*
(1999).
"""

import collections
import math


class Order:
    """Discounted shares of what follows a context."""

    def __init__(self, counts: collections.Counter):
        self.counts = counts
        self.totals, self.kinds = collections.Counter(), collections.Counter()
        for (*context, _), count in counts.items():
            self.totals[tuple(context)] += count
            self.kinds[tuple(context)] += 1
        once, twice = (sum(count == n for count in counts.values()) for n in (1, 2))
        self.discount = once / (once + 2 * twice)

    def share(self, ngram: tuple, shorter: float) -> float:
        """The probability of the last word, given that from a shorter context."""
        total = self.totals.get(ngram[:-1])
        if total is None:
            return shorter
        kept = max(self.counts.get(ngram, 0) - self.discount, 0)
        return (kept + self.discount * self.kinds[ngram[:-1]] * shorter) / total


def perplexity(read: list, unseen: list, words: int) -> float:
    """Of unseen documents, for a model of those read; documents are sequences of numbers."""
    whole = collections.Counter(
        ngram
        for document in read
        for ngram in zip(document, document[1:], document[2:], strict=False)
    )
    pairs = collections.Counter(ngram[1:] for ngram in whole)  # after how many words each comes
    singles = collections.Counter(pair[1:] for pair in pairs)
    orders = [Order(counts) for counts in (singles, pairs, whole)]
    bits, count = 0.0, 0
    for document in unseen:
        for place in range(1, len(document)):
            share = 1 / words
            for length, order in enumerate(orders, 1):
                if place + 1 >= length:
                    share = order.share(tuple(document[place + 1 - length : place + 1]), share)
            bits -= math.log(share)
            count += 1
    return math.exp(bits / count)

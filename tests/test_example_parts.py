"""Parts of the examples that have a right answer: word pieces, trigrams, a window on a text."""

import importlib
import math
import pathlib

import jax
import numpy as np
import pytest

import rnnjax

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


@pytest.fixture
def part(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_the_most_frequent_pairs_become_pieces(part):
    split = part("pieces").Splitter(["low"] * 5 + ["lower"] * 2 + ["new"] * 3, merges=3)
    # " l" + "o", and then + "w", come 7 times; " n" + "e" 3 times, and so does "e" + "w" after it.
    assert [a + b for a, b in split.ranks] == [" lo", " low", " ne"]
    assert split(["lower", "news"]) == [" low", "e", "r", " ne", "w", "s"]


def test_pieces_of_any_words_are_these_words(part):
    words = "in the beginning god created the heaven and the earth".split()
    for merges in (0, 5, 1000):
        split = part("pieces").Splitter(words, merges)
        others = [*words, "earthen", "zzz", "a"]
        assert "".join(split(others)) == " " + " ".join(others)


def test_trigrams_are_those_of_kneser_and_ney(part):
    read, words = [[0, 1, 2, 0, 1, 3, 0, 2, 2, 0, 1, 2], [3, 3, 0, 1]], 5
    wanted = 0.0
    unseen = [0, 1, 2, 4, 3, 0]
    for place in range(1, len(unseen)):
        wanted -= math.log(share(read, tuple(unseen[max(0, place - 2) : place + 1]), words))
    found = part("trigrams").perplexity(read, [unseen], words)
    assert found == pytest.approx(math.exp(wanted / (len(unseen) - 1)))
    for context in ((0, 1), (3, 3), (4, 4), (2,)):
        total = sum(share(read, (*context, word), words) for word in range(words))
        assert total == pytest.approx(1)


def share(read, ngram, words):
    """The definition: a discounted count, and what is left to a shorter context."""
    if not ngram:
        return 1 / words
    shorter = share(read, ngram[1:], words)
    trigrams = [tuple(d[i : i + 3]) for d in read for i in range(len(d) - 2)]
    if len(ngram) == 3:
        ends = trigrams
    elif len(ngram) == 2:
        ends = [trigram[1:] for trigram in set(trigrams)]
    else:
        ends = [pair[1:] for pair in {trigram[1:] for trigram in trigrams}]
    counts = {end: ends.count(end) for end in ends}
    once, twice = (list(counts.values()).count(n) for n in (1, 2))
    discount = once / (once + 2 * twice)
    after = {end: count for end, count in counts.items() if end[:-1] == ngram[:-1]}
    if not after:
        return shorter
    kept = max(counts.get(ngram, 0) - discount, 0)
    return (kept + discount * len(after) * shorter) / sum(after.values())


def test_the_soft_window_walks_as_in_the_paper(part, any_promotion):
    """Equations 46 to 51 and the LSTM above them, in NumPy, for each row its own text."""
    H, A, K, U, T = 3, 4, 2, 5, 6
    cell = part("window").window(H, A, K, pace=0.5)
    draw = np.random.default_rng(0).normal
    shapes = cell.init(jax.random.key(0), 2)._replace(text=np.zeros((2, U, A)))
    params = jax.tree.map(lambda a: draw(size=a.shape, scale=0.5).astype(np.float32), shapes)
    xs = draw(size=(T, 2, 2)).astype(np.float32)
    _, ys = rnnjax.unroll(cell, params, xs)
    for row in range(2):
        h, c, kappa, seen = np.zeros(H), np.zeros(H), np.zeros(K), np.zeros(A)
        for x, y in zip(xs[:, row], np.asarray(ys)[:, row], strict=True):
            w_ih, w_hh, b = params.lstm[:3]
            i, f, g, o = np.split(np.concatenate([x, seen]) @ w_ih + h @ w_hh + b, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            alpha, beta, moved = np.split(np.exp(h @ params.w + params.b), 3)
            kappa = kappa + moved
            phi = [sum(alpha * np.exp(-beta * (kappa - u) ** 2)) for u in range(U)]
            seen = phi @ params.text[row]
            np.testing.assert_allclose(y, [*h, *seen], rtol=1e-4, atol=1e-5)

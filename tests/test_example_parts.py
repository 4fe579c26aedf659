"""Parts of the examples that have a right answer: pieces, trigrams, a window, names of letters."""

import importlib
import math
import pathlib
import re

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


def test_letters_and_marks_that_are_held_out_together_are_known_apart(part):
    glyphs = part("glyphs")
    marks = "acute grave tilde breve caron horn hook stroke".split()
    marks += [f"{mark} and dot below" for mark in marks]
    names = [f"latin {size} letter {a}" for size in ("small", "capital") for a in "aeiouyzkt"]
    captions = {*names, *(f"{name} with {mark}" for name in names for mark in marks)}
    checked, unseen = glyphs.held_out(captions)
    assert checked and unseen and not checked & unseen
    left = captions - checked - unseen
    for caption in checked | unseen:
        assert not {caption.replace("small", "capital"), caption.replace("capital", "small")} & left
        letter, marks = caption.split(" with ")
        assert sum(known.split(" with ")[0] == letter for known in left) >= glyphs.LEAST
        for mark in marks.split(" and "):
            having = {known for known in left if re.search(f"(with|and) {mark}( and|$)", known)}
            assert len({known.split(" with ")[0] for known in having}) >= glyphs.LEAST


def test_the_nearest_letter_and_the_nearest_marks_make_a_name(part):
    glyphs = part("glyphs")
    letter = {"a": [1, 0, 1, 0, 0], "b": [0, 1, 1, 0, 0]}
    ink = {"": [0, 0, 0, 0, 0], " with horn": [0, 0, 0, 0.5, 0], " with hook": [0, 0, 0, 0, 0.5]}
    drawn = lambda a, mark: glyphs.Glyph("Sans", a + mark, np.array([letter[a]]) + ink[mark])
    read = [drawn("a", ""), drawn("b", ""), drawn("a", " with horn"), drawn("b", " with hook")]
    asked = [drawn("a", " with hook"), drawn("b", " with horn"), drawn("b", "")]
    assert glyphs.nearest_parts(read, asked) == [glyph.caption for glyph in asked]
    assert glyphs.nearest(read, asked) == ["a", "b", "b"]


def test_a_composed_letter_has_the_ink_of_a_mark_and_a_caption_that_is_not_held_out(
    part, monkeypatch
):
    glyphs = part("glyphs")
    monkeypatch.setattr(glyphs, "LEAST", 0)  # or no letter here has enough marks
    names = [f"latin small letter {a}" for a in "abc"]
    bare = {name: np.eye(5)[[place]] / 2 for place, name in enumerate(names)}
    ink = {"horn": np.eye(5)[[3]], "hook": np.eye(5)[[4]]}
    drawn = lambda name, mark: glyphs.Glyph("Sans", f"{name} with {mark}", bare[name] + ink[mark])
    letters = [glyphs.Glyph("Sans", name, picture) for name, picture in bare.items()]
    read = [*letters, drawn(names[0], "horn"), drawn(names[1], "hook")]
    of = glyphs.Split(read, [drawn(names[1], "horn")], [drawn(names[2], "hook")])
    made = glyphs.composed(of, 20)
    assert {glyph.caption for glyph in made} == {f"{names[0]} with hook", f"{names[2]} with horn"}
    for glyph in made:
        name, mark = glyph.caption.split(" with ")
        assert (glyph.picture == bare[name] + ink[mark]).all()


def test_another_font_is_refused_with_the_way_out(part, monkeypatch):
    glyphs = part("glyphs")
    path = glyphs.path_of("Serif")
    monkeypatch.setitem(glyphs.FONTS, "Serif", "0" * 64)
    with pytest.raises(ValueError) as caught:
        glyphs.path_of("Serif")
    way_out = "install matplotlib from PyPI, which ships DejaVu 2.37"
    assert str(caught.value) == f"{path} is another version, or damaged: {way_out}."


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

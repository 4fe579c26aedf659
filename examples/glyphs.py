"""Letters of the DejaVu fonts as pictures, their Unicode names as captions, and what needs no net.

The fonts come with matplotlib. A caption is a letter and its marks, "latin small letter e with
circumflex and acute". Letters and marks that are held out together occur apart, with others.
"""

import collections
import hashlib
import pathlib
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import ft2font
from PIL import Image, ImageDraw, ImageFont

SIDE, SIZE, BASELINE = 48, 29, 36  # of a picture, of the letters in it, and where they stand
APART = 1.0  # squared difference, in pixels, below which two pictures are one
HELD_OUT, LEAST = 160, 5  # combinations, and with how many others each part of them is known
FONTS = {  # version 2.37
    "Sans": "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22",
    "Sans-Bold": "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167",
    "Serif": "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa",
    "Serif-Bold": "c3753f2ed6bc673f15846dc45addbeb3b9c872f32fb18fd53a21f1bef1ed7676",
    "SansMono": "602ec86b8948cfcd956482fe64f94c36c867770149ef2f791d4613f443bcecb3",
    "SansMono-Bold": "baada9a5172fe20886251aff0433fc38461912d5daf07287e7bee56620a8da96",
}


class Glyph(NamedTuple):
    """A letter in one of the fonts."""

    font: str
    caption: str
    picture: np.ndarray  # (SIDE, SIDE) float32, 0 to 1

    @property
    def words(self) -> list[str]:
        return self.caption.split()


class Parts(NamedTuple):
    """What a caption is composed of."""

    letter: str  # such as "latin small letter e"
    marks: str  # such as "circumflex and acute", or nothing


class Split(NamedTuple):
    """Letters to be read, to look how it goes, and for the test."""

    read: list[Glyph]
    checked: list[Glyph]
    unseen: list[Glyph]


def parts(caption: str) -> Parts:
    letter, _, marks = caption.partition(" with ")
    return Parts(letter, marks)


def path_of(font: str) -> pathlib.Path:
    """Where a font lies, if it is the one that the example knows."""
    path = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVu{font}.ttf"
    way_out = "install matplotlib from PyPI, which ships DejaVu 2.37"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {way_out}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != FONTS[font]:
        raise ValueError(f"{path} is another version, or damaged: {way_out}.")
    return path


def letters(font: str) -> list[Glyph]:
    """Latin, Greek and Cyrillic letters, in the order of Unicode."""
    path = str(path_of(font))
    pen = ImageFont.truetype(path, SIZE, layout_engine=ImageFont.Layout.BASIC)
    found = []
    for code in sorted(ft2font.FT2Font(path).get_charmap()):
        caption = unicodedata.name(chr(code), "").lower()
        if re.fullmatch("(latin|greek|cyrillic) (small|capital) letter .+", caption):
            image = Image.new("L", (SIDE, SIDE))
            place = (SIDE // 2, BASELINE)
            ImageDraw.Draw(image).text(place, chr(code), 255, pen, anchor="ms")
            found.append(Glyph(font, caption, np.asarray(image, np.float32) / 255))
    return found


def twins(found: list[Glyph]) -> set[str]:
    """Captions of those that look like an earlier one."""
    near = distances(found, found) < APART
    return {glyph.caption for place, glyph in enumerate(found) if near[place, :place].any()}


def split(fonts: Iterable[str]) -> Split:
    """The letters of these fonts; what is held out is so in each of them.

    Of letters that look alike in one of the fonts, only the first one in Unicode is there.
    """
    found = [letters(font) for font in fonts]
    left_out = set().union(*map(twins, found))
    found = [glyph for some in found for glyph in some if glyph.caption not in left_out]
    checked, unseen = held_out({glyph.caption for glyph in found})
    return Split(
        [glyph for glyph in found if glyph.caption not in checked | unseen],
        [glyph for glyph in found if glyph.caption in checked],
        [glyph for glyph in found if glyph.caption in unseen],
    )


def distances(some: list[Glyph], others: list[Glyph]) -> np.ndarray:
    """Squared differences between pictures, (some, others)."""
    some, others = (stacked(side).reshape(len(side), -1) for side in (some, others))
    return (some**2).sum(1)[:, None] + (others**2).sum(1) - 2 * some @ others.T


def stacked(glyphs: list[Glyph]) -> np.ndarray:
    return np.stack([glyph.picture for glyph in glyphs])


def held_out(captions: set[str]) -> tuple[set[str], set[str]]:
    """Captions for validation and for the test: combinations, small and capital letters alike.

    In what is left, each letter of them has some other marks, and each mark some other letters.
    """
    kinds = collections.defaultdict(set)
    for caption in captions:
        if parts(caption).marks:
            kinds[re.sub("small |capital ", "", caption, count=1)].add(caption)
    chosen, left = [], set(captions)
    for kind in sorted(kinds, key=lambda kind: hashlib.sha256(kind.encode()).digest()):
        known = met(left - kinds[kind])
        asked = met(kinds[kind])
        if len(chosen) < HELD_OUT and all(len(known[part]) >= LEAST for part in asked):
            left -= kinds[kind]
            chosen.append(kinds[kind])
    return set().union(*chosen[::2]), set().union(*chosen[1::2])


def met(captions: set[str]) -> dict[str, set[str]]:
    """With what each letter occurs, and each mark."""
    found = collections.defaultdict(set)
    for letter, marks in map(parts, captions):
        found[letter].add(marks)
        for mark in marks.split(" and "):
            found[mark].add(letter)
    return found


def composed(of: Split, count: int) -> list[Glyph]:
    """More pictures: bare letters with the ink of marks on others of their kind, drawn at random.

    Letters are those that do have marks, for who puts a breve on a dotless i? Marks stand as high
    as on the letter that they come from, so these are rough. None of their captions is held out,
    or there already.
    """
    draw = np.random.default_rng(0)
    taken = {glyph.caption for part in of for glyph in part}
    bare = bare_of(of.read)
    known = lambda glyph: (glyph.font, parts(glyph.caption).letter) in bare
    marked = [glyph for glyph in of.read if parts(glyph.caption).marks and known(glyph)]
    kinds = collections.defaultdict(list)
    having = met({glyph.caption for glyph in of.read})
    for font, letter in bare:
        if len(having[letter]) > LEAST:
            kinds[font, *letter.split()[:2]].append(letter)
    possible = {
        f"{letter} with {parts(glyph.caption).marks}"
        for glyph in marked
        for letter in kinds.get((glyph.font, *glyph.words[:2]), ())
    }
    if not possible - taken:
        raise ValueError("No letter here can have the marks of another one.")
    made = []
    while len(made) < count:
        glyph = marked[draw.integers(len(marked))]
        letters = kinds[glyph.font, *glyph.words[:2]]
        if not letters:
            continue
        letter = letters[draw.integers(len(letters))]
        before, marks = parts(glyph.caption)
        caption = f"{letter} with {marks}"
        if caption not in taken:
            picture = bare[glyph.font, letter] + glyph.picture - bare[glyph.font, before]
            made.append(Glyph(glyph.font, caption, np.clip(picture, 0, 1)))
    return made


def bare_of(read: list[Glyph]) -> dict[tuple[str, str], np.ndarray]:
    """Pictures of letters without marks, by font and caption."""
    return {(g.font, g.caption): g.picture for g in read if not parts(g.caption).marks}


def nearest(read: list[Glyph], asked: list[Glyph]) -> list[str]:
    """The caption of the nearest picture that was read."""
    return [read[best].caption for best in distances(asked, read).argmin(1)]


def nearest_parts(read: list[Glyph], asked: list[Glyph]) -> list[str]:
    """The letter of the nearest picture, with the marks whose ink is nearest to what is left."""
    bare = bare_of(read)
    known = [g for g in read if (g.font, parts(g.caption).letter) in bare]
    names = [parts(caption).letter for caption in nearest(known, asked)]
    ink = lambda g, letter: g._replace(picture=g.picture - bare.get((g.font, letter), 0))
    added = [ink(glyph, parts(glyph.caption).letter) for glyph in known]
    left = [ink(glyph, letter) for glyph, letter in zip(asked, names, strict=True)]
    marks = [parts(caption).marks for caption in nearest(added, left)]
    return [f"{a} with {b}" if b else a for a, b in zip(names, marks, strict=True)]

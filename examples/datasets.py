"""The data that ships with the examples: read, checked against its checksum, padded."""

import datetime
import gzip
import hashlib
import lzma
import pathlib
from typing import NamedTuple

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"
HELD_OUT = ("Ruth", "Eccl", "Jonah", "Gal", "Jas", "1Pet")  # of the Bible, for tests


class Sequences(NamedTuple):
    """Labelled sequences, padded with zeros at the end."""

    xs: np.ndarray  # (N, T, D) float32
    lengths: np.ndarray  # (N,) int32
    labels: np.ndarray  # (N,) int32


def japanese_vowels(split: str) -> Sequences:
    """JapaneseVowels, `split` TRAIN or TEST: 12 features, 9 speakers; see its README."""
    folder = DATA / "japanese_vowels"
    text = gzip.decompress(checked(folder, f"JapaneseVowels_{split}.ts.gz")).decode()
    cases = [line.split(":") for line in text.splitlines() if line and line[0] not in "#@"]
    rows = [
        np.array([channel.split(",") for channel in channels], np.float32).T
        for *channels, _ in cases
    ]
    lengths = np.array([len(row) for row in rows], np.int32)
    xs = np.zeros((len(rows), 29, 12), np.float32)
    for padded, row in zip(xs, rows, strict=True):
        padded[: len(row)] = row
    return Sequences(xs, lengths, np.array([int(case[-1]) - 1 for case in cases], np.int32))


def digits() -> Sequences:
    """Digits of 8 by 8 pixels, read row by row as 64 steps; see the README of `data/digits`."""
    text = gzip.decompress(checked(DATA / "digits", "digits.csv.gz")).decode()
    rows = np.array([line.split(",") for line in text.splitlines()], np.float32)
    xs = rows[:, :64, None] / 16
    return Sequences(xs, np.full(len(xs), 64, np.int32), rows[:, 64].astype(np.int32))


class Sentence(NamedTuple):
    """A sentence of a review."""

    rating: float  # -4 to 4, the mean of what people said
    text: str


def movie_sentences() -> list[Sentence]:
    """Sentences of film reviews, rated by people; see the README of `data/movie_sentences`."""
    text = gzip.decompress(checked(DATA / "movie_sentences", "sentences.tsv.gz")).decode()
    rows = (line.split("\t") for line in text.splitlines())
    return [Sentence(float(rating), sentence) for rating, sentence in rows]


class Verse(NamedTuple):
    """A verse of the Bible in two languages."""

    book: str
    english: str
    spanish: str  # empty where that Bible counts otherwise


def verses() -> list[Verse]:
    """The King James Bible and the Reina-Valera of 1909; see the README of `data/bible`."""
    text = lzma.decompress(checked(DATA / "bible", "verses.tsv.xz")).decode()
    rows = (line.split("\t") for line in text.splitlines())
    return [Verse(place.split()[0], english, spanish) for place, english, spanish in rows]


def books() -> tuple[list[list[Verse]], list[list[Verse]]]:
    """The verses of each book: of those to be read, and of those that are held out."""
    found = {}
    for verse in verses():
        found.setdefault(verse.book, []).append(verse)
    read = [book for name, book in found.items() if name not in HELD_OUT]
    return read, [found[name] for name in HELD_OUT]


def sunspots() -> tuple[np.ndarray, np.ndarray]:
    """Years and the mean numbers of sunspots in them, 1700 to 2008."""
    rows = columns("sunspots.csv")
    return np.array([int(year) for year, _ in rows]), np.array([float(n) for _, n in rows])


def carbon_dioxide() -> tuple[np.ndarray, np.ndarray]:
    """Dates of weeks, as `datetime64`, and carbon dioxide in ppm; NaN where it is missing."""
    rows = columns("co2.csv")
    days = [datetime.datetime.strptime(day, "%Y%m%d").date() for day, _ in rows]
    values = [float(value) if value else np.nan for _, value in rows]
    return np.array(days, "datetime64[D]"), np.array(values)


def columns(name: str) -> list[list[str]]:
    """The rows of a table of two columns, without its titles."""
    lines = checked(DATA / "series", name).decode().splitlines()[1:]
    return [line.split(",") for line in lines]


def checked(folder: pathlib.Path, name: str) -> bytes:
    """A file's bytes, if their SHA-256 is the one that `SHA256SUMS` gives."""
    path = folder / name
    way_out = f"restore it with `git checkout -- examples/data/{folder.name}`"
    try:
        listed = (folder / "SHA256SUMS").read_text()
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename} is missing: {way_out}.") from None
    sums = dict(line.split()[::-1] for line in listed.splitlines())
    if hashlib.sha256(content).hexdigest() != sums.get(name):
        raise ValueError(f"{path} is damaged: {way_out}.")
    return content

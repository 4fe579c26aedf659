"""The data that ships with the examples: read, checked against its checksum, padded."""

import gzip
import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

DATA = pathlib.Path(__file__).parent / "data"


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


def checked(folder: pathlib.Path, name: str) -> bytes:
    """A file's bytes, if their SHA-256 is the one that `SHA256SUMS` gives."""
    sums = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != sums[name]:
        raise ValueError(f"{folder / name} is damaged: restore it with `git checkout`.")
    return content

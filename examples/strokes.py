"""Lines of text as strokes of a pen, by synthetic writers, from the vector fonts of Hershey-Fonts.

A writer has one font, and a slant, a width, a warp and a jitter of their own. Clean vectors are
bent and shaken so; nobody's hand is in them. A line ends with a full stop, the only stroke of a
single point: so whoever writes can say that all is written.
"""

import collections
import functools
import re
from typing import NamedTuple

import datasets
import jax
import numpy as np
from HersheyFonts import HersheyFonts

from rnnjax import data

FONTS = "cursive", "futural"  # those of single strokes: joined-up writing and print
STEP = 3.0  # between points, in units of the font; its small letters are 14 high
SHORTEST, LONGEST = 8, 16  # letters of a phrase, spaces too
SYMBOLS = ("<none>", *" abcdefghijklmnopqrstuvwxyz.")
GAP = 6.0  # before the full stop
FIRST = np.float32([0, 0, 1])  # what is read before the first point


class Writer(NamedTuple):
    """How one writes."""

    font: str
    slant: float  # how far a letter leans to the right for each unit of height
    width: float
    jitter: float  # of points, in units of the font
    waves: np.ndarray  # (4, 2, 2) displacements and wave numbers that bend letters


def writers(count: int, generator: np.random.Generator) -> list[Writer]:
    draw = generator.uniform
    waves = lambda: np.stack([generator.normal(0, 0.4, (4, 2)), draw(-0.25, 0.25, (4, 2))], 1)
    return [
        Writer(FONTS[n % 2], draw(-0.2, 0.5), draw(0.75, 1.25), draw(0.05, 0.2), waves())
        for n in range(count)
    ]


@functools.cache
def font(name: str) -> HersheyFonts:
    fonts = HersheyFonts()
    fonts.load_default_font(name)
    return fonts


def strokes(text: str, name: str) -> list[np.ndarray]:
    """The strokes of a text, (points, 2), upwards; one that begins where one ends goes on."""
    found = []
    for stroke in font(name).strokes_for_text(text):
        stroke = (np.array(stroke) - (0, 9)) * (1, -1)  # from the base line up
        if found and (found[-1][-1] == stroke[0]).all():
            stroke = np.concatenate([found.pop(), stroke[1:]])
        found.append(stroke)
    return found


def evenly(stroke: np.ndarray) -> np.ndarray:
    """Points along a stroke, `STEP` apart or nearly so."""
    along = np.cumsum([0, *np.hypot(*np.diff(stroke, axis=0).T)])
    places = np.linspace(0, along[-1], 1 + max(1, round(along[-1] / STEP)))
    return np.stack([np.interp(places, along, axis) for axis in stroke.T], 1)


def write(text: str, writer: Writer, generator: np.random.Generator) -> np.ndarray:
    """A line in a writer's hand, `(T, 3)`, in units of the font."""
    drawn = [evenly(stroke) for stroke in strokes(text, writer.font)]
    drawn.append(np.array([[drawn[-1][:, 0].max() + GAP, 0.0]]))
    at = np.concatenate(drawn)
    phases = at @ writer.waves[:, 1].T + generator.uniform(0, 2 * np.pi, 4)
    at = at + np.sin(phases) @ writer.waves[:, 0] + generator.normal(0, writer.jitter, at.shape)
    at = at @ np.array([[writer.width, 0], [writer.slant, 1]])
    ends = np.zeros(len(at))
    ends[np.cumsum([len(stroke) for stroke in drawn]) - 1] = 1
    return np.column_stack([np.diff(at, axis=0, prepend=0), ends]).astype(np.float32)


def phrases(verses: list[datasets.Verse]) -> set[str]:
    """Pieces of verses, in small letters alone."""
    found, phrase = set(), ""
    for word in re.findall("[a-z]+|[.:;?!]", " . ".join(v.english for v in verses).lower()):
        longer = f"{phrase} {word}".strip()
        if word.isalpha() and len(longer) <= LONGEST:
            phrase = longer
            continue
        found |= {phrase} if len(phrase) >= SHORTEST else set()
        phrase = word if word.isalpha() and len(word) <= LONGEST else ""
    return found


def choose(phrases: set[str], count: int, generator: np.random.Generator) -> list[str]:
    """Some of these, those with rare letters more often."""
    known = sorted(phrases)
    found = collections.Counter("".join(known))
    weights = np.array([sum(1 / found[letter] for letter in phrase) for phrase in known])
    return list(generator.choice(known, count, p=weights / weights.sum()))


def encode(texts: list[str]) -> np.ndarray:
    """Numbers of symbols, `(N, LONGEST + 1)`, with a full stop."""
    numbers = [list(map(SYMBOLS.index, f"{text}.")) for text in texts]
    return data.pad_sequences(numbers, num_steps=LONGEST + 1).xs


class Work(NamedTuple):
    """Lines to learn from, to choose by and for the test, and what offsets are divided by."""

    read: data.Batch
    checked: data.Batch
    unseen: data.Batch
    scale: np.ndarray


def work(counts: tuple[int, int, int]) -> Work:
    """So many lines of each, by 200 writers to learn from, 20 others to choose by and 40 others."""
    generator = np.random.default_rng(0)
    books, held_out = ([verse for book in part for verse in book] for part in datasets.books())
    known = phrases([verse for n, verse in enumerate(books) if n % 20])
    others = phrases(books[::20]) - known
    unseen = phrases(held_out) - known - others
    sets = []
    for found, count, number in zip((known, others, unseen), counts, (200, 20, 40), strict=True):
        texts, hands = choose(found, count, generator), writers(number, generator)
        rows = [write(text, hands[n % number], generator) for n, text in enumerate(texts)]
        sets.append((rows, texts))
    scale = np.float32([*np.concatenate(sets[0][0]).std(0)[:2], 1])
    longest = max(len(row) for rows, _ in sets for row in rows)
    return Work(*(batch_of(rows, texts, scale, longest) for rows, texts in sets), scale)


def batch_of(rows: list, texts: list[str], scale: np.ndarray, num_steps: int) -> data.Batch:
    """To be read: texts, and the points before those to be said."""
    rows = [row / scale for row in rows]
    before = [np.concatenate([FIRST[None], row[:-1]]) for row in rows]
    batch = data.pad_sequences(before, rows, num_steps=num_steps)
    return batch._replace(xs=(batch.xs, encode(texts)))


def written(points: np.ndarray) -> np.ndarray:
    """What comes before the full stop; all of it where there is none."""
    lifted = points[:, 2] > 0.5
    stops = np.flatnonzero(lifted[1:] & lifted[:-1])
    return points[: stops[0] + 1] if len(stops) else points


def linear(read: data.Batch, unseen: data.Batch, lags: int) -> float:
    """Log-density of a point by least squares on the `lags` points before, in nats.

    A Gaussian around that for offsets; that itself, within bounds, is the chance of a lift.
    """

    def known(batch):
        batch = jax.tree.map(lambda a: a[:1000], batch)  # plenty for a few weights
        points = batch.xs[0]
        before = np.pad(points, ((0, 0), (lags, 0), (0, 0)))
        steps = points.shape[1]
        past = [before[:, lags - lag : lags - lag + steps] for lag in range(lags)]
        past = np.concatenate([*past, np.ones_like(points[..., :1])], -1)
        valid = np.arange(steps) < batch.lengths[:, None]
        return past[valid].astype(float), batch.targets[valid].astype(float)

    past, points = known(read)
    weights = np.linalg.lstsq(past, points, rcond=None)[0]
    covariance = np.cov((points - past @ weights)[:, :2].T)
    past, points = known(unseen)
    away, said = points - past @ weights, past @ weights
    exponent = (away[:, :2] @ np.linalg.inv(covariance) * away[:, :2]).sum(1) / 2
    offsets = -exponent - np.log(2 * np.pi) - np.linalg.slogdet(covariance)[1] / 2
    lifted = np.clip(said[:, 2], 0.01, 0.99)
    lifts = np.where(points[:, 2] == 1, np.log(lifted), np.log1p(-lifted))
    return float((offsets + lifts).mean())

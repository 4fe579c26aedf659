"""Stories of `stories` as text: written with names, read with markers, answered by simple rules."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import stories

from rnnjax import data

PEOPLE = "Ada Bela Chloe Dmitri Emeka Farah Goran Hana Ines Jamal Kofi Lars".split()
THINGS = "lantern|violin|silver key|map|teapot|hammer|old book|kite|umbrella|coin".split("|")
PLACES = "harbour|library|wine cellar|attic|market|lighthouse|station|barn|chapel|roof".split("|")
NOT_TOLD = stories.VOCABULARY.tokens[stories.NOT_TOLD + 1]
FORMS = {re.sub(rf"\b[{stories.SLOTS}]\b", "X", text) for text in stories.TEXTS}


class Tale(NamedTuple):
    """A story in text."""

    sentences: list[str]
    questions: list[str]
    answers: list[str]


def write(count: int, seed) -> Iterator[Tale]:
    """Stories in text, with names drawn for each."""
    draw, told = np.random.default_rng(seed), stories.tell(count, seed)
    sizes = (stories.PEOPLE, stories.THINGS, stories.PLACES)
    for cast, *parts in zip(told.cast, *told[:3], strict=True):
        names = [
            name
            for names, size in zip((PEOPLE, THINGS, PLACES), sizes, strict=True)
            for name in draw.permutation(names)[:size].tolist()
        ]
        words = dict(enumerate(stories.VOCABULARY.tokens)) | dict(zip(cast, names, strict=True))
        text = lambda tokens, words=words: " ".join(words[token] for token in tokens if token)
        sentences, questions = (list(filter(None, map(text, part))) for part in parts[:2])
        yield Tale(sentences, questions, [words[answer + 1] for answer in parts[2]])


class Reading:
    """A story read sentence by sentence: a name, of one word or several, becomes a marker."""

    def __init__(self, seed=0):
        self.free = np.random.default_rng(seed).permutation(stories.MARKERS).tolist()
        self.markers = {}  # of names
        self.sentences, self.texts = [], []

    def tokens(self, text: str) -> np.ndarray:
        """Numbers for a sentence or question; refuse what the grammar does not have."""
        words = [word for word in data.words(text) if word[0].isalnum()]
        parts = []
        for known, run in itertools.groupby(words, stories.GRAMMAR.__contains__):
            run = list(run)
            parts += run if known else [" ".join(run)]
        names = [part for part in parts if part not in stories.GRAMMAR]
        if " ".join("X" if part in names else part for part in parts) not in FORMS:
            raise ValueError(f"I do not understand: {text} I know {'; '.join(sorted(FORMS))}.")
        for name in names:
            if name not in self.markers and not self.free:
                raise ValueError(f"I can keep {stories.MARKERS} names apart, not {name} as well.")
            self.markers[name] = self.markers.get(name) or self.free.pop() + 1
        tokens = [self.markers.get(part) or stories.VOCABULARY.id(part) for part in parts]
        return np.pad(tokens, (0, stories.WORDS - len(tokens))).astype(np.int32)

    def read(self, text: str):
        """Go on with the story; what was long ago is forgotten."""
        self.sentences = [*self.sentences, self.tokens(text)][-stories.LONGEST :]
        self.texts = [*self.texts, text][-stories.LONGEST :]

    def ask(self, questions: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The story and questions for a network, (S, W) and (Q, W)."""
        empty = np.zeros((stories.LONGEST - len(self.sentences), stories.WORDS), np.int32)
        asked = np.stack([self.tokens(question) for question in questions])
        return np.concatenate([np.reshape(self.sentences, (-1, stories.WORDS)), empty]), asked

    def name(self, answer: int) -> str:
        """The name that an answer points to."""
        names = {marker - 1: name for name, marker in self.markers.items()}
        return names.get(answer, NOT_TOLD)


def last(kind: list[str], sentences: list[str], beside: str = "") -> str:
    """What of a kind is named last, of the sentences with another name."""
    named = (sentence for sentence in reversed(sentences) if beside in sentence)
    found = (max(kind, key=sentence.find) for sentence in named if any(k in sentence for k in kind))
    return next(found, "")


def most_often(sentences, name):
    return max(PLACES, key=lambda place: sum(place in sentence for sentence in sentences))


def beside(sentences, name):
    who = last(PEOPLE, sentences, name)
    return last(PLACES, sentences, name) or last(PLACES, sentences, who)


RULES = {
    "the place named most often": most_often,
    "the place named last": lambda sentences, name: last(PLACES, sentences),
    "the place named last beside it, or beside who was": beside,
}


def by_rule(rule, tale: Tale) -> list[str]:
    """What a rule answers that sees the names alone."""
    names = [re.sub("where is (the )?", "", question) for question in tale.questions]
    return [rule(tale.sentences, name) for name in names]

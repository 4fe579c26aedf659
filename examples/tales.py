"""Stories of `stories` as text: written with names, read with markers, talked about.

A network is a function of texts and questions, (N, S, W) and (N, Q, W): it says logits of answers,
(N, Q, A), and how it looks at sentences, (N, Q, L, S).
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import stories

from rnnjax import data, plots

PEOPLE = "Ada Bela Chloe Dmitri Emeka Farah Goran Hana Ines Jamal Kofi Lars".split()
THINGS = "lantern|violin|silver key|map|teapot|hammer|old book|kite|umbrella|coin".split("|")
PLACES = "harbour|library|wine cellar|attic|market|lighthouse|station|barn|chapel|roof".split("|")
NOT_TOLD = stories.VOCABULARY.tokens[stories.NOT_TOLD + 1]
FORMS = {re.sub(rf"\b[{stories.SLOTS}]\b", "X", text) for text in stories.TEXTS}
TALE = (
    "Ada went to the harbour. Emeka walked to the library. Ada picked up the lantern. "
    "Emeka grabbed the silver key. Ada talks about the attic. Ada ran to the library. "
    "Ada gave Emeka the lantern. Emeka put down the silver key. Emeka travelled to the attic. "
    "Ada likes the lantern. Ada moved to the market"
).split(". ")
TASKS = {"one fact": slice(stories.PEOPLE), "two facts": slice(stories.PEOPLE, None)}


class NotUnderstood(ValueError):
    """A text that the grammar does not have."""


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
            raise NotUnderstood(f"I do not understand: {text} I know {'; '.join(sorted(FORMS))}.")
        for name in names:
            if name not in self.markers and not self.free:
                raise NotUnderstood(
                    f"I can keep {stories.MARKERS} names apart, not {name} as well."
                )
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
        asked = [self.tokens(question) for question in questions]
        return np.stack([*self.sentences, *empty]), np.stack(asked)

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


def by_rule(rule, told: list[Tale]) -> float:
    """How well a rule does that sees the names alone, at the harder task."""
    name = lambda question: re.sub("where is (the )?", "", question)
    said = [[rule(tale.sentences, name(q)) for q in tale.questions] for tale in told]
    return min(accuracy(said, told).values())


def answers(network, told: list[Tale]) -> list[list[str]]:
    """What a network says to every question of every story."""
    readings = [Reading(seed) for seed in range(len(told))]
    asked = []
    for reading, tale in zip(readings, told, strict=True):
        for sentence in tale.sentences:
            reading.read(sentence)
        asked.append(reading.ask(tale.questions))
    logits, _ = network(*map(np.stack, zip(*asked, strict=True)))
    return [list(map(r.name, row)) for r, row in zip(readings, logits.argmax(-1), strict=True)]


def accuracy(said: list[list[str]], told: list[Tale]) -> dict[str, float]:
    """By task: the share of right answers to questions that have one."""
    shares = {}
    for task, some in TASKS.items():
        rows = zip(said, told, strict=True)
        pairs = [p for row, tale in rows for p in list(zip(row, tale.answers, strict=True))[some]]
        right = [answer == true for answer, true in pairs if true != NOT_TOLD]
        shares[task] = float(np.mean(right))
    return shares


def picture(network):
    """Where the looks of three questions go."""
    reading = Reading()
    for sentence in TALE:
        reading.read(sentence)
    asked = ["the lantern", "the silver key", "Ada"]
    sentences, questions = reading.ask([f"where is {name}" for name in asked])
    logits, looks = network(sentences[None], questions[None])
    weights = looks[0].reshape(-1, stories.LONGEST)[:, : len(TALE)].T
    said = [f"in the {reading.name(answer)}" for answer in logits[0].argmax(-1)]
    columns = [text for pair in zip([f"{n}?" for n in asked], said, strict=True) for text in pair]
    figure = plots.attention(weights, columns, TALE)
    axes = figure.axes[0]
    axes.set_title("Where is ...? Two looks for each question", loc="left", fontsize=10)
    axes.set(xlabel="", ylabel="")
    axes.set_yticks(range(len(TALE)), TALE)  # whole sentences need a wider figure
    axes.set_xticks(range(len(columns)), columns, rotation=25, ha="left")
    figure.set_figwidth(7)
    return figure


def chat(network):
    """Read what is typed, and answer questions about it."""
    print("Tell me who goes where and takes what; then ask where somebody or something is.")
    reading = Reading()
    while True:
        try:
            said = input("> ")
        except (EOFError, KeyboardInterrupt):
            return print()
        for text in filter(None, re.split(r"(?<=[.?!])\s+", said.strip())):
            try:
                reply(network, reading, text)
            except NotUnderstood as error:
                print(error)


def reply(network, reading: Reading, text: str):
    """Take in a sentence, or answer a question and say why."""
    if not text.lower().startswith("where"):
        return reading.read(text)
    sentences, questions = reading.ask([text])
    logits, looks = network(sentences[None], questions[None])
    place = reading.name(logits[0, 0].argmax())
    if place == NOT_TOLD or not reading.texts:
        return print("Nobody told me.")
    facts = dict.fromkeys(reading.texts[look.argmax()].rstrip(".") for look in looks[0, 0])
    print(f"In the {place}: {'; '.join(facts)}.")

"""Stories of people who move about, take things, hand them on and drop them, with questions.

A sentence is one of SENTENCES, where P and Q are people, T is a thing and L is a place. Only what
can happen does: whoever is nowhere yet moves first, nobody takes what lies elsewhere or gives to
somebody who is not there. What is said besides ("say") changes nothing. A question asks where a
person is, which one fact tells, the last move; or where a thing is, which takes two: who had it
last, and where that person is now or dropped it.

No network reads a name: words that are not in the grammar become markers, others in each story
(Hermann et al., "Teaching machines to read and comprehend", 2015), and the answer is a marker.
Stories of `tell` are born with markers; those in text get them in `tales.Reading`.
"""

from typing import NamedTuple

import numpy as np

from rnnjax import data

SENTENCES = {
    "move": (
        "P went to the L",
        "P went back to the L",
        "P moved to the L",
        "P walked to the L",
        "P ran to the L",
        "P travelled to the L",
    ),
    "take": ("P took the T", "P grabbed the T", "P picked up the T", "P got the T there"),
    "drop": ("P dropped the T", "P put down the T", "P put the T down", "P left the T there"),
    "give": ("P gave the T to Q", "P handed the T to Q", "P passed Q the T", "P gave Q the T"),
    "say": ("P is hungry", "the L is cold", "P talks about the L", "P likes the T", "P greets Q"),
}
QUESTIONS = ("where is P", "where is the T")
OFTEN = (0.24, 0.24, 0.2, 0.18, 0.14)  # what cannot happen becomes a move
PEOPLE, THINGS, PLACES, LONGEST = 5, 4, 6, 15  # in a story at most; sentences
WORDS = 6  # of a sentence at most
MARKERS = PEOPLE + THINGS + PLACES + 1
NOT_TOLD = MARKERS  # the answer where the story does not say it

TEXTS = [*(text for texts in SENTENCES.values() for text in texts), *QUESTIONS]
COUNTS = np.array([len(texts) for texts in SENTENCES.values()])
MOVE, TAKE, DROP, GIVE, SAY = range(5)
SLOTS = "PQTL"
GRAMMAR = {word for text in TEXTS for word in text.split()} - {*SLOTS}
# The first token is padding; markers are 1 to MARKERS, so an answer is its token less 1.
VOCABULARY = data.vocabulary(
    [sorted(GRAMMAR)],
    specials=("<padding>", *(f"<{number}>" for number in range(MARKERS)), "<not told>"),
)


class Stories(NamedTuple):
    """N stories of up to S sentences, and Q questions about each; tokens are padded with 0."""

    sentences: np.ndarray  # (N, S, W)
    questions: np.ndarray  # (N, Q, W)
    answers: np.ndarray  # (N, Q) numbers of markers, or NOT_TOLD
    facts: np.ndarray  # (N, Q, 2) sentences that tell: who had it, who was where; -1 if not told
    cast: np.ndarray  # (N, C) tokens of the people, the things and the places


class World:
    """What goes on in many stories side by side."""

    def __init__(self, count, draw):
        self.draw, self.rows = draw, np.arange(count)
        sizes = ((2, PEOPLE), (1, THINGS), (3, PLACES))
        counts = [draw.integers(least, most + 1, (count, 1)) for least, most in sizes]
        self.people, self.things, self.places = (
            np.arange(most) < some for some, (_, most) in zip(counts, sizes, strict=True)
        )
        self.at = np.full((count, PEOPLE), -1)  # where everybody is; -1 is not told
        self.came = np.full((count, PEOPLE), -1)  # the sentence that told it
        # Who has a thing or where it lies, and which sentences told so.
        self.holder, self.lies, self.changed, self.brought = np.full((4, count, THINGS), -1)

    def one_of(self, allowed):
        """Draw a column for each row, and say whether one is allowed."""
        return (self.draw.random(allowed.shape) * allowed).argmax(1), allowed.any(1)

    def tell(self, step):
        """Let something happen in each story: what kind of thing, and P, Q, T and L."""
        who, _ = self.one_of(self.people)
        here = self.at[self.rows, who]
        others = np.arange(PEOPLE) != who[:, None]
        near, meets = self.one_of(others & (self.at == here[:, None]))
        held, has = self.one_of(self.holder == who[:, None])
        around = (self.lies < 0) | (self.lies == here[:, None])
        found, finds = self.one_of(self.things & (self.holder < 0) & around)
        possible = {MOVE: True, TAKE: finds & (here >= 0), DROP: has, GIVE: has & meets, SAY: True}
        kind = self.draw.choice(len(OFTEN), len(self.rows), p=OFTEN)
        kind = np.select([(kind == k) & may for k, may in possible.items()], list(possible), MOVE)
        thing, _ = self.one_of(self.things)
        thing = np.select([kind == TAKE, (kind == DROP) | (kind == GIVE)], [found, held], thing)
        other = np.where(kind == GIVE, near, self.one_of(others & self.people)[0])
        place, _ = self.one_of(self.places & (np.arange(PLACES) != here[:, None]))
        self.change(step, kind, who, other, thing, place)
        return kind, np.stack([who, other, PEOPLE + thing, PEOPLE + THINGS + place], 1)

    def change(self, step, kind, who, other, thing, place):
        """Keep the books."""
        moves = self.rows[kind == MOVE], who[kind == MOVE]
        self.at[moves], self.came[moves] = place[kind == MOVE], step
        for happens, holder in ((TAKE, who), (DROP, np.full_like(who, -1)), (GIVE, other)):
            these = kind == happens
            things = self.rows[these], thing[these]
            self.holder[things], self.changed[things] = holder[these], step
        drops = kind == DROP
        things, people = (self.rows[drops], thing[drops]), (self.rows[drops], who[drops])
        self.lies[things], self.brought[things] = self.at[people], self.came[people]

    def answers(self):
        """The place of everybody and everything, -1 if not told, and the two facts that tell it."""
        of_holder = lambda people: np.take_along_axis(people, np.maximum(self.holder, 0), 1)
        where = np.where(self.holder >= 0, of_holder(self.at), self.lies)
        since = np.where(self.holder >= 0, of_holder(self.came), self.brought)
        facts = [np.hstack([self.came, self.changed]), np.hstack([self.came, since])]
        return np.hstack([self.at, where]), np.stack(facts, -1)


def templates():
    """Tokens of each text; -1 to -4 for slots."""
    table = np.zeros((len(TEXTS), WORDS), np.int32)
    for row, text in zip(table, TEXTS, strict=True):
        tokens = [-1 - SLOTS.index(w) if w in SLOTS else VOCABULARY.id(w) for w in text.split()]
        row[: len(tokens)] = tokens
    return table


def filled(table, fillers):
    """Put tokens, (..., 4), into slots."""
    slots = np.maximum(-1 - table, 0)
    return np.where(table < 0, np.take_along_axis(fillers, slots, -1), table).astype(np.int32)


def tell(count: int, seed) -> Stories:
    """Draw stories of 1 to LONGEST sentences, and ask for everybody and everything in each."""
    draw = np.random.default_rng(seed)
    world = World(count, draw)
    lengths = draw.permutation(np.arange(count) % LONGEST) + 1
    markers = draw.permuted(np.tile(np.arange(MARKERS), (count, 1)), axis=1) + 1
    table, first = templates(), np.cumsum(COUNTS) - COUNTS
    sentences = np.zeros((count, LONGEST, WORDS), np.int32)
    answers = np.full((count, PEOPLE + THINGS), -1)
    facts = np.full((*answers.shape, 2), -1)
    for step in range(LONGEST):
        kind, fillers = world.tell(step)
        text = first[kind] + (draw.random(count) * COUNTS[kind]).astype(int)
        told = filled(table[text], np.take_along_axis(markers, fillers, 1))
        sentences[:, step] = np.where(step < lengths[:, None], told, 0)
        ends = lengths == step + 1
        answers[ends], facts[ends] = (both[ends] for both in world.answers())
    places = np.take_along_axis(markers, PEOPLE + THINGS + np.maximum(answers, 0), 1) - 1
    asked = len(TEXTS) - 2 + (np.arange(PEOPLE + THINGS) >= PEOPLE)
    whom = np.repeat(markers[:, : PEOPLE + THINGS, None], len(SLOTS), 2)
    questions = filled(np.tile(table[asked], (count, 1, 1)), whom)
    places = np.where(answers < 0, NOT_TOLD, places).astype(np.int32)
    return Stories(sentences, questions, places, facts.astype(np.int32), markers[:, :-1])

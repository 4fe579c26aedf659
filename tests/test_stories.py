"""The stories of `examples/question_answering.py`, and what is read of them."""

import importlib
import pathlib
import re

import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
VERBS = (
    (r"(.+) (?:went|went back|moved|walked|ran|travelled) to the (.+)", "move"),
    (r"(.+) (?:took|grabbed|picked up|got) the (.+?)(?: there)?", "take"),
    (r"(.+) (?:dropped|put down|put|left) the (.+?)(?: there| down)?", "drop"),
    (r"(.+) (?:gave|handed) the (.+) to (.+)", "give"),
    (r"(.+) (?:gave|passed) (.+) the (.+)", "give to"),
)


@pytest.fixture
def tales(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("tales")


def place_of(sentences, name):
    """Where somebody or something is, and the sentences that tell it, by going through them all."""
    at, holder, lies, facts = {}, {}, {}, {}
    for number, sentence in enumerate(sentences):
        matches = ((re.fullmatch(pattern, sentence), kind) for pattern, kind in VERBS)
        match, kind = next((found for found in matches if found[0]), (None, "say"))
        who, what, whom = (*match.groups(), None)[:3] if match else (None, None, None)
        if kind == "give to":
            what, whom = whom, what
        if kind == "move":
            at[who], facts[who] = what, (number, number)
        elif kind == "drop":
            assert holder.pop(what) == who
            lies[what], facts[what] = at[who], (number, facts[who][1])
        elif kind != "say":
            assert holder.get(what) == (who if kind.startswith("give") else None)
            assert at[who] == at[whom or who] and lies.get(what, at[who]) == at[who]
            holder[what], facts[what] = whom or who, (number, None)
            lies.pop(what, None)
    if name in holder:
        return at[holder[name]], (facts[name][0], facts[holder[name]][1])
    return at.get(name) or lies.get(name), facts.get(name)


def test_stories_make_sense_and_their_answers_and_facts_are_right(tales):
    told = tales.stories.tell(150, 3)
    asked = 0
    for tale, facts in zip(tales.write(150, 3), told.facts, strict=True):
        for question, answer, fact in zip(tale.questions, tale.answers, facts, strict=True):
            place, true = place_of(tale.sentences, re.sub("where is (the )?", "", question))
            assert answer == (place or tales.NOT_TOLD)
            assert tuple(fact) == (true or (-1, -1))
            asked += place is not None
    assert asked > 400


def test_a_text_is_read_back_as_it_was_told_but_for_the_markers(tales):
    told = tales.stories.tell(20, 4)
    for tale, sentences, cast in zip(tales.write(20, 4), told.sentences, told.cast, strict=True):
        reading = tales.Reading()
        for sentence in tale.sentences:
            reading.read(sentence)
        read, _ = reading.ask(tale.questions)
        assert np.array_equal(np.isin(sentences, cast), np.isin(read, [*reading.markers.values()]))
        places = ~np.isin(sentences, cast)
        assert np.array_equal(sentences[places], read[places])


def test_names_may_be_several_words_and_what_is_not_understood_is_refused(tales):
    reading = tales.Reading()
    reading.read("Mary Ann went back to the old mill.")
    assert sorted(reading.markers) == ["mary ann", "old mill"]
    assert reading.name(reading.markers["old mill"] - 1) == "old mill"
    with pytest.raises(ValueError, match="I do not understand: Mary ate. I know X dropped the X;"):
        reading.read("Mary ate.")
    for letter in "abcdefg":
        reading.read(f"{letter}1 went to the {letter}2.")
    with pytest.raises(ValueError, match="I can keep 16 names apart, not zoe as well."):
        reading.read("Zoe is hungry.")

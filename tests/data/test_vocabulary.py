"""Words of texts, and numbers of words: what has one, what it is, and what a file keeps."""

import copy
import json
import os
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from messages import TYPE, VALUE, check_raised, no_type_checker  # noqa: F401

from rnnjax import data

few = settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])
TEXTS = ["The cell keeps what the gates let through.", "The gates open; the cell doesn't."]

SPLIT = {
    "": [],
    " \t\n\x00\ufeff": [],
    "It's 'so' GREAT!!": ["it's", "'", "so", "'", "great", "!", "!"],
    "don’t": ["don't"],
    "rock'n'roll dogs'": ["rock'n'roll", "dogs", "'"],
    "9.5/10 1,000.50, 3. 4": ["9.5", "/", "10", "1,000.50", ",", "3", ".", "4"],
    "3rd mp3 1a2 2.5a": ["3rd", "mp3", "1a2", "2", ".", "5a"],
    "well-known a_b": ["well", "-", "known", "a", "_", "b"],
    "CAFÉ cafe\u0301": ["café", "café"],
    "hy\u00adphen": ["hyphen"],
    "हिन्दी, нет! ΣΟΦΟΣ": ["हिन्दी", ",", "нет", "!", "σοφος"],
    "I ❤\ufe0f U": ["i", "❤\ufe0f", "u"],
    "日本語。": ["日本語", "。"],
}


@pytest.mark.parametrize("text", SPLIT, ids=ascii)
def test_words_numbers_and_marks_stand_apart(text):
    assert data.words(text) == SPLIT[text]


@few
@given(st.text())
def test_words_leave_out_nothing_that_prints(text):
    plain = unicodedata.normalize("NFC", text.lower().translate({0xAD: None, 0xFEFF: None}))
    joined = "".join(data.words(text))
    for character in plain.replace("’", "'"):
        left_out = character.isspace() or unicodedata.category(character) == "Cc"
        alone = unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"
        assert left_out or alone or character in joined


def test_long_texts_take_time_in_proportion():
    for text in ("1," * 50_000 + "a", "1" * 50_000 + "a", "a'" * 50_000, "a\u0301" * 50_000):
        assert sum(map(len, data.words(text))) >= 50_000  # of quadratic time, nobody would wait


def test_tokens_are_numbered_by_count_then_by_code_point():
    known = data.vocabulary(map(data.words, TEXTS))
    assert known.tokens[:5] == ("<unknown>", "the", ".", "cell", "gates")
    assert known.tokens[5:] == tuple(sorted(known.tokens[5:]))
    assert data.vocabulary([["b"], ["a"], ["é"], ["Z"]], specials=()).tokens == ("Z", "a", "b", "é")


def test_limits_leave_rare_tokens_out():
    known = data.vocabulary(map(data.words, TEXTS), max_size=3, specials=("<end>", "<unknown>"))
    assert known.tokens == ("<end>", "<unknown>", "the") and len(known) == 3
    assert known.encode(["the", "cell", "<end>"]).tolist() == [2, 1, 0]
    often = data.vocabulary([["a", "b", "a"], ("c", "b")], min_count=2, specials=())
    assert often.tokens == ("a", "b")


def test_a_special_that_is_read_keeps_its_number():
    known = data.vocabulary([["a", "<end>", "<end>"]], specials=("<begin>", "<end>"))
    assert known.tokens == ("<begin>", "<end>", "a")


def test_a_text_counts_as_its_characters():
    known = data.vocabulary("abracadabra")
    assert known.tokens == ("<unknown>", "a", "b", "r", "c", "d")
    assert known.encode("bad!").tolist() == [2, 1, 5, 0]
    assert known.encode(iter("bad!")).tolist() == [2, 1, 5, 0]


@few
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])))), st.booleans())
def test_encoding_and_back(sequences, unknown):
    if not any(sequences):
        return
    known = data.vocabulary(sequences, specials=("<unknown>",) if unknown else ())
    for sequence in sequences:
        ids = known.encode(sequence)
        assert ids.dtype == np.int32 and ids.shape == (len(sequence),)
        assert known.decode(ids) == sequence
        assert [known.id(token) for token in sequence] == ids.tolist()
    assert all(token in known for token in known.tokens)
    assert len(known) == len(set(known.tokens)) and None not in known


def test_a_vocabulary_is_a_value():
    known = data.vocabulary(map(data.words, TEXTS))
    same = data.Vocabulary(list(known.tokens), specials=["<unknown>"])
    assert same == known and hash(same) == hash(known) and len({same, known}) == 1
    assert data.Vocabulary(known.tokens) != known != data.Vocabulary(known.tokens[::-1])
    again = copy.deepcopy(known)  # as it goes to other processes
    assert again == known and again.encode(["the"]).tolist() == [1]
    assert repr(known) == f"Vocabulary({len(known)} tokens, specials=('<unknown>',))"
    with pytest.raises(AttributeError):
        known.tokens = ()


def test_a_file_keeps_it(tmp_path):
    path = tmp_path / "words.json"
    known = data.Vocabulary(["a", "\n", '"', "é", "\x00", "", "😀", "<unknown>"], ("<unknown>",))
    known.save(path)
    assert data.Vocabulary.load(path) == known
    assert "é" in path.read_text(encoding="utf-8")
    data.vocabulary("ab").save(str(path))
    assert data.Vocabulary.load(str(path)).tokens == ("<unknown>", "a", "b")
    assert os.listdir(tmp_path) == ["words.json"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "words.json"
    data.vocabulary("ab").save(path)
    monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        data.vocabulary("abc").save(path)
    assert data.Vocabulary.load(path) == data.vocabulary("ab")
    assert os.listdir(tmp_path) == ["words.json"]


def file_of(**fields):
    return json.dumps({"format": 1, "specials": [], "tokens": ["a"]} | fields)


HARM = {
    "nothing": ("", "no JSON (Expecting value: line 1 column 1 (char 0))"),
    "cut off": (
        file_of()[:-3],
        "no JSON (Unterminated string starting at: line 1 column 42 (char 41))",
    ),
    "a list": ("[]", "a list for an object of JSON"),
    "nested": ("[" * 200_000, "JSON that is nested too deep"),
    "twice": ('{"format": 1, "format": 1}', "the name 'format' twice"),
    "other names": (
        '{"format": 1, "tokens": []}',
        "something else than format, specials and tokens, 'format, tokens',",
    ),
    "true": (
        file_of(format=True),
        "format True, which this version of rnnjax cannot read,",
    ),
    "later": (file_of(format=2), "format 2, which this version of rnnjax cannot read,"),
    "text for tokens": (file_of(tokens="abc"), "tokens that are no list"),
    "no specials": (file_of(specials=None), "specials that are no list"),
    "number": (
        file_of(tokens=["a", 3]),
        '"Vocabulary: `tokens[1]` must be a str, got int 3; tokens are texts: split, or decode,'
        ' or use str()."',
    ),
    "no tokens": (
        file_of(tokens=[]),
        '"Vocabulary: `tokens` must be at least one, got none; give a list of tokens."',
    ),
    "twice the same": (
        file_of(tokens=["a", "b", "a"]),
        "\"Vocabulary: `tokens` must be distinct, got 'a' twice; number each token once.\"",
    ),
    "special that is none": (
        file_of(specials=["b"]),
        "\"Vocabulary: `specials` must be tokens, got 'b'; let them stand among the tokens.\"",
    ),
    "surrogate": (
        file_of(tokens=["\udc80"]),
        "\"Vocabulary: `tokens` must be Unicode text, got the lone surrogate '\\udc80'; read the"
        ' text with errors="replace"."',
    ),
}


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", HARM)
def test_damaged_files_are_refused(name, tmp_path):
    text, got = HARM[name]
    path = tmp_path / "words.json"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        data.Vocabulary.load(path)
    assert str(caught.value) == (
        f"Vocabulary.load: `path` must be a file of Vocabulary.save, got {got} in {path};"
        " give a sound copy of it."
    )


def test_too_large_a_file_is_neither_written_nor_read(tmp_path, monkeypatch):
    path = tmp_path / "words.json"
    known = data.vocabulary("abc")
    known.save(path)
    monkeypatch.setattr(sys.modules["rnnjax.data.vocabulary"], "MOST", 20)
    with pytest.raises(ValueError, match="got more than 20 bytes in"):
        data.Vocabulary.load(path)
    with pytest.raises(ValueError, match="`tokens` must take 20 bytes at most, got 87"):
        known.save(tmp_path / "other.json")
    assert os.listdir(tmp_path) == ["words.json"]


WORDS = data.Vocabulary(("the", "cell"))
LETTERS = data.vocabulary("ab")
LISTED = "one sequence of words is [words], and list(text) is one of characters"
TEXT = "tokens are texts: split, or decode, or use str()"
BAD = {
    "words of bytes": (
        lambda: data.words(b"a"),
        TYPE,
        "words: `text` must be a str, got bytes b'a'; split several texts one by one, and decode"
        " bytes first.",
    ),
    "words for sequences": (
        lambda: data.vocabulary(["the", "cell"]),
        TYPE,
        f"vocabulary: `sequences[0]` must be a list of tokens, got str 'the'; {LISTED}.",
    ),
    "a number for sequences": (
        lambda: data.vocabulary(3),
        TYPE,
        "vocabulary: `sequences` must be iterable, got int 3; give a list.",
    ),
    "ids for tokens": (
        lambda: data.vocabulary([["a"], ["b", 3]]),
        TYPE,
        f"vocabulary: `sequences[1][1]` must be a str, got int 3; {TEXT}.",
    ),
    "nothing to count": (
        lambda: data.vocabulary(iter([])),
        VALUE,
        "vocabulary: `sequences` must hold a token, got none; an iterator can be gone through"
        " once: give a list.",
    ),
    "all too rare": (
        lambda: data.vocabulary("aab", min_count=3),
        VALUE,
        "vocabulary: `min_count` must leave a token, got 3 where no token comes more than 2"
        " times; lower it.",
    ),
    "min_count 0": (
        lambda: data.vocabulary("aab", min_count=0),
        VALUE,
        "vocabulary: `min_count` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "no room": (
        lambda: data.vocabulary("aab", max_size=1),
        VALUE,
        "vocabulary: `max_size` must be at least 2, got 1; give the width or count that is meant.",
    ),
    "one special": (
        lambda: data.vocabulary("aab", specials="<end>"),
        TYPE,
        f"vocabulary: `specials` must be a list of tokens, got str '<end>'; {LISTED}.",
    ),
    "special twice": (
        lambda: data.vocabulary("aab", specials=("<end>", "<end>")),
        VALUE,
        "vocabulary: `specials` must be distinct, got ('<end>', '<end>'); name each once.",
    ),
    "a text of words": (
        lambda: WORDS.encode("the cell"),
        TYPE,
        f"Vocabulary.encode: `tokens` must be a list of tokens, got str 'the cell'; {LISTED}.",
    ),
    "unknown": (
        lambda: WORDS.encode(["the", "gate"]),
        VALUE,
        "Vocabulary.encode: `tokens` must be known, got 'gate'; make the vocabulary with"
        ' specials=("<unknown>",).',
    ),
    "unknown id": (
        lambda: WORDS.id("gate"),
        VALUE,
        "Vocabulary.id: `token` must be known, got 'gate'; make the vocabulary with"
        ' specials=("<unknown>",).',
    ),
    "id of a list": (
        lambda: WORDS.id(["the"]),
        TYPE,
        "Vocabulary.id: `token` must be a str, got list ['the']; Vocabulary.encode takes several.",
    ),
    "unhashable": (
        lambda: WORDS.encode([["the"]]),
        TYPE,
        f"Vocabulary.encode: `tokens[0]` must be a str, got list ['the']; {TEXT}.",
    ),
    "a batch of ids": (
        lambda: LETTERS.decode([[1, 2]]),
        VALUE,
        "Vocabulary.decode: `ids` must have shape (T,), got (1, 2); decode sequences one by one.",
    ),
    "logits": (
        lambda: LETTERS.decode([0.5]),
        TYPE,
        "Vocabulary.decode: `ids` must be whole numbers, got float64; take the argmax of logits"
        " first.",
    ),
    "padding": (
        lambda: LETTERS.decode([1, -1]),
        VALUE,
        "Vocabulary.decode: `ids` must lie in 0..2, got -1 at 1; they are of another vocabulary,"
        " or padding.",
    ),
    "beyond": (
        lambda: LETTERS.decode(np.array([3])),
        VALUE,
        "Vocabulary.decode: `ids` must lie in 0..2, got 3 at 0; they are of another vocabulary,"
        " or padding.",
    ),
    "no name": (
        lambda: LETTERS.save(""),
        VALUE,
        "Vocabulary.save: `path` must name a file, got an empty text; give a name such as"
        " model.safetensors.",
    ),
    "onto a device": (
        lambda: LETTERS.save("/dev/null"),
        VALUE,
        "Vocabulary.save: `path` must be a regular file, got a device, /dev/null; give the name"
        " of a file.",
    ),
    "from a device": (
        lambda: data.Vocabulary.load("/dev/zero"),
        VALUE,
        "Vocabulary.load: `path` must be a regular file, got a device, /dev/zero; copy what it"
        " gives to a file.",
    ),
}


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name):
    check_raised(*BAD[name])


def test_what_is_no_file_is_an_error_of_the_system(tmp_path):
    for call in (data.Vocabulary.load, LETTERS.save):
        with pytest.raises(IsADirectoryError):
            call(tmp_path)
    with pytest.raises(FileNotFoundError):
        data.Vocabulary.load(tmp_path / "none.json")

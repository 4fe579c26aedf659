"""Text as words, numbers and punctuation marks, in any language that sets words apart."""

import functools
import re
import unicodedata

from rnnjax import _checks

# Soft hyphens and byte order marks say nothing, and both apostrophes the same.
PLAIN = {0x00AD: None, 0xFEFF: None, 0x2019: "'"}


def words(text: str) -> list[str]:
    """Split a text into words in lower case, numbers, and punctuation marks, each by itself.

    An apostrophe within a word belongs to it, as in `don't`, and the typographic one becomes the
    same; so do accents and vowel signs, however they are written (NFC). A point or comma between
    digits belongs to the number. White space and control characters are left out, so the text
    cannot be put together again exactly. Where no spaces stand between words, as in Chinese,
    take the characters, `list(text)`, or a tokeniser made for that language.

    Args:
        text: any text.

    Returns:
        Its tokens in order, for `vocabulary` and `Vocabulary.encode`.

    Raises:
        TypeError: for anything else, such as a list of texts.

    Example:
        >>> words("It's GREAT -- 9.5/10, don't miss it!")
        ["it's", 'great', '-', '-', '9.5', '/', '10', ',', "don't", 'miss', 'it', '!']
    """
    if not isinstance(text, str):
        way_out = "split several texts one by one, and decode bytes first"
        _checks.refuse("words", "text", "be a str", _checks.kind(text), way_out, error=TypeError)
    lower = unicodedata.normalize("NFC", text.lower().translate(PLAIN))
    return _pattern().findall(lower)


@functools.cache
def _pattern() -> re.Pattern[str]:
    r"""What a token is: a number, a word, or a mark; `\w` of Python has no combining marks."""
    planes = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    marks = "".join(c for c in map(chr, planes) if unicodedata.category(c)[0] == "M")
    joined = (
        f"[{re.escape(marks)}\u200c\u200d]"  # and what joins letters or pictures, or parts them
    )
    word = rf"(?:[^\W_]{joined}*)+"
    number = rf"\d+(?:[.,]\d+)*(?![^\W_]|{joined})"
    return re.compile(rf"{number}|{word}(?:'{word})*|(?:[^\w\s\x00-\x1f\x7f-\x9f]|_){joined}*")

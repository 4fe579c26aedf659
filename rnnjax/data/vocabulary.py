"""Numbers for tokens: which tokens there are, and back."""

import collections
import dataclasses
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax import _checks
from rnnjax.storage import files, tensors
from rnnjax.storage.header import Damage, parse, short

UNKNOWN = "<unknown>"
FORMAT = 1
MOST = 100_000_000  # bytes of a file; parsed, they take several times as much


def vocabulary(
    sequences: Iterable[Iterable[str]] | str,
    *,
    max_size: int | None = None,
    min_count: int = 1,
    specials: tuple[str, ...] = (UNKNOWN,),
) -> "Vocabulary":
    """Number the tokens of a corpus: specials first, then by count, then by code point.

    Take the training sequences alone, so that words of the others are as unknown as they will be.
    No token for padding is needed: lengths say what is padding, which may hold any number.

    Args:
        sequences: of tokens, such as `map(data.words, texts)`; any iterable. One text is a
            sequence of characters, `vocabulary(text)`.
        max_size: how many tokens there are at most, specials counted; None means no limit.
        min_count: rarer tokens are left out.
        specials: tokens that get the first numbers, whatever their count. `"<unknown>"` among them
            stands for all that is left out; without it, that is refused by `encode`.

    Returns:
        The vocabulary; its `len` is the `num_embeddings` of an embedding.

    Raises:
        TypeError: for tokens that are no texts, or a text in the place of a list of tokens.
        ValueError: for sequences without a token, limits that leave none, and specials that are
            not distinct.

    Example:
        >>> from rnnjax import data
        >>> texts = ["The cell keeps what the gates let through.", "The gates open."]
        >>> known = data.vocabulary(map(data.words, texts), max_size=4)
        >>> known.tokens
        ('<unknown>', 'the', '.', 'gates')
        >>> known.encode(data.words("The gates close."))
        array([1, 3, 0, 2], dtype=int32)
    """
    function = "vocabulary"
    first = _specials(function, specials)
    counts = _counts(function, sequences)
    least = _checks.size(function, "min_count", min_count)
    if not counts:
        way_out = "an iterator can be gone through once: give a list"
        _checks.refuse(function, "sequences", "hold a token", "none", way_out)
    if least > max(counts.values()):
        got = f"{least} where no token comes more than {max(counts.values())} times"
        _checks.refuse(function, "min_count", "leave a token", got, "lower it")
    kept = [token for token, count in counts.items() if count >= least and token not in first]
    kept.sort(key=lambda token: (-counts[token], token))
    if max_size is not None:
        most = _checks.size(function, "max_size", max_size, least=len(first) + 1)
        kept = kept[: most - len(first)]
    return Vocabulary((*first, *kept), specials=first)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Vocabulary:
    """Tokens and their numbers, made by `vocabulary` or of a list of tokens; never changes.

    Equal vocabularies have the same tokens in the same order and the same specials.
    `len(known)` is how many there are, `token in known` whether it has a number of its own.

    Attributes:
        tokens: all of them; `tokens[i]` has the number i.
        specials: those among them that stand for no text of their own, such as `"<unknown>"`.

    Raises:
        TypeError: for tokens that are no texts.
        ValueError: for no token, one that stands twice, or specials that are no tokens.

    Example:
        >>> from rnnjax import data
        >>> letters = data.vocabulary("abracadabra", specials=())
        >>> letters.encode("bad"), letters.decode([2, 0, 1])
        (array([1, 0, 4], dtype=int32), ['r', 'a', 'b'])
    """

    tokens: tuple[str, ...]
    specials: tuple[str, ...] = ()
    _ids: dict[str, int] = dataclasses.field(init=False, compare=False)
    _characters: bool = dataclasses.field(init=False, compare=False)

    def __post_init__(self):
        function = "Vocabulary"
        tokens = tuple(map(str, _texts(function, "tokens", self.tokens)))
        ids = {token: index for index, token in enumerate(tokens)}
        if not tokens:
            _checks.refuse(function, "tokens", "be at least one", "none", "give a list of tokens")
        if len(ids) < len(tokens):
            twice = next(token for i, token in enumerate(tokens) if ids[token] != i)
            way_out = "number each token once"
            _checks.refuse(function, "tokens", "be distinct", f"{short(twice)} twice", way_out)
        try:
            "".join(tokens).encode()
        except UnicodeEncodeError as error:
            way_out = 'read the text with errors="replace"'
            got = f"the lone surrogate {ascii(error.object[error.start])}"
            _checks.refuse(function, "tokens", "be Unicode text", got, way_out)
        specials = _specials(function, self.specials)
        for token in specials:
            if token not in ids:
                way_out = "let them stand among the tokens"
                _checks.refuse(function, "specials", "be tokens", short(token), way_out)
        others = ids.keys() - set(specials)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "specials", specials)
        object.__setattr__(self, "_ids", ids)
        object.__setattr__(self, "_characters", all(len(token) == 1 for token in others))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens, specials={self.specials})"

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._ids

    def id(self, token: str) -> int:
        """The number of a token; that of `"<unknown>"` for others where this is a special.

        Raises:
            TypeError: for what is no text.
            ValueError: for an unknown token, where nothing stands for these.
        """
        function = "Vocabulary.id"
        if not isinstance(token, str):
            way_out = "Vocabulary.encode takes several"
            got = _checks.kind(token)
            _checks.refuse(function, "token", "be a str", got, way_out, error=TypeError)
        return int(self._encoded(function, "token", [token])[0])

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """The numbers of tokens, int32 of shape `(T,)`.

        Args:
            tokens: any iterable of them. A text is taken for its characters where all tokens but
                the specials are characters, and refused elsewhere.

        Raises:
            TypeError: for tokens that are no texts, and a text where tokens are words.
            ValueError: for an unknown token, where `"<unknown>"` is no special.
        """
        function = "Vocabulary.encode"
        if isinstance(tokens, str) and self._characters:
            return self._encoded(function, "tokens", tokens)
        return self._encoded(function, "tokens", _texts(function, "tokens", tokens))

    def decode(self, ids: Any) -> list[str]:
        """The tokens of numbers.

        Args:
            ids: whole numbers, an array of shape `(T,)` or a list; those behind a sequence's
                length are to be cut off first.

        Raises:
            TypeError: for what is no list of whole numbers.
            ValueError: for more than one axis, or a number that no token has.
        """
        function = "Vocabulary.decode"
        numbers = np.asarray(ids)
        if numbers.ndim != 1:
            way_out = "decode sequences one by one"
            _checks.refuse(function, "ids", "have shape (T,)", numbers.shape, way_out)
        if not numbers.size:
            return []
        if not np.issubdtype(numbers.dtype, np.integer):
            got, way_out = numbers.dtype, "take the argmax of logits first"
            _checks.refuse(function, "ids", "be whole numbers", got, way_out, error=TypeError)
        bad = np.flatnonzero((numbers < 0) | (numbers >= len(self)))
        if bad.size:
            got = f"{numbers[bad[0]]} at {bad[0]}"
            way_out = "they are of another vocabulary, or padding"
            _checks.refuse(function, "ids", f"lie in 0..{len(self) - 1}", got, way_out)
        return [self.tokens[i] for i in numbers.tolist()]

    def save(self, path: str | Path) -> None:
        """Write the vocabulary to a file of JSON: the whole new file is there, or the old one.

        Raises:
            ValueError: if `path` is a pipe or device, or the file would be above 100 MB.
            OSError: if the file cannot be written.
        """
        function = "Vocabulary.save"
        path = tensors.named_file(function, path)
        if path.exists():
            tensors.refuse_special(function, path, path.stat().st_mode, "give the name of a file")
        tree = {"format": FORMAT, "specials": self.specials, "tokens": self.tokens}
        data = (json.dumps(tree, ensure_ascii=False, indent=0) + "\n").encode()
        if len(data) > MOST:
            way_out = "leave rare tokens out with max_size"
            _checks.refuse(function, "tokens", f"take {MOST} bytes at most", len(data), way_out)
        files.replace_file(path, data)

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read a vocabulary from a file that `save` has written.

        Raises:
            OSError: if there is no such file, or it cannot be read.
            ValueError: for any other file.
        """
        function = "Vocabulary.load"
        path = tensors.named_file(function, path)
        with open(path, "rb", opener=tensors.at_once) as file:
            found = os.fstat(file.fileno())
            tensors.refuse_special(function, path, found.st_mode, "copy what it gives to a file")
            data = file.read(MOST + 1) if stat.S_ISREG(found.st_mode) else b""
        try:
            return _read(data)
        except ValueError as damage:  # `Damage`, and what no vocabulary can hold
            wanted = "be a file of Vocabulary.save"
            tensors.refuse_file(function, path, wanted, str(damage).removesuffix("."))

    def _encoded(self, function: str, argument: str, tokens: Iterable[str]) -> np.ndarray:
        unknown = self._ids[UNKNOWN] if UNKNOWN in self.specials else -1
        found = np.array([self._ids.get(token, unknown) for token in tokens], np.int32)
        if unknown < 0 and found.size and found.min() < 0:
            token = next(token for token in tokens if token not in self._ids)
            way_out = f'make the vocabulary with specials=("{UNKNOWN}",)'
            _checks.refuse(function, argument, "be known", short(token), way_out)
        return found


def _read(data: bytes) -> Vocabulary:
    """A vocabulary of what stands in a file; `ValueError` where there is none."""
    if len(data) > MOST:
        raise Damage(f"more than {MOST} bytes")
    tree = parse(data)
    if set(tree) != {"format", "specials", "tokens"}:
        names = short(", ".join(tree))
        raise Damage(f"something else than format, specials and tokens, {names},")
    if type(tree["format"]) is not int or tree["format"] != FORMAT:
        raise Damage(f"format {short(tree['format'])}, which this version of rnnjax cannot read,")
    for name in ("specials", "tokens"):
        if not isinstance(tree[name], list):
            raise Damage(f"{name} that are no list")
    try:
        return Vocabulary(tree["tokens"], tree["specials"])
    except (TypeError, ValueError) as error:
        raise Damage(f'"{error}"') from None


def _counts(function: str, sequences: Any) -> collections.Counter:
    """How often each token comes."""
    if isinstance(sequences, str):
        return collections.Counter(sequences)
    counts = collections.Counter()
    for index, sequence in enumerate(_iterable(function, "sequences", sequences)):
        counts.update(_texts(function, f"sequences[{index}]", sequence))
    return counts


def _specials(function: str, specials: Any) -> tuple[str, ...]:
    """Distinct texts."""
    found = tuple(map(str, _texts(function, "specials", specials)))
    if len(set(found)) < len(found):
        _checks.refuse(function, "specials", "be distinct", found, "name each once")
    return found


def _iterable(function: str, argument: str, value: Any) -> Any:
    """What can be gone through."""
    try:
        return iter(value)
    except TypeError:
        got, way_out = _checks.kind(value), "give a list"
        _checks.refuse(function, argument, "be iterable", got, way_out, error=TypeError)


def _texts(function: str, argument: str, tokens: Any) -> list[str]:
    """Tokens, each of them a text; one text in their place is a mistake."""
    if isinstance(tokens, str):
        way_out = "one sequence of words is [words], and list(text) is one of characters"
        got = _checks.kind(tokens)
        _checks.refuse(function, argument, "be a list of tokens", got, way_out, error=TypeError)
    found = list(_iterable(function, argument, tokens))
    for index, token in enumerate(found):
        if not isinstance(token, str):
            got, way_out = _checks.kind(token), "tokens are texts: split, or decode, or use str()"
            name = f"{argument}[{index}]"
            _checks.refuse(function, name, "be a str", got, way_out, error=TypeError)
    return found

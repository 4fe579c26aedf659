"""What stands at the head of a file of safetensors, checked before anything is made of it.

Such a file is eight bytes that tell the length of a JSON text, the text, and the numbers of all
arrays end to end. The text names dtype, shape and place of each array. Every size that it declares
is compared with that of the file: no array is made whose numbers the file does not hold.
"""

import collections
import json
import math
from typing import Any, BinaryIO, NamedTuple

MOST = 10_000_000  # bytes of the text; parsed, it takes up to twenty times as much
MOST_NAME = 1_000  # letters
LARGE = 2**48  # no file has as many bytes
METADATA = "__metadata__"
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
BITS = {
    **{"BOOL": 8, "U8": 8, "U16": 16, "U32": 32, "U64": 64, "I8": 8, "I16": 16, "I32": 32},
    **{"I64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "BF16": 16, "F16": 16, "F32": 32, "F64": 64},
    **{"C64": 64},
    # Those of the format that we do not read.
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
}


class Damage(ValueError):
    """What is wrong with a file, in a few words."""


class Entry(NamedTuple):
    """An array of a file: its dtype as the format calls it, and where its numbers stand."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # from the first byte behind the text
    end: int


class Header(NamedTuple):
    """What a file holds; `start` is its first byte behind the text."""

    entries: tuple[Entry, ...]
    metadata: dict[str, str]
    start: int


def read_header(file: BinaryIO, size: int) -> Header:
    """The header of a file of so many bytes; `Damage` where it is none."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8:
        raise Damage("no header")
    if length > size - 8:
        raise Damage(f"a header of {length} bytes in a file of {size}")
    if length > MOST:
        raise Damage(f"a header of {length} bytes, above {MOST},")
    text = file.read(length)
    if len(text) < length or text[:1] != b"{":
        raise Damage("a header that is no JSON object")
    tree = parse(text)
    metadata = tree.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise Damage("metadata that are no texts by name")
    entries = sorted((_entry(name, fields) for name, fields in tree.items()), key=_place)
    _check_places(entries, size - 8 - length)
    return Header(tuple(entries), metadata, 8 + length)


def parse(text: str | bytes) -> dict[str, Any]:
    """An object of JSON, each name of which stands once."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            raise Damage(f"the name {short(counts.most_common(1)[0][0])} twice")
        return found

    def constant(word: str) -> Any:
        raise Damage(f"{word}, which is no JSON,")

    try:
        text = text.decode() if isinstance(text, bytes) else text
        tree = json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except Damage:
        raise
    except RecursionError:
        raise Damage("JSON that is nested too deep") from None
    except ValueError as error:  # of JSON, of its UTF-8, of a number with thousands of digits
        raise Damage(f"no JSON ({brief(error)})") from None
    if not isinstance(tree, dict):
        raise Damage(f"a {type(tree).__name__} for an object of JSON")
    return tree


def why_no_name(name: str) -> str | None:
    """What keeps a name out of a file: it may become that of a file, or stand in a message."""
    if not 0 < len(name) <= MOST_NAME:
        return f"a name of {len(name)} letters"
    if not name.isprintable():
        return "a name with letters that do not print"
    if name[0] in "/\\" or ".." in name.replace("\\", "/").split("/"):
        return "a name that leads out of a folder"
    return None


def short(value: Any) -> str:
    """A value as it is written, or the beginning of it, or its kind where it may be deep."""
    if isinstance(value, dict) or (isinstance(value, list) and not _are_whole(value)):
        return f"a {type(value).__name__} of {len(value)}"
    text = ascii(value[:20] if isinstance(value, list) else value)
    return text if len(text) <= 60 else text[:56] + " ..."


def brief(error: Exception) -> str:
    """What an error says, on one line that is not too long."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:296] + " ..."


def _entry(name: str, fields: Any) -> Entry:
    """One array, as far as it can be checked by itself."""
    why = why_no_name(name)
    if why is not None:
        raise Damage(f"{why}, {short(name)},")
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise Damage(f"something else than dtype, shape and data_offsets of {short(name)}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise Damage(f"dtype {short(dtype)} of {short(name)}")
    if not _are_sizes(shape) or len(shape) > 64 or math.prod(filter(None, shape)) >= LARGE:
        raise Damage(f"shape {short(shape)} of {short(name)}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise Damage(f"data_offsets {short(offsets)} of {short(name)}")
    begin, end = offsets
    if math.prod(shape) * BITS[dtype] != 8 * (end - begin):
        raise Damage(f"{end - begin} bytes for {dtype} of shape {short(shape)}, {short(name)},")
    return Entry(name, dtype, tuple(shape), begin, end)


def _are_whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int for n in value)


def _are_sizes(value: Any) -> bool:
    """Whether these can be the sizes of something, or its place in a file."""
    return _are_whole(value) and all(0 <= n < LARGE for n in value)


def _place(entry: Entry) -> tuple[int, int]:
    return entry.begin, entry.end


def _check_places(entries: list[Entry], size: int) -> None:
    """Arrays stand end to end, and fill the file."""
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise Damage(
                f"data_offsets {[entry.begin, entry.end]} of {short(entry.name)} after {end}"
            )
        end = entry.end
    if end != size:
        raise Damage(f"{size} bytes for the {end} of its arrays")

"""Files of safetensors: read only after their header was found sound, and written whole."""

import contextlib
import hashlib
import io
import json
import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax.storage import files, leaves
from rnnjax.storage.header import DTYPES, METADATA, MOST, Damage, Header, read_header, why_no_name

CHECKSUM = "rnnjax.sha256"  # in the file's metadata


class TensorFile(NamedTuple):
    """A file that is open, and of which the header has been read."""

    function: str  # for messages
    path: Path
    file: io.BufferedReader
    header: Header

    def leaves(self) -> list[leaves.Leaf]:
        """What its arrays are."""
        entries = self.header.entries
        return [leaves.Leaf(e.name, e.shape, DTYPES.get(e.dtype, e.dtype)) for e in entries]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, which are what was written as far as a checksum can tell."""
        for entry in self.header.entries:
            if entry.dtype not in DTYPES:
                wanted = f"have one of the dtypes {', '.join(DTYPES)}"
                way_out = "cast it where the file was made"
                got = f"{entry.dtype} in {self.path}"
                _checks.refuse(self.function, entry.name, wanted, got, way_out, error=TypeError)
        arrays = {entry.name: self._array(entry) for entry in self.header.entries}
        others = dict(self.header.metadata)
        wanted = others.pop(CHECKSUM, None)
        if wanted is not None and checksum(arrays, others) != wanted:
            self.refuse("hold what was written", "something else, by its checksum,")
        return arrays

    def refuse(self, wanted: str, got: str, way_out: str = "give a sound copy of it") -> NoReturn:
        """Say what is wrong with the file."""
        refuse_file(self.function, self.path, wanted, got, way_out)

    def _array(self, entry: Any) -> np.ndarray:
        raw = np.empty(entry.end - entry.begin, np.uint8)
        self.file.seek(self.header.start + entry.begin)
        if self.file.readinto(raw.data) != raw.size:
            self.refuse("stay as it is while it is read", "fewer bytes than before")
        if entry.dtype == "BOOL" and raw.max(initial=0) > 1:
            self.refuse("be a file of safetensors", f"booleans beyond 0 and 1, {entry.name!r},")
        return raw.view(jnp.dtype(DTYPES[entry.dtype])).reshape(entry.shape)


def refuse_file(
    function: str, path: Path, wanted: str, got: str, way_out: str = "give a sound copy of it"
) -> NoReturn:
    """Say what is wrong with a file."""
    _checks.refuse(function, "path", wanted, f"{got} in {path}", way_out)


def named_file(function: str, path: str | Path) -> Path:
    """A path that has a name: to `Path` no text is the folder we are in."""
    named = _checks.path(function, "path", path, such_as="model.safetensors")
    if path == "":
        way_out = "give a name such as model.safetensors"
        _checks.refuse(function, "path", "name a file", "an empty text", way_out)
    return named


def refuse_special(function: str, path: Path, mode: int, way_out: str) -> None:
    """Refuse pipes and devices: they have no size, may never end, and cannot be put back."""
    special = files.why_special(mode)
    if special is not None:
        _checks.refuse(function, "path", "be a regular file", f"{special}, {path}", way_out)


def at_once(name: str, flags: int) -> int:
    """Open a file for reading, without waiting until somebody writes to a pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


@contextlib.contextmanager
def opened(function: str, path: str | Path) -> Iterator[TensorFile]:
    """A file whose header is sound; its numbers have not been read."""
    path = named_file(function, path)
    with open(path, "rb", opener=at_once) as file:
        found = os.fstat(file.fileno())
        refuse_special(function, path, found.st_mode, "copy what it gives to a file first")
        try:
            header = read_header(file, found.st_size)
        except Damage as damage:
            refuse_file(function, path, "be a file of safetensors", str(damage))
        yield TensorFile(function, path, file, header)


def write(function: str, path: Path, named: dict[str, Any], metadata: dict[str, str]) -> None:
    """Write arrays and texts by name, with a checksum of both."""
    safetensors = import_safetensors(function)
    if path.exists():
        refuse_special(function, path, path.stat().st_mode, "give the name of a file")
    leaves.check_arrays(function, named)
    for name, leaf in named.items():
        why = why_no_name(name)
        if why is not None or leaf.dtype.name not in DTYPES.values() or name == METADATA:
            wanted = "have a name and dtype that safetensors can hold"
            way_out = "rnnjax.train.save keeps any tree"
            got = why or _checks.kind(leaf)
            _checks.refuse(function, ascii(name)[1:-1][:60], wanted, got, way_out, error=TypeError)
    arrays = {name: plain(leaf) for name, leaf in named.items()}
    metadata = {**metadata, CHECKSUM: checksum(arrays, metadata)}
    data = safetensors.numpy.save(arrays, metadata=metadata)
    if int.from_bytes(data[:8], "little") > MOST:
        wanted, way_out = f"have names of {MOST} bytes at most, with their shapes", "use more files"
        _checks.refuse(function, "params", wanted, f"{len(named)} arrays", way_out)
    files.replace_file(path, data)


def import_safetensors(function: str) -> types.ModuleType:
    """The package, or what to do about its absence."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        message = f"{function}: safetensors is not installed; pip install rnnjax[train]."
        raise ImportError(message) from error
    return safetensors


def plain(leaf: Any) -> np.ndarray:
    """An array of NumPy, rows first and in this machine's order of bytes."""
    array = np.asarray(leaf, order="C")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def checksum(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> str:
    """The SHA-256 of texts, names, dtypes, shapes and numbers, in whatever order they stand."""
    digest = hashlib.sha256()
    for pair in sorted(texts.items()):
        digest.update(json.dumps(pair).encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

"""What a folder's files were when they were written: sizes and SHA-256, in `manifest.json`."""

import hashlib
import json
from pathlib import Path

from rnnjax.storage.files import write_file

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Note every file below a folder."""
    entries = {name: [path.stat().st_size, digest(path)] for name, path in files(folder).items()}
    write_file(folder / MANIFEST, json.dumps(entries, indent=1, sort_keys=True).encode())


def damage(folder: Path) -> str | None:
    """What differs from the manifest, in words; None where the folder is sound."""
    try:
        wanted = read_manifest(folder)
        found = files(folder)
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                return f"{name} is missing"
            if name not in wanted:
                return f"{name} is not in {MANIFEST}"
            size, sha256 = wanted[name]
            if found[name].stat().st_size != size:
                return f"{name} has {found[name].stat().st_size} bytes, not {size}"
            if digest(found[name]) != sha256:
                return f"{name} has changed since it was written"
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read: {error.strerror}"
    except (ValueError, TypeError, RecursionError):
        return f"{MANIFEST} is no manifest"
    return None


def read_manifest(folder: Path) -> dict[str, tuple[int, str]]:
    """The size and SHA-256 of every file, by its name below the folder."""
    entries = json.loads((folder / MANIFEST).read_bytes())
    if not isinstance(entries, dict) or not entries:
        raise ValueError("no entries")
    return {name: (size, sha256) for name, (size, sha256) in entries.items()}


def files(folder: Path) -> dict[str, Path]:
    """All files below a folder but the manifest, by name; links to folders count as files."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if name != MANIFEST}


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

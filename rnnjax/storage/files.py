"""Files that are on the disk when we say so: written whole, synced, then renamed."""

import os
import secrets
import shutil
from pathlib import Path

TEMPORARY = ".tmp-"  # begins the name of everything that is not finished, or being removed


def temporary_beside(path: Path) -> Path:
    """A new name in the same folder, so that renaming to `path` is one step."""
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file, at once; after an error the old file is still there."""
    temporary = temporary_beside(path)
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the caller knows the file by its own name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, which shall outlive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until the disk has everything in a folder."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder; when killed amid it, what is left has the name of a temporary."""
    doomed = temporary_beside(folder)
    try:
        os.rename(folder, doomed)
    except FileNotFoundError:  # another process was quicker
        return
    shutil.rmtree(doomed, ignore_errors=True)

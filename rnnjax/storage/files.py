"""Files that are on the disk when we say so: written whole, synced, then renamed."""

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path

TEMPORARY = ".tmp-"  # begins the name of everything that is not finished, or being removed
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # folders that cannot be synced


def temporary_beside(path: Path) -> Path:
    """A new name in the same folder, so that renaming to `path` is one step."""
    return path.with_name(f"{TEMPORARY}{path.name[:20]}-{secrets.token_hex(4)}")


def why_special(mode: int) -> str | None:
    """What a file is that is no regular one; None for these, and for folders."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def write_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a new file and wait until the disk has it; at no time may more read it than `mode`."""

    def create(name: str, flags: int) -> int:
        return os.open(name, flags, 0o666 if mode is None else mode)

    with open(path, "xb", opener=create) as file:
        if mode is not None and stat.S_IMODE(os.fstat(file.fileno()).st_mode) != mode:
            os.chmod(path, mode)  # the umask took some
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file, at once, with its mode; links are followed.

    After an error the old file is still there, unless the error says that the new one is.
    """
    final = Path(os.path.realpath(path))
    temporary = temporary_beside(final)
    try:
        write_file(temporary, data, mode_of(final))
        os.replace(temporary, final)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the caller knows the file by its own name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    try:
        sync(final.parent)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            text = f"the new file is there, but may not outlive a power cut: {error.strerror}"
            raise OSError(error.errno, text, str(path)) from error


def mode_of(path: Path) -> int | None:
    """Who may read and write a file; None where there is none yet."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return stat.S_IMODE(found.st_mode) & 0o777


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

"""A folder of checkpoints by step: which there are, putting one in, clearing old ones away."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rnnjax.storage import files

LOCK = ".lock"
ASIDE = ".old"  # ends the name of a checkpoint while another takes its place


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step_{step:08d}"


def listed(folder: Path) -> list[tuple[int, Path]]:
    """Steps and paths, newest first, by name alone; what was set aside comes after its successor.

    Raises:
        OSError: if the folder cannot be read; one that is missing is empty.
    """
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            match = re.fullmatch(rf"step_([0-9]{{8,}})({re.escape(ASIDE)})?", path.name)
            if match and path_of(folder, int(match[1])).name == f"step_{match[1]}":
                found.append((int(match[1]), not match[2], path))
    return [(step, path) for step, _, path in sorted(found, reverse=True)]


def publish(final: Path, fill: Callable[[Path], Any]) -> None:
    """Have a folder filled under another name, and rename it; after an error nothing is changed.

    What was at `final` is set aside until the new one has its name, and is found there by
    `listed`, so that at no time neither is to be had.
    """
    temporary, aside = files.temporary_beside(final), final.with_name(final.name + ASIDE)
    try:
        temporary.mkdir()
        fill(temporary)
        files.sync_tree(temporary)
        if final.exists():
            files.remove_tree(aside)
            final.rename(aside)
        temporary.rename(final)
    except BaseException:
        with contextlib.suppress(OSError):  # `listed` finds it under either name
            if aside.exists() and not final.exists():
                aside.rename(final)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    files.sync(final.parent)


def remove_old(folder: Path, step: int, keep: int) -> None:
    """Leave the newest up to a step, and what is later; remove what was set aside."""
    found = [(old, path) for old, path in listed(folder) if old <= step]
    kept = sorted({old for old, _ in found})[-keep:]
    for old, path in found:
        succeeded = path != path_of(folder, old) and path_of(folder, old).exists()
        if old not in kept or succeeded:
            files.remove_tree(path)


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Be one of those who write here. Who begins alone clears what writers that died have left."""
    with open(folder / LOCK, "ab") as lock:
        if is_locked(lock, alone=True):
            for path in folder.glob(f"{files.TEMPORARY}step_*"):
                shutil.rmtree(path, ignore_errors=True)
        is_locked(lock, alone=False)  # waits only while another clears
        yield


def is_locked(file: Any, *, alone: bool) -> bool:
    """Lock an open file, until it is closed or the process dies; False where that cannot be."""
    import fcntl  # Windows has none

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except OSError:
        return False
    return True

"""Checkpoints of any tree of arrays: complete or absent, and a damaged one is found out."""

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.storage import files, leaves
from rnnjax.train import folders, snapshot
from rnnjax.train.manifest import damage


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or there is no sound one to be read."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over, or an old one could not be removed."""


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are kept, how many, and when one is written.

    Attributes:
        folder: of the file system; it is made where it is missing.
        keep: how many of the newest are kept.
        every_steps: write after this many steps; None means not by steps.
        every_epochs: write after this many epochs; None means not by epochs.
        every_seconds: write after the step when this much time has passed since the last one was
            written; None means not by time.

    Each that is not None counts, and `fit` writes one at its end and when it is interrupted, too.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a count below 1, no time, or where nothing says when to write.
    """

    folder: str | Path
    keep: int = 3
    _: dataclasses.KW_ONLY
    every_steps: int | None = None
    every_epochs: int | None = None
    every_seconds: float | None = 60.0

    def __post_init__(self) -> None:
        name = "Checkpoints"
        check_folder(name, self.folder)
        _checks.size(name, "keep", self.keep)
        for argument in ("every_steps", "every_epochs"):
            if getattr(self, argument) is not None:
                _checks.size(name, argument, getattr(self, argument))
        if self.every_seconds is not None:
            seconds = _checks.real(name, "every_seconds", self.every_seconds)
            if seconds <= 0:
                way_out = "None writes none by time"
                _checks.refuse(name, "every_seconds", "be more than 0", seconds, way_out)
        elif self.every_steps is None and self.every_epochs is None:
            way_out = "give every_steps, every_epochs or every_seconds"
            _checks.refuse(name, "every_seconds", "say when to write", "None for all", way_out)


class Restored(NamedTuple):
    """What `restore` has read.

    Attributes:
        step: that was given to `save`.
        tree: with the structure of `like`.
        record: that was given to `save`, as JSON gives it back: tuples are lists.
        path: of the checkpoint.
    """

    step: int
    tree: PyTree
    record: dict[str, Any]
    path: Path


def save(
    folder: str | Path, step: int, tree: PyTree, record: dict[str, Any], *, keep: int = 3
) -> Path:
    """Write a checkpoint, `folder/step_00000120`, and wait until the disk has it.

    It is written under another name, synced and renamed, so it is complete or absent, whenever
    the process dies; a checkpoint of the same step stays until the new one is in its place. Older
    ones are removed after that, and what processes that died have left. A second process may
    write to the same folder at the same time: either leaves whole checkpoints, of which the
    newest count.

    Args:
        folder: where checkpoints are; made where it is missing.
        step: at least 0.
        tree: arrays of JAX, wherever they lie, or NumPy; typed random keys too.
        record: what else is to be known, in dicts, lists, str, bool, int, float and None.
        keep: how many are kept, this one and the newest before it; those of later steps do not
            count, and stay.

    Returns:
        The path of the checkpoint.

    Raises:
        ImportError: if Orbax is not installed.
        TypeError: for a leaf that is no array, or a record that JSON cannot hold.
        ValueError: if two leaves have the same name.
        CheckpointError: if it cannot be written, such as on a full disk, or where JAX runs in
            several processes; earlier checkpoints are as they were.

    Warns:
        CheckpointWarning: where an old checkpoint cannot be removed.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> from rnnjax import train
        >>> folder = tempfile.mkdtemp()
        >>> path = train.save(folder, 120, {"w": jnp.arange(3.0)}, {"epoch": 2})
        >>> path.name, sorted(file.name for file in path.iterdir())
        ('step_00000120', ['arrays', 'manifest.json', 'record.json'])
    """
    folder = check_folder("save", folder)
    step = _checks.size("save", "step", step, least=0)
    keep = _checks.size("save", "keep", keep)
    named = leaves.named_leaves("save", "tree", tree)
    leaves.check_arrays("save", named)
    text = snapshot.record_text(step, named, record)
    check_alone("save")
    final = folders.path_of(folder, step)
    try:
        files.make_folder(folder)
        with folders.shared(folder):
            folders.publish(final, lambda new: snapshot.write_snapshot(new, text, named))
    except ImportError:
        raise
    except Exception as error:
        message = f"save: step {step} was not written to {folder}: {reason(error)}; "
        raise CheckpointError(message + last_sound(folder)) from error
    try:
        folders.remove_old(folder, step, keep)
    except OSError as error:
        message = f"save: old checkpoints stay in {folder}: {reason(error)}."
        warnings.warn(message, CheckpointWarning, stacklevel=2)
    return final


def restore(folder: str | Path, like: PyTree, *, step: int | None = None) -> Restored:
    """Read the newest sound checkpoint.

    Every file is compared with the manifest first. A checkpoint that is damaged is passed over
    for the one before it; one that is sound and does not fit `like` is refused, and nothing is
    cast.

    Args:
        folder: that was given to `save`.
        like: the tree that is wanted, real or abstract (from `jax.eval_shape`); its structure,
            names, shapes, dtypes and shardings are used, not its values. Arrays come back as ones
            of NumPy where it has such, else of JAX: with its sharding where it has one that is
            committed to devices, else where JAX puts new arrays.
        step: whose checkpoint is wanted, and no other; None means the newest.

    Returns:
        `Restored(step, tree, record, path)`.

    Raises:
        CheckpointError: if there is no checkpoint, or none that is sound.
        TypeError: for another dtype, or a `folder` that is no path.
        ValueError: for a leaf that is missing, or one too many, or another shape.

    Warns:
        CheckpointWarning: naming each checkpoint that was passed over, and what is wrong with it.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> from rnnjax import train
        >>> folder = tempfile.mkdtemp()
        >>> path = train.save(folder, 120, {"w": jnp.arange(3.0)}, {"epoch": 2})
        >>> restored = train.restore(folder, {"w": jnp.zeros(3)})
        >>> restored.step, restored.tree["w"].tolist(), restored.record
        (120, [0.0, 1.0, 2.0], {'epoch': 2})
    """
    folder = check_folder("restore", folder)
    leaves.check_like("restore", leaves.named_leaves("restore", "like", like))
    if step is not None:
        step = _checks.size("restore", "step", step, least=0)
    found = find("restore", folder, step)
    tree = fill("restore", found, like)
    return Restored(found.step, tree, found.record, found.path)


def latest_step(folder: str | Path) -> int | None:
    """Tell the newest step that `restore` would try first.

    Args:
        folder: that is given to `save`.

    Returns:
        The step; None where there is no checkpoint, or no such folder. Nothing is read, so it may
        be that of a damaged one.

    Raises:
        CheckpointError: if it is no folder, or cannot be read.

    Example:
        >>> import tempfile
        >>> from rnnjax import train
        >>> train.latest_step(tempfile.mkdtemp()) is None
        True
    """
    return newest("latest_step", folder)


def newest(function: str, folder: str | Path) -> int | None:
    """The same, in the name of what the user called."""
    found = listed(function, check_folder(function, folder))
    return found[0][0] if found else None


class Found(NamedTuple):
    """A sound checkpoint whose arrays are not read yet."""

    step: int
    record: dict[str, Any]
    path: Path
    entries: list[snapshot.Entry]


def find(function: str, folder: Path, step: int | None = None) -> Found:
    """The newest sound checkpoint; a warning for each that is passed over."""
    path, problems = first_sound(candidates(function, folder, step))
    if path is None:
        text = "; ".join(f"{path.name}: {problem}" for path, problem in problems)
        raise CheckpointError(f"{function}: no checkpoint in {folder} is sound: {text}.")
    for bad, problem in problems:
        message = f"{function}: {bad} is damaged and was passed over: {problem}."
        warnings.warn(message, CheckpointWarning, stacklevel=3)
    with reading(function, path):
        step, record, entries = snapshot.read_record(path)
    return Found(step, record, path, entries)


def fill(function: str, found: Found, like: PyTree, *, part: str | None = None) -> PyTree:
    """The arrays of a checkpoint that fits `like`, or of a field of it that does."""
    named = leaves.named_leaves(function, "like", like if part is None else {part: like})
    there = [e.leaf for e in found.entries if part is None or e.leaf.name.startswith(f"{part}.")]
    way_out = "this checkpoint is of another model: give another folder"
    source = leaves.Source(function, str(found.path), way_out)
    leaves.check_fits(named, there, source)
    shardings = {name: leaves.sharding_of(function, name, leaf) for name, leaf in named.items()}
    with reading(function, found.path):
        arrays = snapshot.read_arrays(found.path, found.entries, named, shardings)
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in named])


def check_alone(function: str) -> None:
    """Refuse to be one of several processes."""
    count = jax.process_count()
    if count > 1:
        message = f"{function}: this is one of {count} processes; only one alone can save."
        raise CheckpointError(message)


def check_can_save(function: str, folder: str | Path) -> None:
    """Find out before a run what its first checkpoint would fail for."""
    folder = check_folder(function, folder)
    check_alone(function)
    with snapshot.checkpointer(function):
        pass
    probe = files.temporary_beside(folder / "probe")
    try:
        files.make_folder(folder)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        message = f"{function}: checkpoints cannot be written to {folder}: {reason(error)}; "
        raise CheckpointError(message + last_sound(folder)) from error


def check_folder(function: str, folder: str | Path) -> Path:
    """A path of the file system, which may be missing yet."""
    path = _checks.path(function, "folder", folder, such_as="runs/first")
    if not str(folder) or "://" in str(folder):
        way_out = "mount a bucket to use it"
        _checks.refuse(function, "folder", "be a path on this machine", repr(folder), way_out)
    return path


def listed(function: str, folder: Path) -> list[tuple[int, Path]]:
    """Steps and paths, newest first."""
    try:
        return folders.listed(folder)
    except OSError as error:
        raise CheckpointError(f"{function}: {folder}: {reason(error)}.") from error


def candidates(function: str, folder: Path, step: int | None) -> list[Path]:
    """The checkpoints that may be read, the best first."""
    found = listed(function, folder)
    if not found:
        raise CheckpointError(f"{function}: there is no checkpoint in {folder}.")
    paths = [path for each, path in found if step is None or each == step]
    if not paths:
        steps = ", ".join(str(each) for each in sorted({each for each, _ in found}))
        message = f"{function}: there is no checkpoint of step {step} in {folder}, only of {steps}."
        raise CheckpointError(message)
    return paths


def first_sound(paths: list[Path]) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The first that is as it was written, and what is wrong with those before it."""
    problems = []
    for path in paths:
        problem = damage(path)
        if problem is None:
            return path, problems
        problems.append((path, problem))
    return None, problems


@contextlib.contextmanager
def reading(function: str, path: Path) -> Iterator[None]:
    """Name what is sound, and yet cannot be read, such as a later format."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        message = f"{function}: {path} is sound, but cannot be read here: {reason(error)}."
        raise CheckpointError(message) from error


def last_sound(folder: Path) -> str:
    """Which checkpoint is left, for a message."""
    try:
        path, _ = first_sound([path for _, path in folders.listed(folder)])
    except OSError:
        path = None
    return f"the last good checkpoint is {path}." if path else "there is no earlier checkpoint."


def reason(error: Exception) -> str:
    """An error in one line; Orbax wraps those of the operating system in much text."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename} is a file, and no folder"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    code = re.search(r"os_error_code='(\d+)'", text)
    return os.strerror(int(code[1])) if code else text[-300:]

"""One checkpoint as a folder: arrays as Orbax writes them, a record in JSON, a manifest."""

import contextlib
import functools
import importlib.metadata
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax import _checks
from rnnjax.storage import files, leaves
from rnnjax.train.manifest import write_manifest

FORMAT = 1
ARRAYS, RECORD = "arrays", "record.json"
PACKAGES = ("rnnjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Entry(NamedTuple):
    """How the record describes a leaf."""

    leaf: leaves.Leaf
    stored_as: str | None  # what Orbax calls it; None where there is no number to be stored
    key_kind: str | None  # such as threefry2x32; None for numbers


def record_text(step: int, named: dict[str, Any], record: dict[str, Any]) -> bytes:
    """What `record.json` says; checks that the record survives it."""
    if not isinstance(record, dict):
        got, way_out = _checks.kind(record), "{} says nothing"
        _checks.refuse("save", "record", "be a dict", got, way_out, error=TypeError)
    check_json("record", record)
    return json.dumps(
        {
            "format": FORMAT,
            "step": step,
            "record": record,
            "versions": versions(),
            "leaves": [
                {**entry.leaf._asdict(), "stored_as": entry.stored_as, "key": entry.key_kind}
                for entry in entries_of(named)
            ],
        },
        indent=1,
    ).encode()


def check_json(name: str, value: Any) -> None:
    """Refuse what JSON would change or lack; Python writes and reads infinity and NaN."""
    way_out = "use float(x) or x.tolist() for numbers of JAX and NumPy"
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                got = _checks.kind(key)
                _checks.refuse("save", name, "have str keys", got, "use str(key)", error=TypeError)
            check_json(f"{name}.{key}", child)
    elif isinstance(value, (list, tuple)):
        for i, child in enumerate(value):
            check_json(f"{name}.{i}", child)
    elif value is not None and not isinstance(value, (str, bool, int, float)):
        wanted = "be of dict, list, str, bool, int, float and None"
        _checks.refuse("save", name, wanted, _checks.kind(value), way_out, error=TypeError)


def entries_of(named: dict[str, Any]) -> list[Entry]:
    """A tree as the record describes it. Orbax has names that are safe in any file system."""
    entries = []
    for i, (leaf, array) in enumerate(zip(leaves.describe(named), named.values(), strict=True)):
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", leaf.name)[:100]
        stored_as = f"{i:05d}.{safe}" if array.size else None  # Orbax refuses what is empty
        key_kind = str(jax.random.key_impl(array)) if leaves.is_key(array) else None
        entries.append(Entry(leaf, stored_as, key_kind))
    return entries


@functools.cache
def versions() -> dict[str, str]:
    """What is installed of all that has to do with it."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def write_snapshot(folder: Path, text: bytes, named: dict[str, Any]) -> None:
    """Fill a folder."""
    arrays = {
        entry.stored_as: jax.random.key_data(array) if entry.key_kind else array
        for entry, array in zip(entries_of(named), named.values(), strict=True)
        if entry.stored_as
    }
    if arrays:
        with checkpointer("save") as (_, writer):
            writer.save(folder.absolute() / ARRAYS, arrays)
    files.write_file(folder / RECORD, text)
    write_manifest(folder)


def read_record(folder: Path) -> tuple[int, dict[str, Any], list[Entry]]:
    """Step, record and entries of a folder that is sound."""
    text = json.loads((folder / RECORD).read_bytes())
    if text["format"] != FORMAT:
        raise ValueError(f"its format is {text['format']}, which another rnnjax reads")
    entries = [
        Entry(
            leaves.Leaf(each["name"], tuple(each["shape"]), each["dtype"]),
            each["stored_as"],
            each["key"],
        )
        for each in text["leaves"]
    ]
    return text["step"], text["record"], entries


def read_arrays(
    folder: Path, entries: list[Entry], like: dict[str, Any], shardings: dict[str, Any]
) -> dict[str, Any]:
    """The arrays that `like` names, each where it shall be."""
    numbers = read_numbers(folder, entries, shardings)
    arrays = {}
    for (name, *_), _, key_kind in entries:
        if name not in like:
            continue
        array = numbers[name] if name in numbers else empty(like[name])
        array = leaves.put(array, like[name], shardings[name])
        arrays[name] = jax.random.wrap_key_data(array, impl=key_kind) if key_kind else array
    return arrays


def read_numbers(
    folder: Path, entries: list[Entry], shardings: dict[str, Any]
) -> dict[str, np.ndarray | jax.Array]:
    """What Orbax has stored: arrays of NumPy, and of JAX where there is a sharding."""
    wanted = {e.stored_as: shardings.get(e.leaf.name) for e in entries if e.stored_as}
    if not wanted:
        return {}
    with checkpointer("restore") as (orbax, reader):
        numpy = orbax.RestoreArgs(restore_type=np.ndarray)
        how = {
            name: numpy if sharding is None else orbax.ArrayRestoreArgs(sharding=sharding)
            for name, sharding in wanted.items()
        }
        args = orbax.args.PyTreeRestore(restore_args=how)
        read = reader.restore(folder.absolute() / ARRAYS, args=args)
    return {entry.leaf.name: read[entry.stored_as] for entry in entries if entry.stored_as}


def empty(like: Any) -> np.ndarray:
    """The numbers of an array without any."""
    data = jax.eval_shape(jax.random.key_data, like) if leaves.is_key(like) else like
    return np.zeros(data.shape, data.dtype)


@contextlib.contextmanager
def checkpointer(function: str) -> Iterator[tuple[Any, Any]]:
    """Orbax, and its reader and writer of trees; it logs nothing, for its errors are raised."""
    try:
        from orbax import checkpoint as orbax
    except ImportError as error:
        message = f"{function}: orbax-checkpoint is not installed; pip install rnnjax[train]."
        raise ImportError(message) from error
    logger, silence = logging.getLogger("absl"), lambda _: False
    logger.addFilter(silence)
    try:
        with orbax.PyTreeCheckpointer() as worker:
            yield orbax, worker
    finally:
        logger.removeFilter(silence)

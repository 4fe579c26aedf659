"""What every benchmark here needs: the peers that can run, a record on disk, a progress bar."""

import argparse
import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import check
import machine
import peers
from race import Budget, Race

OURS = "rnnjax"


@contextlib.contextmanager
def started(
    names: list[str], budget: Budget, say: Callable[[str], None]
) -> Iterator[tuple[Race, dict[str, Any]]]:
    """A race of those peers that can take part, and the head of its record.

    Who is left out, and why, is part of the record: not installed, not able to start, or bound
    to another device than rnnjax runs on.
    """
    left_out = {name: reason for name in names if (reason := peers.missing(name))}
    present = [name for name in names if name not in left_out]
    with (
        tempfile.TemporaryDirectory() as folder,
        Race(present, pathlib.Path(folder), budget) as race,
    ):
        devices = race.greet(say)
        home = devices.get(OURS, {"error": left_out.get(OURS)})
        if "kind" not in home:
            raise SystemExit(f"rnnjax does not start: {home['error']}")
        for name, answer in devices.items():
            if "error" in answer:
                left_out[name] = f"does not start: {answer['error']}"
            elif answer["kind"] != home["kind"]:
                left_out[name] = f"runs on {answer['kind']} here, where rnnjax has a {home['kind']}"
            if name in left_out:
                race.leave_out(name)
        yield (
            race,
            {
                "machine": machine.describe() | home,
                "left_out": left_out,
                "budget": budget._asdict(),
                "tolerance": {"float32": check.TOLERANCE},
            },
        )


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Replace a record in one move, so that a run cut off leaves a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1))
    os.replace(beside, path)


def folder(text: str) -> pathlib.Path:
    """An argument that names a folder, which need not exist yet."""
    path = pathlib.Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


def progress(console: Console) -> Progress:
    return Progress(
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
        console=console, transient=True,
    )  # fmt: skip

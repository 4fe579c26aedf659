"""What is printed and written of results: tables, and the machine that made them."""

import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import shlex
import sys
from typing import NamedTuple

import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table

HERE = pathlib.Path(__file__).parent
PICTURES = HERE.parent / "docs" / "images"


class Row(NamedTuple):
    """What came of one model."""

    name: str
    parameters: int
    scores: list[float]  # a seed each
    seconds: float  # of training, the mean over seeds


def compared(
    measure: str, form: str, references: dict[str, float], ours: list[Row]
) -> list[list[str]]:
    """The cells of a table: titles, what others reach, then each model from each seed."""
    seeds = max(len(row.scores) for row in ours)
    rows = [[measure, "parameters", *(f"seed {n}" for n in range(seeds)), "mean", "seconds"]]
    for name, value in references.items():
        rows.append([name, "", *[""] * seeds, format(value, form), ""])
    for row in ours:
        scores = [*row.scores, sum(row.scores) / len(row.scores)]
        each = [format(value, form) for value in scores]
        rows.append([row.name, f"{row.parameters:,}", *each, f"{row.seconds:.0f}"])
    return rows


def folders(whole: bool) -> tuple[pathlib.Path, pathlib.Path]:
    """Where tables and pictures go: what is committed comes from whole runs alone."""
    return (HERE / "results", PICTURES) if whole else (HERE / "output", HERE / "output")


def load() -> str:
    """How busy the machine is."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def markdown(rows: list[list[str]]) -> list[str]:
    """A table in Markdown; the first row holds the titles."""
    titles, *rest = rows
    return ["| " + " | ".join(row) + " |" for row in [titles, ["---"] * len(titles), *rest]]


def show(title: str, rows: list[list[str]]):
    """The table on the console."""
    titles, *rest = rows
    drawn = Table(*titles, title=title)
    for row in rest:
        drawn.add_row(*(escape(cell.replace("`", "").replace("**", "")) for cell in row))
    Console(width=120).print(drawn)


def write(path: pathlib.Path, title: str, rows: list[list[str]], *, load: str, timed: str):
    """A file with the table, and what made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# {title}", "", *machine(load, timed), "", *markdown(rows), ""]
    path.write_text("\n".join(lines))
    print("wrote", path)


def machine(load: str, timed: str) -> list[str]:
    """When and on what, in lines of Markdown; `timed` says what seconds hold."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    packages = ("rnnjax", "jax", "jaxlib", "optax", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    command = shlex.join(["python", f"examples/{pathlib.Path(sys.argv[0]).name}", *sys.argv[1:]])
    return [
        f"`{command}`, {now}.",
        f"{processor()}, {os.cpu_count()} cores, load {load} when it began;",
        f"Python {platform.python_version()}, {versions}, {jax.default_backend()}, float32.",
        f"Seconds are those of training from one seed, the mean over seeds; {timed}.",
    ]


@functools.cache
def processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "as it stands here"

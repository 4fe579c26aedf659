"""Tables and a picture of a record that side_by_side.py wrote.

    python benchmarks/report.py [RECORD.json] [--readme]

With --readme the summary also replaces what stands between <!-- benchmark --> and
<!-- /benchmark --> in the README.
"""

import argparse
import os
import pathlib

import entrant
import outcome
import picture
import summary
import tables
from machine import ROOT
from outcome import Record

DEFAULT = pathlib.Path(__file__).parent / "results" / "side_by_side_cpu.json"
README = ROOT / "README.md"
MARKS = ("<!-- benchmark -->", "<!-- /benchmark -->")
READING = (
    "Ratios are the peer's figure over rnnjax's: above 1 rnnjax is faster or smaller. All take "
    "turns, and of times a ratio is the median of those of all rounds, each between medians of "
    "single calls, three or more in a row; milliseconds are medians of all calls. As many come "
    "before them that do not count, and {ready:g} s of them where a training step takes more than "
    "{turn:g} ms: first calls find their memory as others left it (NOTES.md). Means are geometric. "
    "Training is a loss on all outputs and its gradient by all weights. Of limit: the time of the "
    "matmuls alone, at the speed of a large one in the same round, over rnnjax's time. First call: "
    "tracing, compilation and first run; temporary memory: as the compiler states it, without the "
    "64 MiB at most that rnnjax's library keeps to work in; of both, rnnjax's and NNX's. Every "
    "result was first held against rnnjax's definition in float64, with a largest difference of "
    "{tolerance:g} of an array's largest value. Haiku's GRU is another function (it resets before "
    "the product, with two dependent matmuls a step)."
)


def write(path: pathlib.Path) -> list[pathlib.Path]:
    """Write the table and the picture beside the record; return where."""
    record = outcome.read(path)
    markdown, drawn = path.with_suffix(".md"), path.with_suffix(".png")
    parts = [
        f"# rnnjax side by side, on {record.machine['kind']}",
        summary.conditions(record),
        READING.format(tolerance=record.tolerance, ready=entrant.READY, turn=entrant.TURN * 1e3),
        summary.table(record),
        *bullets("Targets", summary.misses(record)),
        f"![The ratios of all cases]({drawn.name})",
        tables.table(record),
        *bullets("Remarks", tables.remarks(record)),
    ]
    markdown.write_text("\n\n".join(filter(None, parts)) + "\n")
    picture.ratios(record, drawn)
    return [markdown, drawn]


def bullets(title: str, sentences: list[str]) -> list[str]:
    if not sentences:
        return []
    return [f"{title}:", "\n".join(f"- {sentence}" for sentence in sentences)]


def block(record: Record, path: pathlib.Path) -> str:
    """What the README shows; links are relative to it."""
    where = pathlib.Path(os.path.relpath(path.resolve(), README.parent)).as_posix()
    stem = where.removesuffix(".json")
    return "\n\n".join(
        [
            f"{summary.conditions(record)} Above 1 rnnjax is faster, or smaller; means are "
            "geometric.",
            summary.table(record),
            f"All {len(record.outcomes)} cases, how they were measured, and every target missed "
            f"are in [{path.stem}.md]({stem}.md).",
            f"![The ratios of all cases]({stem}.png)",
        ]
    )


def into_readme(text: str) -> None:
    """Replace what stands between the marks."""
    old = README.read_text()
    if any(old.count(mark) != 1 for mark in MARKS) or old.index(MARKS[0]) > old.index(MARKS[1]):
        raise SystemExit(f"{README} must hold {MARKS[0]} and, further down, {MARKS[1]}, once each")
    before, rest = old.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    README.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables and a picture of a record.")
    parser.add_argument("record", type=pathlib.Path, nargs="?", default=DEFAULT)
    parser.add_argument("--readme", action="store_true", help="put the summary into the README")
    options = parser.parse_args()
    if not options.record.is_file():
        parser.error(f"there is no {options.record}; side_by_side.py writes it")
    try:
        outcome.read(options.record)
    except (ValueError, KeyError, TypeError):
        parser.error(f"{options.record} is no record of side_by_side.py")
    for written in write(options.record):
        print(f"wrote {written}")
    if options.readme:
        into_readme(block(outcome.read(options.record), options.record))
        print(f"wrote {README}")


if __name__ == "__main__":
    main()

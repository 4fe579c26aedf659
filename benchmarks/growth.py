"""How time grows with the length of the sequence and with the batch: rnnjax, NNX and PyTorch.

    python benchmarks/growth.py [--quick] [--out DIR]

An LSTM of 64 units on 16 features: T from 100 to 100,000 at B = 8, then B from 1 to 256 at T = 100.
The picture shows microseconds a step, so growth in proportion to T is a level line.
"""

import argparse
import json
import pathlib
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter
from rich.console import Console

import peers
import session
from cases import MODES, Case, flops
from outcome import Outcome
from picture import STYLES
from race import Budget

HERE = pathlib.Path(__file__).parent
NAMES = [session.OURS, "nnx", "torch"]
STEPS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SWEEPS = {"T": tuple((T, 8) for T in STEPS), "B": tuple((100, B) for B in ROWS)}
QUICK = {"T": ((10, 8), (30, 8)), "B": ((10, 1), (10, 2))}
OURS_STYLE = ("#D62728", "o")


def cases_of(sweeps: dict[str, tuple[tuple[int, int], ...]]) -> list[tuple[str, Case]]:
    """Every case with the letter of what grows."""
    return [
        (letter, Case("lstm", mode, T, B, 16, 64, "plain"))
        for letter, points in sweeps.items()
        for mode in MODES
        for T, B in points
    ]


def draw(path: pathlib.Path) -> pathlib.Path:
    """A panel for each mode and each of T and B."""
    record = json.loads(path.read_text())
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), sharex="col", layout="constrained")
    for row, mode in zip(axes, MODES, strict=True):
        for panel, letter in zip(row, ("T", "B"), strict=True):
            chosen = [Outcome.of(e) for e in record["cases"] if e["letter"] == letter]
            _panel(panel, [o for o in chosen if o.case.mode == mode], letter)
            fixed = "B = 8" if letter == "T" else f"T = {chosen[0].case.T if chosen else ''}"
            panel.set_title(f"{mode}, {fixed}")
    for panel, label in zip(axes[-1], ("T, steps", "B, rows"), strict=True):
        panel.set_xlabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(NAMES), frameon=False)
    kind = record["machine"]["kind"].upper()
    figure.suptitle(f"LSTM, D = 16, H = 64, on {kind}: microseconds a step")
    drawn = path.with_suffix(".png")
    figure.savefig(drawn, dpi=110)
    plt.close(figure)
    return drawn


def _panel(panel: Any, outcomes: list[Outcome], letter: str) -> None:
    for name in NAMES:
        colour, shape = STYLES.get(name, OURS_STYLE)
        pairs = [(o, o.figure(name, "median")) for o in outcomes]
        points = [(getattr(o.case, letter), s / o.case.T * 1e6) for o, s in pairs if s is not None]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        panel.plot(xs, ys, color=colour, marker=shape, label=peers.entry(name).label)
    panel.set_xscale("log", base=10 if letter == "T" else 2)
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.set_ylim(low / 2, high * 2)  # or the noise of level lines would fill the panel
    panel.grid(color="0.92")
    panel.set_ylabel("µs a step")
    panel.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_formatter(NullFormatter())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--rounds", type=int, default=1, help="at least so many")
    where = "benchmarks/results, or benchmarks/output with --quick"
    parser.add_argument("--out", type=session.folder, metavar="DIR", help=where)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    folder = options.out or HERE / ("output" if options.quick else "results")
    chosen, console = (
        cases_of(QUICK if options.quick else SWEEPS),
        Console(soft_wrap=True, markup=False),
    )
    with session.progress(console) as bar:
        task = bar.add_task("", total=len(chosen))
        say = lambda text: bar.update(task, description=text)
        with session.started(NAMES, Budget(0.25, options.rounds), say) as (race, record):
            for name, reason in record["left_out"].items():
                console.print(f"left out: {name} ({reason})")
            path = folder / f"growth_{record['machine']['kind']}.json"
            record["cases"] = []
            for letter, case in chosen:
                entry = {"letter": letter, "case": case._asdict(), "flops": flops(case)}
                record["cases"].append(entry | race.run(case, say))
                session.write(path, record)
                bar.advance(task)
    console.print(f"wrote {path}\nwrote {draw(path)}")


if __name__ == "__main__":
    main()

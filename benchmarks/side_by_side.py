"""rnnjax beside PyTorch, ONNX Runtime, Flax, Haiku, Equinox and Keras: time, first call, memory.

    python benchmarks/side_by_side.py [--odd | --streaming | --quick] [--cases REGEX] [--out DIR]

Each implementation runs in a process of its own. For each case all of them compile, their results
are checked against rnnjax's definition in float64, and only what is right is timed: in turns, the
order of each round drawn anew. The record is written after every case, so a run that is cut off
keeps what it has. Close other load first; the whole run takes about an hour on two cores.
"""

import argparse
import math
import pathlib
import re

from rich.console import Console

import cases
import peers
import report
import session
import tables
from cases import Case
from outcome import Outcome
from race import Budget

HERE = pathlib.Path(__file__).parent


def parser() -> argparse.ArgumentParser:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    out = argparse.ArgumentParser(description=summary, epilog=rest.split("\n\n")[-1])
    kind = out.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="two tiny cases, to see that it works")
    kind.add_argument("--odd", action="store_true", help="odd shapes in place of the usual ones")
    streaming = "a step or a few of one row, as in control and live speech"
    kind.add_argument("--streaming", action="store_true", help=streaming)
    example = "'gru training .* plain'"
    out.add_argument("--cases", default="", metavar="REGEX", help=f"only these, as {example}")
    known = ",".join(peers.PEERS)
    names = f"some of {known}, or rnnjax:Scan for a method; rnnjax always takes part"
    out.add_argument("--peers", default=known, metavar="NAMES", help=names)
    out.add_argument("--seconds", type=float, default=0.25, help="of each peer and case, about")
    out.add_argument(
        "--rounds", type=int, default=6, help="at least so many; half of it in long trainings"
    )
    where = "folder of tables and pictures; benchmarks/results for a whole run, or else .../output"
    out.add_argument("--out", type=session.folder, metavar="DIR", help=where)
    return out


def of_kind(options: argparse.Namespace) -> tuple[str, list[Case]]:
    """What the record is called, and all cases of the kind that is asked for."""
    if options.quick:
        return "side_by_side", cases.QUICK
    if options.odd:
        return "odd_shapes", cases.ODD
    if options.streaming:
        return "streaming", cases.STREAMING
    return "side_by_side", cases.CASES


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """The cases asked for, or an argument error."""
    every = of_kind(options)[1]
    try:
        chosen = cases.select(every, options.cases)
    except re.error as error:
        raise ValueError(f"--cases {options.cases!r} is no regular expression: {error}") from error
    if not chosen:
        raise ValueError(f"--cases {options.cases!r} fits no name such as {every[0].name!r}")
    return chosen


def chosen_peers(options: argparse.Namespace) -> list[str]:
    """The peers asked for, rnnjax first."""
    names = [name.strip() for name in options.peers.split(",") if name.strip()]
    for name in names:
        peers.entry(name)
    return list(dict.fromkeys([session.OURS, *names]))


def main() -> None:
    options = parser().parse_args()
    try:
        chosen, names = chosen_cases(options), chosen_peers(options)
        if options.rounds < 1 or not 0 <= options.seconds < math.inf:
            raise ValueError("--rounds must be at least 1, and --seconds finite, not negative")
    except ValueError as error:
        parser().error(str(error))
    whole = not options.quick and not options.cases and set(names) >= set(peers.PEERS)
    folder = options.out or HERE / ("results" if whole else "output")
    console, budget = Console(soft_wrap=True, markup=False), Budget(options.seconds, options.rounds)
    with session.progress(console) as bar:
        task = bar.add_task("", total=len(chosen))

        def say(text: str) -> None:
            bar.update(task, description=text)

        with session.started(names, budget, say) as (race, record):
            for name, reason in record["left_out"].items():
                console.print(f"left out: {name} ({reason})")
            record |= {"peers": list(race.workers), "cases": []}
            path = folder / f"{of_kind(options)[0]}_{record['machine']['kind']}.json"
            for case in chosen:
                entry = {"case": case._asdict(), "flops": cases.flops(case)}
                entry |= race.run(case, say)
                record["cases"].append(entry)
                session.write(path, record)
                console.print(tables.line(Outcome.of(entry)), highlight=False)
                bar.advance(task)
    for written in (path, *report.write(path)):
        console.print(f"wrote {written}")


if __name__ == "__main__":
    main()

"""A record in one small table, and the cases that miss what is promised."""

from collections.abc import Callable
from typing import NamedTuple

import peers
from outcome import FLAX, OURS, Outcome, Record, Spread, spread


class Target(NamedTuple):
    """What every case should reach: a ratio of at least so much."""

    text: str
    ratio: Callable[[Outcome], float | None]
    least: float


TARGETS = (
    Target("as fast as the fastest JAX peer", Outcome.fastest_in_jax, 1.0),
    Target("0.8 of PyTorch's speed", lambda o: o.ratio("torch"), 0.8),
    Target(
        "a first call of at most 1.2 times NNX's", lambda o: o.ratio(FLAX, "first_call"), 1 / 1.2
    ),
    Target("no more temporary memory than NNX", lambda o: o.ratio(FLAX, "temporary_bytes"), 1.0),
)
MEAN_TARGET = 1.3  # of the geometric mean against the fastest JAX peer


def conditions(record: Record) -> str:
    """Where and when, in a sentence or two."""
    m = record.machine
    name = "" if m["kind"] == "cpu" else f"{m['device']} and "
    versions = ", ".join(f"{package} {version}" for package, version in m["versions"].items())
    return (
        f"{m['date']}, {name}{m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, "
        f"Python {m['python']}, {versions}; commit {m['commit']}. float32; a large matmul reaches "
        f"{record.flop_per_second / 1e9:,.0f} GFLOP/s."
    )


def table(record: Record) -> str:
    """Spreads of the ratios; above 1 rnnjax is faster, or smaller. Empty without peers."""
    others = [peer for peer in record.peers if peer != OURS]
    rows: list[tuple[str, Callable[[Outcome], float | None]]] = [
        ("time of the fastest JAX peer", Outcome.fastest_in_jax),
        *((f"time of {peers.entry(p).label}", lambda o, p=p: o.ratio(p)) for p in others),
        ("first call of NNX", lambda o: o.ratio(FLAX, "first_call")),
        ("temporary memory of NNX", lambda o: o.ratio(FLAX, "temporary_bytes")),
    ]
    spreads = [(title, spread(record.outcomes, ratio)) for title, ratio in rows]
    lines = [_row(title, found) for title, found in spreads if found is not None]
    head = ["| over rnnjax's | cases | mean | lowest | highest |", "|---|---:|---:|---|---|"]
    return "\n".join([*head, *lines] if lines else [])


def _row(title: str, found: Spread) -> str:
    ends = (f"{ratio:.2f} ({name})" for ratio, name in (found.lowest, found.highest))
    return f"| {title} | {found.count} | {found.mean:.2f} | {' | '.join(ends)} |"


def misses(record: Record) -> list[str]:
    """A sentence a target: how many cases reach it, and which do not."""
    out = []
    for target in TARGETS:
        pairs = [(r, o.case.name) for o in record.outcomes if (r := target.ratio(o)) is not None]
        missed = sorted(pair for pair in pairs if pair[0] < target.least)
        if not pairs:
            continue
        named = "; missed by " + ", ".join(f"{n} ({r:.2f})" for r, n in missed) if missed else ""
        out.append(f"{target.text}: {len(pairs) - len(missed)} of {len(pairs)} cases{named}.")
    found = spread(record.outcomes, Outcome.fastest_in_jax)
    if found is not None:
        reached = "reached" if found.mean >= MEAN_TARGET else "missed"
        text = f"a mean of {MEAN_TARGET} against the fastest JAX peer"
        out.append(f"{text}: {reached}, {found.mean:.2f}.")
    return out

"""A record in one small table, and the cases that miss what is promised."""

from collections.abc import Callable
from typing import Any, NamedTuple

import peers
from outcome import FLAX, OURS, Outcome, Record, Spread, spread

LIMIT = 0.92  # of the speed that the matmuls alone allow: as fast as can be asked
WIDE = 256


class Target(NamedTuple):
    """What should be reached: a figure of at least so much, in every case that has it."""

    text: str
    figure: Callable[[Outcome], float | None]
    least: float


def in_jax(outcome: Outcome) -> float | None:
    """Against the fastest that is written in JAX."""
    return outcome.fastest(in_jax=True)


def only(mode: str, figure: Callable[[Outcome], float | None]) -> Callable[[Outcome], Any]:
    """The figure in training, or in inference."""
    return lambda outcome: figure(outcome) if outcome.case.mode == mode else None


def targets() -> list[Target]:
    """Those of single cases."""

    def share(outcome: Outcome) -> float | None:
        return outcome.share() if outcome.case.H >= WIDE else None

    def fastest_or_limit(outcome: Outcome) -> float | None:
        fastest, limit = outcome.fastest(), outcome.share()
        return None if fastest is None or limit is None else max(fastest, limit / LIMIT)

    memory = lambda o: o.ratio(FLAX, "temporary_bytes")
    return [
        Target("as fast as the fastest JAX peer", in_jax, 1.0),
        Target("0.8 of PyTorch's speed", lambda o: o.ratio("torch"), 0.8),
        Target(
            "a first call of at most 1.2 times NNX's",
            lambda o: o.ratio(FLAX, "first_call"),
            1 / 1.2,
        ),
        Target("training: no more temporary memory than NNX", only("training", memory), 1.0),
        Target(
            "training: as fast as the fastest peer of all",
            only("training", Outcome.fastest),
            1.0,
        ),
        Target(
            f"inference: as fast as the fastest peer of all, or {LIMIT:.0%} of the limit",
            only("inference", fastest_or_limit),
            1.0,
        ),
        Target(
            f"training: 75% of the limit, at H of {WIDE} or more", only("training", share), 0.75
        ),
        Target(
            f"inference: 85% of the limit, at H of {WIDE} or more", only("inference", share), 0.85
        ),
    ]


MEANS = (
    Target("the fastest JAX peer", in_jax, 1.3),
    Target("the fastest peer of all in training", only("training", Outcome.fastest), 1.7),
    Target("the fastest peer of all in inference", only("inference", Outcome.fastest), 1.25),
)


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
        ("time of the fastest JAX peer", in_jax),
        ("training: of the fastest of all", only("training", Outcome.fastest)),
        ("inference: of the fastest of all", only("inference", Outcome.fastest)),
        ("first calls of turns: of the fastest of all", lambda o: o.fastest("first_of_turn")),
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
    """A sentence a target: how many cases reach it, and which do not; then the means."""
    out = []
    for target in targets():
        pairs = [(r, o.case.name) for o in record.outcomes if (r := target.figure(o)) is not None]
        missed = sorted(pair for pair in pairs if pair[0] < target.least)
        if not pairs:
            continue
        named = "; missed by " + ", ".join(f"{n} ({r:.2f})" for r, n in missed) if missed else ""
        out.append(f"{target.text}: {len(pairs) - len(missed)} of {len(pairs)} cases{named}.")
    for mean in MEANS:
        found = spread(record.outcomes, mean.figure)
        if found is not None:
            reached = "reached" if found.mean >= mean.least else "missed"
            out.append(f"a mean of {mean.least} against {mean.text}: {reached}, {found.mean:.2f}.")
    return out

"""Every case of a record as a row of a Markdown table, and what the row leaves unsaid."""

import peers
from outcome import FLAX, OURS, Outcome, Record


def line(outcome: Outcome) -> str:
    """A case in one line, for the console."""
    ours = outcome.figure(OURS, "median")
    if ours is None:
        result = outcome.results[OURS]
        return f"{outcome.case.name}: rnnjax {result['state']}: {result['reason']}"
    others = [peer for peer in outcome.results if peer != OURS]
    ratios = [f"{peer} {_ratio(outcome, peer)}" for peer in others]
    return ", ".join([f"{outcome.case.name}: {ours * 1e3:.3g} ms", *ratios])


def table(record: Record) -> str:
    """One row a case."""
    others = [peer for peer in record.peers if peer != OURS]
    labels = [peers.entry(peer).label for peer in others]
    head = ["case", "rnnjax ms", "of limit", *labels, "first call s", "temporary MiB"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for outcome in record.outcomes:
        share = outcome.share()
        rows.append(
            [
                outcome.case.name,
                _number(outcome.figure(OURS, "median"), 1e3),
                "" if share is None else f"{share:.0%}",
                *(_ratio(outcome, peer) for peer in others),
                _beside(outcome, "first_call", 1),
                _beside(outcome, "temporary_bytes", 2**-20),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def remarks(record: Record) -> list[str]:
    """Who was left out, what is not offered, and whatever went wrong, once each."""
    out = [f"{peers.entry(p).label} takes no part ({why})." for p, why in record.left_out.items()]
    not_offered, mishaps = set(), []
    for outcome in record.outcomes:
        for peer, result in outcome.results.items():
            label = peers.entry(peer).label
            if result["state"] == "not offered":
                not_offered.add(f"{label} {result['reason']} (–).")
            elif result["state"] != "timed":
                what = f"{label} {result['state']}, {result['reason']}"
                mishaps.append(f"{outcome.case.name}: {what}.")
    return [*out, *sorted(not_offered), *mishaps]


def _ratio(outcome: Outcome, peer: str) -> str:
    """The peer's time over ours, in bold where it is faster; or why there is none."""
    ratio = outcome.ratio(peer)
    if ratio is None:
        state = str(outcome.results.get(peer, {}).get("state", "not offered"))
        return {"not offered": "–", "timed": ""}.get(state, state)
    return f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"


def _beside(outcome: Outcome, name: str, scale: float) -> str:
    """Ours and NNX's."""
    return " / ".join(_number(outcome.figure(peer, name), scale) for peer in (OURS, FLAX))


def _number(value: float | None, scale: float) -> str:
    """Three digits, and no exponents."""
    if value is None:
        return "–"
    scaled = value * scale
    return (
        f"{scaled:,.0f}"
        if scaled >= 100
        else f"{scaled:.3g}"
        if scaled >= 0.01
        else f"{scaled:.4f}"
    )

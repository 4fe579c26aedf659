"""Ratios of all cases, drawn: one panel for each cell and mode, one row a case."""

import pathlib
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

import peers
from cases import CELLS, MODES
from outcome import OURS, Outcome, Record

STYLES = {  # colours that also the colour-blind tell apart (Okabe and Ito), and a shape each
    "nnx": ("#0072B2", "o"),
    "linen": ("#56B4E9", "v"),
    "haiku": ("#CC79A7", "D"),
    "equinox": ("#009E73", "s"),
    "keras": ("#E69F00", "^"),
    "torch": ("#D55E00", "P"),
    "ort": ("#000000", "X"),
}
OTHER = ("#999999", "*")
TICKS = (0.25, 0.5, 0.8, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)
ROW = 0.26  # inches


def ratios(record: Record, path: pathlib.Path) -> None:
    """Draw how many times rnnjax's time each peer takes, on a logarithmic axis."""
    names = list(dict.fromkeys(_row_name(outcome) for outcome in record.outcomes))
    figure, axes = plt.subplots(
        len(CELLS),
        len(MODES),
        figsize=(13, 2 + 2 * ROW * (len(names) + 4)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, cell in zip(axes, CELLS, strict=True):
        for panel, mode in zip(row, MODES, strict=True):
            panel.set_title(f"{cell.upper()}, {mode}")
            chosen = [o for o in record.outcomes if (o.case.cell, o.case.mode) == (cell, mode)]
            _panel(panel, record, chosen, names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels) or 1, frameon=False
    )
    for panel in axes[-1]:
        panel.set_xlabel("time of the peer over rnnjax's; right of 1 rnnjax is faster")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(panel: Any, record: Record, outcomes: list[Outcome], names: list[str]) -> None:
    for peer in record.peers:
        if peer == OURS:
            continue
        colour, shape = STYLES.get(peer, OTHER)
        found = [(o.ratio(peer), names.index(_row_name(o))) for o in outcomes]
        points = [(ratio, place) for ratio, place in found if ratio is not None]
        xs, ys = [ratio for ratio, _ in points], [place for _, place in points]
        label = peers.entry(peer).label
        panel.scatter(xs, ys, color=colour, marker=shape, s=32, alpha=0.85, label=label, zorder=3)
    panel.set_xscale("log")
    panel.axvline(1, color="black", linewidth=1)
    panel.axvspan(1e-3, 1, color="#D55E00", alpha=0.06, linewidth=0)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.grid(axis="y", color="0.9")
    panel.grid(axis="x", color="0.95")
    reached = [r for o in record.outcomes for p in record.peers if p != OURS and (r := o.ratio(p))]
    low, high = min([0.7, *reached]) / 1.1, max([2.0, *reached]) * 1.1
    panel.set_xlim(low, high)
    panel.set_xticks([tick for tick in TICKS if low <= tick <= high])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _row_name(outcome: Outcome) -> str:
    case = outcome.case
    return f"{case.T},{case.B},{case.D},{case.H} {case.variant}"

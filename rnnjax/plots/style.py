"""How pictures look: readable on light and dark pages, without a legend.

Figures are transparent. Text and lines have a contrast of 3.8 at least to white and to #121212
alike, which a test holds; the hues are those of the palette of Okabe & Ito for the colour-blind.
Matplotlib's object interface alone is used: no pyplot, no backend, no setting is touched.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnjax import _checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = "#7a7a7a"
COLOURS = ("#1a80c0", "#d55e00", "#00936b", "#bf6496")  # blue, vermilion, green, purple
DASHES = {"-": "", "--": ", dashed", ":": ", dotted"}
SMALL = 8  # points
LETTER = 0.08  # inches, at that size
MOST_TICKS = 64  # words along an axis
SHOWN = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "↵", "": "∅"}


def new_figure(function: str, width: float, height: float) -> "Figure":
    """A transparent figure of so many inches, known to no pyplot."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        way_out = "install it with pip install rnnjax[plots]"
        _checks.refuse(
            function, "matplotlib", "be installed", "nothing", way_out, error=ImportError
        )
    return Figure((width, height), layout="constrained", facecolor="none", edgecolor="none")


def panels(figure: "Figure", rows: int, columns: int, *, sharex: bool = False) -> "list[Axes]":
    """Empty panels, row by row."""
    found = figure.subplots(rows, columns, squeeze=False, sharex=sharex).ravel().tolist()
    for axes in found:
        axes.set_facecolor("none")
        axes.grid(False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(TEXT)
        axes.tick_params(which="both", color=TEXT, labelcolor=TEXT, labelsize=SMALL)
    return found


def describe(axes: "Axes", *, title: str, xlabel: str = "", ylabel: str = "") -> None:
    """What is seen, and the units."""
    plain = {"color": TEXT, "parse_math": False}
    axes.set_title(title, loc="left", fontsize=10, **plain)
    axes.set_xlabel(xlabel, fontsize=9, **plain)
    axes.set_ylabel(ylabel, fontsize=9, **plain)


def line_style(number: int) -> dict[str, Any]:
    """Colour and dashes of a line."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": dashes_of(number)}


def line_name(name: str, number: int) -> str:
    """What is written beside a line; where colours come again, its dashes, too."""
    return f"{name}{DASHES[dashes_of(number)]}"


def dashes_of(number: int) -> str:
    """Dashes that change with each round of colours."""
    return list(DASHES)[number // len(COLOURS) % len(DASHES)]


def label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names at the right, beside the ends of lines, and apart from each other.

    `ends` are x, y, name and colour. The limits of the axes are fixed here.
    """
    axes.set_ylim(axes.get_ylim())
    axes.set_xlim(axes.get_xlim())
    to_axes = axes.transScale + axes.transLimits
    heights = np.array([to_axes.transform((x, y))[1] for x, y, _, _ in ends])
    figure: Any = axes.get_figure()
    inches = axes.get_position().height * figure.get_figheight()
    for place, (_, _, name, colour) in zip(spread(heights, 0.17 / inches), ends, strict=True):
        axes.text(
            1.015,
            place,
            name,
            transform=axes.transAxes,
            va="center",
            fontsize=9,
            color=colour,
            parse_math=False,
        )


def spread(heights: np.ndarray, gap: float) -> np.ndarray:
    """Heights within 0..1, moved apart to a gap, or to the largest that there is room for."""
    order = np.argsort(heights, kind="stable")
    gap = min(gap, 1 / max(len(heights) - 1, 1))
    steps = gap * np.arange(len(heights))
    # In steps of the gap, places may not fall; from above they may not exceed the top.
    rising = np.maximum.accumulate(np.clip(heights[order], 0, 1) - steps)
    places = np.minimum(rising, 1 - steps[-1]) + steps if len(heights) else heights
    out = np.empty(len(heights))
    out[order] = places
    return out


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 as a percentage."""
    return f"{100 * share:.{digits}f} %"


def colour_bar(axes: "Axes", image: Any, *, label: str = "", ticks: Any = None) -> None:
    """A thin scale at the right."""
    figure: Any = axes.get_figure()
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12, ticks=ticks)
    bar.ax.tick_params(color=TEXT, labelcolor=TEXT, labelsize=SMALL)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=9, color=TEXT)


def whole_ticks(axis: Any, at_most: int = 9) -> None:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(at_most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def token_ticks(axis: Any, tokens: Sequence[str], inches: float) -> float:
    """Words as tick labels of an axis of so many inches; every n-th where they are many.

    Those of a horizontal axis are turned where they are too long for their places. Returns how many
    inches of height that takes.
    """
    every = -(-len(tokens) // MOST_TICKS)
    words = [shown(token) for token in tokens][::every]
    longest = LETTER * max(map(len, words))
    turned = axis.axis_name == "x" and longest > inches / len(words)
    axis.set_ticks(range(0, len(tokens), every), words)
    for label in axis.get_ticklabels():
        label.set(parse_math=False, rotation=90 if turned else 0)
    return longest if turned else 0.0


def shown(token: str) -> str:
    """A token in print: no blank, no line break, not longer than a tick label can be."""
    if token in SHOWN:
        return SHOWN[token]
    word = "".join(SHOWN.get(letter, letter) if letter != " " else letter for letter in token)
    return word if len(word) <= 16 else word[:15] + "…"

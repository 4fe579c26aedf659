"""Matrices: what is read while each word is written, and what was taken for what."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.plots import style
from rnnjax.plots.arguments import check_table, check_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERED = 30  # classes; numbers of more cannot be read
# From all wrong to all right, by the root of the share: strong colours that white numbers can be
# read on, and between them a tint that coloured ones can be read on.
WEAK = 0.3
WRONG_TO_RIGHT = (
    (-1.0, "#c25500"),
    (-WEAK, "#8f6f5c"),
    (-WEAK, "#d55e0038"),
    (0.0, "#d55e0000"),
    (0.0, "#1a80c000"),
    (WEAK, "#1a80c038"),
    (WEAK, "#5c7b8f"),
    (1.0, "#0072b2"),
)


def attention(
    weights: Float[Array, "targets sources"] | np.ndarray | Sequence[Sequence[float]],
    sources: Sequence[Any],
    targets: Sequence[Any],
) -> "Figure":
    """Draw what is read while each word is written.

    A row for each target, from top to bottom; in it, the stronger the colour, the more of a source
    is read.

    Args:
        weights: one matrix, `(targets, sources)`, finite and at least 0.
        sources: the words that are read (numbers, too), or a string of letters.
        targets: the words that are written.

    Returns:
        The figure, transparent.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a wrong shape, a negative weight, or lists of words of another length.
        ImportError: if matplotlib is missing.

    Example:
        >>> import rnnjax
        >>> figure = rnnjax.plots.attention([[0.9, 0.1], [0.2, 0.8]], ["un", "chat"], ["a", "cat"])
        >>> list(label.get_text() for label in figure.axes[0].get_yticklabels())
        ['a', 'cat']

    Reference: Bahdanau, Cho & Bengio, *Neural machine translation by jointly learning to align and
    translate* (2015), figure 3.
    """
    table = check_table("attention", "weights", weights, "(targets, sources)")
    read = check_words("attention", "sources", sources, table.shape[1], "column of weights")
    written = check_words("attention", "targets", targets, table.shape[0], "row of weights")

    height, width = (min(max(0.26 * n, 2.2), 9.0) for n in table.shape)
    figure = style.new_figure("attention", width + 1.6, height + 1.0)
    (axes,) = style.panels(figure, 1, 1)
    top = max(1.0, table.max()) if table.max() > 0.5 else table.max() or 1.0
    image = axes.imshow(
        table, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0.0, vmax=top
    )
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    style.describe(axes, title="Attention to what is read", xlabel="read", ylabel="written")
    style.token_ticks(axes.yaxis, written, height)
    figure.set_figheight(height + 1.0 + style.token_ticks(axes.xaxis, read, width))
    style.colour_bar(axes, image, label="weight")
    return figure


def confusion(
    counts: Float[Array, "classes classes"] | np.ndarray | Sequence[Sequence[float]],
    labels: Sequence[Any] | None = None,
) -> "Figure":
    """Draw which classes were taken for which.

    A row for each true class, a column for each predicted one: counts as numbers, and their shares
    of the row as colour, blue for what is right and orange for what is wrong; shares below 9 %
    have a tint alone, and what was never counted has none. The title says how many were right.

    Args:
        counts: how often row was taken for column, `(classes, classes)`, finite and at least 0;
            counts may be weighted. Beyond 30 classes the numbers are left out.
        labels: the names of the classes; None means numbers from 0.

    Returns:
        The figure, transparent.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for a matrix that is not square, a negative count, no count at all, or labels
            of another length.
        ImportError: if matplotlib is missing.

    Example:
        >>> import rnnjax
        >>> figure = rnnjax.plots.confusion([[9, 1], [2, 8]], ["no", "yes"])
        >>> figure.axes[0].get_title("left")
        '85.0 % right: 17 of 20'
    """
    table = check_table("confusion", "counts", counts, "(classes, classes)")
    if table.shape[0] != table.shape[1]:
        wanted, way_out = "be square", "count a row and a column for every class"
        _checks.refuse("confusion", "counts", wanted, table.shape, way_out)
    if not table.any():
        way_out = "count predictions first"
        _checks.refuse("confusion", "counts", "hold a count", "zeros alone", way_out)
    names = range(len(table)) if labels is None else labels
    words = check_words("confusion", "labels", names, len(table), "class")

    inches = min(max(0.48 * len(table), 3.0), 8.5)
    figure = style.new_figure(
        "confusion", inches + 0.6 + style.LETTER * max(map(len, words)), inches
    )
    from matplotlib.colors import LinearSegmentedColormap

    (axes,) = style.panels(figure, 1, 1)
    totals = table.sum(1, keepdims=True)
    shares = table / np.where(totals == 0, 1, totals)
    signed = np.sqrt(shares) * (2 * np.eye(len(table)) - 1)
    stops = [(0.5 + 0.5 * place, colour) for place, colour in WRONG_TO_RIGHT]
    colours = LinearSegmentedColormap.from_list("wrong, right", stops, N=1024)
    axes.imshow(signed, cmap=colours, vmin=-1.0, vmax=1.0)
    axes.spines[:].set_visible(False)
    style.token_ticks(axes.yaxis, words, inches)
    figure.set_figheight(inches + 0.9 + style.token_ticks(axes.xaxis, words, inches))
    right, total = np.trace(table), table.sum()
    title = f"{style.percent(right / total, 1)} right: {number(right)} of {number(total)}"
    style.describe(axes, title=title, xlabel="predicted", ylabel="true")
    if len(table) <= MOST_NUMBERED:
        write_counts(axes, table, signed, 72 * inches / len(table))
    return figure


def write_counts(axes: "Axes", table: np.ndarray, signed: np.ndarray, points: float) -> None:
    """The numbers in their cells, which are so many points wide."""
    longest = max(len(number(count)) for count in table.flat)
    size = min(9.0, 1.4 * points / longest, 0.6 * points)
    for row, column in np.argwhere(table > 0):
        share = signed[row, column]
        axes.text(
            column,
            row,
            number(table[row, column]),
            ha="center",
            va="center",
            fontsize=size,
            color=style.COLOURS[int(share < 0)] if abs(share) < WEAK else "white",
        )


def number(count: Any) -> str:
    """A count; weighted ones in three figures."""
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:.3g}"

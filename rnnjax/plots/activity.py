"""Pictures of gates: over the steps of one sequence, and how often they are saturated."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, Float, Lengths, PyTree
from rnnjax.cells.base import Cell
from rnnjax.plots import style
from rnnjax.plots.arguments import check_concrete, check_some_steps, check_words
from rnnjax.plots.gating import GATES, SaturatedShares, record, shares_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "c": "cell state c",
    "h": "output h",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
}
ROLES = {
    "i": "how much is written",
    "f": "how much is kept",
    "g": "what is written",
    "o": "how much is shown",
    "c": "what is held",
    "r": "how much of the past the candidate sees",
    "z": "how much is kept",
    "n": "what is written",
}


def gates(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T D"],
    *,
    tokens: Sequence[Any] | None = None,
    length: int | None = None,
    units: Sequence[int] | None = None,
) -> "Figure":
    """Draw what the gates of a plain LSTM or GRU do while it reads one sequence.

    One heat map a gate and for what is held and put out, time from left to right and a line for
    each unit: gates from 0 (dark, shut) to 1 (bright, open), the others from negative (blue) to
    positive (red). The numbers are those of `gate_values`.

    Args:
        cell: a plain `lstm` or `gru`, as for `gate_values`.
        params: from `cell.init`.
        xs: one sequence, `(T, D)`.
        tokens: what stands at each step, T words or a string of T letters, for the axis of time;
            beyond 64 of them every second is written, or every third. None writes numbers.
        length: how many steps are valid; the others are not drawn. None means T.
        units: which units to draw, in this order; None means all.

    Returns:
        The figure, transparent, to be shown by a notebook or saved with `savefig`.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for another cell, a wrong shape, no step, or a unit that there is not.
        ImportError: if matplotlib is missing.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.gru(8)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> figure = rnnjax.plots.gates(cell, params, jnp.ones((5, 3)), tokens="hello")
        >>> list(axes.get_title("left") for axes in figure.axes[:2])
        ['reset gate r: how much of the past the candidate sees', 'update gate z: how much is kept']
    """
    values, steps = one_sequence(cell, params, xs, length)
    chosen = check_units(units, cell.out_features)
    words = None
    if tokens is not None:
        words = check_words("gates", "tokens", tokens, xs.shape[0], "step of xs")[:steps]

    width, height = min(max(0.13 * steps, 5.0), 9.0), 0.5 + 1.25 * len(values)
    figure = style.new_figure("gates", width + 1.2, height)
    axes = style.panels(figure, len(values), 1, sharex=True)
    for panel, name, value in zip(axes, values._fields, values, strict=True):
        heat_map(panel, name, np.asarray(value, np.float32)[:steps, chosen])
        unit_ticks(panel, None if units is None else chosen)
        panel.tick_params(axis="x", bottom=panel is axes[-1])
    if words is not None:
        figure.set_figheight(height + style.token_ticks(axes[-1].xaxis, words, width))
    else:
        style.whole_ticks(axes[-1].xaxis)
        axes[-1].set_xlabel("step", fontsize=9, color=style.TEXT)
    return figure


def saturation(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T *batch D"],
    *,
    lengths: Lengths | None = None,
) -> "Figure":
    """Draw how often each unit's gates are saturated, one panel for each gate.

    A dot is a unit: to the right the share of steps at which its gate is nearly open (above 0.9),
    upwards that at which it is nearly shut (below 0.1). Units near the origin are never saturated,
    those at a corner always, and those on the dashed line switch. The numbers are those of
    `saturated_shares`.

    Args:
        cell: a plain `lstm` or `gru`, as for `gate_values`.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first.
        lengths: valid steps of each row, `(*batch,)`; None means T.

    Returns:
        The figure, transparent.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for another cell, a wrong shape, or no valid step.
        ImportError: if matplotlib is missing.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.lstm(8)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> figure = rnnjax.plots.saturation(cell, params, jnp.ones((5, 2, 3)))
        >>> len(figure.axes)
        3

    Reference: Karpathy, Johnson & Fei-Fei, *Visualizing and understanding recurrent networks*
    (2016), figure 3.
    """
    check_concrete("saturation", "params", params)
    check_concrete("saturation", "xs", xs)
    values, valid = record("saturation", cell, params, xs, None, lengths=lengths)
    check_some_steps("saturation", xs, valid)

    shares = shares_of(values, valid)
    figure = style.new_figure("saturation", 3.1 * len(shares) + 0.3, 4.0)
    axes = style.panels(figure, 1, len(shares))
    for number, (panel, (name, share)) in enumerate(zip(axes, shares.items(), strict=True)):
        scatter(panel, name, share, number)
    return figure


def one_sequence(cell: Any, params: Any, xs: Any, length: Any) -> tuple[Any, int]:
    """The gate values of one sequence, and how many of its steps are drawn."""
    check_concrete("gates", "params", params)
    check_concrete("gates", "xs", xs)
    if getattr(xs, "ndim", 2) != 2:
        way_out = "draw one row of a batch, such as xs[:, 0]"
        _checks.refuse("gates", "xs", "have shape (T, D)", xs.shape, way_out)
    values, _ = record("gates", cell, params, xs, None, lengths=None)
    check_some_steps("gates", xs, None)
    steps = xs.shape[0]
    if length is not None and _checks.size("gates", "length", length) > steps:
        way_out = "count the valid steps"
        _checks.refuse("gates", "length", f"be at most T = {steps}", length, way_out)
    return values, steps if length is None else int(length)


def check_units(units: Any, width: int) -> np.ndarray:
    """Which units are drawn."""
    if units is None:
        return np.arange(width)
    try:
        chosen = np.asarray(units)
        whole = chosen.ndim == 1 and chosen.size and chosen.dtype.kind in "iu"
    except ValueError:  # lists of unequal lengths
        whole = False
    if not whole:
        wanted, way_out = "be a list of whole numbers", "number the units to draw, from 0"
        _checks.refuse("gates", "units", wanted, _checks.kind(units), way_out, error=TypeError)
    bad = chosen[(chosen < 0) | (chosen >= width)]
    if bad.size:
        way_out = "number the units to draw, from 0"
        _checks.refuse("gates", "units", f"lie in 0..{width - 1}", int(bad[0]), way_out)
    return chosen


def heat_map(axes: "Axes", name: str, value: np.ndarray) -> None:
    """One gate, `(T, H)`: time to the right, units downwards."""
    gate = name in GATES
    most = np.abs(value).max() if name == "c" else 1.0
    image = axes.imshow(
        value.T,
        aspect="auto",
        interpolation="nearest",
        cmap="viridis" if gate else "RdBu_r",
        vmin=0.0 if gate else -most,
        vmax=most,
    )
    axes.spines[:].set_visible(False)
    title = ": ".join(filter(None, (NAMES[name], ROLES.get(name))))
    style.describe(axes, title=title, ylabel="unit")
    ticks = [0, 0.5, 1] if gate else None
    style.colour_bar(axes, image, ticks=ticks)


def unit_ticks(axes: "Axes", chosen: np.ndarray | None) -> None:
    """The numbers of units: of those that were chosen by name, as many as can be read."""
    if chosen is None:
        style.whole_ticks(axes.yaxis, 4)
        return
    every = -(-len(chosen) // 8)
    axes.set_yticks(range(0, len(chosen), every), [str(unit) for unit in chosen[::every]])


def scatter(axes: "Axes", name: str, share: SaturatedShares, number: int) -> None:
    """A dot for each unit of one gate."""
    low, high = (np.asarray(part, np.float64) for part in share)
    axes.plot([0, 1], [1, 0], color=style.TEXT, linestyle="--", linewidth=0.8)
    axes.plot(
        high,
        low,
        linestyle="none",
        marker="o",
        markersize=6,
        alpha=0.75,
        color=style.COLOURS[number],
        markeredgewidth=0,
        clip_on=False,
    )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    opened, shut = style.percent(high.mean()), style.percent(low.mean())
    title = f"{NAMES[name]}\nopen {opened} of the time, shut {shut}"
    ylabel = "share of steps shut (< 0.1)" if number == 0 else ""
    style.describe(axes, title=title, xlabel="share of steps open (> 0.9)", ylabel=ylabel)

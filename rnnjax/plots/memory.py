"""How long units remember: forget gates turned into time constants."""

from typing import TYPE_CHECKING

import numpy as np

from rnnjax._typing import Array, Float, Lengths, PyTree
from rnnjax.cells.base import Cell
from rnnjax.plots import style
from rnnjax.plots.arguments import check_concrete, check_some_steps
from rnnjax.plots.gating import LSTMGates, keeping_gate, record, times_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORTEST, LONGEST = 0.1, 1e7  # steps on the axis; float32 resolves no gate nearer to 1


def time_constants(
    cell: Cell,
    params: PyTree,
    xs: Float[Array, "T *batch D"],
    *,
    lengths: Lengths | None = None,
) -> "Figure":
    r"""Draw how long the units of a plain LSTM or GRU remember.

    On the left the values of the forget gate f of an LSTM, or of the update gate z of a GRU, over
    all valid steps and units. On the right the time constant that they imply for each unit,
    $-1 / \text{mean} \log f_t$, sorted, beside the length of the sequences: a network whose units
    all lie far below it can hardly use what came first. The numbers are those of
    `forgetting_times`; below 0.1 and above 10 million steps a unit is drawn at the edge.

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
        >>> cell = rnnjax.lstm(8, forget_bias=rnnjax.chrono(100))
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> figure = rnnjax.plots.time_constants(cell, params, jnp.ones((5, 2, 3)))
        >>> figure.axes[1].get_ylabel()
        'time constant (steps)'

    Reference: Tallec & Ollivier, *Can recurrent neural networks warp time?* (2018), section 1.
    """
    function = "time_constants"
    check_concrete(function, "params", params)
    check_concrete(function, "xs", xs)
    values, valid = record(function, cell, params, xs, None, lengths=lengths)
    check_some_steps(function, xs, valid)

    gate = "forget gate f" if isinstance(values, LSTMGates) else "update gate z"
    kept = np.asarray(keeping_gate(values), np.float32)
    steps = xs.shape[0]
    if valid is not None:
        mask = np.asarray(valid)
        kept, steps = kept[mask], int(mask.sum(0).max())
    figure = style.new_figure(function, 8.6, 3.4)
    left, right = style.panels(figure, 1, 2)
    histogram(left, gate, kept)
    sorted_times(right, np.sort(np.asarray(times_of(values, valid), np.float64)), steps)
    return figure


def histogram(axes: "Axes", gate: str, kept: np.ndarray) -> None:
    """How often the gate has which value."""
    counts, edges = np.histogram(kept, bins=25, range=(0.0, 1.0))
    axes.stairs(counts / kept.size, edges, fill=True, color=style.COLOURS[0])
    axes.set(xlim=(0, 1), ylim=(0, None))
    kind = gate.rpartition(" ")[0]
    title = f"The {kind} keeps {style.percent(kept.mean())} a step on average"
    style.describe(
        axes, title=title, xlabel=f"{gate} (0 forgets, 1 keeps)", ylabel="share of its values"
    )


def sorted_times(axes: "Axes", times: np.ndarray, steps: int) -> None:
    """The time constants from the shortest to the longest, and the length of the sequences."""
    drawn = np.clip(times, SHORTEST, LONGEST)
    axes.plot(
        np.arange(1, len(times) + 1),
        drawn,
        color=style.COLOURS[1],
        marker="o",
        markersize=4,
        linewidth=1,
    )
    axes.axhline(steps, color=style.TEXT, linestyle="--", linewidth=0.8)
    axes.set_yscale("log")
    style.whole_ticks(axes.xaxis)
    low, high = min(drawn[0], steps), max(drawn[-1], steps)
    axes.set(ylim=(low / 1.5, high * 1.5), xlim=(0, len(times) + 1))
    style.label_ends(axes, [(0, steps, f"length: {steps}", style.TEXT)])
    title = f"Half of the units remember for {np.median(times):.3g} steps or more"
    style.describe(axes, title=title, xlabel="units, sorted", ylabel="time constant (steps)")

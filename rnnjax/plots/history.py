"""Curves of training: every measure over the epochs, with the best one marked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnjax import _checks
from rnnjax.plots import style
from rnnjax.plots.arguments import check_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VALIDATION = "val_"
BOOKKEEPING = ("step", "seconds")
LOG_FROM = 30.0  # the largest value over the smallest
HIGHER_IS_BETTER = ("accuracy", "acc", "f1", "auc", "precision", "recall", "bleu", "r2")


class Curve(NamedTuple):
    """The values of one measure; NaN where there is none."""

    training: np.ndarray | None
    validation: np.ndarray | None


def curves(
    history: Mapping[str, Sequence[float]] | Sequence[Mapping[str, float]],
    *,
    names: Sequence[str] | None = None,
    higher_is_better: Sequence[str] | None = None,
) -> "Figure":
    """Draw what training measured, epoch by epoch.

    A panel for each measure: `loss` with `val_loss`, and the best epoch of the validation value
    marked and told in the title. The axis of a measure whose values are positive and differ
    by a factor of 30 or more is logarithmic, unless higher is better.

    Args:
        history: by name, a value for each epoch; or for each epoch a mapping of names to values
            that has its number under `"epoch"`, in which a name may be missing. None and NaN are
            values that there are not: lines go on behind them. A name `"epoch"` gives the numbers
            of the epochs in a mapping, too; without it they count from 1.
        names: the measures to draw, in this order; `"loss"` brings `"val_loss"` along. None means
            all but steps and seconds, what never changes, and what is a table, such as a
            confusion matrix.
        higher_is_better: of which measures the best value is the highest; None means those with
            one of the words accuracy, acc, f1, auc, precision, recall, bleu and r2 in their names.

    Returns:
        The figure, transparent.

    Raises:
        TypeError: for a history of another kind, or values that are no numbers.
        ValueError: for numbers of epochs that differ, or a measure that there is not.
        ImportError: if matplotlib is missing.

    Example:
        >>> import rnnjax
        >>> history = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, 1.2, 1.4]}
        >>> figure = rnnjax.plots.curves(history)
        >>> figure.axes[0].get_title("left")
        'loss: best in validation 1.2, at epoch 2'
    """
    epochs, found = check_history(history)
    chosen = check_names("names", names, found)
    named = check_names("higher_is_better", higher_is_better, found)
    rising = [n for n in chosen if n in named] if higher_is_better is not None else None

    columns = min(len(chosen), 2)
    rows = -(-len(chosen) // columns)
    figure = style.new_figure("curves", 5.2 * columns + 0.8, 3.4 * rows)
    axes = style.panels(figure, rows, columns)
    for panel in axes[len(chosen) :]:
        panel.remove()
    for panel, name in zip(axes, chosen, strict=False):
        up = name in rising if rising is not None else is_rising(name)
        draw(panel, name, epochs, found[name], higher_is_better=up)
    return figure


def check_history(history: Any) -> tuple[np.ndarray, dict[str, Curve]]:
    """The numbers of the epochs, and curves by the name of the measure."""
    if isinstance(history, Mapping):
        table = dict(history)
    elif isinstance(history, list | tuple) and all(isinstance(row, Mapping) for row in history):
        table = by_name(history)
    else:
        wanted = "map names to values, or be a list of such mappings"
        way_out = 'give {"loss": [...]} or [{"epoch": 1, "loss": ...}, ...]'
        got = _checks.kind(history)
        _checks.refuse("curves", "history", wanted, got, way_out, error=TypeError)
    lines = {n: check_line(n, values) for n, values in table.items() if not is_table(values)}
    given = lines.pop("epoch", None)
    if not lines or not next(iter(lines.values())).size:
        way_out = "draw it after an epoch"
        got = "no epoch" if lines else "no measure"
        _checks.refuse("curves", "history", "hold values of an epoch", got, way_out)
    num_epochs = len(next(iter(lines.values())) if given is None else given)
    for name, values in lines.items():
        if len(values) != num_epochs:
            wanted = f"have a value for each of {num_epochs} epochs"
            way_out = "put None where nothing was measured"
            _checks.refuse("curves", f"history[{name!r}]", wanted, len(values), way_out)
    epochs = np.arange(1.0, num_epochs + 1) if given is None else given
    measures = dict.fromkeys(str(name).removeprefix(VALIDATION) for name in lines)
    pairs = {n: Curve(lines.get(n), lines.get(VALIDATION + n)) for n in measures}
    return epochs, pairs


def by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Values by name, of values by epoch."""
    for number, row in enumerate(rows):
        if "epoch" not in row:
            got, way_out = _checks.describe(row), 'give {"epoch": 1, "loss": ...}'
            _checks.refuse("curves", f"history[{number}]", 'have an "epoch"', got, way_out)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def check_line(name: str, values: Any) -> np.ndarray:
    """One value for each epoch."""
    argument = f"history[{name!r}]"
    if isinstance(values, Iterable) and not hasattr(values, "dtype"):
        values = [np.nan if value is None else value for value in values]
    line = check_numbers("curves", argument, values)
    if line.ndim != 1:
        way_out = "give one number for each epoch"
        _checks.refuse("curves", argument, "have shape (epochs,)", line.shape, way_out)
    return line


def is_table(values: Any) -> bool:
    """Whether there is a table for each epoch."""
    rows = [row for row in values if row is not None] if isinstance(values, list) else []
    return bool(rows) and all(isinstance(row, list) and isinstance(row[0], list) for row in rows)


def tells(name: str, curve: Curve) -> bool:
    """Whether a curve is worth a panel that nobody asked for."""
    if name in BOOKKEEPING:
        return False
    values = curve.training
    return curve.validation is not None or values is None or len(values) < 2 or np.ptp(values) != 0


def check_names(argument: str, names: Any, found: Mapping[str, Curve]) -> list[str]:
    """The measures that are named, without their prefix; all for None."""
    if names is None:
        return [name for name in found if tells(name, found[name])] or list(found)
    if isinstance(names, str) or not isinstance(names, Iterable):
        got, way_out = _checks.kind(names), 'give ["loss"]'
        _checks.refuse("curves", argument, "be a list of names", got, way_out, error=TypeError)
    chosen = list(dict.fromkeys(str(name).removeprefix(VALIDATION) for name in names))
    for name in chosen:
        if name not in found:
            way_out = "choose among these"
            _checks.refuse("curves", argument, f"be among {list(found)}", repr(name), way_out)
    if not chosen and argument == "names":
        _checks.refuse("curves", argument, "name a measure", "none", "leave it out to draw all")
    return chosen


def is_rising(name: str) -> bool:
    """Whether the best value of a measure with such a name is the highest."""
    words = name.lower().replace("-", "_").replace(" ", "_").split("_")
    return any(word in HIGHER_IS_BETTER for word in words)


def draw(
    axes: "Axes", name: str, epochs: np.ndarray, curve: Curve, *, higher_is_better: bool
) -> None:
    """One measure: training and validation."""
    ends = []
    for number, (label, values) in enumerate(zip(("training", "validation"), curve, strict=True)):
        if values is None or not np.isfinite(values).any():
            continue
        there = np.isfinite(values)
        look = style.line_style(number)
        marker = "o" if there.sum() <= 12 else None
        axes.plot(epochs[there], values[there], marker=marker, markersize=3, linewidth=1.6, **look)
        ends.append((epochs[there][-1], values[there][-1], label, look["color"]))
    drawn = np.concatenate([line.get_ydata() for line in axes.lines]) if ends else np.zeros(1)
    if not higher_is_better and drawn.min() > 0 and drawn.max() > LOG_FROM * drawn.min():
        axes.set_yscale("log")
    title = name
    if curve.validation is not None and np.isfinite(curve.validation).any():
        pick = np.nanargmax if higher_is_better else np.nanargmin
        best = int(pick(np.where(np.isfinite(curve.validation), curve.validation, np.nan)))
        value, when = curve.validation[best], epochs[best]
        title = f"{name}: best in validation {value:.4g}, at epoch {when:g}"
        axes.plot(when, value, marker="o", markersize=9, color=style.COLOURS[1], fillstyle="none")
        axes.axvline(when, color=style.TEXT, linestyle=":", linewidth=0.8)
    style.whole_ticks(axes.xaxis)
    style.describe(axes, title=title, xlabel="epoch", ylabel=name)
    # A measure of training alone needs no name beside its line: the title has it.
    style.label_ends(axes, ends if curve.validation is not None else [])

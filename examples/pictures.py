"""Pictures that several examples draw; each writes a PNG and returns its path."""

import pathlib
from typing import NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.transforms import Bbox


def curves(path: pathlib.Path, losses: np.ndarray, accuracies: dict, references: dict):
    """Loss and accuracy over epochs: every seed thin, their mean thick, references dashed.

    `losses` is (epochs, seeds); `accuracies` maps a name to (epochs, (epochs, seeds));
    `references` maps a name to an accuracy.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    epochs = np.arange(1, len(losses) + 1)
    left.plot(epochs, losses, color="tab:blue", alpha=0.25, linewidth=1)
    left.plot(epochs, losses.mean(1), color="tab:blue", linewidth=2)
    left.set(xlabel="epoch", ylabel="training loss (mixed pairs)", ylim=(0, None))
    for colour, (name, (when, values)) in zip(
        ("tab:blue", "tab:orange"), accuracies.items(), strict=False
    ):
        right.plot(when, values, color=colour, alpha=0.25, linewidth=1)
        right.plot(when, values.mean(1), color=colour, linewidth=2, label=name)
    lowest = min([values.mean(1)[len(values) // 4] for _, values in accuracies.values()])
    for name, value in references.items():
        right.axhline(value, color="grey", linestyle="--", linewidth=1)
        where = right.get_yaxis_transform()  # behind the right edge
        right.text(1.02, value, f"{name} {value:.3f}", transform=where, va="center", fontsize=8)
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(min(lowest, 0.94) - 0.01, 1.003))
    right.legend(loc="lower right", frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return save(figure, path)


def learning(path: pathlib.Path, curves: dict, every: int, report):
    """What each cell learns, over steps of training: every seed thin, their mean thick.

    `curves` maps a cell to its seeds' curves, a point every `every` steps; `report` is that of
    `training.tell`.
    """
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for name, seeds in curves.items():
        values = np.stack(seeds, axis=1)
        # On a logarithmic axis the middle is the geometric mean.
        middle = np.exp(np.log(values).mean(1)) if report.log else values.mean(1)
        steps = every * np.arange(1, len(values) + 1)
        (line,) = axes.plot(steps, middle, linewidth=2, label=name)
        axes.plot(steps, values, color=line.get_color(), alpha=0.3, linewidth=1)
    for name, value in report.baselines.items():
        axes.axhline(value, color="grey", linestyle="--", linewidth=1)
        where = axes.get_yaxis_transform()  # behind the right edge
        axes.text(1.02, value, name, transform=where, va="center", fontsize=8)
    axes.set(xlabel="steps of training", ylabel=report.curve, title=report.title, xlim=(0, None))
    if report.log:
        axes.set(yscale="log", ylim=(None, report.top))
    else:
        axes.set(ylim=(0, report.top))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, path, dpi=100)


def letters(text: str, values: np.ndarray, what: str, *, across: int = 64):
    """A bar over every letter of a text, in as many lines as it takes."""
    lines = range(0, len(text), across)
    figure, rows = plt.subplots(len(lines), 1, figsize=(9, 1.3 * len(lines)), layout="constrained")
    for axes, begin in zip(np.atleast_1d(rows), lines, strict=True):
        heights = values[begin : begin + across]
        axes.bar(np.arange(len(heights)), heights, color="tab:blue", width=0.85)
        axes.set(xlim=(-1, across), ylim=(0, values.max()), ylabel=what)
        axes.set_xticks(np.arange(len(heights)), text[begin : begin + across], fontsize=10)
        axes.tick_params(axis="x", length=0)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


class Fan(NamedTuple):
    """A forecast of paths, and what was known and came of it."""

    title: str
    times: np.ndarray  # (T,)
    truth: np.ndarray  # (T,), NaN where missing
    ahead: np.ndarray  # (S,) the times that are forecast
    paths: np.ndarray  # (paths, S)


def fans(forecasts: list[Fan]):
    """A panel for each forecast: the middle half and nine tenths of its paths, and the truth."""
    figure, panels = plt.subplots(1, len(forecasts), figsize=(11, 3.8), layout="constrained")
    for axes, fan in zip(np.atleast_1d(panels), forecasts, strict=True):
        low, below, middle, above, high = np.quantile(fan.paths, [0.05, 0.25, 0.5, 0.75, 0.95], 0)
        axes.fill_between(
            fan.ahead, low, high, color="tab:blue", alpha=0.18, lw=0, label="90 % of paths"
        )
        axes.fill_between(
            fan.ahead, below, above, color="tab:blue", alpha=0.4, lw=0, label="50 % of paths"
        )
        axes.plot(fan.ahead, middle, color="tab:blue", label="median forecast")
        past = fan.times < fan.ahead[0]
        axes.plot(fan.times[past], fan.truth[past], color="grey", lw=1.2, label="known before")
        later = ~past
        axes.plot(fan.times[later], fan.truth[later], color="black", lw=1.2, label="what came")
        axes.axvline(fan.ahead[0], color="grey", linestyle=":", lw=1)
        axes.set(title=fan.title, xlim=(fan.times[0], fan.times[-1]))
        axes.locator_params(integer=True, nbins=6)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    return figure


def writing(columns: dict[str, list[np.ndarray]], window: tuple | None = None):
    """Lines of a pen below each other, points as of `strokes.write`; a column for each kind.

    `window`, a text and weights `(T, U)`, is drawn below: where the text is read meanwhile.
    """
    layout, ratios, height = [list(columns)], [3], 4.0
    if window:
        layout, ratios, height = [*layout, ["window"] * len(columns)], [3, 2], 6.5
    figure, panels = plt.subplot_mosaic(
        layout, height_ratios=ratios, figsize=(9, height), layout="constrained"
    )
    for title, lines in columns.items():
        for row, line in enumerate(lines):
            at = np.cumsum(line[:, :2], 0) - (0, 45 * row)
            for stroke in np.split(at, np.flatnonzero(line[:, 2] > 0.5) + 1):
                panels[title].plot(*stroke.T, color="tab:blue", linewidth=1.2)
        panels[title].set(title=title, aspect="equal")
        panels[title].axis("off")
    drawn = [panels[title] for title in columns]
    whole = Bbox.union([axes.dataLim for axes in drawn])  # the same size of letters in all columns
    plt.setp(drawn, xlim=whole.intervalx, ylim=whole.intervaly)
    if window:
        text, weights = window
        panels["window"].imshow(weights.T, aspect="auto", cmap="Blues", interpolation="nearest")
        panels["window"].set_yticks(range(len(text)), text)
        panels["window"].set(xlabel="points of the pen, first line", ylabel="letters that are read")
    return figure


def save(figure, path: pathlib.Path, *, dpi: int = 130) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    plt.close(figure)
    return path

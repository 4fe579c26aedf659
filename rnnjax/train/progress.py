"""What is seen of a run while it goes on; nothing where the output is no terminal."""

import math
import time
from typing import Any

SPACED = 0.25
"""Seconds between the lines of short epochs."""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def begin(self, epoch: int, steps: int | None, done: int) -> None:
        """A new epoch of so many steps begins, some of them done; None means not known."""

    def show(self, done: int, values: dict[str, float], tokens: float) -> None:
        """So many steps are done; `tokens` is how many come a second."""

    def end(self, entry: dict[str, Any]) -> None:
        """An epoch is over."""

    def say(self, text: str) -> None:
        """One line that stays."""


class Live(Quiet):
    """A bar for the epoch with loss, metrics, time left and tokens a second; a line after it."""

    def __init__(self, console: Any, epochs: int):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.epochs, self.said = epochs, -math.inf
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[speed]}", style="dim"),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self.task = self.progress.add_task("", total=None, epoch="", values="", speed="")

    def __enter__(self) -> "Live":
        self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.stop()

    def begin(self, epoch: int, steps: int | None, done: int) -> None:
        """Start the bar again."""
        title = f"{epoch}/{self.epochs}"
        self.progress.reset(
            self.task, total=steps, completed=done, epoch=title, values="", speed=""
        )

    def show(self, done: int, values: dict[str, float], tokens: float) -> None:
        """Move the bar."""
        text, speed = in_words(values), f"{tokens:,.0f} tokens/s"
        self.progress.update(self.task, completed=done, values=text, speed=speed)

    def end(self, entry: dict[str, Any]) -> None:
        """Leave a line for the epoch, but at most a few lines a second."""
        now = time.monotonic()
        if now - self.said < SPACED and entry["epoch"] < self.epochs:
            return
        self.said = now
        hidden = ("epoch", "step", "seconds", "scale", "skipped")
        values = {name: value for name, value in entry.items() if name not in hidden}
        for name, usual in (("scale", 1.0), ("skipped", 0)):
            if entry[name] != usual:
                values[name] = entry[name]
        self.say(f"epoch {entry['epoch']}/{self.epochs}  {in_words(values)}")

    def say(self, text: str) -> None:
        """Print above the bar."""
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


def in_words(values: dict[str, Any]) -> str:
    """Names and values in a line; what is no single number is left out."""
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def shown(progress: bool | None, epochs: int) -> Quiet:
    """What shows a run: True always, False never, None where the output is a terminal."""
    if progress is False:
        return Quiet()
    try:
        from rich.console import Console
    except ImportError:
        if progress:
            raise
        return Quiet()

    console = Console()
    if progress is None and not console.is_terminal:
        return Quiet()
    return Live(console, epochs)

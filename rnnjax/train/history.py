"""What was measured, epoch by epoch."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnjax import _checks
from rnnjax.storage.files import make_folder, replace_file


class History(Mapping):
    """What was measured, epoch by epoch: a mapping from names to lists of values.

    Names are "epoch" (from 1), "step" (batches seen by its end), "loss", the metrics, each with
    "val_" in front where it was measured on validation data, "scale" (of updates), "skipped"
    (batches left out so far) and "seconds" (of the epoch). An epoch that was cut short has none.

    Attributes:
        entries: a dict for each epoch.

    Example:
        >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
        >>> history["loss"], len(history.entries)
        ([0.5, 0.25], 2)
    """

    def __init__(self, entries: list[dict[str, Any]] | None = None):
        self.entries = list(entries or [])

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.names:
            raise KeyError(name)
        return [entry.get(name) for entry in self.entries]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"History({len(self.entries)} epochs of {', '.join(self.names)})"

    @property
    def names(self) -> list[str]:
        """Everything that was measured, in order of appearance."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry))

    def to_json(self, path: str | Path) -> None:
        """Write a line of JSON for each epoch; the old file is there until the new one is whole."""
        path = _checks.path("History.to_json", "path", path, such_as="history.jsonl")
        lines = [json.dumps(entry) + "\n" for entry in self.entries]
        _write(path, "".join(lines))

    def to_csv(self, path: str | Path) -> None:
        """Write a table with a row for each epoch; what was not measured is an empty cell."""
        path = _checks.path("History.to_csv", "path", path, such_as="history.csv")
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.names)
        writer.writeheader()
        writer.writerows(self.entries)
        _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    """Put a file in its place as a whole."""
    make_folder(path.parent)
    replace_file(path, text.encode())

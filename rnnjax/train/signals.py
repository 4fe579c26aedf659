"""Ctrl-C and SIGTERM: the run goes on to the end of its step, saves, and returns."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interruption:
    """Which signal came, if any; a second one ends the program at once."""

    def __init__(self):
        self.name: str | None = None
        self._before: dict[int, Any] = {}

    def __call__(self, number: int, frame: Any) -> None:
        """Take note; called by Python when a signal comes."""
        self.name = signal.Signals(number).name
        for other, handler in self._before.items():
            signal.signal(other, handler)


@contextlib.contextmanager
def interruptions() -> Iterator[Interruption]:
    """Catch both signals while the block runs; only the main thread of a program can."""
    caught = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        caught._before[number] = signal.signal(number, caught)
    try:
        yield caught
    finally:
        for number, handler in caught._before.items():
            signal.signal(number, handler)

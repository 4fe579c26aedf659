"""A process that serves one peer: a JSON request a line in, a JSON answer a line out.

    python benchmarks/worker.py PEER

Requests: {"do": "hello"}, {"do": "prepare", "case": {...}, "outputs": "file.npz"},
{"do": "time", "calls": n}, {"do": "drop"}; the end of the input ends the process.
"""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import peers
from cases import Case, make_data

WARM_UP = Case("lstm", "inference", 3, 2, 4, 4, "plain")


class Server:
    """Holds the peer and the program of the case at hand."""

    def __init__(self, name: str):
        self.peer, self.program = peers.load(name), None

    def hello(self) -> dict[str, Any]:
        """Say what it runs on, once the process has computed something: start-up is no case's."""
        self.peer.build(WARM_UP, make_data(WARM_UP))
        kind, name = self.peer.device()
        return {"kind": kind, "device": name}

    def prepare(self, case: dict[str, Any], outputs: str) -> dict[str, Any]:
        """Compile a case and run it once; its results go to a file, to be checked."""
        self.drop()
        wanted = Case(**case)
        reason = self.peer.why_not(wanted)
        if reason is not None:
            return {"why_not": reason}
        self.program = self.peer.build(wanted, make_data(wanted))
        second_call, result = clocked(self.program.run)
        results = self.program.canonical(result)
        np.savez(outputs, **results)  # pyright: ignore[reportArgumentType]
        return {
            "first_call": self.program.first_call_seconds,
            "second_call": second_call,
            "temporary_bytes": self.program.temporary_bytes,
        }

    def time(self, calls: int) -> dict[str, Any]:
        """Seconds of each of so many calls in a row."""
        if self.program is None:
            raise RuntimeError("no case is prepared")
        gc.disable()
        try:
            return {"seconds": [clocked(self.program.run)[0] for _ in range(calls)]}
        finally:
            gc.enable()

    def drop(self) -> dict[str, Any]:
        self.program = None
        gc.collect()
        return {}


def clocked(run: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call took, and what it returned."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main(name: str) -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    server = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            server = server or Server(name)
            answer = getattr(server, request.pop("do"))(**request)
        except Exception as error:  # whatever it is, the run goes on and the table says it
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])

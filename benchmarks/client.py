"""The other end of a worker: starts it, asks it, and notices when it dies."""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import sys
import time
from typing import Any

from machine import ROOT

SETTINGS = {
    # The caches of earlier runs would shorten first calls, and eight processes share a GPU.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


REST = 0.005  # seconds of peace after a call
LONGEST_REST = 0.2  # seconds; the threads of ONNX Runtime spin for 40 ms, those of PyTorch for 10


class WorkerError(Exception):
    """A worker raised, died or did not answer in time; the text says which."""


class Worker:
    """One peer in a process of its own; it is started when first asked, and after a crash."""

    def __init__(self, name: str, folder: pathlib.Path, *, patience: float = 600.0):
        self.name, self.folder, self.patience = name, folder, patience
        self.log = folder / f"{name.replace(':', '_')}.log"
        self.process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer, or raise `WorkerError`."""
        if self.process is None:
            self._start()
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], self.patience)
            line = process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = ""
        if line is None:
            self.close()
            raise WorkerError(f"no answer within {self.patience:.0f} s")
        if not line:
            raise WorkerError(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def rest(self) -> None:
        """Wait until its threads have fallen asleep: spinning, they would slow who comes next."""
        end = time.monotonic() + LONGEST_REST
        while time.monotonic() < end and self._runs():
            time.sleep(0.001)
        time.sleep(REST)

    def _runs(self) -> bool:
        """Whether a thread of it is running, as far as the system says so."""
        if self.process is None:
            return False
        states = []
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # a thread may end
                states.append(task.read_text().rpartition(")")[2].split()[0])
        return "R" in states

    def results(self) -> pathlib.Path:
        """Where it is told to write what it computed."""
        return self.folder / f"{self.name.replace(':', '_')}.npz"

    def _start(self) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join(paths)}
        script = pathlib.Path(__file__).with_name("worker.py")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=env,
            )

    def _last_words(self) -> str:
        assert self.process is not None
        code = self.process.wait()
        self.close()
        lines = self.log.read_text().strip().splitlines()
        return f"the process ended with {code}: {lines[-1] if lines else 'without a word'}"

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

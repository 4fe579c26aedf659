"""A run that is killed again and again, and each time goes on, ends as one that never was."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnjax import train

KILLS, MOST = 10, 50
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def attempt(tmp_path_factory):
    """What begins a run or goes on with it in a process of its own, and says how that ended."""
    cache = tmp_path_factory.mktemp("cache")
    script = Path(__file__).with_name("killed_runs.py")
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(script), str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}

    def ask(kind, folder, out, moment=None):
        request = {"kind": kind, "folder": str(folder), "out": str(out), "moment": moment}
        print(json.dumps(request), file=server.stdin, flush=True)
        return int(server.stdout.readline())

    with subprocess.Popen(command, env=environment, **pipes) as server:
        yield ask


def result(out):
    """Every array to the bit, with dtype and shape, and the record of a run that has ended."""
    with np.load(out) as file:
        arrays = {name: file[name] for name in file}
    record = json.loads(str(arrays.pop("record")))
    seconds = [entry.pop("seconds") for entry in record["history"]]
    bits = {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}
    return bits, record, seconds


@pytest.mark.parametrize("kind", ["buckets", "windows"])
def test_a_run_that_was_killed_ends_in_the_same_bits(kind, attempt, tmp_path):
    """A kill falls some steps after the start of an attempt, and some part of two steps later."""
    assert attempt(kind, tmp_path / "whole", tmp_path / "wanted") == 0
    bits, record, seconds = result(tmp_path / "wanted")
    assert ("not better" in str(record["reason"])) == (kind == "buckets")
    two_steps = 2 * min(seconds) / 5  # with the save that follows them
    draw, kills, torn, reached = random.Random(f"{kind} 3"), 0, set(), set()
    for number in itertools.count():
        folder, out, last = tmp_path / f"run{number}", tmp_path / f"out{number}", False
        while not out.exists():
            last = kills >= KILLS and bool(torn) and len(reached) > 3
            moment = None if last else (draw.randrange(6), draw.uniform(0, two_steps))
            status = attempt(kind, folder, out, moment)
            assert status in (0, KILLED) and out.exists() >= (status == 0)
            if not out.exists():
                kills += 1
                torn |= set(folder.glob(".tmp-*"))  # of saves that it fell into
                reached.add((number, train.latest_step(folder)))
                assert kills < MOST
        *ended, seconds = result(out)
        assert ended == [bits, record]
        two_steps = min(two_steps, 2 * min(seconds) / 5)  # the machine may have more time now
        if last:
            break

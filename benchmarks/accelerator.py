"""LSTM and GRU on a GPU or TPU: microseconds a step of every method, of peers, and of the limits.

    python benchmarks/accelerator.py [--quick] [--anyway] [--check] [--minutes M] [--rounds N]

T = 256, D = H. Every result is held against that of `Scan()` before anything is timed. Contenders
take turns in an order drawn anew each round; a figure is a median over the rounds of a few calls
in a row, until the device is done. Training: the gradient of a loss on all outputs, by weights and
inputs. PyTorch takes part where it has CUDA, and is cuDNN there. float32 is float32 on a GPU (no
TF32); on a TPU products take JAX's default. Without a GPU or TPU it ends with a sentence, or with
`--anyway` runs on the CPU, PyTorch included, which tells whether it works and nothing else.

`--check` fails where a goal is missed on a GPU: `Cudnn` within 5 % of PyTorch's cuDNN LSTM,
`PallasGPU` at most 1.5 times cuDNN at H up to 768, and five times faster than any scan.
"""

import argparse
import concurrent.futures
import functools
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from rich.console import Console

import contenders
import machine
import turns
from contenders import FLAX, REFERENCE, SCANS, TORCH, Program, Task

SIZES = ((8, 128), (32, 256), (64, 512), (32, 768), (64, 1024))  # B, H
STEPS = 256
TURN = 0.01  # seconds of calls, about
ALLOWED = {"float32": 1e-4, "bfloat16": 6e-2}  # of the largest value of an array
PASSES = 3e-2  # the same for float32 where products are passes in bfloat16, as on TPU
CLOSE, NEAR, MOST_NEAR, FASTER = 1.05, 1.5, 768, 5.0  # the goals
TPU_READING = (
    "On a TPU, divide the bundles of `tpu_schedule_cpu.md` (waiting excluded) or its `waiting` "
    "cycles by the clock in MHz: that is the time a step should take, between the two."
)


def options_of(text: str) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--anyway", action="store_true", help="run without a GPU or TPU as well")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    parser.add_argument("--minutes", type=float, default=8, help="begin nothing after these")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder of the table")
    return parser.parse_args()


def device() -> str:
    """Its name, driver and runtime, and the versions of what uses it."""
    first = jax.devices()[0]
    driver = ""
    if first.platform == "gpu":
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            answer = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
            driver = f"driver {answer.splitlines()[0].strip()}, "
        except (OSError, subprocess.CalledProcessError):
            driver = "driver unknown, "
    runtime = " ".join(first.client.platform_version.split())
    versions: Any = machine.describe()["versions"]
    named = (
        f"{name} {versions[name]}"
        for name in ("jax", "jaxlib", "flax", "torch", "numpy")
        if name in versions
    )
    return f"{first.device_kind}, {driver}{runtime}; {', '.join(named)}."


def cases(*, quick: bool) -> Iterator[tuple[str, str, tuple[int, int, int], bool]]:
    """Cell, dtype, T, B and H, and whether to train; what goals are about comes first."""
    steps, sizes = (5, ((3, 8),)) if quick else (STEPS, SIZES)
    kinds = [(name, dtype) for dtype in ALLOWED for name in ("lstm", "gru")]
    for name, dtype in (kinds[0], kinds[-1]) if quick else kinds:
        for size in sizes:
            for training in (False, True):
                yield name, dtype, (steps, *size), training


def built(makers: dict[str, Callable[[], Program]]) -> tuple[dict[str, Program], dict[str, str]]:
    """Programs, compiled side by side, and why others are none."""

    def attempt(make: Callable[[], Program]) -> Program | str:
        try:
            return make()
        except Exception as error:  # a peer may fall, and the others run on
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

    with concurrent.futures.ThreadPoolExecutor(machine.cores()) as pool:
        made = dict(zip(makers, pool.map(attempt, makers.values()), strict=True))
    programs = {name: p for name, p in made.items() if isinstance(p, Program)}
    return programs, {name: p for name, p in made.items() if isinstance(p, str)}


def distance(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The largest difference of what both have, relative to the largest value of its array."""
    shared = got.keys() & wanted.keys()
    assert shared
    return max(
        float(np.abs(got[name] - wanted[name]).max() / np.abs(wanted[name]).max())
        for name in shared
    )


def compared(programs: dict[str, Program], dtype: str) -> dict[str, str]:
    """Who does not compute what `Scan()` does; one of our own ends the run."""
    wanted = programs[REFERENCE].result()
    coarse = jax.default_backend() == "tpu" and dtype == "float32"
    allowed, wrong = PASSES if coarse else ALLOWED[dtype], {}
    for name, program in programs.items():
        off = distance(program.result(), wanted)
        if not off < allowed:
            wrong[name] = f"differs from {REFERENCE} by {off:.1e}"
            if name in contenders.methods():
                raise SystemExit(f"{name} {wrong[name]}, where {allowed:g} is allowed")
    return wrong


def measured(asked: Task, bandwidth: float, options: argparse.Namespace) -> tuple[Any, Any]:
    """Microseconds a step by name, and reasons of those that have none."""
    programs, reasons = built(contenders.contenders(asked, anywhere=options.anyway))
    if REFERENCE not in programs:
        raise SystemExit(f"{REFERENCE}: {reasons[REFERENCE]}")
    reasons |= (wrong := compared(programs, asked.dtype))
    runs = {name: p.seconds for name, p in programs.items() if name not in wrong}
    runs |= contenders.limits(asked, bandwidth)
    turn_of = {}
    for name, seconds in runs.items():
        seconds(1)  # the first is for caches
        calls = 1 if options.quick else max(1, min(100, round(TURN / max(seconds(1), 1e-6))))
        turn_of[name] = functools.partial(lambda f, n: f(n) / n, seconds, calls)
    medians = turns.in_turns(turn_of, options.rounds)
    steps = asked.xs.shape[0]
    return {name: seconds / steps * 1e6 for name, seconds in medians.items()}, reasons


def misses(name: str, dtype: str, hidden: int, micros: dict[str, float]) -> list[str]:
    """The goals that a case misses on a GPU."""
    out = []
    cudnn, kernel, torch = (micros.get(n) for n in ("Cudnn()", "PallasGPU()", TORCH))
    if name == "lstm" and dtype == "float32" and torch is not None:
        if cudnn is None or cudnn > CLOSE * torch:
            out.append(f"Cudnn() {told(cudnn)} us a step, {TORCH} {torch:.2f}")
    best = min((n for n in (cudnn, torch) if n is not None), default=None)
    if kernel is None:
        return [*out, "PallasGPU() was not timed"] if hidden <= MOST_NEAR else out
    if hidden <= MOST_NEAR and best is not None and kernel > NEAR * best:
        out.append(f"PallasGPU() {kernel:.2f} us a step, cuDNN {best:.2f}")
    if hidden <= MOST_NEAR:
        scans = {n: micros[n] for n in (*SCANS, FLAX) if n in micros}
        slow = {n: us for n, us in scans.items() if us < FASTER * kernel}
        out += [f"PallasGPU() {kernel:.2f} us a step, {n} {us:.2f}" for n, us in slow.items()]
    return out


def told(value: float | None) -> str:
    """A figure, or that there is none."""
    return "–" if value is None else f"{value:.2f}"


def run(options: argparse.Namespace, say: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """Rows of the table with remarks behind them, and missed goals."""
    began, bandwidth = (
        time.monotonic(),
        contenders.copy_bandwidth(2**24 if options.quick else 2**28),
    )
    names = [*contenders.methods(), FLAX, TORCH]
    names += [f"limit: {kind}" for kind in ("products in a chain", "products at once", "memory")]
    head = ["cell", "dtype", "B", "H", "mode", *names]
    rows = [f"| {' | '.join(head)} |", "| --- | --- | ---: | ---: | --- |" + " ---: |" * len(names)]
    remarks: dict[str, list[str]] = {}
    missed = []
    for line in rows:
        say(line)
    for name, dtype, sizes, training in cases(quick=options.quick):
        mode = "training" if training else "inference"
        where = f"{name} {dtype} {sizes[1]},{sizes[2]} {mode}"
        if time.monotonic() - began > options.minutes * 60:
            remarks.setdefault(f"not begun after {options.minutes:g} minutes", []).append(where)
            continue
        high = "highest" if jax.default_backend() == "gpu" and dtype == "float32" else None
        jax.config.update("jax_default_matmul_precision", high)
        asked = contenders.task(name, dtype, sizes, training=training)
        micros, reasons = measured(asked, bandwidth, options)
        cells = [name, dtype, *map(str, sizes[1:]), mode, *(told(micros.get(n)) for n in names)]
        rows.append(f"| {' | '.join(cells)} |")
        say(rows[-1])
        for who, why in reasons.items():
            remarks.setdefault(f"{who}: {why}", []).append(where)
        missed += [f"{where}: {text}" for text in misses(name, dtype, sizes[2], micros)]
        jax.clear_caches()
    notes = [f"- {text} ({'; '.join(places)})" for text, places in remarks.items()]
    speed = f"Copying moves {bandwidth / 1e9:,.0f} GB a second, read and written."
    return [*rows, "", speed, TPU_READING, "", *notes], missed


def main() -> None:
    options = options_of(__doc__ or "")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch is on it as well
    backend = jax.default_backend()
    if backend == "cpu" and not options.anyway:
        raise SystemExit("accelerator: JAX finds no GPU or TPU here, so nothing was measured")
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(device())
    body, missed = run(options, console.print)
    on_gpu = backend == "gpu"
    if on_gpu:
        body += ["", "Goals missed:" if missed else "All goals are met.", ""]
        body += [f"- {text}" for text in missed]
    here = machine.describe()
    lines = [
        f"# LSTM and GRU on {jax.devices()[0].device_kind}: microseconds a step",
        "",
        device(),
        f"Commit {here['commit']}, {here['date']}; T = {STEPS}, D = H, median of "
        f"{options.rounds} turns. `benchmarks/accelerator.py` says what each column is.",
        "",
        *body,
    ]
    folder = options.out or turns.HERE / ("output" if options.quick else "results")
    folder.mkdir(parents=True, exist_ok=True)
    kind = re.sub(r"\W+", "_", jax.devices()[0].device_kind.lower())
    path = folder / f"accelerator_{kind}.md"
    path.write_text("\n".join(lines) + "\n")
    console.print(f"wrote {path}")
    if options.check and on_gpu and missed:
        raise SystemExit("\n".join(["goals missed:", *missed]))


if __name__ == "__main__":
    main()

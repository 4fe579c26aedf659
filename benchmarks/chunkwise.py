"""The mLSTM some steps at a time: time and temporary memory, by the size of a chunk.

    python benchmarks/chunkwise.py [--quick] [--rounds N] [--out DIR]

B = 4, D = H = 256, 4 heads, float32. Methods take turns in an order drawn anew each round; a row
is a median over the rounds. `Scan` runs the steps as the equations have them. A few steps are there
for the number from which None picks `Chunkwise`. The memory of `Scan` is stated at any length; it
is timed where its gradient keeps less than 2 GiB.
"""

import argparse
import functools
import pathlib
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import machine
import rnnjax

HERE = pathlib.Path(__file__).parent
METHODS = {
    "Scan": rnnjax.Scan(),
    **{f"Chunkwise({n})": rnnjax.Chunkwise(n) for n in (16, 32, 64, 128, 256)},
}
MOST = 2**31  # bytes of a program that is timed


class Size(NamedTuple):
    """B, H, heads, and the lengths that are run."""

    B: int = 4
    H: int = 256
    heads: int = 4
    lengths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 512, 2048, 4096)


QUICK = Size(2, 8, 2, (8, 64))


def runs_of(cell: rnnjax.Cell, num_steps: int) -> dict[str, Callable[..., Any]]:
    """Outputs of params and inputs, by each method; a chunk is no longer than the sequence,
    but for the first such one."""

    def by_method(method, params, xs):
        return rnnjax.unroll(cell, params, xs, method=method)[1]

    named, longest = {}, False
    for name, method in METHODS.items():
        if isinstance(method, rnnjax.Chunkwise):
            if longest:
                continue
            longest = method.size >= num_steps
        named[name] = functools.partial(by_method, method)
    return named


def compiled(run: Callable[..., Any], mode: str, params: Any, xs: Any) -> Any:
    """The program, ahead of time."""

    def gradient(params, xs):
        loss = lambda params, xs: jnp.square(run(params, xs)).mean()
        return jax.grad(loss, argnums=(0, 1))(params, xs)

    return jax.jit(gradient if mode == "training" else run).lower(params, xs).compile()


def memory_of(program: Any) -> int:
    """Bytes that it takes beside arguments and results, as the compiler states them."""
    memory = program.memory_analysis()
    if memory is None:
        raise SystemExit("this backend's compiler does not state its memory")
    return memory.temp_size_in_bytes


def check(programs: dict[str, Any], arguments: Any) -> None:
    """All compute the same, or nothing is timed."""
    outs = {name: jax.tree.leaves(program(*arguments)) for name, program in programs.items()}
    first, wanted = next(iter(outs.items()))
    for name, got in outs.items():
        for a, b in zip(got, wanted, strict=True):
            error = float(np.abs(np.asarray(a) - b).max() / max(np.abs(b).max(), 1e-30))
            if not error < 1e-3:
                raise SystemExit(f"{name} differs from {first} by {error:.1e}")


def measure(programs: dict[str, Any], arguments: Any, rounds: int) -> dict[str, float]:
    """Median seconds of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name in random.sample(sorted(programs), len(programs)):
            begin = time.perf_counter()
            jax.block_until_ready(programs[name](*arguments))
            if turn:  # the first is for caches
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken) for name, taken in times.items()}


def rows_of(size: Size, rounds: int, say: Callable[[str], None]) -> list[str]:
    """A line of the table for each length, mode and method."""
    cell = rnnjax.mlstm(size.H, num_heads=size.heads)
    params, rows = cell.init(jax.random.key(0), size.H), []
    for num_steps in size.lengths:
        xs = jax.random.normal(jax.random.key(1), (num_steps, size.B, size.H))
        for mode in ("inference", "training"):
            runs = runs_of(cell, num_steps)
            programs = {name: compiled(run, mode, params, xs) for name, run in runs.items()}
            memory = {name: memory_of(program) for name, program in programs.items()}
            timed = {name: p for name, p in programs.items() if memory[name] < MOST}
            check(timed, (params, xs))
            seconds = measure(timed, (params, xs), rounds)
            for name, taken in memory.items():
                ms = f"{seconds[name] * 1e3:.3g}" if name in seconds else "not run"
                mib = f"{taken / 2**20:.3g}" if taken < 2**29 else f"{taken / 2**20:,.0f}"
                rows.append(f"| {num_steps:,} | {mode} | {name} | {ms} | {mib} |")
                say(rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--rounds", type=int, default=7, help="calls of each")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder of the table")
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    folder = options.out or HERE / ("output" if options.quick else "results")
    console = Console(soft_wrap=True, markup=False)
    rows = rows_of(size, options.rounds, console.print)
    here = machine.describe()
    head = [
        f"# The mLSTM by methods, B = {size.B}, D = H = {size.H}, {size.heads} heads",
        "",
        f"{here['processor']}, {here['cores']} cores, commit {here['commit']}, {here['date']};",
        f"jax {jax.__version__}, float32, median of {options.rounds} calls in turns.",
        "Memory: what a program takes beside arguments and results.",
        "",
        "| T | mode | method | ms | MiB |",
        "| ---: | --- | --- | ---: | ---: |",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"chunkwise_{jax.default_backend()}.md"
    path.write_text("\n".join([*head, *rows]) + "\n")
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()

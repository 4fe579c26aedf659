"""The mLSTM some steps at a time: time and temporary memory, by the size of a chunk.

    python benchmarks/chunkwise.py [--quick] [--rounds N] [--out DIR]

B = 4, D = H = 256, 4 heads, float32. Methods take turns in an order drawn anew each round; a row
is a median over the rounds. `Scan` runs the steps as the equations have them. A few steps are there
for the number from which None picks `Chunkwise`. The memory of `Scan` is stated at any length; it
is timed where its gradient keeps less than 2 GiB.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import rnnjax
import turns

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
    """Outputs of params and inputs, by each method; sizes up to the first that holds all steps."""

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


def rows_of(size: Size, rounds: int, say: Callable[[str], None]) -> list[str]:
    """A line of the table for each length, mode and method."""
    cell = rnnjax.mlstm(size.H, num_heads=size.heads)
    params, rows = cell.init(jax.random.key(0), size.H), []
    for num_steps in size.lengths:
        xs = jax.random.normal(jax.random.key(1), (num_steps, size.B, size.H))
        for mode in ("inference", "training"):
            runs = runs_of(cell, num_steps)
            programs = {name: turns.compiled(run, mode, params, xs) for name, run in runs.items()}
            memory = {name: turns.memory_of(program) for name, program in programs.items()}
            timed = {name: p for name, p in programs.items() if memory[name] < MOST}
            turns.check(timed, (params, xs), 1e-3)
            seconds = turns.measure(timed, (params, xs), rounds)
            for name, taken in memory.items():
                ms = f"{seconds[name] * 1e3:.3g}" if name in seconds else "not run"
                mib = f"{taken / 2**20:.3g}" if taken < 2**29 else f"{taken / 2**20:,.0f}"
                rows.append(f"| {num_steps:,} | {mode} | {name} | {ms} | {mib} |")
                say(rows[-1])
    return rows


def main() -> None:
    options = turns.options_of(__doc__)
    size = QUICK if options.quick else Size()
    head = [
        f"The mLSTM by methods, B = {size.B}, D = H = {size.H}, {size.heads} heads",
        "Memory: what a program takes beside arguments and results.",
        "| T | mode | method | ms | MiB |",
        "| ---: | --- | --- | ---: | ---: |",
    ]
    turns.write(options, "chunkwise", head, lambda say: rows_of(size, options.rounds, say))


if __name__ == "__main__":
    main()

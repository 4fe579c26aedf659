"""Linear cells over a long sequence: time and temporary memory of every method that runs them.

    python benchmarks/linear.py [--quick] [--rounds N] [--out DIR]

T = 16,384, B = 4, H = 256 in float32. Methods take turns in an order drawn anew each round; a
row is a median over the rounds. `jax.lax.associative_scan` is what `Associative()` calls, with the
gradient that JAX derives itself.
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
CELLS = {"min_gru": rnnjax.min_gru, "min_lstm": rnnjax.min_lstm, "rg_lru": rnnjax.rg_lru}
METHODS = {
    "default": None,
    "Scan": rnnjax.Scan(),
    "Associative": rnnjax.Associative(),
    "Associative(64)": rnnjax.Associative(64),
}
PEER = "lax.associative_scan"


class Size(NamedTuple):
    """T, B, H."""

    T: int = 16_384
    B: int = 4
    H: int = 256


def runs_of(cell: rnnjax.Cell) -> dict[str, Callable[..., Any]]:
    """Outputs of params and inputs, by each method and by the peer."""

    def by_method(method, params, xs):
        return rnnjax.unroll(cell, params, xs, method=method)[1]

    def by_peer(params, xs):
        zs = cell.project(params, xs)
        pair = cell.form.coefficients(params, zs, jnp.float32)
        combine = lambda p, q: (q[0] * p[0], q[0] * p[1] + q[1])
        return cell.form.output(params, jax.lax.associative_scan(combine, pair)[1], zs)

    named = {name: functools.partial(by_method, method) for name, method in METHODS.items()}
    return named | {PEER: by_peer}


def compiled(run: Callable[..., Any], mode: str, params: Any, xs: Any) -> Any:
    """The program, ahead of time."""

    def gradient(params, xs):
        loss = lambda params, xs: jnp.square(run(params, xs)).mean()
        return jax.grad(loss, argnums=(0, 1))(params, xs)

    return jax.jit(gradient if mode == "training" else run).lower(params, xs).compile()


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


def check(programs: dict[str, Any], arguments: Any) -> None:
    """All compute the same, or nothing is timed."""
    wanted = jax.tree.leaves(programs["Scan"](*arguments))
    for name, program in programs.items():
        for a, b in zip(jax.tree.leaves(program(*arguments)), wanted, strict=True):
            error = float(np.abs(np.asarray(a) - b).max() / max(np.abs(b).max(), 1e-30))
            if not error < 1e-4:
                raise SystemExit(f"{name} differs from Scan by {error:.1e}")


def rows_of(size: Size, rounds: int, say: Callable[[str], None]) -> list[str]:
    """A line of the table for each cell, mode and method."""
    rows = []
    for cell_name, factory in CELLS.items():
        cell = factory(size.H)
        params = cell.init(jax.random.key(0), size.H)
        xs = jax.random.normal(jax.random.key(1), (size.T, size.B, size.H))
        outputs = size.T * size.B * size.H * 4
        for mode in ("inference", "training"):
            programs = {n: compiled(r, mode, params, xs) for n, r in runs_of(cell).items()}
            check(programs, (params, xs))
            seconds = measure(programs, (params, xs), rounds)
            for name, program in programs.items():
                memory = program.memory_analysis().temp_size_in_bytes / outputs
                ratio = seconds[name] / seconds["default"]
                ms = f"{seconds[name] * 1e3:.3g}"
                rows.append(
                    f"| {cell_name} | {mode} | {name} | {ms} | {ratio:.2f} | {memory:.2f} |"
                )
                say(rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--rounds", type=int, default=7, help="calls of each")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder of the table")
    options = parser.parse_args()
    size = Size(64, 2, 8) if options.quick else Size()
    folder = options.out or HERE / ("output" if options.quick else "results")
    console = Console(soft_wrap=True, markup=False)
    rows = rows_of(size, options.rounds, console.print)
    here = machine.describe()
    head = [
        f"# Linear cells, T = {size.T:,}, B = {size.B}, D = H = {size.H}",
        "",
        f"{here['processor']}, {here['cores']} cores, commit {here['commit']}, {here['date']};",
        f"jax {jax.__version__}, float32, median of {options.rounds} calls in turns.",
        "Memory: what a program takes beside arguments and results, over the size of the outputs.",
        "",
        "| cell | mode | method | ms | times the default | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"linear_{jax.default_backend()}.md"
    path.write_text("\n".join([*head, *rows]) + "\n")
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""One task by several methods: compiled ahead of time, compared, timed in turns, and a table."""

import argparse
import functools
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import machine

HERE = pathlib.Path(__file__).parent


def options_of(text: str | None, *, timed: bool = True) -> argparse.Namespace:
    """The command line of a script with this docstring; without rounds where nothing is timed."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    if timed:
        parser.add_argument("--rounds", type=int, default=7, help="calls of each")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder of the table")
    return parser.parse_args()


def compiled(run: Callable[..., Any], mode: str, params: Any, xs: Any) -> Any:
    """The program of outputs, or with `training` of a gradient of them, ahead of time."""

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


def check(programs: dict[str, Any], arguments: Any, error: float) -> None:
    """All compute the same as the first, or nothing is timed."""
    outs = {name: jax.tree.leaves(program(*arguments)) for name, program in programs.items()}
    first, wanted = next(iter(outs.items()))
    for name, got in outs.items():
        for a, b in zip(got, wanted, strict=True):
            off = float(np.abs(np.asarray(a) - b).max() / max(np.abs(b).max(), 1e-30))
            if not off < error:
                raise SystemExit(f"{name} differs from {first} by {off:.1e}")


def measure(programs: dict[str, Any], arguments: Any, rounds: int) -> dict[str, float]:
    """Median seconds of each."""

    def timed(program: Any) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        return time.perf_counter() - begin

    runs = {name: functools.partial(timed, program) for name, program in programs.items()}
    return in_turns(runs, rounds)


def in_turns(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of what each returns, in an order that is drawn anew each round."""
    values: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in random.sample(sorted(runs), len(runs)):
            value = runs[name]()
            if turn:  # the first is for caches
                values[name].append(value)
    return {name: statistics.median(taken) for name, taken in values.items()}


def told(
    columns: list[str], parts: Iterable[Callable[[], list[str]]]
) -> Callable[[Callable[[str], None]], list[str]]:
    """Rows for `write`: each part makes some of them, and they are printed as they come."""

    def rows(say: Callable[[str], None]) -> list[str]:
        lines: list[str] = []
        for line in columns:
            say(line)
        for part in parts:
            made = part()
            lines += made
            for line in made:
                say(line)
        return lines

    return rows


def write(
    options: argparse.Namespace,
    name: str,
    head: list[str],
    rows_of: Callable[[Callable[[str], None]], list[str]],
    *,
    dtype: str = "float32",
) -> None:
    """Print the rows as they come, and write them under `head`: a title, a line, the columns."""
    console = Console(soft_wrap=True, markup=False)
    rows, here, (title, line, *columns) = rows_of(console.print), machine.describe(), head
    timed = f", median of {options.rounds} calls in turns" if hasattr(options, "rounds") else ""
    lines = [
        f"# {title}",
        "",
        f"{here['processor']}, {here['cores']} cores, commit {here['commit']}, {here['date']};",
        f"jax {jax.__version__}, {dtype}{timed}.",
        line,
        "",
        *columns,
        *rows,
    ]
    folder = options.out or HERE / ("output" if options.quick else "results")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{jax.default_backend()}.md"
    path.write_text("\n".join(lines) + "\n")
    console.print(f"wrote {path}")

"""Linear cells over a long sequence: time and temporary memory of every method that runs them.

    python benchmarks/linear.py [--quick] [--rounds N] [--out DIR]

T = 16,384, B = 4, H = 256 in float32. Methods take turns in an order drawn anew each round; a
row is a median over the rounds. `jax.lax.associative_scan` is what `Associative()` calls, with the
gradient that JAX derives itself.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
import turns

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


def rows_of(size: Size, rounds: int, say: Callable[[str], None]) -> list[str]:
    """A line of the table for each cell, mode and method."""
    rows = []
    for cell_name, factory in CELLS.items():
        cell = factory(size.H)
        params = cell.init(jax.random.key(0), size.H)
        xs = jax.random.normal(jax.random.key(1), (size.T, size.B, size.H))
        outputs = size.T * size.B * size.H * 4
        for mode in ("inference", "training"):
            programs = {n: turns.compiled(r, mode, params, xs) for n, r in runs_of(cell).items()}
            turns.check(programs, (params, xs), 1e-4)
            seconds = turns.measure(programs, (params, xs), rounds)
            for name, program in programs.items():
                memory = turns.memory_of(program) / outputs
                ratio = seconds[name] / seconds["default"]
                ms = f"{seconds[name] * 1e3:.3g}"
                rows.append(
                    f"| {cell_name} | {mode} | {name} | {ms} | {ratio:.2f} | {memory:.2f} |"
                )
                say(rows[-1])
    return rows


def main() -> None:
    options = turns.options_of(__doc__)
    size = Size(64, 2, 8) if options.quick else Size()
    head = [
        f"Linear cells, T = {size.T:,}, B = {size.B}, D = H = {size.H}",
        "Memory: what a program takes beside arguments and results, over the size of the outputs.",
        "| cell | mode | method | ms | times the default | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    turns.write(options, "linear", head, lambda say: rows_of(size, options.rounds, say))


if __name__ == "__main__":
    main()

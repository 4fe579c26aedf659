"""Temporary memory of a gradient over a long sequence, by method, as the compiler states it.

    python benchmarks/memory.py [--quick] [--out DIR]

Programs are compiled and not run, so nothing is timed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

import rnnjax
import turns

B, D, H = 8, 16, 64
METHODS = (
    rnnjax.Scan(),
    rnnjax.Native(),
    rnnjax.Fused(),
    rnnjax.Fused(keep_gates=False),
    rnnjax.Chunked(100),
    rnnjax.Fused(segment=100),
    rnnjax.Chunked(250),
    rnnjax.Fused(segment=250),
)
COLUMNS = [
    "| method | loss on the final carry, MiB | loss on all outputs, MiB |",
    "| --- | ---: | ---: |",
]


def temporary_mib(method: rnnjax.Method, num_steps: int, with_outputs: bool) -> float:
    cell = rnnjax.lstm(H)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    xs = jax.ShapeDtypeStruct((num_steps, B, D), jnp.float32)

    def loss(params, xs):
        carry, ys = rnnjax.unroll(cell, params, xs, method=method)
        return (ys**2).sum() if with_outputs else carry.h.sum()

    return turns.memory_of(jax.jit(jax.grad(loss)).lower(params, xs).compile()) / 2**20


def row_of(method: rnnjax.Method, num_steps: int) -> Callable[[], list[str]]:
    """What makes a line of the table."""

    def row() -> list[str]:
        try:
            last, every = (temporary_mib(method, num_steps, outputs) for outputs in (False, True))
        except ValueError as reason:  # Native, where it was not built
            return [f"| {method} | {reason} | |"]
        return [f"| {method} | {last:,.1f} | {every:,.1f} |"]

    return row


def main() -> None:
    options = turns.options_of(__doc__, timed=False)
    num_steps = 1_000 if options.quick else 100_000
    outputs = num_steps * B * H * 4 / 2**20
    head = [
        f"Memory of a gradient, T = {num_steps:,}, B = {B}, D = {D}, H = {H}",
        "The gradient of an LSTM by its weights; memory is what a program takes beside arguments "
        f"and results. The outputs themselves are {outputs:,.1f} MiB, and so are their cotangents.",
        *COLUMNS,
    ]
    rows = turns.told(COLUMNS, (row_of(method, num_steps) for method in METHODS))
    turns.write(options, "memory", head, rows)


if __name__ == "__main__":
    main()

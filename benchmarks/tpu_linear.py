"""What a step of the linear recurrence costs on TPUs that are not there: our kernel, XLA's scan.

    python benchmarks/tpu_linear.py [--quick] [--out DIR]

Programs are compiled for a generation of TPU on this machine. `bundles` are those of the kernel's
final schedule for one step of all tiles, one a cycle where nothing waits; `cycles` are the
compiler's estimates of what stands in the loop of a scan. `back` is the recurrence read from its
end, which a gradient runs. `bytes` are what any way of it moves, since a step reads a and b and
writes h. Over what the chip's memory brings in a cycle, they are the least cycles of a step: the
floor, unless all fits on the chip. The schedule does not know it; where it is above the bundles,
the kernel waits for memory alone. Nothing was run: waiting, the clock and other users are not in
these figures. T = 1,024.
"""

import functools
import importlib.metadata
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import topology
import turns
from rnnjax.methods.linear.solvers import one_by_one
from rnnjax.methods.tpu import linear

SIZES = ((1, 1024), (8, 128), (32, 256), (64, 512), (64, 1024))  # B, H
DTYPES = ("float32", "bfloat16", "complex64")
STEPS = 1024  # a multiple of those that stand in one body, which are then the only loop

COLUMNS = [
    "| TPU | dtype | B | H | scan, cycles: forward | back | kernel, bundles: forward | back "
    "| kernel over scan: forward | back | bytes |",
    "| --- | --- |" + " ---: |" * 9,
]


def row(size: tuple[int, int], dtype: str, generation: str) -> str:
    """A line of the table."""
    shape = (STEPS, *size)
    device = topology.device_of(generation)
    x, h = (jax.ShapeDtypeStruct(s, jnp.dtype(dtype)) for s in (shape, shape[1:]))
    arguments = topology.like((x, x, h), device)

    def compiled(solver: Callable[..., Any], reverse: bool) -> tuple[Any, Any]:
        return topology.compiled(functools.partial(solver, reverse=reverse), *arguments)

    cycles, bundles = [], []
    for reverse in (False, True):
        (scanned,) = topology.cycles_a_step(compiled(one_by_one, reverse)[0])
        (schedule,) = compiled(linear.by_kernel, reverse)[1]
        cycles.append(scanned)
        bundles.append(schedule.step * tiles(shape, dtype) / linear.TOGETHER)
    cells = [generation, dtype, *size, *(f"{n:,}" for n in cycles), *(f"{n:,.1f}" for n in bundles)]
    cells += [f"{ours / theirs:.4f}" for ours, theirs in zip(bundles, cycles, strict=True)]
    cells += [f"{3 * math.prod(size) * jnp.dtype(dtype).itemsize:,}"]
    return f"| {' | '.join(map(str, cells))} |"


def tiles(shape: tuple[int, ...], dtype: str) -> int:
    """How many tiles a step has."""
    parts = 2 if dtype == "complex64" else 1
    real = jnp.dtype("float32" if parts == 2 else dtype)
    rows, features, _ = linear.tiles_of(linear.folded(shape), real, parts, False).grid
    return rows * features


def main() -> None:
    options = turns.options_of(__doc__, timed=False)
    generations = ("v5e",) if options.quick else ("v5e", "v6e")
    sizes = SIZES[:1] if options.quick else SIZES
    cases = [(size, dtype, name) for name in generations for dtype in DTYPES for size in sizes]
    parts = [functools.partial(lambda *case: [row(*case)], *case) for case in cases]
    libtpu = importlib.metadata.version("libtpu")
    head = [
        "Cycles and bundles a step of the linear recurrence on TPUs, as scheduled by the compiler",
        f"libtpu {libtpu}; nothing was run. `benchmarks/tpu_linear.py` says what each column is.",
        *COLUMNS,
    ]
    dtypes = "float32, bfloat16 and complex64"
    turns.write(options, "tpu_linear", head, turns.told(COLUMNS, parts), dtype=dtypes)


if __name__ == "__main__":
    main()

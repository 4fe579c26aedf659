"""What a step costs on TPUs that are not there: schedules of our kernels beside XLA's scan.

    python benchmarks/tpu_schedule.py [--quick] [--out DIR]

Programs are compiled for a generation of TPU on this machine. Of our kernels, `bundles` are those
of the final schedule's loop over time, a step of it, one a cycle where nothing waits; `forward`
keeps what a gradient needs. `waiting` are its cycles where a bundle stands until the matrix unit
has what it asks for: results come 131 cycles after their operands on v5e and 192 on v6e, by the
compiler's own critical path. Of the scan, `cycles` are the compiler's estimates of what stands in
its loop. `floor` is what the matrix units alone need: passes of weights through each of them,
times the rows, of which one a cycle is multiplied on v5e and two on v6e; or, if that is more, the
cycles in which a pass's weights are filled in, four rows each. Nothing was run: waiting for memory,
the clock and other users are not in these figures. T = 16, D = 128.
"""

import functools
import importlib.metadata
from typing import Any

import jax
import jax.numpy as jnp

import rnnjax
import topology
import turns
from rnnjax.methods.tpu.kernels import unrolled

SIZES = ((8, 128), (32, 256), (64, 512), (64, 1024))  # B, H
DTYPES = ("float32", "bfloat16")
STEPS, FEATURES = 16, 128


def gradient(cell: rnnjax.Cell, method: rnnjax.Method) -> Any:
    """A training step's forward and backward pass."""

    def loss(params: Any, xs: Any) -> Any:
        carry, ys = rnnjax.unroll(cell, params, xs, method=method)
        return ys.astype(jnp.float32).sum() + carry.h.sum()

    return jax.grad(loss, argnums=(0, 1))


def forward(cell: rnnjax.Cell, method: rnnjax.Method) -> Any:
    """Inference."""
    return functools.partial(rnnjax.unroll, cell, method=method)


def row(name: str, size: tuple[int, int], dtype: str, generation: str) -> str:
    """A line of the table."""
    batch, hidden = size
    cell = getattr(rnnjax, name)(hidden, dtype=jnp.dtype(dtype))
    device = topology.device_of(generation)
    init = functools.partial(cell.init, in_features=FEATURES)
    params = topology.like(jax.eval_shape(init, jax.random.key(0)), device)
    xs = topology.like(jax.ShapeDtypeStruct((STEPS, batch, FEATURES), dtype), device)
    chip = topology.GENERATIONS[generation]
    inferred, _ = topology.compiled(chip, forward(cell, rnnjax.Scan()), params, xs)
    trained, _ = topology.compiled(chip, gradient(cell, rnnjax.Scan()), params, xs)
    (inferring,), training = map(topology.cycles_a_step, (inferred, trained))
    scan = (inferring, *training)
    _, infer = topology.compiled(chip, forward(cell, rnnjax.PallasTPU()), params, xs)
    _, kernels = topology.compiled(chip, gradient(cell, rnnjax.PallasTPU()), params, xs)
    by_name = {kernel.name: kernel for kernel in kernels}
    ahead, back = (by_name[f"{way}_kernel"] for way in ("forward", "backward"))
    loops = infer[0], ahead, back
    steps, waiting = (
        [round(n / unrolled(hidden)) for n in part]
        for part in zip(*map(lengths, loops), strict=True)
    )
    floor = round(chip.floor(batch, *params.w_hh.shape))
    cells = [generation, name, dtype, batch, hidden, *(f"{n:,}" for n in (*scan, *steps))]
    cells += [f"{ours / theirs:.3f}" for ours, theirs in zip(steps, scan, strict=True)]
    cells += [f"{floor:,}", *(f"{n / floor:.2f}" for n in steps), *(f"{n:,}" for n in waiting)]
    return f"| {' | '.join(map(str, cells))} |"


def lengths(schedule: topology.Schedule) -> tuple[int, int]:
    """Of its loop: bundles, and cycles with waiting."""
    return schedule.step, schedule.cycles


HEAD = [
    "Cycles and bundles a step on TPUs, as scheduled by the compiler",
    "libtpu {libtpu}; nothing was run. `benchmarks/tpu_schedule.py` says what each column is.",
    "| TPU | cell | dtype | B | H | scan, cycles: infer | forward | backward "
    "| kernel, bundles: infer | forward | backward | kernel over scan: infer | forward | backward "
    "| floor | kernel over floor: infer | forward | backward "
    "| kernel, waiting: infer | forward | backward |",
    "| --- | --- | --- |" + " ---: |" * 18,
]


def main() -> None:
    options = turns.options_of(__doc__, timed=False)
    generations = ("v5e",) if options.quick else ("v5e", "v6e")
    sizes = SIZES[:1] if options.quick else SIZES
    cases = [
        (name, size, dtype, generation)
        for generation in generations
        for name in ("lstm", "gru")
        for dtype in DTYPES
        for size in sizes
    ]
    parts = [functools.partial(lambda *case: [row(*case)], *case) for case in cases]
    title, line, *columns = HEAD
    line = line.format(libtpu=importlib.metadata.version("libtpu"))
    turns.write(
        options,
        "tpu_schedule",
        [title, line, *columns],
        turns.told(columns, parts),
        dtype="float32 and bfloat16",
    )


if __name__ == "__main__":
    main()

"""Weights in bfloat16 and int8: how large the file is, how fast a step and a run, how far off.

    python benchmarks/smaller.py [--quick] [--rounds N] [--out DIR]

A step is one of `stepper` on one row, a run is `apply` on 32 rows of 100 steps, compiled. Outputs
are first held against the same network with its weights multiplied out; then the three take turns
in an order drawn anew each round. Weights are as they are drawn, so errors are of no trained
network; `examples/to_production.py` says what a trained one loses.
"""

import pathlib
import statistics
import tempfile
import time
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
import turns

DTYPES = ("float32", "bfloat16", "int8")
D, STEPS, BATCH, CALLS = 64, 100, 32, 20
COLUMNS = [
    "| network | weights | bytes of the file | of float32's | a step, us | a run, ms | off by |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
]


class Network(NamedTuple):
    """A layer and its params."""

    layer: Any
    params: Any


def networks_of(cell: str, hidden: int) -> dict[str, Network]:
    """The same network with each kind of weights."""
    layer = rnnjax.stack(getattr(rnnjax, cell)(hidden))
    params = layer.init(jax.random.key(0), D)
    whole = {"float32": Network(layer, params)}
    return whole | {d: Network(*rnnjax.quantize(layer, params, d)) for d in DTYPES[1:]}


def bytes_of(network: Network) -> int:
    """How large its file is."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.safetensors"
        rnnjax.save(path, *network)
        return path.stat().st_size


def steps_of(network: Network, xs: np.ndarray) -> Any:
    """Seconds of a step, one after the other."""
    step = rnnjax.stepper(*network)
    start = step.init_carry()

    def timed() -> float:
        taken = []
        for _ in range(CALLS):
            carry, begin = start, time.perf_counter()
            for x in xs:
                carry, _ = step(carry, x)
            taken.append((time.perf_counter() - begin) / len(xs))
        return statistics.median(taken)

    return timed


def run_of(program: Any, params: Any, xs: np.ndarray) -> Any:
    """Seconds of a run of whole sequences."""

    def timed() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(program(params, xs))
        return time.perf_counter() - begin

    return timed


def outputs_of(network: Network, xs: np.ndarray) -> Any:
    """A compiled function of params and inputs."""
    apply = network.layer.apply
    return turns.compiled(lambda params, xs: apply(params, xs)[1], "inference", network.params, xs)


def check(name: str, network: Network, whole: Network, xs: np.ndarray) -> np.ndarray:
    """The outputs, if steps and runs agree with weights that are multiplied out."""
    meant = network.params if name == "float32" else rnnjax.dequantize(network.params)
    wanted = whole.layer.apply(meant, xs)[1]
    ys = np.asarray(network.layer.apply(network.params, xs)[1])
    step = rnnjax.stepper(*network)
    for got in (ys, step.chunk(step.init_carry((BATCH,)), xs)[1]):
        if not np.abs(got - wanted).max() < 1e-5:
            raise SystemExit(f"{name} is not what its weights mean")
    return ys


def rows_of(cell: str, hidden: int, rounds: int) -> list[str]:
    """Lines of the table."""
    networks = networks_of(cell, hidden)
    whole = networks["float32"]
    xs = np.random.default_rng(1).normal(size=(STEPS, BATCH, D)).astype(np.float32)
    ys = {name: check(name, network, whole, xs) for name, network in networks.items()}
    one_row = np.ascontiguousarray(xs[:, 0])
    steps = turns.in_turns({n: steps_of(net, one_row) for n, net in networks.items()}, rounds)
    programs = {n: run_of(outputs_of(net, xs), net.params, xs) for n, net in networks.items()}
    runs = turns.in_turns(programs, rounds)
    sizes = {name: bytes_of(network) for name, network in networks.items()}
    lines = []
    for name, size in sizes.items():
        off = np.abs(ys[name] - ys["float32"]).max()
        cells = (f"{size:,}", f"{size / sizes['float32']:.2f}", f"{1e6 * steps[name]:.1f}")
        cells += (f"{1e3 * runs[name]:.2f}", f"{off:.0e}" if off else "0")
        lines.append(f"| {cell.upper()}, H = {hidden} | {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    options = turns.options_of(__doc__)
    cases = [(cell, hidden) for hidden in (128, 512, 1024) for cell in ("lstm", "gru")]
    if options.quick:
        cases = [("lstm", 16)]

    rows = turns.told(COLUMNS, (lambda c=c: rows_of(*c, options.rounds) for c in cases))
    line = f"A step: B = 1; a run: B = {BATCH}, T = {STEPS}; D = {D}. Off by: the largest "
    line += "difference of an output, within -1..1, from float32's."
    turns.write(options, "smaller", ["Smaller weights", line, *COLUMNS], rows)


if __name__ == "__main__":
    main()

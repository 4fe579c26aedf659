"""TPUs that are not there: programs compiled for them, and the compiler's own schedules.

Needs libtpu (`pip install -e .[tpu]`), which reads its options when it first compiles: import this
before that. Bundles are instructions of the final schedule, one a cycle without waiting.
"""

import collections
import os
import pathlib
import re
import tempfile
from typing import Any, NamedTuple

DUMP = pathlib.Path(tempfile.mkdtemp(prefix="rnnjax_schedules_"))
os.environ |= {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing is run, so several may compile
    "LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={DUMP} --xla_jf_dump_llo_text=true",
}

import jax  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import SingleDeviceSharding  # noqa: E402

jax.config.update("jax_platforms", "cpu")  # there is no TPU to be looked for


class Generation(NamedTuple):
    """A topology that libtpu knows, and the matrix units of a core as its compiler counts them.

    Attributes:
        topology: its name.
        units: how many.
        width: rows and columns of weights that one holds.
        rows: that a unit multiplies in a cycle.
        latency: cycles from a product's last operands to its first results.
    """

    topology: str
    units: int
    width: int
    rows: int
    latency: int

    def floor(self, batch: int, rows: int, columns: int) -> float:
        """Cycles in which the units are busy with `(batch, rows) @ (rows, columns)`.

        Weights are filled in while those before them are multiplied with.
        """
        passes = -(-rows // self.width) * -(-columns // self.width) / self.units
        return passes * max(batch / self.rows, min(rows, self.width) / FILLED)


FILLED = 4  # rows of weights a cycle
# From the compiler's own critical paths (`*-critical-path.txt` in its dump), and the same in the
# schedules of XLA's products of matrices: (16, 1024) @ (1024, 4096) and (1024, 256) @ (256, 1024).
GENERATIONS = {
    "v5e": Generation("v5e:2x2", 4, 128, 1, 131),
    "v6e": Generation("v6e:2x2", 2, 256, 2, 192),
}

BUNDLE = re.compile(r"\s*(0x[0-9a-f]+|0)\s+(?:[A-Z]{2}:)?\s*:?\s*(>*)\s*\{")
MATRIX_UNIT = re.compile(r"(vmatpush|vmatmul|vpop)(\S*)mxu(\d)")


class Schedule(NamedTuple):
    """Of one kernel.

    Attributes:
        name: of the kernel.
        total: bundles of all of it, each loop counted once.
        step: bundles of its innermost loop, which is a step in time.
        cycles: of that loop, where results of the matrix units are waited for.
    """

    name: str
    total: int
    step: int
    cycles: int


def device_of(generation: str) -> Any:
    """A device of a generation, to compile for."""
    name = GENERATIONS[generation].topology
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=name, chips_per_host_bounds=(2, 2, 1)
    )
    return topology.devices[0]


def like(tree: Any, device: Any) -> Any:
    """Abstract arrays on a device."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def compiled(generation: Generation, function: Any, *arguments: Any) -> tuple[Any, list[Schedule]]:
    """A program, and the schedules of its Pallas kernels."""
    before = set(DUMP.iterdir())
    program = jax.jit(function).lower(*arguments).compile()
    new = sorted(set(DUMP.iterdir()) - before)
    files = [f for f in new if f.name.endswith("-final_bundles.txt") and "kernel" in f.name]
    schedules = [schedule_of(f, generation) for f in files if "analysis" not in f.name]
    for file in new:  # some are large
        file.unlink()
    return program, schedules


def schedule_of(file: pathlib.Path, generation: Generation) -> Schedule:
    """Read a final schedule; its deepest loop is that over steps."""
    bundles = []
    for line in file.read_text().splitlines():
        if match := BUNDLE.match(line):
            bundles.append((len(match[2]), MATRIX_UNIT.findall(line)))
    depth = max(depth for depth, _ in bundles)
    step = [work for at, work in bundles if at == depth]
    name = re.sub(r"^\d+-|\.\d+-\d+-final_bundles.txt$", "", file.name)
    return Schedule(name, len(bundles), len(step), waiting(step, generation))


def waiting(step: list[list[tuple[str, str, str]]], generation: Generation) -> int:
    """Cycles of a loop's body, where a bundle waits for what it pops or pushes; in steady state."""
    kinds = [kind for work in step for kind, _, _ in work]
    pops = kinds.count("vpop") // max(1, kinds.count("vmatmul"))
    now, free, filled = 0.0, dict[str, float](), dict[str, float]()
    results = dict[str, collections.deque[float]]()
    begins = []
    for _ in range(3):  # the second one begins as all do
        begins.append(now)
        for work in step:
            now += 1
            for kind, _, unit in work:
                if kind == "vmatpush":
                    now = max(now, filled.get(unit, 0))
                if kind == "vpop" and results.get(unit):
                    now = max(now, results[unit].popleft())
            for kind, dtype, unit in work:
                rows = 16 if "bf16" in dtype else 8  # of a register
                if kind == "vmatpush":
                    filled[unit] = now + rows / FILLED
                if kind == "vmatmul":
                    begin = max(now, free.get(unit, 0))
                    free[unit] = begin + rows / generation.rows
                    first, took = begin + generation.latency, free[unit] - begin
                    ready = (first + n * took / pops for n in range(pops))
                    results.setdefault(unit, collections.deque()).extend(ready)
    return round(begins[2] - begins[1])


def cycles_a_step(program: Any) -> list[int]:
    """For each loop of a program, in order, the compiler's estimates of its body, added up."""
    text = program.as_text()
    found = dict.fromkeys(re.findall(r"body=%?([\w.-]+)", text), 0)
    for computation in re.split(r"\n(?=%?[\w.-]+ \(|ENTRY)", text):
        name = re.match(r"%?([\w.-]+) \(", computation)
        if name and name[1] in found:
            cycles = re.findall(r'"estimated_cycles":"(\d+)"', computation)
            found[name[1]] = sum(map(int, cycles))
    return list(found.values())

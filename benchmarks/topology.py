"""TPUs that are not there: programs compiled for them, and the compiler's own schedules.

Needs libtpu (`pip install -e .[tpu]`), which reads its options when it first compiles: import this
before that. Bundles are instructions of the final schedule, one a cycle without waiting.
"""

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
    """A topology that libtpu knows, and the matrix units of a core: how many, and how wide."""

    topology: str
    units: int
    width: int

    def passes(self, rows: int, columns: int) -> float:
        """How often each unit is filled with weights, for a matrix of this shape."""
        return -(-rows // self.width) * -(-columns // self.width) / self.units


GENERATIONS = {
    "v5e": Generation("v5e:2x2", 4, 128),
    "v5p": Generation("v5p:2x2x1", 4, 128),
    "v6e": Generation("v6e:2x2", 2, 256),
    "tpu7x": Generation("tpu7x:2x2x1", 2, 256),
}

BUNDLE = re.compile(r"\s*(0x[0-9a-f]+|0)\s+(?:[A-Z]{2}:)?\s*:?\s*(>*)\s*\{")
MATRIX_UNIT = re.compile(r"(vmatpush|vmatmul)\S*mxu(\d)")


class Schedule(NamedTuple):
    """Of one kernel.

    Attributes:
        name: of the kernel.
        total: bundles of all of it, each loop counted once.
        step: bundles of its innermost loop, which is a step in time.
        pushing: bundles of it in which the busiest matrix unit takes weights.
    """

    name: str
    total: int
    step: int
    pushing: int


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


def compiled(function: Any, *arguments: Any) -> tuple[Any, list[Schedule]]:
    """A program, and the schedules of its Pallas kernels."""
    before = set(DUMP.iterdir())
    program = jax.jit(function).lower(*arguments).compile()
    new = sorted(set(DUMP.iterdir()) - before)
    files = [f for f in new if f.name.endswith("-final_bundles.txt") and "kernel" in f.name]
    schedules = [schedule_of(f) for f in files if "analysis" not in f.name]
    for file in new:  # some are large
        file.unlink()
    return program, schedules


def schedule_of(file: pathlib.Path) -> Schedule:
    """Read a final schedule; its deepest loop is that over steps."""
    bundles = []
    for line in file.read_text().splitlines():
        if match := BUNDLE.match(line):
            bundles.append((len(match[2]), MATRIX_UNIT.findall(line)))
    depth = max(depth for depth, _ in bundles)
    step = [work for at, work in bundles if at == depth]
    name = re.sub(r"^\d+-|\.\d+-\d+-final_bundles.txt$", "", file.name)
    return Schedule(name, len(bundles), len(step), pushing(step))


def pushing(step: list[list[tuple[str, str]]]) -> int:
    """Bundles in which the busiest matrix unit takes weights, as near together as any two are."""
    places: dict[str, list[int]] = {}
    for place, work in enumerate(step):
        for kind, unit in work:
            if kind == "vmatpush":
                places.setdefault(unit, []).append(place)
    apart = [b - a for at in places.values() for a, b in zip(at, at[1:], strict=False) if b > a]
    return max(map(len, places.values()), default=0) * min(apart, default=1)


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

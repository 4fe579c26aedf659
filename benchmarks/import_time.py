"""How much longer `import rnnjax` takes than `import jax`: at most a tenth is promised.

    python benchmarks/import_time.py [runs]

Every run is a fresh interpreter, the two kinds take turns, and the clock runs inside the
interpreter, around the import statements.
"""

import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
TARGET = 1.10
KINDS = ("import jax", "import jax, rnnjax")
CLOCKED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    command = [sys.executable, "-c", CLOCKED.format(statement)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(runs: int = 11) -> None:
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        seconds(kind)  # writes the byte code, which later runs read
    for _ in range(max(runs, 11)):
        for kind in KINDS:
            times[kind].append(seconds(kind))
    medians = [statistics.median(times[kind]) for kind in KINDS]
    for kind, median in zip(KINDS, medians, strict=True):
        print(f"{kind:<20} median {median:.3f} s, fastest {min(times[kind]):.3f} s")
    ratio = medians[1] / medians[0]
    print(f"ratio of medians {ratio:.3f}, promised at most {TARGET:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

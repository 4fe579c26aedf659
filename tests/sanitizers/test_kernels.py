"""The C++ tests of the kernels, under the sanitizers of the compiler: `make sanitizers`."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

SWITCHED_OFF = os.environ.get("RNNJAX_NATIVE") == "0"
pytestmark = pytest.mark.skipif(SWITCHED_OFF, reason="the native part is switched off")

NATIVE = Path(__file__).parents[2] / "native"
SANITIZERS = {"address,undefined": [], "thread": ["best"]}  # and what the program is told

# Small problems are shared among threads in every way.
FLAGS = "-std=c++17 -O1 -g1 -Wno-psabi -pthread -fno-sanitize-recover=all -DRNNJAX_SMALL".split()
OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=1", "TSAN_OPTIONS": "halt_on_error=1"}


def compiler() -> list[str]:
    command = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no compiler {command[0]}")
    return command


def run(command: list[str | Path], seconds: int = 300) -> tuple[int, str]:
    """What a command returns and says."""
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | OPTIONS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
    )
    return done.returncode, done.stdout


def need_sanitizer(command: list[str], folder: Path) -> None:
    """Skip where even an empty program cannot be built with it, or does not run."""
    source, program = folder / "empty.cc", folder / "empty"
    source.write_text("int main() { return 0; }\n")
    code, said = run([*command, source, "-o", program])
    if code == 0:
        code, said = run([program])
    if code != 0:
        pytest.skip(f"the sanitizer does not work here: {said.strip()[-300:]}")


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_kernels(sanitizer, tmp_path):
    command = [*compiler(), *FLAGS, f"-fsanitize={sanitizer}"]
    need_sanitizer(command, tmp_path)
    program = tmp_path / "test"
    code, said = run([*command, NATIVE / "kernels.cc", NATIVE / "test.cc", "-o", program])
    assert code == 0, said
    code, said = run([program, *SANITIZERS[sanitizer]])
    assert code == 0, said

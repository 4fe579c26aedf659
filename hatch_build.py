"""Build the native part of rnnjax: hatchling calls `Hook`, and `make native` runs this file.

Without a C++ compiler, or when it fails, rnnjax is installed in pure Python and `not_built.txt`
keeps the reason. RNNJAX_NATIVE=0 asks for that; RNNJAX_NATIVE=1 makes it an error.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, or loaded by a test
    BuildHookInterface = object

ROOT = Path(__file__).parent
FOLDER = "rnnjax/methods/native"
LIBRARY = "librnnjax.dylib" if sys.platform == "darwin" else "librnnjax.so"
REASON = "not_built.txt"

# No flag for a processor: the kernels choose their instructions when they are loaded.
FLAGS = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", "-Wno-psabi"]


def sources() -> list[Path]:
    """What is given to the compiler; `native/test.cc` is a program of its own."""
    return [ROOT / "native" / name for name in ("kernels.cc", "ffi.cc")]


def headers() -> Path | None:
    """The folder of XLA's headers in jaxlib, which is not imported."""
    spec = importlib.util.find_spec("jaxlib")
    for folder in (spec and spec.submodule_search_locations) or []:
        if (Path(folder) / "include/xla/ffi/api/ffi.h").exists():
            return Path(folder) / "include"
    return None


def compiler() -> list[str] | None:
    """The command of $CXX, or the first compiler that is found."""
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    return [found] if found else None


def build(library: Path) -> str | None:
    """Compile `library`; where it fails, say why and leave an older one as it is."""
    command, include = compiler(), headers()
    if sys.platform == "win32":
        return "there is none for Windows"
    if command is None:
        return "no C++ compiler was found when rnnjax was installed"
    if include is None:
        return "jaxlib and its headers were not found when rnnjax was installed"
    new = library.with_name(f"{library.name}.{os.getpid()}")
    command += [*FLAGS, *shlex.split(os.environ.get("CXXFLAGS", "")), "-isystem", str(include)]
    command += [*map(str, sources()), "-o", str(new)]
    library.parent.mkdir(parents=True, exist_ok=True)
    try:
        english = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(command, env=english, capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode == 0:
            os.replace(new, library)
            return None
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = [line for line in said if "error:" in line] or said[-1:] or ["it said nothing"]
        return f"the compiler failed when rnnjax was installed: {said[0]}"
    except OSError as error:
        return f"the compiler failed when rnnjax was installed: {error}"
    finally:
        new.unlink(missing_ok=True)


def up_to_date(library: Path) -> bool:
    """Whether nothing changed since; each extra in the Makefile installs once more."""
    if not library.exists() or os.environ.get("CXX") or os.environ.get("CXXFLAGS"):
        return False
    made_of = [Path(__file__), ROOT / "pyproject.toml", *sources(), *(ROOT / "native").glob("*.h")]
    return all(path.stat().st_mtime < library.stat().st_mtime for path in made_of)


def place(folder: Path, wanted: str = "") -> str | None:
    """Put the library into `folder`, or the reason why it is not there, which is returned.

    `wanted` is RNNJAX_NATIVE.
    """
    library, note = folder / LIBRARY, folder / REASON
    if wanted == "0":
        library.unlink(missing_ok=True)
        reason = "RNNJAX_NATIVE=0 was set when rnnjax was installed"
    else:
        reason = None if up_to_date(library) else build(library)
    if reason is None:
        note.unlink(missing_ok=True)
    elif wanted == "1":
        raise RuntimeError(f"RNNJAX_NATIVE=1, but {reason}")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(reason)
    return reason


def platform() -> str:
    """The tag of this machine's wheels; other tools widen it."""
    from packaging.tags import platform_tags

    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


class Hook(BuildHookInterface):
    """Into the source tree for editable installations, else into the wheel alone."""

    def initialize(self, version, build_data):
        """Build, and say what else belongs into the wheel."""
        wanted = os.environ.get("RNNJAX_NATIVE", "")
        if version == "editable":
            place(ROOT / FOLDER, wanted)
            return
        self.scratch = tempfile.TemporaryDirectory()
        reason = place(Path(self.scratch.name), wanted)
        name = LIBRARY if reason is None else REASON
        build_data["force_include"][str(Path(self.scratch.name, name))] = f"{FOLDER}/{name}"
        if reason is None:  # no part of it depends on the version of Python
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform()}"

    def finalize(self, version, build_data, artifact_path):
        """Clear up."""
        if version != "editable":
            self.scratch.cleanup()


if __name__ == "__main__":
    sys.exit(place(ROOT / FOLDER))

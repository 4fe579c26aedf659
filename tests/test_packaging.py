"""The build of the native part: what it is made of, and what happens where it fails.

No compiler runs here; small programs stand in for one.
"""

import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hatch_build(monkeypatch):
    """The file as a module; hatchling need not be there."""
    for name in ("CXX", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def old(tmp_path, hatch_build):
    """A library of an earlier build, alone in its folder."""
    library = tmp_path / "there" / hatch_build.LIBRARY
    library.parent.mkdir()
    library.write_text("old")
    return library


def stand_in(monkeypatch, folder, code):
    """Take a Python program for the compiler."""
    program = folder / "compiler.py"
    program.write_text(f"import pathlib, sys\n{code}")
    monkeypatch.setenv("CXX", shlex.join([sys.executable, "-S", str(program)]))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_source_is_there(hatch_build):
    sources = hatch_build.sources()
    for path in [*sources, *sources[0].parent.glob("*.h")]:
        for name in re.findall(r'^#include "(.*)"', path.read_text(), re.M):
            assert (path.parent / name).exists() or (hatch_build.headers() / name).exists(), name


def test_the_library_replaces_the_old_one(hatch_build, old, monkeypatch, tmp_path):
    write = "pathlib.Path(sys.argv[-1]).write_text('\\n'.join(sys.argv))"
    stand_in(monkeypatch, tmp_path, write)
    monkeypatch.setenv("CXXFLAGS", "-g '-DNAME=a b'")
    (old.parent / hatch_build.REASON).write_text("of an earlier installation")
    assert hatch_build.place(old.parent) is None
    assert names(old.parent) == [hatch_build.LIBRARY]
    arguments = old.read_text().splitlines()
    assert {"-O3", "-g", "-DNAME=a b", *map(str, hatch_build.sources())} <= set(arguments)
    assert not [flag for flag in arguments if flag.startswith("-m")]


def test_it_is_compiled_again_when_a_source_is_newer(hatch_build, old, monkeypatch):
    monkeypatch.setattr(hatch_build, "build", lambda library: "built")
    assert hatch_build.place(old.parent) is None
    os.utime(old, (0, 0))
    assert hatch_build.place(old.parent) == "built"


def test_a_failing_compiler_costs_nothing(hatch_build, old, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    reason = hatch_build.place(old.parent)
    assert reason == "the compiler failed when rnnjax was installed: it said nothing"
    assert old.read_text() == "old"
    assert names(old.parent) == [hatch_build.LIBRARY, hatch_build.REASON]
    assert (old.parent / hatch_build.REASON).read_text() == reason


def test_the_reason_is_the_first_error(hatch_build, old, monkeypatch, tmp_path):
    code = "sys.exit('a.h:1: note: from\\na.h:7:5: error: unknown `x`\\n  7 | x\\n    ^')"
    stand_in(monkeypatch, tmp_path, code)
    assert hatch_build.build(old).endswith("installed: a.h:7:5: error: unknown `x`")
    assert names(old.parent) == [old.name]


def test_no_compiler(hatch_build, old, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hatch_build.build(old) == "no C++ compiler was found when rnnjax was installed"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "No such file or directory: 'no-such-compiler'" in hatch_build.build(old)


def test_switched_off_and_insisted_on(hatch_build, old, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(RuntimeError, match="RNNJAX_NATIVE=1, but the compiler failed"):
        hatch_build.place(old.parent, "1")
    assert names(old.parent) == [hatch_build.LIBRARY]
    hatch_build.place(old.parent, "0")
    assert names(old.parent) == [hatch_build.REASON]

"""The law of the house holds: see `law`."""

import pytest
from law import (
    LEVEL,
    ROOT,
    Source,
    exported,
    public_functions,
    sources,
    violations,
    violations_elsewhere,
)

import rnnjax


def test_the_law_holds():
    assert violations(ROOT) == []


def test_what_stands_beside_is_short_and_runs_nothing_that_it_reads():
    assert violations_elsewhere(ROOT.parent) == []


def test_every_module_has_a_place():
    homes = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert homes - {"__init__", "__pycache__", "py"} <= set(LEVEL)


def test_public_names_are_found():
    """The rule for positional arguments is not empty: it sees functions, classes and methods."""
    names = {node.name for _, node in public_functions(sources(ROOT), "rnnjax")}
    assert {"unroll", "lstm", "stack", "apply", "run", "__init__", "__call__"} <= names


PUBLIC = sorted(exported(Source(ROOT, ROOT / "__init__.py")))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    thing = getattr(rnnjax, name)
    text = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    # A NamedTuple or dataclass without one is given `Name(field, ...)`.
    assert text and not text.startswith(f"{name}("), f"rnnjax.{name} has no docstring"

"""The documentation is true: its code runs, and the reference misses no public name."""

import pathlib
import re

import jax
import pytest

import rnnjax

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CODE = {page.name: re.findall(r"```python\n(.*?)```", page.read_text(), re.S) for page in PAGES}


@pytest.mark.parametrize("page", [name for name, blocks in CODE.items() if blocks])
def test_code_runs_as_it_stands(page, any_promotion):
    namespace: dict = {}
    for block in CODE[page]:
        exec(compile(block, page, "exec"), namespace)
    assert any(isinstance(value, jax.Array) for value in namespace.values())


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs" / "reference.md").read_text()
    modules = {"rnnjax": rnnjax, "rnnjax.nnx": rnnjax.nnx, "rnnjax.linen": rnnjax.linen}
    for prefix, module in modules.items():
        for name in public_names(module):
            assert re.search(rf"^::: {prefix}\.{name}$", reference, re.M), f"{prefix}.{name}"


def public_names(module):
    init = pathlib.Path(module.__file__).read_text()
    names = re.findall(r"^from .* import \w+ as (\w+)$", init, re.M)
    assert len(names) > 4
    return names

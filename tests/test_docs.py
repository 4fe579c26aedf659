"""The documentation is true: its code runs, and the reference misses no public name."""

import importlib
import inspect
import pathlib
import re

import jax
import pytest
import registry

import rnnjax
from rnnjax.methods import Call, manual
from rnnjax.methods.cudnn import library

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CODE = {page.name: re.findall(r"```python\n(.*?)```", page.read_text(), re.S) for page in PAGES}


@pytest.mark.parametrize("page", [name for name, blocks in CODE.items() if blocks])
def test_code_runs_as_it_stands(page, any_promotion, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # some of it writes files
    namespace: dict = {}
    for block in CODE[page]:
        exec(compile(block, page, "exec"), namespace)
    assert len(namespace) > 1
    if page == "README.md":  # its ten lines train, save and draw
        [lines] = [block for block in CODE[page] if "train.fit" in block]
        assert lines.count("\n") == 10
        assert namespace["trained"].history["val_accuracy"][-1] > 0.9
        assert list(tmp_path.glob("runs/*/step_*")) and (tmp_path / "signs.png").exists()


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs" / "reference.md").read_text()
    rooms = (
        ".nnx",
        ".linen",
        ".data",
        ".decoding",
        ".train",
        ".plots",
        ".interop",
        ".interop.course",
        ".export",
    )
    for room in ("", *rooms):
        module = importlib.import_module(f"rnnjax{room}")
        for name in public_names(module):
            heading = f"rnnjax{room}.{name}"
            assert re.search(rf"^::: {re.escape(heading)}$", reference, re.M), heading


def public_names(module):
    init = pathlib.Path(module.__file__).read_text()
    names = re.findall(r"^from .* import \w+ as (\w+)$", init, re.M)
    assert names
    return names


# What a factory must be told beside its width.
TOLD = {
    "batch_norm_lstm": {"max_steps": 3},
    "projected_lstm": {"out_features": 2},
    "conv_gru": {"kernel_size": (3,)},
    "conv_lstm": {"kernel_size": (3,)},
    "multihead_lstm": {"num_heads": 2},
    "multihead_gru": {"num_heads": 2},
}


def test_the_family_is_whole_and_its_methods_are_true(monkeypatch):
    """Every factory of cells has a row, which names the methods that run its cells."""
    monkeypatch.setattr(library, "why_not_here", lambda: None)  # as if there were one GPU
    monkeypatch.setattr(manual, "rows_are_here", lambda: True)
    page = (ROOT / "docs" / "family.md").read_text()
    rows = re.findall(r"^\| `(\w+)` .*\| ([^|]+) \| [^|]+ \|$", page, re.M)
    told = {name: {word.strip() for word in methods.split(",")} - {"–"} for name, methods in rows}
    assert set(told) == {name for name in public_names(rnnjax) if makes_cells(name)}
    missing = set() if registry.LOADED else {"Native"}  # where it was not built
    for name, methods in told.items():
        assert methods - missing == methods_of(getattr(rnnjax, name)(4, **TOLD.get(name, {}))), name


def makes_cells(name):
    thing = getattr(rnnjax, name)
    if not inspect.isfunction(thing):
        return False
    signature = inspect.signature(thing)
    first, *_ = signature.parameters or [""]
    return first in ("hidden_features", "features") and signature.return_annotation is rnnjax.Cell


def methods_of(cell):
    """Those beside `Scan` and `Chunked`, which run every cell."""
    params = cell.init(jax.random.key(0), 4)
    space = (3,) * (len(cell.in_spec(params).shape) - 1)
    xs = jax.numpy.ones((2, 2, *space, 4))
    options = [
        rnnjax.Native(),
        rnnjax.PallasTPU(),
        rnnjax.Cudnn(),
        rnnjax.PallasGPU(),
        rnnjax.Fused(),
        rnnjax.Newton(),
        rnnjax.Linear(),
    ]
    options += [rnnjax.Associative(), rnnjax.Chunkwise()]
    call = Call(cell, params, xs, None, None, None, None, False)
    return {type(method).__name__ for method in options if method.why_not(call) is None}


def numbers_of(name):
    """By row of a table of benchmarks/results: its cells of one number."""
    text = (ROOT / "benchmarks" / "results" / f"{name}.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    number = re.compile(r"[\d,.]+")
    return [[cell for cell in row if number.fullmatch(cell)] for row in rows[2:]]


def test_the_memory_of_methods_is_what_was_measured():
    page = (ROOT / "docs" / "methods.md").read_text()
    table = page.split("## 100,000 steps")[1].split("\n\n")[2].splitlines()[2:]
    assert [row.strip("| ").split(" | ")[1:] for row in table] == numbers_of("memory_cpu")
    for told in (numbers_of("memory_cpu")[4][0], "4,688"):
        assert f"{told} MiB" in (ROOT / "README.md").read_text()


def test_the_time_of_runs_with_smaller_weights_is_what_was_measured():
    times = [float(row[3]) for row in numbers_of("smaller_cpu")]
    ratios = [100 * time / times[i // 3 * 3] - 100 for i, time in enumerate(times)]
    told = f"it takes from {-min(ratios):.0f} % less to {max(ratios):.0f} % more"
    assert told in (ROOT / "docs" / "smaller.md").read_text()

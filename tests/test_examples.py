"""The learning examples: what is committed agrees with itself. Their smoke run is in `.ci/run`.

The walk from NumPy code is short enough to run here.
"""

import importlib.util
import pathlib
import re
import runpy

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = sorted((ROOT / "examples" / "results").glob("*.md"))
PAGE = ROOT / "docs" / "learning.md"


def rows_of(text):
    return re.findall(r"^\|.*\|$", text, re.M)


def test_there_are_results_of_every_script():
    scripts = {
        p.stem for p in (ROOT / "examples").glob("*.py") if "training.tell(" in p.read_text()
    }
    assert {path.stem for path in RESULTS} == scripts
    assert len(scripts) == 3


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_page_shows_the_tables_and_pictures_of_the_results(path):
    page = PAGE.read_text()
    assert "\n".join(rows_of(path.read_text())) in page, "copy it from examples/results"
    assert f"images/{path.stem}.png" in page
    assert (ROOT / "docs" / "images" / f"{path.stem}.png").stat().st_size < 100_000


def scores(name):
    """By row of a table of results: the score from each seed."""
    rows = rows_of((ROOT / "examples" / "results" / f"{name}.md").read_text())
    cells = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows[2:]]
    return {first: [float(value) for value in each if value] for first, _, *each, _, _ in cells}


def test_the_committed_adding_problem_is_solved_from_every_seed():
    told = scores("adding_problem")
    for cell in ("gru", "chrono_lstm"):
        assert len(told[cell]) == 3 and max(told[cell]) < 1e-3, cell


def test_the_committed_copy_task_is_solved_from_every_seed():
    told = scores("copy_memory")
    assert len(told["lru"]) == 3 and max(told["lru"]) < 1e-2


def test_the_digits_are_read():
    spec = importlib.util.spec_from_file_location("datasets", ROOT / "examples" / "datasets.py")
    datasets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(datasets)
    data = datasets.digits()
    assert data.xs.shape == (1797, 64, 1) and data.xs.dtype == np.float32
    assert data.xs.min() == 0 and data.xs.max() == 1
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_walk_from_numpy_code_ends_where_it_began(any_promotion, capsys):
    runpy.run_path(str(ROOT / "examples" / "from_numpy_code.py"))
    printed = capsys.readouterr().out
    apart = [float(x) for x in re.findall(r" (\d\.\de[+-]\d\d)$", printed, re.M)]
    assert len(apart) == 6 and max(apart) < 1e-5
    assert printed.endswith("the same weights come back: True\n")

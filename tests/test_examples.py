"""The examples: what is committed agrees with itself. Their smoke runs are in `.ci/run`.

The walk from NumPy code is short enough to run here.
"""

import importlib.util
import pathlib
import re
import runpy

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RESULTS = sorted((EXAMPLES / "results").glob("*.md"))
LEARNING = (ROOT / "docs" / "learning.md").read_text()
GALLERY = (EXAMPLES / "README.md").read_text()


def scripts(call):
    """The scripts that call a function."""
    return {path.stem for path in EXAMPLES.glob("*.py") if call in path.read_text()}


def rows_of(text):
    return re.findall(r"^\|.*\|$", text, re.M)


def test_make_knows_every_script():
    makefile = (ROOT / "Makefile").read_text()
    for name, call in (("LEARNING", "training.tell("), ("APPLICATIONS", "judging.judge(")):
        listed = re.search(rf"^{name} := (.*)$", makefile, re.M)
        assert set(listed[1].split()) == scripts(call)


def script_of(result):
    """The script that made a table."""
    return re.search(r"examples/(\w+)\.py[^`]*`, ", result.read_text())[1]


def test_there_are_results_of_every_script():
    trained = scripts("training.tell(") | scripts("judging.judge(")
    assert len(trained) == 13
    assert set(map(script_of, RESULTS)) >= trained


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_page_shows_the_tables_and_pictures_of_the_results(path):
    """Learning has a page of the docs, applications have the gallery."""
    script = script_of(path)
    page = LEARNING if script in scripts("training.tell(") else GALLERY
    assert "\n".join(rows_of(path.read_text())) in page, "copy it from examples/results"
    assert f"python examples/{script}.py" in page
    pictures = list((ROOT / "docs" / "images").glob(f"{script}*.png"))
    assert pictures
    for picture in pictures:
        assert f"images/{picture.name}" in page and picture.stat().st_size < 100_000


def scores(name):
    """By row of a table of results: the score from each seed."""
    rows = rows_of((EXAMPLES / "results" / f"{name}.md").read_text())
    cells = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows[2:]]
    return {first: [float(value) for value in each if value] for first, _, *each, _, _ in cells}


def test_the_committed_adding_problem_is_solved_from_every_seed():
    told = scores("adding_problem")
    for cell in ("gru", "chrono_lstm"):
        assert len(told[cell]) == 3 and max(told[cell]) < 1e-3, cell


def test_the_committed_copy_task_is_solved_from_every_seed():
    told = scores("copy_memory")
    assert len(told["lru"]) == 3 and max(told["lru"]) < 1e-2


@pytest.fixture(scope="module")
def datasets():
    spec = importlib.util.spec_from_file_location("datasets", EXAMPLES / "datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_digits_are_read(datasets):
    data = datasets.digits()
    assert data.xs.shape == (1797, 64, 1) and data.xs.dtype == np.float32
    assert data.xs.min() == 0 and data.xs.max() == 1
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_sentences_are_read(datasets):
    ratings = np.array([rating for rating, _ in datasets.movie_sentences()])
    assert len(ratings) == 10_605 and (np.abs(ratings) >= 0.5).sum() == 10_072


def test_the_verses_are_read(datasets):
    verses = datasets.verses()
    assert len(verses) == 31_102 and sum(verse.spanish != "" for verse in verses) == 31_084
    books = list(dict.fromkeys(verse.book for verse in verses))
    assert len(books) == 66 and books[0] == "Gen" and books[-1] == "Rev"
    assert verses[0].english.startswith("In the beginning") and verses[-1].english.endswith("Amen.")


def test_the_series_are_read(datasets):
    years, counts = datasets.sunspots()
    assert years.tolist() == list(range(1700, 2009)) and counts.min() == 0
    days, ppm = datasets.carbon_dioxide()
    assert set(np.diff(days).astype(int)) == {7} and np.isnan(ppm).sum() == 59


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_data_that_is_not_right_is_refused_with_the_way_out(datasets, tmp_path, harm):
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.csv\n")
    if harm == "damaged":
        (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        datasets.checked(tmp_path, "a.csv")
    way_out = f"restore it with `git checkout -- examples/data/{tmp_path.name}`."
    assert str(caught.value) == f"{tmp_path / 'a.csv'} is {harm}: {way_out}"


def test_data_in_the_repository_stays_small():
    files = (EXAMPLES / "data").rglob("*")
    assert sum(path.stat().st_size for path in files if path.is_file()) < 12e6


def test_the_walk_from_numpy_code_ends_where_it_began(any_promotion, capsys):
    runpy.run_path(str(EXAMPLES / "from_numpy_code.py"))
    printed = capsys.readouterr().out
    apart = [float(x) for x in re.findall(r" (\d\.\de[+-]\d\d)$", printed, re.M)]
    assert len(apart) == 6 and max(apart) < 1e-5
    assert printed.endswith("the same weights come back: True\n")

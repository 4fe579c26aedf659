"""Where the library is not there, or not ours."""

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax.methods.native import library


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As if nothing had been loaded, with no library and no note."""
    monkeypatch.setattr(library, "FILE", tmp_path / "librnnjax.so")
    monkeypatch.setattr(library, "REASON", tmp_path / "not_built.txt")
    monkeypatch.delenv("RNNJAX_NATIVE", raising=False)
    library.why_not_loaded.cache_clear()
    yield tmp_path
    library.why_not_loaded.cache_clear()


def explained():
    cell = rnnjax.lstm(4)
    params = cell.init(jax.random.key(0), 3)
    return rnnjax.explain(cell, params, jnp.ones((3, 2, 3)))


def test_what_the_installation_noted_is_said(fresh):
    (fresh / "not_built.txt").write_text("no C++ compiler was found when rnnjax was installed\n")
    explanation = explained()
    assert explanation.method == rnnjax.Fused()
    assert "no C++ compiler was found" in dict(explanation.passed_over)["Native"]


def test_no_library_and_no_note(fresh):
    assert "there is no librnnjax" in dict(explained().passed_over)["Native"]


def test_a_file_that_is_no_library(fresh):
    (fresh / "librnnjax.so").write_text("something else")
    assert "could not be loaded" in dict(explained().passed_over)["Native"]
    with pytest.raises(ValueError, match="could not be loaded"):
        cell = rnnjax.gru(2)
        rnnjax.unroll(
            cell, cell.init(jax.random.key(0), 1), jnp.ones((1, 1)), method=rnnjax.Native()
        )


def test_switched_off(fresh, monkeypatch):
    monkeypatch.setenv("RNNJAX_NATIVE", "0")
    assert "switched off" in dict(explained().passed_over)["Native"]


@pytest.mark.skipif(library.why_not_loaded() is not None, reason="there is no library to refuse")
def test_a_library_of_another_version(monkeypatch):
    monkeypatch.setattr(library, "INTERFACE", library.INTERFACE + 1)
    library.why_not_loaded.cache_clear()
    try:
        assert "of another version" in dict(explained().passed_over)["Native"]
    finally:
        library.why_not_loaded.cache_clear()

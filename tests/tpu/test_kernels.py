"""The kernels for TPU, run by interpreters: one that is quick, and one that models the chip.

The second has buffers, copies and semaphores of its own, looks for races, and traps reads of what
was never written and of what lies outside.
"""

import functools
from typing import NamedTuple

import compare
import jax
import jax.numpy as jnp
import kernel_runs
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from kernel_runs import HALF, WIDE, holes, lengths, runs

import rnnjax
from rnnjax.methods.fused import gradient, loops
from rnnjax.methods.pallas import steps
from rnnjax.methods.tpu import call, layout

CHIP = pltpu.InterpretParams(
    detect_races=True, out_of_bounds_reads="raise", uninitialized_memory="nan"
)


class Case(NamedTuple):
    """Sizes, and how they are cut: steps of a block, rows of a tile."""

    cell: rnnjax.Cell
    options: dict
    sizes: tuple[int, int, int] = (7, 3, 4)  # T, B, D
    steps: int = 16
    rows: int = 256
    both: bool = False
    reverse: bool = False
    close: dict = {}


# A block, a tile and a network at a time, and several; whole ones, and the last one cut.
CASES = {
    "lstm": Case(rnnjax.lstm(5), {}),
    "lstm, of the chip's sizes": Case(rnnjax.lstm(128), {}, (4, 16, 8), steps=2, close=WIDE),
    "lstm, blocks, lengths": Case(rnnjax.lstm(5), lengths(7, 0, 3), steps=3),
    "lstm, tiles, holes": Case(rnnjax.lstm(5), holes(4, 20), (4, 20, 3), steps=2, rows=16),
    "lstm, both ways": Case(rnnjax.lstm(5), lengths(7, 0, 3), steps=3, both=True),
    "lstm, both ways, whole blocks": Case(
        rnnjax.lstm(130), {}, (6, 2, 3), steps=3, both=True, close=WIDE
    ),
    "lstm, one row, resets": Case(rnnjax.lstm(5), holes(7, 1), (7, 1, 3), reverse=True),
    "lstm, bfloat16": Case(rnnjax.lstm(5, dtype=jnp.bfloat16), lengths(7, 0, 3), close=HALF),
    "gru": Case(rnnjax.gru(5), {}, reverse=True),
    "gru, blocks, tiles, lengths": Case(
        rnnjax.gru(5), {"lengths": np.arange(20, dtype=np.int32) % 8}, (7, 20, 3), 3, 16
    ),
    "gru, both ways, holes": Case(rnnjax.gru(5), holes(6, 3), (6, 3, 4), steps=2, both=True),
    "gru, no bias": Case(rnnjax.gru(5, bias=False), lengths(7, 0, 3), steps=3),
    "gru, bfloat16": Case(rnnjax.gru(5, dtype=jnp.bfloat16), {}, close=HALF),
}
RACES = ("lstm, tiles, holes", "lstm, both ways", "gru, blocks, tiles, lengths")


@pytest.fixture
def cut(monkeypatch):
    """Set how cases are cut, with no program of other cuts at hand."""

    def set_constants(case, interpreter=True):
        monkeypatch.setattr(layout, "MOST_STEPS", case.steps)
        monkeypatch.setattr(layout, "MOST_ROWS", case.rows)
        monkeypatch.setattr(call, "INTERPRETER", interpreter)
        jax.clear_caches()

    yield set_constants
    jax.clear_caches()


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_are_the_scan(name, cut):
    case = CASES[name]
    cut(case)
    kernel_runs.assert_is_the_scan(case, rnnjax.PallasTPU(), **case.close)


@pytest.mark.parametrize("name", RACES)
def test_on_a_model_of_the_chip_nothing_races(name, cut, monkeypatch):
    case = CASES[name]
    run, point = runs(case)
    wanted = compare.graded(functools.partial(run, rnnjax.Scan()))(*point)
    cut(case, CHIP)
    kernel_runs.without_branches(monkeypatch)
    got = jax.block_until_ready(compare.graded(functools.partial(run, rnnjax.PallasTPU()))(*point))
    compare.assert_close(got, wanted)
    from jax._src.pallas.mosaic.interpret import interpret_pallas_call

    assert not interpret_pallas_call.races.races_found


def test_more_networks_than_the_chip_holds_run_one_after_the_other(cut, monkeypatch):
    case = CASES["lstm, both ways"]
    cut(case)
    monkeypatch.setattr(layout, "RESERVED", 0)
    monkeypatch.setattr(layout, "VMEM", 800 * 2**10)
    assert layout.networks_that_fit(steps.LSTM, 5, jnp.float32) == 1
    run, point = runs(case)
    both = [
        compare.graded(functools.partial(run, method))(*point)
        for method in (rnnjax.PallasTPU(), rnnjax.Scan())
    ]
    compare.assert_close(*both)


@pytest.mark.parametrize("argument", [0, 1], ids=["params", "xs"])
@pytest.mark.parametrize("cell", [rnnjax.lstm(5), rnnjax.gru(5)], ids=["lstm", "gru"])
def test_a_batch_that_is_sharded_is_not_gathered(cell, argument):
    kernel_runs.assert_is_not_gathered(cell, argument, rnnjax.PallasTPU())


@pytest.mark.parametrize("cpu", [True, False], ids=["as on cpu", "as elsewhere"])
@pytest.mark.parametrize("axes", [(None, 1, None), (0, None, None), (0, 1, 0)], ids=str)
def test_vmap_over_sequences_and_networks(axes, cpu, cut, monkeypatch):
    case = CASES["lstm, blocks, lengths"]
    cut(case)
    for module in (gradient, loops):
        monkeypatch.setattr(module, "on_cpu", lambda: cpu)
    kernel_runs.assert_vmap_is_the_scan(case, rnnjax.PallasTPU(), axes)

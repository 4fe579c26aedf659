"""The kernels for GPU, run by an interpreter, are the scan."""

import functools
from typing import NamedTuple

import compare
import jax
import jax.numpy as jnp
import kernel_runs
import numpy as np
import pytest
from jax.experimental.pallas import triton
from kernel_runs import HALF, WIDE, holes, lengths, runs

import rnnjax
from rnnjax.methods.fused import gradient, loops
from rnnjax.methods.gpu import layout
from rnnjax.methods.pallas import steps

ONE = rnnjax.PallasGPU()
SEVERAL = rnnjax.PallasGPU(multiprocessors=8)


class Case(NamedTuple):
    """What is run, by which method; `room` are bytes of weights that one multiprocessor holds."""

    cell: rnnjax.Cell
    options: dict
    sizes: tuple[int, int, int] = (7, 3, 4)  # T, B, D
    both: bool = False
    reverse: bool = False
    close: dict = {}
    method: rnnjax.PallasGPU = ONE
    room: int = layout.ROOM


ROUGH = {"rtol": 5e-2, "atol": 5e-2}  # the same of long sums
SHARED = {"method": SEVERAL, "room": 9 * layout.KIB}  # so that a head's units need several programs
# A tile, a head, a network and a slice at a time, and several; whole ones, and the last one cut.
CASES = {
    "lstm": Case(rnnjax.lstm(5), {}),
    "lstm, of the chip's sizes": Case(rnnjax.lstm(32), {}, (4, 16, 8), close=WIDE),
    "lstm, lengths": Case(rnnjax.lstm(5), lengths(7, 0, 3)),
    "lstm, tiles, holes": Case(rnnjax.lstm(5), holes(4, 20), (4, 20, 3)),
    "lstm, both ways": Case(rnnjax.lstm(5), lengths(7, 0, 3), both=True),
    "lstm, one row, resets": Case(rnnjax.lstm(5), holes(7, 1), (7, 1, 3), reverse=True),
    "lstm, one step": Case(rnnjax.lstm(20), {}, (1, 3, 4), close=WIDE),
    "lstm, no bias": Case(rnnjax.lstm(5, bias=False), lengths(7, 0, 3)),
    "lstm, bfloat16": Case(rnnjax.lstm(5, dtype=jnp.bfloat16), lengths(7, 0, 3), close=HALF),
    "gru": Case(rnnjax.gru(5), {}, reverse=True),
    "gru, tiles, lengths": Case(
        rnnjax.gru(5), {"lengths": np.arange(20, dtype=np.int32) % 8}, (7, 20, 3)
    ),
    "gru, both ways, holes": Case(rnnjax.gru(5), holes(6, 3), (6, 3, 4), both=True),
    "gru, no bias": Case(rnnjax.gru(5, bias=False), lengths(7, 0, 3)),
    "gru, bfloat16": Case(rnnjax.gru(5, dtype=jnp.bfloat16), {}, close=HALF),
    "lstm, 2 heads, holes": Case(rnnjax.multihead_lstm(10, num_heads=2), holes(7, 3)),
    "lstm, 3 heads, bfloat16": Case(
        rnnjax.multihead_lstm(15, num_heads=3, dtype=jnp.bfloat16), {}, close=HALF
    ),
    "gru, 2 heads, lengths": Case(rnnjax.multihead_gru(10, num_heads=2), lengths(7, 0, 3)),
    "gru, 2 heads, both ways": Case(rnnjax.multihead_gru(10, num_heads=2), {}, both=True),
    "gru, 2 heads, slices": Case(
        rnnjax.multihead_gru(40, num_heads=2), holes(7, 3), close=WIDE, **SHARED
    ),
    "lstm, slices": Case(rnnjax.lstm(20), {}, close=WIDE, **SHARED),
    "lstm, slices, lengths, tiles": Case(
        rnnjax.lstm(18), {"lengths": np.arange(20, dtype=np.int32) % 8}, (7, 20, 3), **SHARED
    ),
    "lstm, slices, both ways, holes": Case(
        rnnjax.lstm(20), holes(6, 3), (6, 3, 4), both=True, **SHARED
    ),
    "lstm, slices, waves": Case(rnnjax.lstm(18), holes(3, 300), (3, 300, 3), close=WIDE, **SHARED),
    "gru, slices, holes, reverse": Case(
        rnnjax.gru(20), holes(7, 3), reverse=True, close=WIDE, **SHARED
    ),
    "gru, slices, bfloat16": Case(
        rnnjax.gru(40, dtype=jnp.bfloat16), lengths(7, 0, 3), close=ROUGH, **SHARED
    ),
}


@pytest.fixture
def room(monkeypatch):
    """Set what a multiprocessor holds, with no program of another at hand."""

    def set_room(size):
        monkeypatch.setattr(layout, "room", lambda: size)
        jax.clear_caches()

    yield set_room
    jax.clear_caches()


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_are_the_scan(name, room):
    case = CASES[name]
    room(case.room)
    kernel_runs.assert_is_the_scan(case, case.method, **case.close)


@pytest.mark.parametrize("name", ["lstm, both ways", "gru, tiles, lengths"])
def test_the_loop_that_hands_over_and_waits_is_the_scan_where_a_program_is_alone(name, monkeypatch):
    """It waits for itself, which an interpreter can."""
    case = CASES[name]
    run, point = runs(case)
    wanted = compare.graded(functools.partial(run, rnnjax.Scan()))(*point)
    jax.clear_caches()
    monkeypatch.setattr(layout.Layout, "exchanges", True)
    monkeypatch.setattr(triton, "debug_barrier", lambda: None)
    counted = []

    def add(ref, at, value):
        """An interpreter's own knows no constants."""
        counted.append(value)
        old = ref[at]
        ref[at] = old + value
        return old

    monkeypatch.setattr(triton, "atomic_add", add)
    got = compare.graded(functools.partial(run, ONE))(*point)
    compare.assert_close(got, wanted)
    assert set(counted) == {0, 1}  # it came, and it looked who had
    jax.clear_caches()


def test_slices_come_in_waves_where_rows_are_many(room):
    room(CASES["lstm, slices, waves"].room)
    cut = layout.layout_of(steps.LSTM, (3, 300, 1, 18), jnp.float32, (False,), 8)
    assert (cut.slices, cut.tiles, cut.waves) == (2, 4, 3)


@pytest.mark.parametrize("argument", [0, 1], ids=["params", "xs"])
@pytest.mark.parametrize("cell", [rnnjax.lstm(5), rnnjax.gru(5)], ids=["lstm", "gru"])
def test_a_batch_that_is_sharded_is_not_gathered(cell, argument):
    kernel_runs.assert_is_not_gathered(cell, argument, ONE)


@pytest.mark.parametrize("cpu", [True, False], ids=["as on cpu", "as elsewhere"])
@pytest.mark.parametrize("axes", [(None, 1, None), (0, None, None), (0, 1, 0)], ids=str)
@pytest.mark.parametrize("name", ["gru, 2 heads, lengths", "lstm, slices"])
def test_vmap_over_sequences_and_networks(name, axes, cpu, room, monkeypatch):
    case = CASES[name]
    room(case.room)
    for module in (gradient, loops):
        monkeypatch.setattr(module, "on_cpu", lambda: cpu)
    kernel_runs.assert_vmap_is_the_scan(case, case.method, axes, **case.close)

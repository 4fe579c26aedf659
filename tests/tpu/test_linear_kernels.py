"""The kernel for linear recurrences, run by both interpreters: see `test_kernels`."""

import functools
import itertools
from typing import NamedTuple

import compare
import jax
import jax.numpy as jnp
import kernel_runs
import numpy as np
import pytest
import registry
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AxisType, NamedSharding

import rnnjax
from rnnjax.methods.linear.scan import solve
from rnnjax.methods.linear.solvers import one_by_one
from rnnjax.methods.tpu import call, layout, linear

CHIP = pltpu.InterpretParams(
    detect_races=True, out_of_bounds_reads="raise", uninitialized_memory="nan"
)
LINEAR = [name for name in registry.CELLS if registry.serves("associative", name)]


class Cut(NamedTuple):
    """Elements of a tile, bytes of a block, steps that stand in one body."""

    elements: int = linear.MOST_ELEMENTS
    block: int = linear.BLOCK
    together: int = linear.TOGETHER


REGISTER = 8 * 128 * 4  # bytes
SMALL = Cut(8 * 128, 4 * REGISTER, 2)  # a register a tile, four steps a block

# Shape of a, its dtype, how it is cut.
CASES = {
    "a number": ((7,), "float32", Cut()),
    "one step": ((1, 3, 5), "float32", Cut()),
    "a row": ((7, 5), "float32", SMALL),
    "a row that fills registers": ((7, 512), "float32", SMALL),
    "one feature": ((7, 20, 1), "float32", SMALL),
    "whole": ((16, 8, 128), "float32", Cut(together=4)),
    "the last block is cut": ((11, 3, 5), "float32", SMALL),
    "all is cut": ((11, 20, 300), "float32", SMALL),
    "more axes": ((6, 2, 3, 4), "float32", SMALL),
    "bfloat16": ((11, 20, 300), "bfloat16", Cut(16 * 128, 4 * REGISTER, 2)),
    "complex": ((11, 20, 300), "complex64", Cut(16 * 128, 4 * REGISTER, 2)),
}
RACES = ("a row that fills registers", "all is cut", "bfloat16", "complex")


@pytest.fixture
def cut(monkeypatch):
    """Set how arrays are cut, with no program of other cuts at hand."""

    def set_constants(how, interpreter=True):
        monkeypatch.setattr(linear, "MOST_ELEMENTS", how.elements)
        monkeypatch.setattr(linear, "BLOCK", how.block)
        monkeypatch.setattr(linear, "TOGETHER", how.together)
        monkeypatch.setattr(call, "INTERPRETER", interpreter)
        jax.clear_caches()

    yield set_constants
    jax.clear_caches()


@pytest.fixture
def on_a_model_of_the_chip(cut, monkeypatch):
    """Run what follows there."""
    from jax._src.pallas.mosaic.interpret import interpret_pallas_call

    def begin(how):
        cut(how, CHIP)
        kernel_runs.without_branches(monkeypatch)

    yield begin
    assert interpret_pallas_call.races is not None and not interpret_pallas_call.races.races_found


def coefficients(shape, dtype):
    """Factors of which some are zero."""
    draw = np.random.default_rng(0)

    def numbers(*shape):
        x = draw.normal(size=shape)
        return x + 1j * draw.normal(size=shape) if dtype == "complex64" else x

    a = np.where(draw.random(shape) < 0.2, 0, 0.5 * numbers(*shape))
    return tuple(jnp.asarray(x, dtype) for x in (a, numbers(*shape), numbers(*shape[1:])))


def graded(solver, reverse):
    """Solutions and gradients."""
    run = functools.partial(solve, reverse=reverse, solver=solver)

    def both(*point):
        hs, pull = jax.vjp(run, *point)
        return hs, pull(jnp.cos(hs.real).astype(hs.dtype))

    return jax.jit(both)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_one_step_after_the_other(name, reverse, cut):
    shape, dtype, how = CASES[name]
    cut(how)
    point = coefficients(shape, dtype)
    got, wanted = (graded(s, reverse)(*point) for s in (linear.by_kernel, one_by_one))
    close = {"rtol": 2e-2, "atol": 2e-2} if dtype == "bfloat16" else {"atol": 1e-5}
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.result_type(x, 1.0)), tree)
    with jax.numpy_dtype_promotion("standard"):
        compare.assert_close(single(got), single(wanted), **close)
    if dtype != "complex64":  # whose products may be rounded once or twice
        np.testing.assert_array_equal(got[0], wanted[0])


@pytest.mark.parametrize("dtype, parts", [("float32", 1), ("bfloat16", 1), ("float32", 2)])
def test_blocks_fit_whatever_the_sizes(dtype, parts):
    """Twice what is read and written, and two tiles; cut at multiples or not at all."""
    size, high = jnp.dtype(dtype).itemsize, layout.rows_together(dtype)
    for shape in itertools.product((1, 7, 10**6), (1, 9, 300, 10**5), (1, 100, 1280, 10**6)):
        cut = linear.tiles_of(shape, dtype, parts, False)
        tile = layout.up(cut.shape[0], high) * layout.up(cut.shape[1], layout.LANES)
        assert parts * tile * (6 * size * cut.steps.block + 3 * 4) < layout.VMEM - layout.RESERVED
        rows, features, blocks = cut.grid
        for part, number, whole, multiple in (
            (cut.shape[0], rows, shape[1], high),
            (cut.shape[1], features, shape[2], layout.LANES),
            (cut.steps.block, blocks, shape[0], linear.TOGETHER),
        ):
            assert (number - 1) * part < whole <= number * part
            assert part == whole or part % multiple == 0


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", RACES)
def test_on_a_model_of_the_chip_nothing_races(name, reverse, on_a_model_of_the_chip):
    shape, dtype, how = CASES[name]
    point = coefficients(shape, dtype)
    wanted = one_by_one(*point, reverse)
    on_a_model_of_the_chip(how)
    got = jax.block_until_ready(linear.by_kernel(*point, reverse))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_factor_of_zero_forgets_what_is_no_number(dtype, reverse, cut):
    cut(SMALL)
    a, b, h = coefficients((6, 2, 3), dtype)
    h, b = jnp.full_like(h, jnp.nan), b.at[3, 0].set(jnp.nan)
    a = a.at[5 if reverse else 0].set(0).at[2 if reverse else 4].set(0)
    got, wanted = (solver(a, b, h, reverse) for solver in (linear.by_kernel, one_by_one))
    compare.assert_close(got, wanted)
    assert np.isnan(got[3, 0]).all() and np.isfinite(got[2 if reverse else 4]).all()


def options():
    """Plain ones, and all that say which steps count, over more than one block."""
    found = registry.sequence_options(7, 3)
    return [("plain", {}), *((name, found[name]) for name in ("lengths", "mask", "resets", "all"))]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", LINEAR)
def test_cells_are_the_scan(name, reverse, cut):
    cut(SMALL)
    cell, params = registry.make(name)
    xs = registry.inputs(7, 3, registry.D)
    carry = registry.random_carry(cell, params, xs[0], 2)
    for _, told in options():
        run = lambda method, *point, told=told: rnnjax.unroll(
            cell, *point, reverse=reverse, method=method, **told
        )
        both = [
            compare.graded(functools.partial(run, method))(params, xs, carry)
            for method in (rnnjax.PallasTPU(), rnnjax.Scan())
        ]
        compare.assert_close(*both)


def test_a_cell_on_a_model_of_the_chip(on_a_model_of_the_chip):
    """Holes and restarts, backwards, and the way back."""
    cell, params = registry.make("lru")
    xs = registry.inputs(7, 3, registry.D)
    told = registry.sequence_options(7, 3)["all"]
    run = lambda method, *point: rnnjax.unroll(cell, *point, reverse=True, method=method, **told)
    point = params, xs, registry.random_carry(cell, params, xs[0], 2)
    wanted = compare.graded(functools.partial(run, rnnjax.Scan()))(*point)
    on_a_model_of_the_chip(SMALL)
    got = jax.block_until_ready(compare.graded(functools.partial(run, rnnjax.PallasTPU()))(*point))
    compare.assert_close(got, wanted)


@pytest.mark.parametrize("name", ["min gru", "lru", "qrnn"])
def test_bfloat16_outside_of_the_recurrence(name):
    cell = registry.sized(name, registry.D, registry.H, dtype=jnp.bfloat16)
    params, xs = registry.random_params(cell), registry.inputs(7, 3, registry.D)
    both = [
        compare.graded(functools.partial(rnnjax.unroll, cell, method=method))(params, xs, None)
        for method in (rnnjax.PallasTPU(), rnnjax.Scan())
    ]
    compare.assert_close(*both, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("name", ["min gru", "lru", "qrnn"])
def test_both_directions(name, cut):
    cut(SMALL)
    cell = registry.sized(name, registry.D, registry.H)
    layer = rnnjax.bidirectional(cell)
    params = registry.random_params(layer)
    xs = registry.inputs(7, 3, registry.D)
    told = registry.sequence_options(7, 3)["lengths"]
    both = [
        compare.graded(lambda *point, m=method: layer.apply(*point, **told, method=m))(
            params, xs, None
        )
        for method in (rnnjax.PallasTPU(), rnnjax.Scan())
    ]
    compare.assert_close(*both)


@pytest.mark.parametrize("shape", [(7, 6), (7, 3, 5), (7, 2, 3, 5)], ids=str)
@pytest.mark.parametrize("axes", [(0, 0, 0), (1, None, None), (None, 2, 0)], ids=str)
def test_vmap_brings_rows(shape, axes, cut):
    cut(SMALL)
    point = coefficients(shape, "float32")

    def several(x, axis):
        return x if axis is None else jnp.stack([x, 0.5 * x, -x], axis)

    point = list(map(several, point, axes))
    both = [
        jax.vmap(graded(solver, False), in_axes=axes)(*point)
        for solver in (linear.by_kernel, one_by_one)
    ]
    compare.assert_close(*both)
    mapped = jax.jit(jax.vmap(lambda *x: linear.by_kernel(*x, False), in_axes=axes))
    lines = mapped.trace(*point).lower(lowering_platforms=("tpu",)).as_text().splitlines()
    (kernel,) = [line for line in lines if "tpu_custom_call" in line]
    rows = 3 * int(np.prod(shape[1:-1]))
    assert f"tensor<7x{rows}x{shape[-1]}xf32>" in kernel


@pytest.mark.parametrize("argument", [0, 1], ids=["params", "xs"])
@pytest.mark.parametrize("name", ["min gru", "lru", "qrnn"])
def test_a_batch_that_is_sharded_is_not_gathered(name, argument):
    kernel_runs.assert_is_not_gathered(registry.make(name)[0], argument, rnnjax.PallasTPU())


def test_a_single_row_stays_where_its_features_are():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    a, b, h = coefficients((5, 64), "float32")
    over = lambda x, *spec: jax.device_put(x, NamedSharding(mesh, jax.P(*spec, "data")))
    placed = over(a, None), over(b, None), over(h)
    run = jax.jit(linear.by_kernel, static_argnums=3)
    assert "all-gather" not in run.lower(*placed, False).compile().as_text()
    compare.assert_close(run(*placed, False), one_by_one(a, b, h, False))


@pytest.mark.parametrize("backend", ["cpu", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "float16"])
def test_linear_scan_takes_it_on_a_tpu_for_the_dtypes_that_it_knows(dtype, backend, monkeypatch):
    a, b, _ = coefficients((5, 2, 3), dtype)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    traced = jax.jit(lambda a, b: rnnjax.linear_scan(a, b)).trace(a, b)
    lowered = lambda platform: traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("tpu_custom_call" in lowered("tpu")) == (dtype != "float16")
    assert "stablehlo.while" in lowered("cpu") and "tpu_custom_call" not in lowered("cpu")

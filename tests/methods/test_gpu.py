"""The method for GPU where there is none: what it refuses, and its programs.

All combinations and compilation for GPUs are in `tests/gpu`, which `make gpu` runs, and one case in
`test_pallas`.
"""

import cuda
import jax
import jax.numpy as jnp
import pytest
import registry

import rnnjax
from rnnjax.methods.gpu import layout
from rnnjax.methods.pallas.steps import GRU, LSTM

T, B, D, H = 5, 3, 4, 6


def point_of(cell):
    params = registry.random_params(cell, D)
    return params, registry.inputs(T, B, D)


def test_a_program_for_cuda_has_the_kernel_and_one_for_cpu_has_none():
    cell = rnnjax.lstm(H)
    run = lambda params, xs: rnnjax.unroll(cell, params, xs, method=rnnjax.PallasGPU())[1]
    assert cuda.lowered(run, *point_of(cell)).count(cuda.KERNEL) == 1
    assert cuda.KERNEL not in jax.jit(run).lower(*point_of(cell)).as_text()


def test_a_gpu_that_nobody_tells_is_asked_for(monkeypatch):
    monkeypatch.setattr(layout, "lowers_without_gpu", lambda: False)
    cell = rnnjax.lstm(H)
    run = lambda params, xs: rnnjax.unroll(cell, params, xs, method=rnnjax.PallasGPU())[1]
    traced = jax.jit(run).trace(*point_of(cell))
    with pytest.raises(ValueError, match="PallasGPU: `abstract_device` must tell the GPU"):
        traced.lower(lowering_platforms=("cuda",))
    traced.lower(lowering_platforms=("cpu",))


@pytest.mark.parametrize(
    "cell, method, reason",
    [
        (rnnjax.elman(H), rnnjax.PallasGPU(), "it knows the LSTM and the GRU that resets after"),
        (
            rnnjax.gru(H, reset="before"),
            rnnjax.PallasGPU(),
            "it knows the LSTM and the GRU that resets after the product",
        ),
        (
            rnnjax.lstm(H, dtype=jnp.float16),
            rnnjax.PallasGPU(),
            "its gates and carry are float32, and here is float16",
        ),
        (
            rnnjax.lstm(256),
            rnnjax.PallasGPU(),
            "a head's recurrent weights take 1024 KiB, where 128 fit on one multiprocessor",
        ),
        (
            rnnjax.multihead_lstm(4096, num_heads=2),
            rnnjax.PallasGPU(multiprocessors=132),
            "take 65536 KiB, which 132 multiprocessors with 128 KiB each do not hold",
        ),
    ],
    ids=["elman", "reset before", "float16", "large", "too large to share"],
)
def test_what_it_does_not_run_is_refused_with_the_reason(cell, method, reason):
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    with pytest.raises(ValueError, match=f"got PallasGPU\\(.*\\), which cannot: .*{reason}"):
        rnnjax.explain(cell, params, jnp.ones((T, B, D)), method=method)


class Device:
    core_count = 46

    def __init__(self, capability):
        self.compute_capability = capability


@pytest.mark.parametrize(
    "capability, method, reason",
    [
        ("9.0", rnnjax.PallasGPU(), None),
        ("7.5", rnnjax.PallasGPU(), "it needs a GPU of compute capability 8.0, and here is 7.5"),
        ("gfx90a", rnnjax.PallasGPU(), "it is for CUDA, and here is another kind of GPU"),
        ("8.9", rnnjax.PallasGPU(47), "47 multiprocessors are to wait for each other, of 46"),
    ],
    ids=str,
)
def test_a_gpu_that_is_here_is_asked(capability, method, reason, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [Device(capability)])
    assert layout.why_not_here(method.multiprocessors) == reason


def test_the_sizes_that_the_docs_tell_fit_and_no_more():
    for cell, multiprocessors, dtype, most in (
        (LSTM, 1, jnp.float32, 64),
        (LSTM, 1, jnp.bfloat16, 128),
        (GRU, 1, jnp.float32, 64),
        (GRU, 1, jnp.bfloat16, 128),
        (LSTM, 108, jnp.float32, 512),
        (LSTM, 108, jnp.bfloat16, 1024),
        (GRU, 108, jnp.float32, 672),
        (GRU, 108, jnp.bfloat16, 1360),
    ):
        assert layout.why_not_fit(cell, 1, most, dtype, multiprocessors) is None
        assert layout.why_not_fit(cell, 1, most + 1, dtype, multiprocessors) is not None


def test_a_smaller_gpu_holds_less(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [Device("8.9")])
    assert layout.why_not_fit(LSTM, 1, 64, jnp.float32, 1) is None
    assert layout.why_not_fit(LSTM, 1, 128, jnp.bfloat16, 1) is not None


@pytest.mark.parametrize("multiprocessors", [1, 8, 108])
def test_programs_that_wait_for_each_other_all_run_at_once(multiprocessors):
    for units in (60, 200, 500):
        for rows in (1, 40, 1000):
            sizes = (7, rows, 1, units)
            if layout.why_not_fit(LSTM, 1, units, jnp.float32, multiprocessors):
                continue
            cut = layout.layout_of(LSTM, sizes, jnp.float32, (False,), multiprocessors)
            assert cut.waves * cut.tiles * cut.tile >= rows and cut.slices * cut.block >= units
            assert cut.slices == 1 or cut.slices * cut.tiles <= multiprocessors
            ends = [begin + size for begin, size in cut.summed]
            assert [0, *ends[:-1]] == [begin for begin, _ in cut.summed] and ends[-1] >= units

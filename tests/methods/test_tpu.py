"""The method for TPU where there is none: what it refuses, and its programs.

All combinations, races and compilation for TPUs are in `tests/tpu`, which `make tpu` runs, and
some cases in `test_pallas`.
"""

import jax
import jax.numpy as jnp
import pytest
import registry

import rnnjax
from rnnjax.methods.pallas.steps import GRU, LSTM
from rnnjax.methods.tpu.layout import layout_of, why_not_fit

T, B, D, H = 5, 3, 4, 6


def point_of(cell):
    params = registry.random_params(cell, D)
    return params, registry.inputs(T, B, D)


def test_a_program_for_tpu_has_the_kernels_and_one_for_cpu_has_none():
    layer = rnnjax.bidirectional(rnnjax.lstm(H))
    params, xs = point_of(layer)
    loss = lambda params, xs: layer.apply(params, xs, method=rnnjax.PallasTPU())[1].sum()
    traced = jax.jit(jax.grad(loss)).trace(params, xs)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == 2  # forward and back, each with both directions
    assert "tpu_custom_call" not in traced.lower(lowering_platforms=("cpu",)).as_text()


@pytest.mark.parametrize(
    "cell, reason",
    [
        (rnnjax.elman(H), "it knows the plain LSTM and the GRU that resets after the product"),
        (rnnjax.gru(H, reset="before"), "it knows the plain LSTM and the GRU that resets after"),
        (rnnjax.lstm(H, dtype=jnp.float16), "its gates and carry are float32, and here is float16"),
        (
            rnnjax.lstm(H, dtype=jnp.bfloat16, carry_dtype=jnp.bfloat16),
            "its gates and carry are float32, and here is bfloat16",
        ),
        (rnnjax.lstm(2000), "its recurrent weights take 64 MiB of the chip's memory, where 53 fit"),
    ],
    ids=["elman", "reset before", "float16", "narrow carry", "large"],
)
def test_what_it_does_not_run_is_refused_with_the_reason(cell, reason):
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    with pytest.raises(ValueError, match=f"got PallasTPU\\(\\), which cannot: {reason}"):
        rnnjax.explain(cell, params, jnp.ones((T, B, D)), method=rnnjax.PallasTPU())


def test_a_recurrence_wider_than_float32_is_refused():
    with jax.enable_x64(True):
        cell = rnnjax.min_gru(H, carry_dtype=jnp.float64)
        params, xs = point_of(cell)
        with pytest.raises(ValueError, match="its recurrence is float32, and here is float64"):
            rnnjax.unroll(cell, params, xs, method=rnnjax.PallasTPU())


def test_none_picks_it_on_a_tpu_alone(monkeypatch):
    cell = rnnjax.lstm(H)
    params, xs = point_of(cell)
    told = dict(rnnjax.explain(cell, params, xs).passed_over)
    assert told["PallasTPU"] == "it is for programs that are lowered for TPU"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    explained = rnnjax.explain(cell, params, xs)
    assert explained.method == rnnjax.PallasTPU()
    assert dict(explained.passed_over)["Native"] == "it runs on CPU alone"
    minimal = rnnjax.mgu(H)
    fallen = rnnjax.explain(minimal, minimal.init(jax.random.key(0), D), xs)
    assert fallen.method == rnnjax.Scan()
    assert "it knows the plain LSTM" in dict(fallen.passed_over)["PallasTPU"]


def test_the_sizes_that_the_docs_tell_fit_and_no_more():
    for cell, most in ((LSTM, {4: 1792, 2: 2432}), (GRU, {4: 2048, 2: 2944})):
        for size, hidden in most.items():
            dtype = {4: jnp.float32, 2: jnp.bfloat16}[size]
            assert why_not_fit(cell, hidden, dtype) is None
            assert why_not_fit(cell, hidden + 1, dtype) is not None
            assert layout_of(cell, (100, 1000, hidden), dtype, (False,)).tile >= 8

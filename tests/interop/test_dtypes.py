"""Dtypes of what comes in and goes out: weights are cast first, and nothing is lost silently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from registry import random_params

import rnnjax
from rnnjax.interop import (
    course_to_rnnjax,
    cudnn_to_rnnjax,
    equinox_to_rnnjax,
    linen_to_rnnjax,
    rnnjax_to_cudnn,
    rnnjax_to_equinox,
    rnnjax_to_linen,
    rnnjax_to_nnx,
    rnnjax_to_torch,
    torch_to_rnnjax,
)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def torch_state(dtype, end="", gates=4, width=4, bias=True):
    rows = gates * width
    state = {f"weight_ih_l0{end}": normal(rows, 3), f"weight_hh_l0{end}": normal(rows, width)}
    if bias:
        state |= {f"bias_ih_l0{end}": normal(rows), f"bias_hh_l0{end}": normal(rows + 1)[:-1] * 3}
    return {name: array.astype(dtype) for name, array in state.items()}


def linen_cell(dtype):
    tree = {f"i{gate}": {"kernel": normal(3, 4).astype(dtype)} for gate in "ifgo"}
    for gate in "ifgo":
        tree[f"h{gate}"] = {k: normal(*s).astype(dtype) for k, s in HIDDEN.items()}
    return tree


HIDDEN = {"kernel": (4, 4), "bias": (4,)}
FIELDS = {"weight_ih": (16, 3), "weight_hh": (16, 4), "bias": (16,)}
SOURCES = {
    "torch": lambda: torch_to_rnnjax(torch_state("float64"), dtype="float32"),
    "linen": lambda: linen_to_rnnjax(linen_cell("float64"), dtype="float32"),
    "equinox": lambda: equinox_to_rnnjax(
        {k: normal(*s) for k, s in FIELDS.items()}, dtype="float32"
    ),
    "course": lambda: course_to_rnnjax(
        {f"{k}{g}": normal(*s) for g in "fioc" for k, s in {"W": (4, 7), "b": (4, 1)}.items()},
        dtype="float32",
    ),
    "cudnn": lambda: cudnn_to_rnnjax(
        normal(144).astype("float32"),
        input_size=3,
        hidden_size=4,
        num_layers=1,
        bidirectional=False,
        dtype="bfloat16",
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_layer_makes_params_of_the_dtype_asked_for(name):
    layer, params, _ = SOURCES[name]()
    wanted = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
    made = jax.eval_shape(lambda key: layer.init(key, 3), jax.random.key(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), made) == wanted
    asked_for = "bfloat16" if name == "cudnn" else "float32"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {asked_for}


def test_biases_are_summed_in_the_dtype_asked_for():
    state = torch_state(jnp.bfloat16)
    params = torch_to_rnnjax(state, dtype="float32").params[0]
    sums = state["bias_ih_l0"].astype("float32") + state["bias_hh_l0"].astype("float32")
    np.testing.assert_array_equal(params.b, sums)
    assert torch_to_rnnjax(state, dtype="float32").report.notes == ()
    assert torch_to_rnnjax(state).report.notes == (
        'layers_0.b: summed in bfloat16, which rounds; dtype="float32" sums them in that',
    )


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
@pytest.mark.parametrize("write", [rnnjax_to_torch, rnnjax_to_linen, rnnjax_to_cudnn])
def test_quantized_networks_go_out_whole(dtype, write):
    cell = rnnjax.lstm(4)
    small = rnnjax.quantize(cell, random_params(cell, 3), dtype)
    there = write(*small)
    assert there.report.notes == (f"the layer: {dtype} weights, multiplied out to float32",)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(there.weights)} == {"float32"}
    if write is rnnjax_to_torch:
        np.testing.assert_array_equal(
            there.weights["weight_ih_l0"].T, rnnjax.dequantize(small.params).w_ih
        )


@pytest.mark.parametrize(
    "write", [rnnjax_to_torch, rnnjax_to_linen, rnnjax_to_nnx, rnnjax_to_equinox]
)
def test_what_computes_in_another_dtype_is_noted(write):
    cell = rnnjax.lstm(4, dtype=jnp.bfloat16, carry_dtype=jnp.float16)
    assert write(cell, random_params(cell, 3)).report.notes == (
        "the layer: computes in bfloat16 here; its weights are in float32",
        "the layer: keeps its carry in float16 here; its weights are in float32",
    )
    same = rnnjax.lstm(4, dtype=jnp.float32, carry_dtype=jnp.float32)
    assert write(same, random_params(same, 3)).report.notes == ()


DIRECTIONS = {
    "bias": (
        torch_state("float32", "_reverse", bias=False),
        "b float32 of shape (16,) and none",
    ),
    "width": (
        torch_state("float32", "_reverse", width=5),
        "w_ih float32 of shape (3, 16) and float32 of shape (3, 20)",
    ),
    "kind": (torch_state("float32", "_reverse", gates=3), "LSTMParams and GRUParams"),
    "dtype": (
        torch_state("float16", "_reverse"),
        "w_ih float32 of shape (3, 16) and float16 of shape (3, 16)",
    ),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_two_directions_are_alike(name):
    backwards, got = DIRECTIONS[name]
    with pytest.raises(ValueError) as caught:
        torch_to_rnnjax(torch_state("float32") | backwards)
    assert str(caught.value) == (
        "torch_to_rnnjax: `source['weight_ih_l0_reverse']` must hold two directions that are "
        f"alike, got {got}; here both directions are one cell; build the two layers by hand."
    )

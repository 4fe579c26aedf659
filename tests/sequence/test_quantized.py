"""Smaller weights: how far they are from the whole ones, and that every network takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import TYPE, VALUE, check_refused, table
from registry import CELLS, D, H, inputs, random_params, sized

import rnnjax
from rnnjax.sequence.parts import parts_of

DTYPES = ("int8", "bfloat16")


def network():
    return rnnjax.stack(
        rnnjax.embedding(9, 4),
        rnnjax.bidirectional(rnnjax.lstm(5)),
        rnnjax.gru(6, learned_carry=True),
        rnnjax.dense(3),
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_no_weight_moves_by_more_than_half_a_scale(rows):
    w = np.asarray(rows, np.float32)
    layer = rnnjax.dense(3, bias=False)
    small = rnnjax.quantize(layer, rnnjax.DenseParams(jnp.asarray(w))).params
    assert small.w.values.dtype == jnp.int8 and small.w.scale.shape == (1, 3)
    again = np.asarray(rnnjax.dequantize(small).w, np.float64)
    scale = np.asarray(small.w.scale, np.float64)
    assert (abs(again - w) <= scale * (0.5 + 1e-4) + 2e-36).all()
    zero = abs(w).max(0) == 0
    assert (again[:, zero] == 0).all()


def test_bfloat16_keeps_eight_bits():
    layer, params = rnnjax.dense(3), rnnjax.DenseParams(inputs(4, 3, seed=0), jnp.ones(3))
    small = rnnjax.quantize(layer, params, "bfloat16").params
    assert small.w.dtype == jnp.bfloat16 and small.b.dtype == jnp.float32
    np.testing.assert_allclose(rnnjax.dequantize(small).w, params.w, rtol=2**-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_runs_as_with_the_weights_multiplied_out(dtype):
    layer = network()
    params = random_params(layer, None, 0)
    small = rnnjax.quantize(layer, params, dtype)
    tokens = jnp.arange(21).reshape(7, 3) % 9
    run = lambda layer, params: layer.apply(params, tokens, lengths=[7, 2, 0])
    got, wanted = run(*small), run(layer, rnnjax.dequantize(small.params))
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    exact = run(layer, params)
    assert 0 < abs(got[1] - exact[1]).max() < 0.05 * abs(exact[1]).max()


def test_what_is_all_zero_is_divided_by_one():
    layer, params = rnnjax.dense(3), rnnjax.DenseParams(jnp.zeros((4, 3)), jnp.ones(3))
    w = rnnjax.quantize(layer, params).params.w
    np.testing.assert_array_equal(w.scale, np.ones((1, 3)))
    assert not w.values.any()


def test_noise_is_drawn_as_without_it():
    quiet, noisy = rnnjax.lstm(4), rnnjax.zoneout(rnnjax.lstm(4), 0.5)
    assert rnnjax.quantized(noisy).noisy and not rnnjax.quantized(quiet).noisy
    small = rnnjax.quantize(noisy, random_params(noisy, 3, 0))
    xs, key = inputs(5, 2, 3, seed=0), jax.random.key(1)
    _, ys = small.layer.apply(small.params, xs, key=key)
    _, wanted = rnnjax.recurrent(noisy).apply(rnnjax.dequantize(small.params), xs, key=key)
    np.testing.assert_array_equal(ys, wanted)
    assert (ys != small.layer.apply(small.params, xs)[1]).any()


def test_sizes_are_a_quarter_and_a_half():
    layer = rnnjax.stack(rnnjax.lstm(64), rnnjax.lstm(64))
    params = layer.init(jax.random.key(0), 64)
    count = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    whole = count(params)
    assert count(rnnjax.quantize(layer, params).params) < 0.28 * whole
    assert count(rnnjax.quantize(layer, params, "bfloat16").params) < 0.51 * whole


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_matrices_to_make_small(name):
    cell = sized(name, D, H)
    like = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    small = jax.eval_shape(lambda: rnnjax.quantized(cell).init(jax.random.key(0), D))
    again = jax.eval_shape(rnnjax.dequantize, small)
    assert jax.tree.structure(again) == jax.tree.structure(like)
    assert [a.shape for a in jax.tree.leaves(again)] == [a.shape for a in jax.tree.leaves(like)]
    assert any(leaf.dtype == jnp.int8 for leaf in jax.tree.leaves(small))


def test_scales_of_both_directions_and_of_tokens_are_their_own():
    small = rnnjax.quantize(network(), random_params(network(), None, 0)).params
    assert small[0].w.scale.shape == (9, 1)
    assert small[1].w_hh.scale.shape == (2, 1, 20) and small[1].b.dtype == jnp.float32


def test_the_layer_draws_and_is_seen_through():
    layer = rnnjax.quantized(network())
    params = layer.init(jax.random.key(0), None)
    wanted = rnnjax.quantize(network(), network().init(jax.random.key(0), None)).params
    jax.tree.map(np.testing.assert_array_equal, params, wanted)
    parts = parts_of(layer, params)
    assert [part.factory for part in parts] == ["embedding", "lstm", "gru", "dense"]
    assert [part.small for part in parts] == ["int8"] * 4
    assert parts[1].directions[1].w_hh.values.shape == (5, 20)


def test_params_of_ones_own_may_be_dicts_and_lists():
    params = {
        "w": inputs(4, 3, seed=0),
        "b": jnp.ones(3),
        "more": [{"w_out": inputs(3, 2, seed=1)}],
    }
    layer = rnnjax.pointwise(jax.nn.relu)._replace(init=lambda key, in_features: params)
    small = rnnjax.quantize(layer, params).params
    assert small["w"].values.dtype == small["more"][0]["w_out"].values.dtype == jnp.int8
    assert small["b"] is params["b"]


def test_it_can_be_compiled_and_batched():
    layer, params = rnnjax.gru(4), random_params(rnnjax.gru(4), 3, 0)
    xs = inputs(5, 2, 3, seed=0)
    small = jax.jit(lambda p: rnnjax.quantize(layer, p).params)(params)
    run = lambda xs: rnnjax.quantized(layer).apply(small, xs)[1]
    np.testing.assert_allclose(jax.vmap(run, 1, 1)(xs), run(xs), rtol=1e-6, atol=1e-6)


def spoiled(change):
    params = random_params(rnnjax.lstm(5), 4, 0)
    return lambda world: rnnjax.quantize(rnnjax.lstm(5), change(params))


MESSAGES = table(
    quantize={
        "dtype": (
            lambda w: rnnjax.quantize(w.lstm, w.p, "int4"),
            VALUE,
            "quantize: `dtype` must be one of ['int8', 'bfloat16'], got 'int4'; choose one of "
            "these.",
        ),
        "layer": (
            lambda w: rnnjax.quantize(3, w.p),
            TYPE,
            "quantize: `layer` must be cells, layers or functions of the features, got int 3; "
            "build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like.",
        ),
        "twice": (
            lambda w: rnnjax.quantize(w.lstm, rnnjax.quantize(w.lstm, w.p).params),
            TYPE,
            "quantize: `params` must be from init, got LSTMParams(w_ih, w_hh, b); give what init "
            "made for this very cell or layer.",
        ),
        "bfloat16 for int8": (
            lambda w: rnnjax.quantize(w.deep, w.p_deep).layer.apply(
                rnnjax.quantize(w.deep, w.p_deep, "bfloat16").params, w.xs
            ),
            TYPE,
            "quantized.apply: `params[0].w_ih` must be Int8Weights(values, scale), got an array of "
            "shape (4, 20); give what init made for this very cell or layer.",
        ),
        "twice, with its layer": (
            lambda w: rnnjax.quantize(*rnnjax.quantize(w.lstm, w.p)),
            VALUE,
            "quantize: `params` must be whole weights, got int8 weights with their scales; "
            "quantize the whole weights, once.",
        ),
        "none": (
            lambda w: rnnjax.quantize(jax.nn.relu, ()),
            VALUE,
            "quantize: `params` must hold matrices, got an empty tuple; matrices are fields named "
            "`w`, or that begin with `w_`.",
        ),
        "half": (
            spoiled(lambda p: p._replace(w_hh=p.w_hh.astype(jnp.float16))),
            TYPE,
            "quantize: `params.w_hh` must be float32, got float16; cast the params first.",
        ),
        "nan": (
            spoiled(lambda p: p._replace(w_ih=p.w_ih * jnp.nan)),
            VALUE,
            "quantize: `params.w_ih` must be finite, got NaN or infinity; take params from before "
            "training went wrong.",
        ),
    },
    dequantize={
        "layer": (
            lambda w: rnnjax.dequantize(w.both),
            TYPE,
            "dequantize: `params` must hold arrays, got str 'bidirectional'; give the params that "
            "quantize returns.",
        ),
    },
    quantized={
        "dtype": (
            lambda w: rnnjax.quantized(w.lstm, dtype="float8"),
            VALUE,
            "quantized: `dtype` must be one of ['int8', 'bfloat16'], got 'float8'; choose one of "
            "these.",
        ),
    },
)


@pytest.mark.parametrize("name", MESSAGES)
def test_refusals_say_what_is_wrong(name):
    check_refused(MESSAGES[name])

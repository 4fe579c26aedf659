"""The library's steps by themselves: weights as they are stored, and every instruction set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax import testing
from rnnjax.methods.native import library, packing, steps
from rnnjax.methods.native.kinds import kind_of

pytestmark = pytest.mark.skipif(library.why_not_loaded() is not None, reason="it was not built")
D = 7
CELLS = ["lstm", "gru", "gru, reset before", "elman", "elman, relu"]


def in_int8(w):
    w = np.asarray(w)
    scales = (np.abs(w).max(0) / 127).astype(np.float32)
    return np.round(w / scales).astype(np.int8), scales


STORED = {
    "float32": (lambda w: w, lambda w: w),
    "bfloat16": (lambda w: w.astype(jnp.bfloat16), lambda w: np.asarray(w, np.float32)),
    "int8": (in_int8, lambda w: w[0] * w[1]),
}


@pytest.fixture(params=["avx512", "avx2", "portable"])
def instructions(request):
    before = library.instruction_set()
    if not library.select(request.param):
        pytest.skip("this processor has none of these")
    yield
    library.select(before)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("name", CELLS)
def test_stored_weights_mean_their_floats(name, stored, instructions):
    change, meaning = STORED[stored]
    for hidden, rows in ((5, 1), (33, 7), (130, 2)):
        cell, params = registry.make(name, features=D, hidden=hidden)
        params = jax.tree.map(lambda a, n=hidden: a / np.sqrt(n), params)
        kept = params._replace(w_ih=change(params.w_ih), w_hh=change(params.w_hh))
        meant = kept._replace(w_ih=meaning(kept.w_ih), w_hh=meaning(kept.w_hh))
        xs = np.array(registry.inputs(18, rows, D))
        leaves = [np.zeros((rows, hidden), np.float32)] * (2 if name == "lstm" else 1)
        network = steps.Network([steps.recurrent(kind_of(cell.form), kept)])
        ys, new = network.plan(18, (rows,)).call(xs, leaves)
        carry, wanted = testing.reference_unroll(registry.CELLS[name].oracle, meant, xs)
        np.testing.assert_allclose(ys, wanted, rtol=2e-6, atol=1e-6)
        for got, want in zip(new, carry, strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("activation", [None, jnp.tanh, jax.nn.relu, jax.nn.sigmoid, jax.nn.silu])
def test_vectors_and_dense_layers(stored, activation):
    change, meaning = STORED[stored]
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    w, b, table = change(jnp.asarray(draw(6, 70))), draw(70), change(jnp.asarray(draw(6, 9)))
    # Scales of vectors are those of tokens.
    table = (table[0].T.copy(), table[1]) if isinstance(table, tuple) else table.T
    vectors = table[0] * table[1][:, None] if isinstance(table, tuple) else meaning(table)
    layers = [
        steps.embedding(rnnjax.EmbeddingParams(table)),
        steps.elementwise(activation, 6),
        steps.dense(rnnjax.DenseParams(w, b), activation),
    ]
    tokens = rng.integers(0, 9, size=(20, 3))
    ys, _ = steps.Network(layers).plan(20, (3,)).call(tokens, [])
    apply = activation or (lambda a: a)
    below = np.asarray(apply(jnp.asarray(vectors)[tokens]))
    wanted = apply(jnp.asarray(below @ np.asarray(meaning(w)) + b))
    np.testing.assert_allclose(ys, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("stored", STORED)
def test_a_token_without_a_vector_reads_no_memory(stored, instructions):
    table = STORED[stored][0](jnp.ones((5, 5)))
    network = steps.Network([steps.embedding(rnnjax.EmbeddingParams(table))])
    tokens = np.array([4, 5, -1, 2**50, -(2**62), 0])
    ys, _ = network.plan(6, ()).call(tokens, [])
    np.testing.assert_allclose(ys[:, 0], [1, *[np.nan] * 4, 1], rtol=1e-6)


def test_nan_goes_on_and_stays_in_its_row():
    cell, params = registry.make("lstm", features=D, hidden=20)
    network = steps.Network([steps.recurrent(kind_of(cell.form), params)])
    xs = np.array(registry.inputs(1, 5, D))
    xs[0, 2, 3] = np.nan
    ys, _ = network.plan(1, (5,)).call(xs, [np.zeros((5, 20), np.float32)] * 2)
    assert np.isnan(ys[0, 2]).all() and np.isfinite(np.delete(ys[0], 2, axis=0)).all()


def test_packed_columns_stand_side_by_side():
    w = np.arange(2 * 3 * 17, dtype=np.float32).reshape(2, 51)
    packed = packing.pack(w, 3)
    panels = packed.values.reshape(2, 2, 3, 16)  # of 16 units, rows, gates
    np.testing.assert_array_equal(panels[0, :, 1], w[:, 17:33])
    np.testing.assert_array_equal(panels[1, :, 2, 0], w[:, 50])
    assert not panels[1, :, :, 1:].any()
    assert packed.values.ctypes.data % 64 == 0 and packed.stored == 0


def test_without_a_bias_there_are_zeros():
    w = np.eye(3, dtype=np.float32)
    network = steps.Network([steps.dense(rnnjax.DenseParams(w, None), None)])
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(network.plan(None, ()).call(x, [])[0], x)


def test_every_bias_fills_its_panels():
    cell, params = registry.make("gru", features=D, hidden=33)
    layer = steps.recurrent(kind_of(cell.form), params)
    assert layer.bias.shape == (3 * 48,)
    np.testing.assert_array_equal(layer.candidate_bias, np.pad(params.b_hn, (0, 15)))


def test_what_has_values_and_scale_is_taken_for_integers():
    class Quantized:
        values, scale = np.full((2, 5), 3, np.int8), np.full((1, 5), 0.5, np.float32)

    packed = packing.pack(Quantized(), 1)
    assert packed.stored == 2 and packed.values.shape == (2 * 64,)
    np.testing.assert_array_equal(packed.scales[:6], [0.5] * 5 + [0])

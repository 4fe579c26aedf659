"""Wrong answers that released libraries give, each as a test of ours; no peer is needed.

The comments name where the mistake was met. What is right is computed here without the code under
test wherever that fits in a line or two.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import equations
from registry import inputs, random_carry, random_params, randomise

import rnnjax
from peers import assert_same, differ, run

T, B, D, H = 6, 3, 4, 5
LENGTHS = np.array([T, 4, 0], np.int32)
METHODS = [rnnjax.Scan(), rnnjax.Scan(unroll=4), rnnjax.Chunked(4)]
FACTORIES = [rnnjax.lstm, rnnjax.gru, rnnjax.elman]

LAYERS = {
    "lstm": lambda: rnnjax.recurrent(rnnjax.lstm(H)),
    "gru, backwards": lambda: rnnjax.recurrent(rnnjax.gru(H, learned_carry=True), reverse=True),
    "both ways": lambda: rnnjax.bidirectional(rnnjax.lstm(H)),
    "stack": lambda: rnnjax.stack(rnnjax.bidirectional(rnnjax.gru(H)), rnnjax.lstm(H)),
}


@functools.cache
def built(name):
    layer = LAYERS[name]()
    return layer, random_params(layer)


# --- Lengths and masks.


@pytest.mark.parametrize("name", LAYERS)
def test_row_of_length_0_ends_in_the_carry_it_began_with(name):
    """Flax linen and nnx: the carry after all the padding."""
    layer, params = built(name)
    xs = inputs(T, B, D)
    fresh = layer.init_carry(params, xs[0])
    given = randomise(fresh, 5)
    row = lambda tree: jax.tree.map(lambda a: a[..., 2, :], tree)

    @jax.jit
    def both(given):
        apply = functools.partial(layer.apply, params, xs, lengths=LENGTHS)
        return apply(), apply(given)

    for begun, (carry, ys) in zip((fresh, given), both(given), strict=True):
        assert_same(row(carry), row(begun), 0)
        assert not np.any(ys[:, 2])
        assert differ(carry, begun)  # the other rows went on


@pytest.mark.parametrize("name", LAYERS)
def test_padding_changes_nothing(name):
    """Flax linen: outputs at padding are what the cell made of it, the carry is the last one."""
    layer, params = built(name)
    xs = inputs(T, B, D)
    carry, ys = run(layer, params, xs, lengths=LENGTHS)
    carry_alone, alone = run(layer, params, xs[:4, 1])
    assert_same(ys[:4, 1], alone)
    assert_same(jax.tree.map(lambda a: a[..., 1, :], carry), carry_alone)
    assert not np.any(ys[4:, 1])


@pytest.mark.parametrize("name", LAYERS)
def test_what_stands_in_padding_reaches_no_gradient(name):
    """Flax linen, jax#15183: NaN gradients."""
    layer, params = built(name)
    clean = inputs(T, B, D)
    valid = np.arange(T)[:, None] < LENGTHS

    @jax.jit
    def gradients(xs):
        def loss(params, xs):
            carry, ys = layer.apply(params, xs, lengths=LENGTHS)
            return sum((leaf**2).sum() for leaf in jax.tree.leaves((carry, ys)))

        return jax.value_and_grad(loss, argnums=(0, 1))(params, xs)

    wanted = gradients(clean)
    for poison in (np.nan, np.inf, 1e30):
        got = gradients(jnp.where(valid[..., None], clean, poison))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
        assert_same(got, wanted)
        assert not np.any(got[1][1][~valid])


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_masked_steps_hold_a_given_carry(method):
    """Keras: with unroll=True zeros at leading masked steps."""
    cell = rnnjax.with_carries(rnnjax.elman(H))
    params, xs = random_params(cell), inputs(T, B, D)
    given = rnnjax.ElmanCarry(inputs(B, H, seed=3))
    mask = np.ones((T, B), bool)
    mask[:2] = False  # padded in front
    carry, (ys, _) = rnnjax.unroll(cell, params, xs, given, mask=mask, method=method)
    late, (late_ys, _) = rnnjax.unroll(cell, params, xs[2:], given)
    assert_same((carry, ys[2:]), (late, late_ys))
    assert not np.any(ys[:2])
    held, _ = rnnjax.unroll(cell, params, xs, given, mask=np.zeros((T, B), bool), method=method)
    assert_same(held, given, 0)


def test_mask_with_holes_is_the_sequence_without_them():
    """Flax, PyTorch: only right padding can be said."""
    cell, xs = rnnjax.lstm(H), inputs(T, D)
    params, mask = random_params(cell), np.array([True, False, True, False, False, True])
    carry, ys = rnnjax.unroll(cell, params, xs, mask=mask)
    dense_carry, dense_ys = rnnjax.unroll(cell, params, xs[mask])
    assert_same((carry, ys[mask]), (dense_carry, dense_ys))
    assert not np.any(ys[~mask])


def test_last_output_of_a_padded_row_is_its_last_valid_one():
    """Keras, zero_output_for_mask with return_sequences=False: zeros."""
    cell, xs = rnnjax.gru(H), inputs(T, B, D)
    carry, ys = rnnjax.unroll(cell, random_params(cell), xs, lengths=LENGTHS)
    last = rnnjax.last_output(ys, LENGTHS)
    assert_same(last[:2], jnp.stack([ys[5, 0], ys[3, 1]]), 0)
    assert_same(last, carry.h, 0)  # of a GRU the output is the state; length 0 began with zeros
    assert np.all(np.any(last[:2], axis=-1))


@pytest.mark.parametrize("lengths", [[T + 1, 1, 1], [1, -1, 1]])
@pytest.mark.parametrize("name", LAYERS)
def test_lengths_beyond_the_sequence_are_refused(name, lengths):
    """PyTorch packs 9 steps of a sequence of 3; Flax and jax.experimental.rnn take them too."""
    layer, params = built(name)
    with pytest.raises(ValueError, match=r"`lengths` must lie in 0\.\.T = 0\.\.6, got (7|-1)"):
        layer.apply(params, inputs(T, B, D), lengths=lengths)


@pytest.mark.parametrize("name", LAYERS)
def test_two_batch_axes_with_lengths_and_carry(name):
    """Flax: `Incompatible shapes for broadcasting`."""
    layer, params = built(name)
    xs, lengths = inputs(T, 2, B, D), np.array([[T, 4, 0], [1, 0, 2]], np.int32)
    start = random_carry(layer, params, xs[0], 5)
    carry, ys = run(layer, params, xs, start, lengths=lengths)
    one = lambda x, c, n: layer.apply(params, x, c, lengths=n)
    each = jax.jit(jax.vmap(one, in_axes=(1, -3, 0), out_axes=(-3, 1)))
    assert_same((carry, ys), each(xs, start, lengths))


# --- Directions.


@pytest.mark.parametrize("with_key", [False, True])
def test_backward_half_looks_ahead_and_forward_half_back(with_key):
    """Keras, Bidirectional(LSTM(dropout=...)): the backward half comes out reversed in time."""
    layer = rnnjax.bidirectional(rnnjax.input_dropout(rnnjax.lstm(H), 0.4))
    params, xs = random_params(layer), inputs(T, D)
    key = jax.random.key(3) if with_key else None
    jacobian = jax.jacobian(lambda xs: run(layer, params, xs, key=key)[1])(xs)
    reads = np.any(jacobian, axis=3)  # (T of ys, 2H, T of xs): whether it depends on that step
    forward, backward = reads[:, :H].any(1), reads[:, H:].any(1)
    np.testing.assert_array_equal(forward, np.tri(T, dtype=bool))
    np.testing.assert_array_equal(backward, np.tri(T, dtype=bool).T)


@pytest.mark.parametrize("merge", ["concatenate", "pair"])
def test_halves_are_two_runs_each_answering_its_inputs(merge):
    """Flax, Keras: keep_order, go_backwards and a second flip."""
    layer = rnnjax.bidirectional(rnnjax.gru(H), merge=getattr(rnnjax.merge, merge))
    params, xs = random_params(layer), inputs(T, B, D)
    carry, ys = run(layer, params, xs, lengths=LENGTHS)
    forward, backward = (jax.tree.map(lambda a, i=i: a[i], params) for i in range(2))
    first = rnnjax.unroll(rnnjax.gru(H), forward, xs, lengths=LENGTHS)
    second = rnnjax.unroll(rnnjax.gru(H), backward, xs, lengths=LENGTHS, reverse=True)
    halves = ys if merge == "pair" else jnp.split(ys, 2, axis=-1)
    assert_same((halves[0], halves[1]), (first[1], second[1]))
    assert_same(carry.h, jnp.stack([first[0].h, second[0].h]))


@pytest.mark.parametrize("reverse", [False, True])
def test_resets_restore_a_learned_carry_in_either_direction(reverse):
    """Haiku: forwards only, and to zero only."""
    cell = rnnjax.gru(H, learned_carry=True)
    params, xs = random_params(cell), inputs(T, D)
    resets = np.zeros(T, bool)
    resets[2] = True
    carry, ys = rnnjax.unroll(cell, params, xs, resets=resets, reverse=reverse)
    segment = slice(0, 3) if reverse else slice(2, None)
    fresh_carry, fresh = rnnjax.unroll(cell, params, xs[segment], reverse=reverse)
    assert_same((carry, ys[segment]), (fresh_carry, fresh))


# --- Cells.


def test_b_hn_matters_and_stands_inside_the_product_with_r():
    """Flax nnx: GRUCell has no b_hn, and weights of PyTorch cannot be loaded."""
    cell = rnnjax.gru(H)
    params = random_params(cell)
    x, h = inputs(D), inputs(H, seed=2)
    _, ys = rnnjax.unroll(cell, params, x[None], rnnjax.GRUCarry(h))
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    a_r, a_z, a_n = np.split(np.asarray(x, np.float64) @ p.w_ih + p.b, 3)
    u_r, u_z, u_n = np.split(np.asarray(h, np.float64) @ p.w_hh, 3)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = np.tanh(a_n + r * (u_n + p.b_hn))
    assert_same(ys[0], ((1 - z) * n + z * np.asarray(h)).astype(np.float32))
    # Folded into b it would be another function.
    folded = params._replace(b=params.b.at[2 * H :].add(params.b_hn), b_hn=jnp.zeros(H))
    _, other = rnnjax.unroll(cell, folded, x[None], rnnjax.GRUCarry(h))
    assert np.abs(other - ys).max() > 1e-2


def test_b_hn_is_trained():
    cell, xs = rnnjax.gru(H), inputs(T, B, D)
    gradient = jax.grad(lambda p: rnnjax.unroll(cell, p, xs)[1].sum())(random_params(cell))
    assert np.all(np.abs(gradient.b_hn) > 1e-4)


@pytest.mark.parametrize("name", ["lstm", "both ways", "stack"])
def test_carry_of_the_wrong_width_is_refused(name):
    """Flax linen builds a cell of the carry's width."""
    layer, params = built(name)
    xs = inputs(T, B, D)
    wide = jax.tree.map(
        lambda a: jnp.zeros((*a.shape[:-1], H + 2)), layer.init_carry(params, xs[0])
    )
    with pytest.raises(ValueError, match=r"`carry.*` must have shape .*5\), got .*7\)"):
        layer.apply(params, xs, wide)


def test_carry_of_another_batch_is_refused():
    """Keras, stateful layers (keras#21249): broadcast, or corrupted."""
    cell, xs = rnnjax.gru(H), inputs(T, B, D)
    for rows in (1, B + 1):
        with pytest.raises(ValueError, match=r"`carry.h` must have shape \(3, 5\), got"):
            rnnjax.unroll(cell, random_params(cell), xs, rnnjax.GRUCarry(jnp.zeros((rows, H))))


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda f: f.__name__)
def test_default_initialisers_make_bfloat16(factory):
    """Flax: the QR behind the orthogonal initialiser has no bfloat16."""
    cell = factory(H, param_dtype=jnp.bfloat16, learned_carry=True)
    params = cell.init(jax.random.key(0), D)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    gate = np.asarray(params.w_hh[:, :H], np.float64)
    np.testing.assert_allclose(gate @ gate.T, np.eye(H), atol=0.03)  # orthogonal, not cut to zero
    carry, ys = rnnjax.unroll(cell, params, inputs(T, B, D, dtype=jnp.bfloat16))
    assert ys.dtype == jnp.bfloat16 and np.isfinite(np.asarray(ys, np.float32)).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(carry)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("carry_dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float32])
def test_every_mix_of_dtypes_runs(dtype, param_dtype, carry_dtype):
    """Flax linen: the scan's carry changes its type."""
    cell = rnnjax.lstm(H, dtype=dtype, param_dtype=param_dtype, carry_dtype=carry_dtype)
    unroll = functools.partial(rnnjax.unroll, cell)
    carry, ys = jax.eval_shape(unroll, random_params(cell), inputs(T, B, D), lengths=LENGTHS)
    assert ys.dtype == (dtype or jnp.float32)
    assert carry.h.dtype == carry.c.dtype == (carry_dtype or jnp.float32)


def test_gru_under_vmap_forward_mode_and_second_derivatives():
    """PyTorch: no batching rule; cuDNN paths of JAX and Keras: no forward mode."""
    cell, xs = rnnjax.gru(H), inputs(T, B, D)
    params = random_params(cell)
    unroll = lambda x: rnnjax.unroll(cell, params, x, method=rnnjax.Scan())[1]
    assert_same(jax.vmap(unroll, in_axes=1, out_axes=1)(xs), unroll(xs))
    direction = inputs(T, B, D, seed=9)
    _, tangent = jax.jvp(unroll, (xs,), (direction,))
    weights = inputs(T, B, H, seed=8)
    gradient = jax.grad(lambda x: (unroll(x) * weights).sum())(xs)
    assert_same((tangent * weights).sum(), (gradient * direction).sum(), 1e-4)
    second = jax.hessian(lambda x: unroll(x).sum())(xs[:2, 0])
    flat = np.asarray(second).reshape(2 * D, 2 * D)
    assert np.abs(flat).max() > 1e-3
    np.testing.assert_allclose(flat, flat.T, atol=1e-5)


# --- Time.


@pytest.mark.parametrize("name", LAYERS)
def test_program_does_not_grow_with_the_sequence(name):
    """Keras, TimeDistributed: a Python loop over T; jax#2777: compile time explodes."""
    layer, params = built(name)
    program = jax.make_jaxpr(lambda xs, lengths: layer.apply(params, xs, lengths=lengths))
    sizes = []
    for steps in (2**20, 2**23):  # both are so long that methods cut them into chunks
        xs = jax.ShapeDtypeStruct((steps, B, D), jnp.float32)
        sizes.append(len(equations(program(xs, jnp.ones(B, jnp.int32)).jaxpr)))
    assert sizes[0] == sizes[1]

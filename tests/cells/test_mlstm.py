"""The mLSTM, step by step and chunk by chunk: numbers by hand, extremes, and rows of their own.

That both forms equal the oracle with every option is in `tests/sequence/test_oracle.py`.
"""

import functools
import itertools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax import testing
from rnnjax.cells import MLSTMCarry, MLSTMParams

T, B, D, H, N, K = 7, 3, 4, 6, 2, 2  # K: key features
I = slice(2 * N * K + H, 2 * N * K + H + N)  # where gates stand, behind q, k and v
F = slice(I.stop, I.stop + N)
METHODS = {"scan": rnnjax.Scan(), "chunkwise": rnnjax.Chunkwise(3)}
OPTIONS = registry.sequence_options()
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
kinds = pytest.mark.parametrize("kind", ["float32", "bfloat16"])
assert_exact = functools.partial(compare.assert_close, rtol=1e-11, atol=1e-13)


@functools.cache
def problem(dtype=jnp.float64, *, num_steps=T):
    """A cell of two heads, random params, inputs, and a carry to begin from."""
    cell = rnnjax.mlstm(H, num_heads=N, key_features=K, param_dtype=dtype)
    params = registry.random_params(cell, D, 0)
    xs = registry.inputs(num_steps, B, D, dtype=dtype)
    like = jnp.zeros((B, D), dtype)
    return cell, params, xs, registry.random_carry(cell, params, like, 2)


def graded(cell, method, **options):
    """Values, and gradients of them times random cotangents."""

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry, method=method, **options)

    return compare.graded(run, lambda out: registry.randomise(out, seed=3))


# Numbers by hand

LN2, LN3, LN8, LN16 = np.log([2.0, 3.0, 8.0, 16.0])


def constant(*parts):
    """Params that make these numbers of an input of 1, half by weight and half by bias."""
    s = np.concatenate([np.atleast_1d(np.asarray(part, float)) for part in parts])
    return MLSTMParams(w_ih=jnp.asarray(s[None] / 2), b=jnp.asarray(s / 2))


def both_forms(cell, params, carry):
    """The output of one step on an input of 1: by the cell, in a chunk, and by the oracle."""
    xs = jnp.ones((1, 1))
    for method in (rnnjax.Scan(), rnnjax.Chunkwise()):
        yield rnnjax.unroll(cell, params, xs, carry, method=method)
    yield testing.reference_unroll(
        testing.mlstm(key_features=cell.form.key_features), params, xs, carry
    )


@pytest.mark.parametrize("q, h", [(2.0, 2.3), (-2.0, -2.3), (0.1, 1.15)])
def test_a_step_by_hand(x64, q, h):
    """k = 3, v = 5, log i = 0, f = 1/4, o = 1/2 on c = 4, n = 1, m = log 8.

    So m' = log 2, f' = 1, i' = 1/2, c' = 4 + 15/2, n' = 1 + 3/2, and the output is half of
    q 11.5 / max(|2.5 q|, 1/2).
    """
    cell = rnnjax.mlstm(1, param_dtype=jnp.float64)
    carry = MLSTMCarry(*(jnp.asarray(a) for a in ([[[4.0]]], [[1.0]], [LN8])))
    for new, ys in both_forms(cell, constant(q, 3, 5, 0, -LN3, 0), carry):
        np.testing.assert_allclose(new.c, [[[11.5]]], rtol=1e-14)
        np.testing.assert_allclose(new.n, [[2.5]], rtol=1e-14)
        np.testing.assert_allclose(new.m, [LN2], rtol=1e-14)
        np.testing.assert_allclose(ys, [[h]], rtol=1e-14)


@pytest.mark.parametrize("i, h", [(0.0, 3.5), (LN8, 3.5), (-LN16, 1.75)])
def test_the_first_step_by_hand(x64, i, h):
    """q = k = (2, 2, 2, 2), v = 7, o = 1/2; the root of 4 makes 8 of the product of q and k.

    What comes first counts in full, whatever its gate: i' = 1 and m = i, so that the output is
    half of 8 v / max(8, exp(-i)).
    """
    cell = rnnjax.mlstm(1, key_features=4, param_dtype=jnp.float64)
    params = constant([2] * 4, [2] * 4, 7, i, -LN3, 0)
    for new, ys in both_forms(cell, params, None):
        np.testing.assert_allclose(new.c, [[[14.0]] * 4], rtol=1e-14)
        np.testing.assert_allclose(new.n, [[2.0] * 4], rtol=1e-14)
        np.testing.assert_allclose(new.m, [i], rtol=1e-14, atol=1e-15)
        np.testing.assert_allclose(ys, [[h]], rtol=1e-14)


# Chunks


@functools.cache
def by_scan(option, reverse):
    cell, *point = problem()
    return graded(cell, rnnjax.Scan(), **OPTIONS[option], reverse=reverse)(*point)


@pytest.mark.parametrize("size", [1, 3, T, T + 5])
@pytest.mark.parametrize("option, reverse", [("plain", False), ("all", True)])
def test_every_size_of_a_chunk_is_the_scan(x64, size, option, reverse):
    cell, *point = problem()
    got = graded(cell, rnnjax.Chunkwise(size), **OPTIONS[option], reverse=reverse)(*point)
    assert_exact(got, by_scan(option, reverse))


@pytest.mark.parametrize("num_steps", [0, 1])
def test_no_steps_and_one(x64, num_steps):
    cell, *point = problem(num_steps=num_steps)
    assert_exact(*(graded(cell, method)(*point) for method in METHODS.values()))


@pytest.mark.parametrize("batch", [(), (2, 3), (2, 1, 3)], ids=str)
def test_any_number_of_batch_axes(x64, batch):
    cell, params, *_ = problem()
    xs = registry.inputs(T, *batch, D, dtype=jnp.float64)
    carry = registry.random_carry(cell, params, xs[0], 2)
    options = {name: flag.reshape(T, *batch) for name, flag in holes(np.prod(batch)).items()}
    assert_exact(*(graded(cell, m, **options)(params, xs, carry) for m in METHODS.values()))


def holes(rows):
    rng = np.random.default_rng(5)
    shape = T, int(rows)
    return {"mask": rng.random(shape) < 0.6, "resets": rng.random(shape) < 0.3}


def test_forward_mode_and_second_derivatives_are_those_of_the_scan(x64):
    cell, *point = problem()
    direction = registry.randomise(tuple(point), seed=6)

    def slope(method):
        def loss(*point):
            out = rnnjax.unroll(cell, *point, **OPTIONS["all"], method=method)
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(out))

        gradient = jax.grad(loss, argnums=(0, 1, 2))
        return jax.jit(lambda *point: jax.jvp(gradient, point, direction))(*point)

    compare.assert_close(*map(slope, METHODS.values()), rtol=1e-9, atol=1e-10)


def test_a_step_that_forgets_nearly_all_spoils_no_other(x64):
    """Differences of sums from the start of a chunk would be rounding: here 1e6 against 1."""
    cell, params, xs, carry = problem(jnp.float32, num_steps=20)
    params = params._replace(w_ih=params.w_ih.at[0, F].set(1e6))
    xs = xs.at[:, :, 0].set(jnp.where(jnp.arange(20) == 5, -1.0, 0.0)[:, None])
    run = lambda xs, method: rnnjax.unroll(cell, params, xs, carry, method=method)[1]
    compare.assert_close(run(xs, rnnjax.Chunkwise(20)), run(xs, rnnjax.Scan()), rtol=1e-5)


def test_a_gradient_keeps_a_matrix_a_chunk():
    """Temporary memory over 2048 steps, as the compiler states it."""
    cell = rnnjax.mlstm(64)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 16))
    xs = jax.ShapeDtypeStruct((2048, 4, 16), jnp.float32)

    def mebibytes(method):
        def loss(params, xs):
            return rnnjax.unroll(cell, params, xs, method=method)[0].c.sum()

        compiled = jax.jit(jax.grad(loss)).lower(params, xs)
        return compiled.compile().memory_analysis().temp_size_in_bytes / 2**20

    matrices = 2048 * 4 * 64 * 64 * 4 / 2**20  # 128 MiB
    assert mebibytes(rnnjax.Chunkwise()) < matrices / 4 < matrices < mebibytes(rnnjax.Scan())


# Rows of their own


@methods
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_rows_that_start_at_different_times_are_rows_alone(x64, method, reverse):
    """Padding in front, behind and all over, before which nothing was read."""
    cell, params, xs, _ = problem()
    starts, ends = np.array([0, 3, 5]), np.array([4, T, 5])
    steps = np.arange(T)[:, None]
    mask = (steps >= starts) & (steps < ends)
    run = lambda xs, **options: rnnjax.unroll(
        cell, params, xs, reverse=reverse, method=method, **options
    )
    final, ys = run(jnp.where(mask[..., None], xs, jnp.nan), mask=mask)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own_final, own_ys = run(xs[start:end, row])
        assert_exact(jax.tree.map(lambda a, n=row: a[n], final), own_final)
        assert_exact(ys[start:end, row], own_ys)
        assert not ys[:start, row].any() and not ys[end:, row].any()
    assert np.isneginf(final.m[2]).all() and not final.c[2].any()


@methods
def test_gradients_of_rows_that_start_late_are_finite_and_those_of_the_rows(x64, method):
    cell, params, xs, _ = problem()
    mask = np.arange(T)[:, None] >= np.array([0, 4, T])

    def gradient(xs, **options):
        def loss(params, xs):
            (c, n, _), ys = rnnjax.unroll(cell, params, xs, method=method, **options)
            return sum(jnp.sin(leaf).sum() for leaf in (c, n, ys))

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, xs)

    params_bar, xs_bar = gradient(xs, mask=mask)
    alone = [gradient(xs[start:, row]) for row, start in ((0, 0), (1, 4))]
    assert_exact(params_bar, jax.tree.map(jnp.add, alone[0][0], alone[1][0]))
    assert_exact(xs_bar[:, 0], alone[0][1])
    assert_exact(xs_bar[4:, 1], alone[1][1])
    assert not xs_bar[:4, 1].any() and not xs_bar[:, 2].any()


@methods
def test_a_row_without_steps_keeps_its_carry_and_its_gradient(x64, method):
    """Also an empty carry, where m is -inf."""
    cell, params, xs, carry = problem()
    empty = cell.init_carry(params, xs[0])
    for begin in (carry, empty):
        out, gradients = graded(cell, method, lengths=np.array([0, 0, T]))(params, xs, begin)
        bars = registry.randomise(out, seed=3)
        rows = lambda tree: jax.tree.map(lambda a: a[:2], tree)
        compare.assert_equal(rows(out[0]), rows(begin))
        compare.assert_equal(rows(gradients.carry), rows(bars[0]))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_shard_map_over_rows_is_one_device():
    cell, params, *_ = problem(jnp.float32)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    xs, rows = registry.inputs(T, 16, D), jax.P(None, "data")
    lengths = np.arange(16, dtype=np.int32) % (T + 1)

    def run(params, xs, lengths):
        return rnnjax.unroll(cell, params, xs, lengths=lengths, method=rnnjax.Chunkwise(3))

    specs = (jax.P(), rows, jax.P("data"))
    mapped = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=(jax.P("data"), rows))
    point = params, xs, jnp.asarray(lengths)
    compare.assert_close(jax.jit(mapped)(*point), jax.jit(run)(*point))


# Extremes


@functools.cache
def differentiated(method, *lengths):
    """Outputs and carry, and gradients of a loss of the outputs; compiled once a dtype."""
    cell, *_ = problem(jnp.float32)
    options = {"lengths": np.array(lengths), "reverse": True} if lengths else {}

    def loss(params, xs):
        carry, ys = rnnjax.unroll(cell, params, xs, method=method, **options)
        return ys.astype(jnp.float32).mean(), (carry, ys)

    both = jax.grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(both)


def check_finite(kind, params, xs, method, *lengths):
    """The outputs, when they and all gradients are finite; m is -inf where nothing was read."""
    params, xs = jax.tree.map(lambda a: a.astype(kind), (params, xs))
    gradients, (carry, ys) = differentiated(method, *lengths)(params, xs)
    numbers = [np.asarray(leaf, float) for leaf in jax.tree.leaves((gradients, ys, carry[:2]))]
    assert all(np.isfinite(leaf).all() for leaf in numbers)
    assert not np.isnan(carry.m).any()
    return np.asarray(ys, float)


@methods
@kinds
def test_inputs_of_any_size(kind, method):
    _, params, xs, _ = problem(jnp.float32)
    for size in (1e30, 1e10, 1e4, 1e-30):
        check_finite(kind, params, xs * size, method)
        check_finite(kind, params, xs * size, method, T, 0, 2)


@methods
@kinds
def test_saturated_gates(kind, method):
    """A closed input gate takes the output to zero, since exp(-m) grows; an open one does not."""
    _, params, xs, _ = problem(jnp.float32)
    for i, f in itertools.product([-1e30, -100.0, 0.0, 100.0, 1e30], [-1e30, -100.0, 100.0, 1e30]):
        saturated = params._replace(b=params.b.at[I].set(i).at[F].set(f))
        ys = check_finite(kind, saturated, xs, method)
        assert (np.abs(ys).max() < 1e-20) == (i <= -100)


@methods
def test_queries_of_zero_are_answered_by_zero(method):
    """The denominator is exp(-m), which underflows: 0 / 0 if nothing held it."""
    _, params, xs, _ = problem(jnp.float32)
    q = slice(0, N * K)
    w_ih, b = params.w_ih.at[:, q].set(0.0), params.b.at[q].set(0.0).at[I].set(1e3)
    assert not check_finite("float32", MLSTMParams(w_ih, b), xs, method).any()


@kinds
def test_long_sequences(kind):
    """In chunks; step by step they are in tests/sequence/test_extremes.py."""
    _, params, xs, _ = problem(jnp.float32, num_steps=4096)
    ys = check_finite(kind, params, xs, rnnjax.Chunkwise())
    params, xs = jax.tree.map(lambda a: a.astype(kind), (params, xs))
    oracle = testing.mlstm(num_heads=N, key_features=K)
    error = np.abs(ys - testing.reference_unroll(oracle, params, xs)[1])
    assert np.median(error) < {"float32": 1e-6, "bfloat16": 1e-2}[kind]


# Options, choice, and what is refused


def test_where_weights_start():
    init = jax.nn.initializers
    cell = rnnjax.mlstm(6, num_heads=3, key_features=4, input_bias=-10.0, w_ih_init=init.ones)
    params = cell.init(jax.random.key(0), 5)
    assert params.w_ih.shape == (5, 2 * 12 + 6 + 2 * 3 + 6)
    assert (params.w_ih == 1).all()
    gates = params.b[30:36]
    np.testing.assert_allclose(gates, [-10, -10, -10, 3, 4.5, 6])
    assert not params.b[:30].any() and not params.b[36:].any()
    one = rnnjax.mlstm(4, forget_bias=(1.0, 2.0)).init(jax.random.key(0), 5)
    np.testing.assert_allclose(one.b[12:14], [0, 1])
    inits = tuple(init.constant(number) for number in range(6))
    told = rnnjax.mlstm(2, key_features=1, w_ih_init=inits).init(jax.random.key(0), 1)
    np.testing.assert_allclose(told.w_ih[0], [0, 1, 2, 2, 3, 4, 5, 5])


def test_none_picks_chunks_where_they_pay():
    cell, params, xs, _ = problem(jnp.float32, num_steps=100)
    explanation = rnnjax.explain(cell, params, xs)
    assert explanation.method == rnnjax.Chunkwise()
    assert "for forward mode or second derivatives" in dict(explanation.passed_over)["Scan"]
    short = rnnjax.explain(cell, params, xs[:3])
    assert short.method == rnnjax.Scan()
    assert "steps on" in dict(short.passed_over)["Chunkwise"]


def test_chunkwise_refuses_other_equations():
    cell, params, xs, _ = problem(jnp.float32)
    with pytest.raises(ValueError, match="cannot: it knows the mLSTM, and this cell is"):
        rnnjax.unroll(rnnjax.with_carries(cell), params, xs, method=rnnjax.Chunkwise())

"""Attention: values, padding, gradients, queries at once and in a loop, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table
from registry import randomise

import rnnjax

__all__ = ["no_type_checker"]

S, T, B, D, H, K = 5, 4, 3, 2, 6, 3
LENGTHS = np.array([S, 2, 0])
VALID = np.arange(S)[:, None] < LENGTHS
KEY = jax.random.key(0)
FACTORIES = {
    "dot": (rnnjax.dot_attention(K), H),
    "unweighted": (rnnjax.dot_attention(), D),
    "additive": (rnnjax.additive_attention(K), H),
}


@functools.cache
def world(name):
    attention, width = FACTORIES[name]
    like = jax.eval_shape(lambda: attention.init(KEY, width, D))
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return attention, randomise(like, 1), draw(S, B, D), draw(T, B, width)


def oracle(name, params, memory, queries, valid):
    """Row by row in float64, with no padding to be seen."""
    memory, queries = np.float64(memory), np.float64(queries)
    p = jax.tree.map(np.float64, params)
    context, weights = np.zeros((*queries.shape[:-1], D)), np.zeros((*queries.shape[:-1], S))
    for t, b in np.ndindex(queries.shape[:-1]):
        rows = memory[valid[:, b], b]
        q = queries[t, b]
        if not len(rows):
            continue
        if name == "dot":
            scores = (rows @ p.w_memory) @ (q @ p.w_query) / np.sqrt(K)
        elif name == "unweighted":
            scores = rows @ q / np.sqrt(D)
        else:
            scores = np.tanh(q @ p.w_query + rows @ p.w_memory + p.b) @ p.v
        e = np.exp(scores - scores.max())
        weights[t, b, valid[:, b]] = e / e.sum()
        context[t, b] = e / e.sum() @ rows
    return context, weights


def attend(attention, params, memory, queries, **told):
    return attention.read(params, attention.memorise(params, memory, **told), queries)


@pytest.mark.parametrize("told", [{"lengths": LENGTHS}, {"mask": VALID}], ids=["lengths", "mask"])
@pytest.mark.parametrize("name", FACTORIES)
def test_equals_the_equations_whatever_stands_in_the_padding(name, told):
    attention, params, memory, queries = world(name)
    wild = np.where(VALID[..., None], memory, np.array([np.nan, np.inf], np.float32))
    got = jax.jit(functools.partial(attend, attention))(params, wild, queries, **told)
    for a, b in zip(got, oracle(name, params, memory, queries, VALID), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert not np.any(got[0][:, 2]) and not np.any(got[1][:, 2])


@pytest.mark.parametrize("name", FACTORIES)
def test_one_step_is_one_of_many_and_rows_need_no_batch(name):
    attention, params, memory, queries = world(name)
    context, weights = attend(attention, params, memory, queries)
    wanted = oracle(name, params, memory, queries, np.ones_like(VALID))
    np.testing.assert_allclose(weights, wanted[1], atol=1e-6)
    for queries_of_one, at in ((queries[1], 1), (queries[3], 3)):
        one = attend(attention, params, memory, queries_of_one)
        np.testing.assert_allclose(one[0], context[at], atol=1e-6)
        np.testing.assert_allclose(one[1], weights[at], atol=1e-6)
    alone = attend(attention, params, memory[:, 1], queries[:, 1])
    np.testing.assert_allclose(alone[0], context[:, 1], atol=1e-6)
    two_axes = attend(attention, params, memory[:, None], queries[:, None])
    np.testing.assert_allclose(two_axes[1], weights[:, None], atol=1e-6)
    nothing = attend(attention, params, memory[:0], queries)
    assert nothing[1].shape == (T, B, 0) and not np.any(nothing[0])


@pytest.mark.parametrize("name", FACTORIES)
def test_gradients_are_finite_and_zero_at_padding(name):
    attention, params, memory, queries = world(name)
    weight = np.random.default_rng(2).normal(size=(T, B, D)).astype(np.float32)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def slopes(params, memory, queries):
        return (attend(attention, params, memory, queries, lengths=LENGTHS)[0] * weight).sum()

    clean = slopes(params, memory, queries)
    wild = slopes(params, np.where(VALID[..., None], memory, np.float32(np.nan)), queries)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), wild, clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(wild))
    assert np.array_equal(np.any(wild[1], -1), VALID) and not np.any(wild[2][:, 2])
    step = 1e-4  # along one direction, beside the oracle's difference
    way = np.random.default_rng(3).normal(size=queries.shape)
    value = lambda q: (oracle(name, params, memory, q, VALID)[0] * weight).sum()
    slope = (value(queries + step * way) - value(queries - step * way)) / (2 * step)
    np.testing.assert_allclose((wild[2] * way).sum(), slope, rtol=1e-3)


def test_a_score_that_leads_by_far_neither_overflows_nor_is_lost():
    attention = FACTORIES["unweighted"][0]
    context, weights = attend(attention, (), jnp.array([[3e4, 0], [0, 3e4]]), jnp.array([3e4, 0.0]))
    assert weights.tolist() == [1, 0] and context.tolist() == [3e4, 0]


def test_inside_the_loop_of_a_cell_that_holds_the_memory():
    """A loop reads params and does not change them; `unroll` and `vmap` see nothing special."""
    attention, params, memory, queries = world("additive")

    def step(params, carry, z):
        context, _ = attention.read(params[0], params[1], z + carry)
        return context.sum(-1, keepdims=True), context

    cell = rnnjax.Cell(
        init=lambda key, in_features: (),
        init_carry=lambda params, like: jnp.zeros_like(like[..., :1]),
        project=lambda params, xs: xs,
        step=step,
        out_features=D,
    )
    held = (params, attention.memorise(params, memory, lengths=LENGTHS))
    _, ys = rnnjax.unroll(cell, held, jnp.asarray(queries), lengths=[T, 2, T])
    carry = np.zeros((B, 1))
    for t in range(2):
        context, _ = oracle("additive", params, memory, (queries[t] + carry)[None], VALID)
        np.testing.assert_allclose(ys[t], context[0], atol=1e-6)
        carry = context[0].sum(-1, keepdims=True)


def test_dtypes():
    attention, params, memory, queries = world("dot")
    half = rnnjax.dot_attention(K, dtype=jnp.bfloat16)
    context, weights = attend(half, params, memory, queries)
    assert (context.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights, attend(attention, params, memory, queries)[1], atol=0.03)
    narrow = rnnjax.additive_attention(K, param_dtype=jnp.float16)
    small = jax.eval_shape(lambda: narrow.init(KEY, H, D))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(small)} == {"float16"}


@pytest.mark.parametrize("name", ["dot", "additive"])
def test_on_an_explicit_mesh_rows_stay_where_they_are(name):
    attention, params, memory, queries = world(name)
    told = {"lengths": np.array([S, 2, 0, 1] * 2)}
    memory, queries = (np.resize(a, (len(a), 8, a.shape[-1])) for a in (memory, queries))
    wanted = attend(attention, params, memory, queries, **told)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        put = lambda a: jax.device_put(a, jax.P(None, "data"))
        got = jax.jit(functools.partial(attend, attention, **told))(
            params, put(memory), put(queries)
        )
    assert jax.typeof(got[0]).sharding.spec == jax.P(None, "data", None)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_init():
    dot, additive = rnnjax.dot_attention(K), rnnjax.additive_attention(K)
    assert dot is rnnjax.dot_attention(K) and dot.recipe.options["features"] == K
    assert FACTORIES["unweighted"][0].init(KEY, D, D) == ()
    shapes = lambda params: jax.tree.map(lambda a: a.shape, params)
    assert shapes(dot.init(KEY, H, D)) == ((H, K), (D, K))
    drawn = additive.init(KEY, H, D)
    assert shapes(drawn) == ((H, K), (D, K), (K,), (K,))
    assert not np.any(drawn.b) and all(map(np.all, (drawn.w_query, drawn.w_memory, drawn.v)))
    like = jax.eval_shape(lambda: additive.init(KEY, H, D))
    assert rnnjax.count_parameters(like) == H * K + D * K + 2 * K


DOT, PARAMS, MEMORY, QUERIES = world("dot")
HELD = rnnjax.Memory(jnp.zeros((S, B, K)), jnp.zeros((S, B, D)))
OWN = "give what init made for this very attention."
COUNT = "give the width or count that is meant."
ROWS = "every row of the memory has its own queries."

REFUSED = table(
    options={
        "width": (
            lambda w: rnnjax.additive_attention(0),
            VALUE,
            f"additive_attention: `features` must be at least 1, got 0; {COUNT}",
        ),
        "no width": (
            lambda w: rnnjax.additive_attention(None),
            TYPE,
            "additive_attention: `features` must be a whole number, got NoneType None; "
            "give an int.",
        ),
        "initialiser": (
            lambda w: rnnjax.dot_attention(K, w_init=0.1),
            TYPE,
            "dot_attention: `w_init` must be a function, got float 0.1; "
            "pass the function itself, such as jax.nn.initializers.orthogonal().",
        ),
        "dtype": (
            lambda w: rnnjax.dot_attention(dtype=jnp.int32),
            TYPE,
            "dot_attention: `dtype` must be a floating dtype, got int32; "
            "give one such as jnp.float32.",
        ),
    },
    init={
        "key": (
            lambda w: DOT.init(0, H, D),
            TYPE,
            "dot_attention.init: `key` must be one random key, got int 0; "
            "make one with jax.random.key(seed).",
        ),
        "memory": (
            lambda w: DOT.init(KEY, H, 0),
            VALUE,
            f"dot_attention.init: `memory_features` must be at least 1, got 0; {COUNT}",
        ),
        "unequal widths": (
            lambda w: FACTORIES["unweighted"][0].init(KEY, H, D),
            VALUE,
            "dot_attention.init: `query_features` must equal memory_features = 2 where features "
            "is None, got 6; give dot_attention(features) a width in which to compare them.",
        ),
    },
    memorise={
        "params": (
            lambda w: DOT.memorise((), MEMORY),
            TYPE,
            "dot_attention.memorise: `params` must be DotAttentionParams, got an empty tuple; "
            + OWN,
        ),
        "params of no weights": (
            lambda w: FACTORIES["unweighted"][0].memorise(PARAMS, MEMORY),
            TYPE,
            "dot_attention.memorise: `params` must be (), "
            f"got DotAttentionParams(w_query, w_memory); {OWN}",
        ),
        "width": (
            lambda w: DOT.memorise(PARAMS, QUERIES),
            VALUE,
            "dot_attention.memorise: `memory` must have shape (T, *batch, 2), got (4, 3, 6); "
            "the features come last, and params fix their number.",
        ),
        "lengths": (
            lambda w: DOT.memorise(PARAMS, MEMORY, lengths=[S + 1, 1, 1]),
            VALUE,
            "dot_attention.memorise: `lengths` must lie in 0..T = 0..5, got 6 at row 0; "
            "pad or cut the sequences.",
        ),
    },
    read={
        "no memory": (
            lambda w: DOT.read(PARAMS, MEMORY, QUERIES),
            TYPE,
            "dot_attention.read: `memory` must be a Memory, got an array of shape (5, 3, 2); "
            "call memorise first, once for each sequence.",
        ),
        "of others": (
            lambda w: DOT.read(PARAMS, HELD._replace(keys=HELD.values), QUERIES),
            VALUE,
            "dot_attention.read: `memory` must have keys of width 3, got 2; "
            "memorise with the params that read.",
        ),
        "batch": (
            lambda w: DOT.read(PARAMS, HELD, QUERIES[:, :2]),
            VALUE,
            "dot_attention.read: `queries` must have shape (3, 6) for one step, or with T in "
            f"front for all, got (4, 2, 6); {ROWS}",
        ),
        "integers": (
            lambda w: DOT.read(PARAMS, HELD, np.ones((B, H), np.int32)),
            TYPE,
            "dot_attention.read: `queries` must be floating, got int32; "
            "cast it with .astype(jnp.float32), or embed what are indices.",
        ),
    },
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

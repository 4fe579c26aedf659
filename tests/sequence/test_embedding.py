"""The embedding: vectors of tokens, also in padding, in networks, and where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from messages import TYPE, VALUE, check_refused, no_type_checker, table
from registry import random_params

import rnnjax

__all__ = ["no_type_checker"]

T, B, V, H = 4, 3, 5, 2
LAYER = rnnjax.embedding(V, H)
PARAMS = random_params(LAYER, None)
TOKENS = np.random.default_rng(0).integers(0, V, (T, B))
LENGTHS = np.array([4, 2, 0])
VALID = np.arange(T)[:, None] < LENGTHS
WILD = np.where(VALID, TOKENS, [[99], [-1], [V], [-(2**31)]])
KEY = jax.random.key(0)


def looked_up(w, tokens):
    return np.array([w[token] for token in tokens.ravel()]).reshape(*tokens.shape, -1)


@pytest.mark.parametrize("shape", [(T,), (T, B), (T, 2, B), (0, B)])
def test_values(shape):
    tokens = np.random.default_rng(1).integers(0, V, shape)
    carry, ys = LAYER.apply(PARAMS, tokens)
    assert carry == () and ys.shape == (*shape, H)
    if tokens.size:
        assert np.array_equal(ys, looked_up(PARAMS.w, tokens))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64])
def test_every_kind_of_whole_numbers(dtype):
    """Also those that cannot say how many tokens there are."""
    layer = rnnjax.embedding(256, H)
    params = random_params(layer, None)
    tokens = np.array([[0, 127], [3, 100]], dtype)
    apply = jax.jit(lambda tokens: layer.apply(params, tokens)[1])
    assert np.array_equal(apply(tokens), looked_up(params.w, tokens))
    if np.issubdtype(dtype, np.signedinteger):
        assert np.isnan(apply(-tokens - 1)).all()


@pytest.mark.parametrize("told", [{"lengths": LENGTHS}, {"mask": VALID}], ids=["lengths", "mask"])
def test_padding_may_hold_any_token(told):
    _, ys = LAYER.apply(PARAMS, WILD, **told)
    assert np.array_equal(ys, np.where(VALID[..., None], looked_up(PARAMS.w, TOKENS), 0))
    traced = jax.jit(lambda tokens: LAYER.apply(PARAMS, tokens, **told)[1])(WILD)
    assert np.array_equal(traced, ys)


@pytest.mark.parametrize("tokens", [TOKENS, WILD], ids=["clean", "wild"])
def test_the_gradient_gathers_what_each_vector_did(tokens):
    weight = np.random.default_rng(2).normal(size=(T, B, H)).astype(np.float32)

    def total(params):
        return (LAYER.apply(params, tokens, lengths=LENGTHS)[1] * weight).sum()

    wanted = np.zeros((V, H))
    for where in zip(*np.nonzero(VALID), strict=True):
        wanted[TOKENS[where]] += weight[where]
    np.testing.assert_allclose(jax.grad(total)(PARAMS).w, wanted, rtol=1e-6)
    assert not wanted[np.setdiff1d(np.arange(V), TOKENS[VALID])].any()


def test_where_it_cannot_be_seen_there_is_no_number():
    tokens = np.array([0, V, -1, V - 1, 2**31 - 1, -V])
    ys = jax.jit(lambda tokens: LAYER.apply(PARAMS, tokens)[1])(tokens)
    assert np.isnan(ys[np.array([1, 2, 4, 5])]).all()
    assert np.array_equal(ys[np.array([0, 3])], PARAMS.w[np.array([0, V - 1])])


def test_in_a_stack():
    gru = rnnjax.gru(3)
    network = rnnjax.stack(LAYER, gru, rnnjax.dense(V))
    params = random_params(network, None)
    assert [len(leaf) for leaf in jax.tree.leaves(params[:2])] == [V, H, 3, 9, 3]
    carry, ys = network.apply(params, WILD, lengths=LENGTHS)
    clean = looked_up(params[0].w, TOKENS)
    after, hs = rnnjax.unroll(gru, params[1], jnp.asarray(clean), lengths=LENGTHS)
    np.testing.assert_allclose(carry[1].h, after.h, atol=1e-6)
    head = np.asarray(hs) @ np.asarray(params[2].w) + np.asarray(params[2].b)
    np.testing.assert_allclose(ys, np.where(VALID[..., None], head, 0), atol=1e-6)


def test_both_directions_have_vectors_of_their_own():
    both = rnnjax.bidirectional(LAYER)
    params = random_params(both, None)
    _, ys = both.apply(params, WILD, lengths=LENGTHS)
    ways = [looked_up(w, TOKENS) for w in params.w]
    assert np.array_equal(ys, np.where(VALID[..., None], np.concatenate(ways, -1), 0))


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_in_flax(kind):
    layer = rnnjax.stack(LAYER, rnnjax.gru(3))
    tokens, lengths = WILD.T, LENGTHS  # batch first
    if kind == "nnx":
        module = rnnjax.nnx.RNN(layer, None, rngs=nnx.Rngs(0))
        params = module.functional_params()
        _, ys = module(tokens, lengths=lengths)
    else:
        module = rnnjax.linen.RNN(layer)
        variables = module.init(KEY, tokens[:, :2], lengths=[2, 2, 0])
        like = jax.eval_shape(lambda: layer.init(KEY, None))
        params = rnnjax.params_from_dict(like, variables["params"])
        _, ys = module.apply(variables, tokens, lengths=lengths)
    _, wanted = layer.apply(params, WILD, lengths=lengths)
    np.testing.assert_allclose(ys, np.swapaxes(wanted, 0, 1), atol=1e-6)
    with pytest.raises(ValueError, match=r"RNN: `xs` must lie in 0..4, got 5 at \(1, 2\)"):
        module(tokens) if kind == "nnx" else module.apply(variables, tokens)


def test_dtypes():
    half = rnnjax.embedding(V, H, dtype=jnp.bfloat16)
    ys = half.apply(PARAMS, TOKENS)[1]
    assert ys.dtype == jnp.bfloat16
    assert np.array_equal(ys, LAYER.apply(PARAMS, TOKENS)[1].astype(jnp.bfloat16))
    small = jax.eval_shape(rnnjax.embedding(V, H, param_dtype=jnp.float16).init, KEY)
    assert small.w.dtype == jnp.float16
    assert (
        LAYER.apply(small._replace(w=jnp.ones((V, H), jnp.float16)), TOKENS)[1].dtype == "float16"
    )
    slope = jax.grad(lambda p: half.apply(p, TOKENS)[1].astype(jnp.float32).sum())(PARAMS)
    assert slope.w.dtype == jnp.float32


def test_in_double_precision(x64):
    params = rnnjax.embedding(V, H, param_dtype=jnp.float64).init(KEY)
    assert params.w.dtype == LAYER.apply(params, TOKENS)[1].dtype == jnp.float64


def test_vectors_have_length_1_and_may_be_given():
    drawn = rnnjax.embedding(500, 64).init(KEY).w
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1).mean(), 1.0, atol=0.02)
    matrix = np.arange(V * H, dtype=np.float64).reshape(V, H)
    trained = rnnjax.embedding(V, H, w_init=lambda key, shape, dtype: matrix)
    params = trained.init(KEY, in_features=None)
    assert np.array_equal(params.w, matrix) and params.w.dtype == jnp.float32
    assert rnnjax.embedding(V, H) is LAYER


VECTORS = "count tokens from 0, or make more vectors."
NUMBERS = "count tokens in whole numbers."
COUNT = "give the width or count that is meant."

REFUSED = table(
    tokens={
        "too high": (
            lambda w: LAYER.apply(PARAMS, np.array([[0, 1], [2, 7]])),
            VALUE,
            f"embedding.apply: `xs` must lie in 0..4, got 7 at (1, 1); {VECTORS}",
        ),
        "negative": (
            lambda w: LAYER.apply(PARAMS, np.array([3, -1]), lengths=2),
            VALUE,
            f"embedding.apply: `xs` must lie in 0..4, got -1 at (1,); {VECTORS}",
        ),
        "in a stack": (
            lambda w: rnnjax.stack(LAYER).apply((PARAMS,), np.array([V])),
            VALUE,
            f"stack.apply: `xs` must lie in 0..4, got 5 at (0,); {VECTORS}",
        ),
        "in both directions": (
            lambda w: rnnjax.bidirectional(LAYER).apply(BOTH, np.array([V])),
            VALUE,
            f"bidirectional.apply: `xs` must lie in 0..4, got 5 at (0,); {VECTORS}",
        ),
        "made by a layer below": (
            lambda w: rnnjax.stack(lambda xs: xs + 4, LAYER).apply(
                ((), PARAMS), np.array([[0], [1]])
            ),
            VALUE,
            f"embedding: `xs` must lie in 0..4, got 5 at (1, 0); {VECTORS}",
        ),
        "floats": (
            lambda w: LAYER.apply(PARAMS, np.ones((2, 2))),
            TYPE,
            f"embedding.apply: `xs` must be integer, got float32; {NUMBERS}",
        ),
        "bools": (
            lambda w: LAYER.apply(PARAMS, np.array([True])),
            TYPE,
            f"embedding.apply: `xs` must be integer, got bool; {NUMBERS}",
        ),
        "a list": (
            lambda w: LAYER.apply(PARAMS, [1, 2]),
            TYPE,
            "embedding.apply: `xs` must be one array, got a list of 2; "
            "wrap numbers in jnp.asarray, or stack the arrays.",
        ),
        "the matrix for params": (
            lambda w: LAYER.apply(PARAMS.w, TOKENS),
            TYPE,
            "embedding.apply: `params` must be from init, got an array of shape (5, 2); "
            "give what init made for this very cell or layer.",
        ),
    },
    options={
        "no tokens": (
            lambda w: rnnjax.embedding(0, H),
            VALUE,
            f"embedding: `num_embeddings` must be at least 1, got 0; {COUNT}",
        ),
        "width": (
            lambda w: rnnjax.embedding(V, 2.0),
            TYPE,
            "embedding: `out_features` must be a whole number, got float 2.0; give an int.",
        ),
        "matrix": (
            lambda w: rnnjax.embedding(V, H, w_init=np.ones((V, H))),
            TYPE,
            "embedding: `w_init` must be a function, got float64 of shape (5, 2); "
            "pass the function itself, such as jax.nn.initializers.normal().",
        ),
        "another matrix": (
            lambda w: rnnjax.embedding(V, H, w_init=lambda *_: np.ones((9, H))).init(KEY),
            VALUE,
            "embedding.init: `w_init` must return shape (5, 2), got (9, 2); "
            "give a vector for each token.",
        ),
        "key": (
            lambda w: LAYER.init(3),
            TYPE,
            "embedding.init: `key` must be one random key, got int 3; "
            "make one with jax.random.key(seed).",
        ),
        "dtype": (
            lambda w: rnnjax.embedding(V, H, dtype=jnp.int32),
            TYPE,
            "embedding: `dtype` must be a floating dtype, got int32; give one such as jnp.float32.",
        ),
        "float64 without x64": (
            lambda w: rnnjax.embedding(V, H, param_dtype=jnp.float64).init(KEY),
            VALUE,
            "embedding.init: `param_dtype` must be a dtype that JAX has switched on, got float64; "
            'call jax.config.update("jax_enable_x64", True) first.',
        ),
    },
)
BOTH = random_params(rnnjax.bidirectional(LAYER), None)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

"""One matrix at both ends: the stack that does the same, and all that looks inside of layers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from messages import TYPE, VALUE, check_raised, made, no_type_checker  # noqa: F401
from registry import LOADED, random_params

import rnnjax
from rnnjax import export, interop, train
from rnnjax.sequence.parts import parts_of

T, B, V, H = 5, 3, 7, 4
BODY = rnnjax.stack(rnnjax.lstm(6), rnnjax.dense(H, activation=jnp.tanh))
LAYER = rnnjax.tied_embedding(rnnjax.embedding(V, H, dropout=0.5), BODY)
UNTIED = rnnjax.stack(rnnjax.embedding(V, H), BODY, rnnjax.dense(V))
PARAMS = random_params(LAYER, None)
TOKENS = np.random.default_rng(0).integers(0, V, (T, B)).astype(np.int32)
LENGTHS = np.array([5, 2, 0])
VALID = np.arange(T)[:, None] < LENGTHS
KEY = jax.random.key(0)
WILD = np.where(VALID, TOKENS, [[99], [-1], [V], [-5], [2**31 - 1]]).astype(np.int32)


def untied(params):
    return params.embedding, params.body, rnnjax.DenseParams(params.embedding.w.T, params.b)


@pytest.fixture(scope="module")
def outputs():
    """What the layer says of whole rows."""
    return LAYER.apply(PARAMS, TOKENS)


def close(got, wanted, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


def test_it_is_the_stack_with_the_matrix_twice():
    weight = np.random.default_rng(1).normal(size=(T, B, V)).astype(np.float32)

    def total(layer, params):
        carry, ys = layer.apply(params, WILD, lengths=LENGTHS)
        return (ys * weight).sum(), (carry, ys)

    slopes = lambda layer: jax.jit(jax.grad(lambda p: total(layer, p), has_aux=True))
    slope, (carry, ys) = slopes(LAYER)(PARAMS)
    wanted, (carries, same) = slopes(UNTIED)(untied(PARAMS))
    close((carry, ys), (carries[1], same))
    assert not np.asarray(ys)[~VALID].any() and np.asarray(ys)[VALID].all()
    below, body, above = wanted
    close(slope, type(slope)(type(below)(below.w + above.w.T), body, above.b), 1e-5)
    assert np.abs(below.w).sum() > 0.01 < np.abs(above.w).sum()


def test_without_bias_and_of_any_body():
    layer = rnnjax.tied_embedding(rnnjax.embedding(V, H), jnp.square, bias=False)
    params = layer.init(jax.random.key(0))
    assert params.b is None and params.body == () and rnnjax.count_parameters(params) == V * H
    carry, ys = layer.apply(params, TOKENS)
    w = np.asarray(params.embedding.w)
    assert carry == ()
    np.testing.assert_allclose(ys, w[TOKENS] ** 2 @ w.T, atol=1e-6)
    assert layer.init_carry(params, TOKENS[0]) == ()


def test_words_are_dropped_where_they_are_read_alone():
    same = rnnjax.tied_embedding(rnnjax.embedding(V, H, dropout=0.5), jax.nn.identity)
    params, tokens = random_params(same, None), np.arange(V * B).reshape(V, B) % V
    assert same.noisy and not rnnjax.tied_embedding(rnnjax.embedding(V, H), BODY).noisy
    w, b = np.asarray(params.embedding.w), np.asarray(params.b)
    ys = np.asarray(same.apply(params, tokens, key=jax.random.key(3))[1]) - b
    dropped = {v: bool((np.abs(ys[tokens == v]) < 1e-6).all()) for v in range(V)}
    assert 0 < sum(dropped.values()) < V
    for v in range(V):
        wanted = np.zeros(V) if dropped[v] else 2 * w[v] @ w.T
        np.testing.assert_allclose(ys[tokens == v], np.tile(wanted, (B, 1)), atol=1e-5)


def test_the_noise_of_the_body_needs_the_key():
    body = rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.5)
    layer = rnnjax.tied_embedding(rnnjax.embedding(V, H), body)
    params = random_params(layer, None)
    said = [layer.apply(params, TOKENS, key=key)[1] for key in (None, *jax.random.split(KEY))]
    assert layer.noisy and not np.array_equal(said[0], said[1])
    assert not np.array_equal(said[1], said[2])


@pytest.mark.parametrize("method", [rnnjax.Scan(), rnnjax.Chunked(2)], ids=str)
def test_methods_and_parts_of_a_sequence(method, outputs):
    carry = LAYER.init_carry(PARAMS, TOKENS[0])
    assert [type(c) for c in carry] == [rnnjax.LSTMCarry, tuple]
    said = []
    for part in (TOKENS[:3], TOKENS[3:]):
        carry, ys = LAYER.apply(PARAMS, part, carry, method=method)
        said.append(ys)
    close((carry, jnp.concatenate(said)), outputs, 1e-5)


def test_dtypes_are_those_of_the_embedding():
    small = rnnjax.embedding(V, H, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    layer = rnnjax.tied_embedding(small, rnnjax.gru(H))
    params = jax.eval_shape(lambda: layer.init(KEY))
    assert params.b.dtype == params.embedding.w.dtype == jnp.bfloat16
    logits = jax.eval_shape(lambda p: layer.apply(p, TOKENS)[1], params)
    assert logits.dtype == jnp.bfloat16
    assert params.body.w_ih.dtype == jnp.float32


def test_on_a_mesh_with_explicit_axes_the_batch_stays_sharded():
    layer = rnnjax.tied_embedding(rnnjax.embedding(V, H, dropout=0.3), rnnjax.gru(H))
    params, tokens = random_params(layer, None), np.arange(3 * 8).reshape(3, 8) % V
    lengths = np.array([3, 2, 1, 0] * 2)

    def total(params, tokens):
        _, ys = layer.apply(params, tokens, lengths=lengths, key=KEY)
        return (ys**2).sum(), ys

    slope = jax.jit(jax.grad(total, has_aux=True))
    wanted = slope(params, tokens)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        split = jax.device_put(tokens, jax.NamedSharding(mesh, jax.P(None, "data")))
        got = slope(params, split)
        assert jax.typeof(got[1]).sharding.spec == jax.P(None, "data", None)
    close(jax.device_get(got), wanted, 1e-5)


def steps(layer, params):
    step = rnnjax.stepper(layer, params)
    assert step.method == (rnnjax.Native() if LOADED else None)
    return step.chunk(step.init_carry((B,)), TOKENS)


def steps_of_jax(outputs):
    step = rnnjax.stepper(LAYER, PARAMS, method=rnnjax.Scan())
    carry, ys = step.init_carry((B,)), []
    for x in TOKENS:
        carry, y = step(carry, x)
        ys.append(y)
    close((carry, np.stack(ys)), outputs, 1e-5)


def smaller(dtype, tolerance):
    def check(outputs):
        small = rnnjax.quantize(LAYER, PARAMS, dtype)
        exact = small.layer.apply(small.params, TOKENS)
        close(steps(small.layer, small.params), exact, 1e-5)
        close(exact, outputs, tolerance)
        error = abs(np.asarray(exact[1] - outputs[1])).max()
        assert error > 0  # it is smaller
        close(rnnjax.dequantize(small.params), PARAMS, tolerance)

    return check


def described(outputs):
    text = json.dumps(rnnjax.describe(LAYER))
    assert rnnjax.build(json.loads(text)) is LAYER
    plain = rnnjax.tied_embedding(rnnjax.embedding(V, H), jnp.tanh, bias=False)
    assert rnnjax.build(rnnjax.describe(plain)) is plain


def named(outputs):
    tree = rnnjax.params_to_dict(PARAMS)
    assert sorted(tree) == ["b", "body", "embedding"] and list(tree["embedding"]) == ["w"]
    close(rnnjax.params_from_dict(PARAMS, tree), PARAMS, 0)


def summarised(outputs):
    told = train.summary(LAYER, (TOKENS.T, None))
    assert told.count == rnnjax.count_parameters(PARAMS) and told.name == "tied_embedding"
    assert [told.params[0].name, told.params[-1].name] == ["params.embedding.w", "params.b"]


def decayed(outputs):
    said = train.decays(PARAMS)
    assert said.embedding.w is True and said.b is False and said.body[0].b is False


def laid_flat(outputs):
    inner = rnnjax.stack(rnnjax.quantized(LAYER), jax.nn.softmax)
    parts = parts_of(inner, jax.eval_shape(lambda: inner.init(KEY, None)))
    start = "layers_0."
    assert [(part.name, part.factory, part.tied) for part in parts] == [
        (f"{start}embedding", "embedding", ""),
        (f"{start}body.layers_0", "lstm", ""),
        (f"{start}body.layers_1", "dense", ""),
        (f"{start}output", "dense", f"{start}embedding"),
        ("layers_1", "pointwise", ""),
    ]
    assert parts[0].notes == ("dropout 0.5 of words",) and parts[3].notes == ()
    assert [leaf.shape for leaf in jax.tree.leaves(parts[3].params)] == [(H, V), (1, V), (V,)]


AGAIN = "output: the matrix of embedding again"


def to_onnx(outputs):
    model = export.to_onnx(LAYER, PARAMS)
    assert AGAIN in model.doc_string and "dropout 0.5 of words" in model.doc_string
    held = {c.name: np.frombuffer(c.raw_data, np.float32) for c in model.graph.initializer}
    assert np.array_equal(held["output_w"].reshape(H, V).T, PARAMS.embedding.w)


def to_stablehlo(outputs):
    exported = jax.export.deserialize(export.to_stablehlo(LAYER, PARAMS))
    carry, ys = outputs
    close(exported.call(TOKENS, np.full(B, T, np.int32)), (rnnjax.params_to_dict(carry), ys))


def to_torch(outputs):
    there = interop.rnnjax_to_torch(LAYER, PARAMS, order=("e", "l", "d", "a", "o"))
    assert np.array_equal(there.weights["o.weight"], there.weights["e.weight"])
    assert f"{AGAIN}; here both are one, and trained as one" in str(there.report)


def to_keras(outputs):
    there = interop.rnnjax_to_keras(LAYER, PARAMS)
    assert np.array_equal(there.weights[-2].T, there.weights[0])
    assert AGAIN in str(there.report)


def in_nnx(outputs):
    module = rnnjax.nnx.RNN(LAYER, None, rngs=nnx.Rngs(0), time_major=True)
    params = module.functional_params()
    assert type(params) is rnnjax.TiedParams
    close(module(TOKENS, deterministic=True), LAYER.apply(params, TOKENS), 1e-5)


def in_linen(outputs):
    module = rnnjax.linen.RNN(LAYER, time_major=True, deterministic=True)
    variables = {"params": rnnjax.params_to_dict(PARAMS)}
    close(module.apply(variables, TOKENS), outputs, 1e-5)


def both_ways(outputs):
    both = rnnjax.bidirectional(LAYER, merge=rnnjax.merge.pair)
    params = jax.tree.map(lambda a: jnp.stack([a, a]), PARAMS)
    _, (forward, backward) = both.apply(params, TOKENS)
    close(forward, outputs[1], 1e-5)
    close(backward[::-1], LAYER.apply(PARAMS, TOKENS[::-1])[1], 1e-5)


CHECKS = {
    "stepper of the library": lambda out: close(steps(LAYER, PARAMS), out, 1e-5),
    "stepper of JAX": steps_of_jax,
    "int8": smaller("int8", 0.05),
    "bfloat16": smaller("bfloat16", 0.05),
    "describe and build": described,
    "params by name": named,
    "summary": summarised,
    "decay": decayed,
    "parts": laid_flat,
    "ONNX": to_onnx,
    "StableHLO": to_stablehlo,
    "PyTorch": to_torch,
    "Keras": to_keras,
    "NNX": in_nnx,
    "Linen": in_linen,
    "bidirectional": both_ways,
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_looks_inside_serves_it(name, outputs):
    check_served = CHECKS[name]
    check_served(outputs)


def test_a_file_keeps_it(tmp_path):
    rnnjax.save(path := tmp_path / "model.safetensors", LAYER, PARAMS)
    loaded = rnnjax.load(path)
    assert loaded.layer is LAYER and type(loaded.params) is rnnjax.TiedParams
    close(loaded.params, PARAMS, 0)


def test_it_learns_to_say_what_comes_next():
    layer = rnnjax.tied_embedding(rnnjax.embedding(V, 8, dropout=0.1), rnnjax.gru(8))
    ring = np.arange(6 * V).reshape(2, -1) % V
    trained = train.fit(
        layer,
        (ring[:, :-1], ring[:, 1:]),
        loss=train.cross_entropy,
        optimizer=train.adamw(0.05),
        key=KEY,
        epochs=40,
        progress=False,
    )
    assert trained.history["loss"][-1] < 0.5 < 1.5 < trained.history["loss"][0]


def ours(kinds):
    return f"`layer.embedding` must be one of {kinds}, got embedding; convert it by hand."


BACKWARDS = (
    "its first output needs the last input: run whole sequences with apply, or take a network"
    " that reads one way."
)
LEAKS = rnnjax.tied_embedding(
    rnnjax.embedding(V, H), rnnjax.stack(rnnjax.gru(H), rnnjax.bidirectional(rnnjax.gru(2)))
)
MADE = "its matrix is read at both ends: the rest goes into the body."
REFUSED = {
    "no embedding": (
        lambda: rnnjax.tied_embedding(rnnjax.lstm(H), BODY),
        TYPE,
        "tied_embedding: `embedding` must be made by rnnjax.embedding, got a Cell; " + MADE,
    ),
    "another layer": (
        lambda: rnnjax.tied_embedding(rnnjax.dense(H), BODY),
        TYPE,
        "tied_embedding: `embedding` must be made by rnnjax.embedding, got dense; " + MADE,
    ),
    "a number of tokens": (
        lambda: rnnjax.tied_embedding(V, BODY),
        TYPE,
        "tied_embedding: `embedding` must be made by rnnjax.embedding, got int 7; " + MADE,
    ),
    "no body": (
        lambda: rnnjax.tied_embedding(rnnjax.embedding(V, H), 4),
        TYPE,
        "tied_embedding: `body` must be cells, layers or functions of the features, got int 4;"
        " build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like.",
    ),
    "wider body": (
        lambda: rnnjax.tied_embedding(rnnjax.embedding(V, H), rnnjax.lstm(9)),
        VALUE,
        "tied_embedding: `body` must have 4 features, as the embedding, got 9; end it with"
        " rnnjax.dense(4), or use projected_lstm.",
    ),
    "bias": (
        lambda: rnnjax.tied_embedding(rnnjax.embedding(V, H), BODY, bias=0),
        TYPE,
        "tied_embedding: `bias` must be True or False, got int 0; give a bool.",
    ),
    "rate": (
        lambda: rnnjax.embedding(V, H, dropout=1.0),
        VALUE,
        "embedding: `dropout` must lie in 0 <= rate < 1, got 1.0; 0.0 drops nothing.",
    ),
    "params of the stack": (
        lambda: LAYER.apply(untied(PARAMS), TOKENS),
        TYPE,
        "tied_embedding.apply: `params` must be from init, got a tuple of 3 (EmbeddingParams(w),"
        " a tuple of 2 (LSTMParams(w_ih, w_hh, b), DenseParams(w, b)), DenseParams(w, b)); give"
        " what init made for this very cell or layer.",
    ),
    "a token without a vector": (
        lambda: LAYER.apply(PARAMS, WILD),
        VALUE,
        "tied_embedding.apply: `xs` must lie in 0..6, got 99 at (0, 2); count tokens from 0, or"
        " make more vectors.",
    ),
    "stepper of a body that reads backwards": (
        lambda: rnnjax.stepper(*made(LEAKS, None)),
        VALUE,
        "stepper: `cell_or_layer` must read forwards alone, got a bidirectional layer at"
        " body.layers_1; " + BACKWARDS,
    ),
    "PyTorch without an order": (
        lambda: interop.rnnjax_to_torch(LAYER, PARAMS),
        VALUE,
        "rnnjax_to_torch: `layer.embedding` must be recurrent without order=, got embedding; name"
        ' the modules of the model, such as order=("embed", "lstm", "head").',
    ),
    "an operator of ONNX": (
        lambda: interop.rnnjax_to_onnx(LAYER, PARAMS),
        VALUE,
        "rnnjax_to_onnx: `layer` must be one level, got 4 of them; convert each level by itself;"
        " rnnjax.export.to_onnx writes whole models.",
    ),
    **{
        function: (
            lambda function=function: getattr(interop, function)(LAYER, PARAMS),
            VALUE,
            f"{function}: {ours(kinds)}",
        )
        for function, kinds in {
            "rnnjax_to_cudnn": ["lstm"],
            "rnnjax_to_course": ["lstm", "gru"],
            "rnnjax_to_equinox": ["lstm", "gru"],
            "rnnjax_to_haiku": ["lstm", "gru", "elman"],
            "rnnjax_to_linen": ["lstm", "gru", "mgu", "elman"],
            "rnnjax_to_nnx": ["lstm", "gru", "elman"],
        }.items()
    },
}


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    check_raised(*REFUSED[name])

"""ONNX Runtime computes what we compute: outputs and final carries, at sizes of every kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from registry import inputs, random_carry, random_params

import rnnjax
from rnnjax.export import to_onnx

onnxruntime = pytest.importorskip(
    "onnxruntime", reason='ONNX Runtime is missing: pip install -e ".[parity]"'
)

D = 4
SIZES = ((7, 5), (3, 2), (1, 1))  # T and B
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

CELLS = {
    "lstm": rnnjax.lstm(5),
    "lstm, no bias": rnnjax.lstm(5, bias=False),
    "lstm, learned carry": rnnjax.lstm(5, learned_carry=True),
    "lstm, other activations": rnnjax.lstm(
        5, gate_activation=jax.nn.hard_sigmoid, activation=jax.nn.soft_sign
    ),
    "peephole lstm": rnnjax.peephole_lstm(5, learned_carry=True),
    "coupled lstm": rnnjax.coupled_lstm(5),
    "multihead lstm": rnnjax.multihead_lstm(6, num_heads=2),
    "gru": rnnjax.gru(5),
    "gru, no bias": rnnjax.gru(5, bias=False),
    "gru, learned carry": rnnjax.gru(5, learned_carry=True),
    "gru, reset before": rnnjax.gru(5, reset="before"),
    "gru, other activations": rnnjax.gru(
        5, gate_activation=jax.nn.hard_sigmoid, activation=jax.nn.elu
    ),
    "multihead gru": rnnjax.multihead_gru(6, num_heads=2),
    "mgu": rnnjax.mgu(5),
    "mgu, reset before": rnnjax.mgu(5, reset="before", learned_carry=True),
    "elman": rnnjax.elman(5),
    "elman, relu": rnnjax.elman(5, activation=jax.nn.relu),
    "elman, softplus": rnnjax.elman(5, activation=jax.nn.softplus),
    "elman, leaky relu": rnnjax.elman(5, activation=jax.nn.leaky_relu),
    "indrnn": rnnjax.indrnn(5, learned_carry=True),
}
WAYS = {
    "forwards": rnnjax.recurrent,
    "backwards": functools.partial(rnnjax.recurrent, reverse=True),
    "both ways": rnnjax.bidirectional,
}
FUNCTIONS = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "sigmoid": jax.nn.sigmoid,
    "logistic": jax.lax.logistic,
    "tanh": jnp.tanh,
    "lax.tanh": jax.lax.tanh,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "softplus": jax.nn.softplus,
    "soft_sign": jax.nn.soft_sign,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "log_sigmoid": jax.nn.log_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "gelu": jax.nn.gelu,
    "gelu, exact": functools.partial(jax.nn.gelu, approximate=False),
    "elu": jax.nn.elu,
    "elu, alpha": functools.partial(jax.nn.elu, alpha=0.3),
    "leaky_relu": jax.nn.leaky_relu,
    "leaky_relu, slope": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "abs": jnp.abs,
    "exp": jnp.exp,
    "negative": jnp.negative,
}


class Session:
    """A model in ONNX Runtime, and what it makes of inputs, by name."""

    def __init__(self, layer, params, **options):
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3  # it warns of every input that has a default
        data = to_onnx(layer, params, **options).SerializeToString()
        self.session = onnxruntime.InferenceSession(data, settings)
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, **given):
        arrays = {name: np.asarray(value) for name, value in given.items()}
        return dict(zip(self.names, self.session.run(None, arrays), strict=True))


def states(which, carry):
    """A carry as the inputs or outputs that it is there."""
    paths = jax.tree_util.tree_leaves_with_path({which: rnnjax.params_to_dict(carry)})
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="_")
    return {name(path): leaf for path, leaf in paths}


def assert_same(got, carry, ys):
    wanted = {"ys": ys, **states("final", carry)}
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, err_msg=name, **CLOSE)


def case(num_steps, batch, *features):
    """Inputs with NaN in the padding, and lengths with T first, 0 last, and all between."""
    xs = np.asarray(inputs(num_steps, batch, *features))
    lengths = np.linspace(num_steps, 0, batch).round().astype(np.int32)
    padded = np.arange(num_steps)[:, None] >= lengths
    return np.where(padded.reshape(num_steps, batch, *(1,) * (xs.ndim - 2)), np.nan, xs), lengths


def check(layer, params, session):
    for num_steps, batch in SIZES:
        xs, lengths = case(num_steps, batch, D)
        carry, ys = layer.apply(params, jnp.asarray(xs), lengths=lengths)
        assert_same(session(xs=xs, lengths=lengths), carry, ys)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CELLS)
def test_cells(name, way):
    layer = WAYS[way](CELLS[name])
    params = random_params(layer, D)
    check(layer, params, Session(layer, params))


@pytest.mark.parametrize("cell", [rnnjax.lstm(5), rnnjax.gru(5)], ids=["lstm", "gru"])
def test_two_layers_both_ways_with_lengths_from_1_to_T(cell):
    layer = rnnjax.stack(rnnjax.bidirectional(cell), rnnjax.bidirectional(cell), dropout=0.3)
    params = random_params(layer, D)
    session = Session(layer, params)
    for num_steps in (1, 6, 9):
        lengths = np.arange(1, num_steps + 1, dtype=np.int32)
        xs = inputs(num_steps, num_steps, D)
        carry, ys = layer.apply(params, xs, lengths=lengths)
        assert_same(session(xs=xs, lengths=lengths), carry, ys)


@pytest.mark.parametrize("merge", ["add", "multiply", "average"])
def test_merges(merge):
    layer = rnnjax.bidirectional(rnnjax.gru(5), merge=getattr(rnnjax.merge, merge))
    params = random_params(layer, D)
    check(layer, params, Session(layer, params))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    """Above a cell by itself, and inside a dense layer; both are zero at padding."""
    function = FUNCTIONS[name]
    layer = rnnjax.stack(rnnjax.elman(5), function, rnnjax.dense(3, activation=function))
    params = random_params(layer, D)
    check(layer, params, Session(layer, params))


@pytest.mark.parametrize("opset", [14, 20, 22])
@pytest.mark.parametrize("time_major", [True, False])
def test_tokens_to_classes(time_major, opset):
    layer = rnnjax.stack(
        rnnjax.embedding(9, 3),
        rnnjax.stack(rnnjax.lstm(4), jax.nn.gelu, rnnjax.dense(4, bias=False)),
        rnnjax.zoneout(rnnjax.gru(3), 0.2),
        rnnjax.dense(2, activation=jax.nn.softmax),
    )
    params = random_params(layer, None)
    session = Session(layer, params, time_major=time_major, opset=opset)
    turn = lambda a: a if time_major else np.swapaxes(a, 0, 1)
    for num_steps, batch in SIZES:
        tokens = np.random.default_rng(0).integers(0, 9, (num_steps, batch)).astype(np.int32)
        lengths = np.linspace(num_steps, 0, batch).round().astype(np.int32)
        padded = np.arange(num_steps)[:, None] >= lengths
        carry, ys = layer.apply(params, tokens, lengths=lengths)
        got = session(xs=turn(np.where(padded, 99, tokens)), lengths=lengths)
        assert_same(got, carry, turn(np.asarray(ys)))


def test_one_matrix_at_both_ends():
    layer = rnnjax.tied_embedding(rnnjax.embedding(9, 4, dropout=0.1), rnnjax.lstm(4))
    params = random_params(layer, None)
    tokens = np.random.default_rng(0).integers(0, 9, (5, 2)).astype(np.int32)
    lengths = np.array([5, 2], np.int32)
    told = Session(layer, params)(xs=tokens, lengths=lengths)
    carry, ys = layer.apply(params, tokens, lengths=lengths)
    np.testing.assert_allclose(told["ys"], ys, atol=1e-5)
    np.testing.assert_allclose(told["final_body_h"], carry.h, atol=1e-5)


@pytest.mark.parametrize("token", [-1, 9])
def test_a_token_without_a_vector_is_an_error(token):
    layer = rnnjax.embedding(9, 3)
    session = Session(layer, random_params(layer, None), lengths=False)
    with pytest.raises(Exception, match="out of data bounds"):
        session(xs=np.full((2, 1), token, np.int32))


def test_carries_are_handed_on_and_begin_where_they_are_learned():
    layer = rnnjax.stack(
        rnnjax.lstm(4), rnnjax.gru(3, learned_carry=True), rnnjax.recurrent(rnnjax.elman(2))
    )
    params = random_params(layer, D)
    session = Session(layer, params, carry=True)
    xs, lengths = case(7, 3, D)
    whole, ys = layer.apply(params, jnp.asarray(xs), lengths=lengths)
    assert_same(session(xs=xs, lengths=lengths), whole, ys)
    first = session(xs=xs[:4], lengths=np.minimum(lengths, 4))
    on = {name.replace("final", "initial"): a for name, a in first.items() if name != "ys"}
    rest = session(xs=xs[4:], lengths=np.maximum(lengths - 4, 0), **on)
    assert_same({**rest, "ys": np.concatenate([first["ys"], rest["ys"]])}, whole, ys)


def test_a_given_carry_of_both_ways():
    layer = rnnjax.bidirectional(rnnjax.lstm(4))
    params = random_params(layer, D)
    xs, lengths = case(5, 3, D)
    carry = random_carry(layer, params, jnp.asarray(xs[0]), seed=3)
    last, ys = layer.apply(params, jnp.asarray(xs), carry, lengths=lengths)
    given = states("initial", carry)
    assert_same(Session(layer, params, carry=True)(xs=xs, lengths=lengths, **given), last, ys)


def test_lengths_are_clipped_or_left_out():
    layer = rnnjax.bidirectional(rnnjax.lstm(4))
    params, xs = random_params(layer, D), inputs(5, 2, D)
    carry, ys = layer.apply(params, xs, lengths=[5, 0])
    assert_same(Session(layer, params)(xs=xs, lengths=np.array([8, -3], np.int32)), carry, ys)
    assert_same(Session(layer, params, lengths=False)(xs=xs), *layer.apply(params, xs))


def test_no_steps_at_all():
    layer = rnnjax.stack(rnnjax.lstm(4, learned_carry=True), rnnjax.dense(2))
    params, xs = random_params(layer, D), np.zeros((0, 2, D), np.float32)
    carry, ys = layer.apply(params, xs)
    assert_same(Session(layer, params)(xs=xs, lengths=np.zeros(2, np.int32)), carry, ys)


def test_small_weights():
    layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(5)), rnnjax.dense(2))
    small = rnnjax.quantize(layer, random_params(layer, D))
    check(small.layer, small.params, Session(*small))

"""Descriptions: every cell and layer comes back as it was, and nothing else is ever called."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import TYPE, VALUE, check_refused, no_type_checker, table  # noqa: F401
from registry import CELLS, D, H, sized

import rnnjax
from rnnjax.cells.recipe import recipe_of
from rnnjax.storage import vocabulary
from rnnjax.storage.description import least_arrays

merge = rnnjax.merge
lstm = rnnjax.lstm(4)
LAYERS = {
    "zoneout": rnnjax.zoneout(lstm, 0.1),
    "zoneout by name": rnnjax.zoneout(lstm, {"h": 0.05, "c": 0.5}, expectation=True),
    "zoneout of a carry": rnnjax.zoneout(lstm, rnnjax.LSTMCarry(0.1, 0.2)),
    "input dropout": rnnjax.input_dropout(lstm, 0.1),
    "recurrent dropout": rnnjax.recurrent_dropout(lstm, 0.1),
    "drop connect": rnnjax.drop_connect(rnnjax.gru(4), np.float64(0.1)),
    "clip carry": rnnjax.clip_carry(lstm, 3.0),
    "state noise": rnnjax.state_noise(lstm, 0.1),
    "residual of carries": rnnjax.with_carries(rnnjax.residual(lstm)),
    "layer norm outputs": rnnjax.layer_norm_outputs(rnnjax.indrnn(3, max_steps=100), epsilon=1e-3),
    "chrono": rnnjax.gru(4, update_bias=rnnjax.chrono(50)),
    "dtypes": rnnjax.lstm(4, dtype="bfloat16", param_dtype=jnp.float16, carry_dtype=np.float32),
    "activations": rnnjax.lstm(4, activation=jax.nn.gelu, gate_activation=jax.nn.hard_sigmoid),
    "sizes": rnnjax.conv_lstm(3, kernel_size=(3, 2), strides=(2, 1)),
    "reverse": rnnjax.recurrent(lstm, reverse=True),
    "both ways": rnnjax.bidirectional(rnnjax.stack(lstm, lstm), merge=jnp.maximum),
    "embedding": rnnjax.embedding(9, 3, dtype=jnp.bfloat16),
    "dense": rnnjax.dense(3, activation=jax.nn.relu, bias=False),
    "quantized": rnnjax.quantized(rnnjax.bidirectional(lstm), dtype="bfloat16"),
    "pointwise": rnnjax.pointwise(jnp.tanh),
    "stack": rnnjax.stack(
        rnnjax.dense(4), jax.nn.relu, lstm, dropout=np.float32(0.3), skip=merge.concatenate
    ),
}
for name in CELLS:
    LAYERS[f"cell: {name}"] = sized(name, D, H)
TWO, WIDTHS = ("layer norm outputs", "both ways", "stack"), {"embedding": None}


def same(a, b):
    """Equal recipes, but for the initialisers; numbers and dtypes however they are written."""
    if isinstance(a, (rnnjax.Cell, rnnjax.Layer)):
        one, other = recipe_of(a), recipe_of(b)
        assert type(a) is type(b) and one.factory == other.factory
        assert list(one.options) == list(other.options)
        for name in one.options:
            if vocabulary.is_dtype(one.factory, name) and one.options[name] is not None:
                assert jnp.dtype(one.options[name]) == jnp.dtype(other.options[name])
            elif not name.endswith("_init"):
                assert same(one.options[name], other.options[name])
    elif isinstance(a, (list, tuple)) and not hasattr(a, "_fields"):
        assert isinstance(b, tuple) and all(same(x, y) for x, y in zip(a, b, strict=True))
    else:
        assert a is b if callable(a) and not isinstance(a, tuple) else a == b
    return True


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_described_is_built_again(name):
    text = json.dumps(rnnjax.describe(LAYERS[name]), allow_nan=False)
    again = rnnjax.build(json.loads(text))
    assert same(LAYERS[name], again)
    assert rnnjax.describe(again) == json.loads(text)


def test_equal_calls_give_one_value():
    """What was compiled for a layer serves the one that was built."""
    layer = rnnjax.stack(rnnjax.bidirectional(lstm), rnnjax.dense(2, bias=False), dropout=0.2)
    assert rnnjax.build(rnnjax.describe(layer)) is layer


def test_a_description_is_read_by_people():
    assert rnnjax.describe(rnnjax.zoneout(rnnjax.min_gru(4), {"h": 0.1})) == {
        "format": 1,
        "factory": "zoneout",
        "options": {
            "cell": {
                "factory": "min_gru",
                "options": {
                    "hidden_features": 4,
                    "activation": {"function": "identity"},
                    "bias": True,
                    "learned_carry": False,
                    "dtype": None,
                    "param_dtype": "float32",
                    "carry_dtype": None,
                },
            },
            "rates": [["h", 0.1]],
            "expectation": False,
        },
    }
    assert rnnjax.describe(LAYERS["chrono"])["options"]["update_bias"] == {"chrono": 50}


def test_initialisers_are_left_out():
    cell = rnnjax.elman(3, w_ih_init=jax.nn.initializers.ones)
    assert rnnjax.build(rnnjax.describe(cell)) is rnnjax.elman(3)


def test_every_public_factory_has_a_name():
    """Everything public that returns a cell or layer, as its annotation says."""
    public = {name: thing for name, thing in vars(rnnjax).items() if inspect.isfunction(thing)}
    wanted = (rnnjax.Cell, rnnjax.Layer)
    makes = lambda thing: inspect.signature(thing).return_annotation in wanted
    assert {name for name, thing in public.items() if makes(thing)} == set(vocabulary.FACTORIES)
    for name, factory in vocabulary.FACTORIES.items():
        assert getattr(rnnjax, name) is factory


def test_names_of_functions_are_true():
    homes = {"jax.numpy": jnp, "jax.nn": jax.nn, "rnnjax.merge": merge}
    for name, function in vocabulary.FUNCTIONS.items():
        home, _, word = name.rpartition(".")
        assert name == "identity" or getattr(homes[home], word) is function


def test_another_name_of_the_same_function():
    cell = rnnjax.lstm(3, activation=jax.lax.tanh, gate_activation=jax.lax.logistic)
    options = rnnjax.describe(cell)["options"]
    assert options["activation"] == {"function": "jax.numpy.tanh"}
    assert options["gate_activation"] == {"function": "jax.nn.sigmoid"}
    x = np.linspace(-9, 9, 99, dtype=np.float32)
    for word, function in vocabulary.ALIASES.items():
        assert (vocabulary.FUNCTIONS[word](x) == function(x)).all()
    assert rnnjax.build(rnnjax.describe(cell)) is rnnjax.lstm(
        3, activation=jnp.tanh, gate_activation=jax.nn.sigmoid
    )


@pytest.mark.parametrize("name", LAYERS)
def test_the_least_number_of_arrays(name):
    """What is compared with a file, which must not refuse a right one."""
    layer = LAYERS[name]
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features=WIDTHS.get(name, D)))
    least = least_arrays(rnnjax.describe(layer))
    assert least <= len(jax.tree.leaves(params))
    assert least == (0 if name == "pointwise" else 2 if name in TWO else 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
PARTS = [
    rnnjax.describe(LAYERS[name]) for name in ("zoneout by name", "stack", "chrono", "both ways")
]


def places(tree, path=()):
    """The paths to all that stands in a tree."""
    yield path
    inside = dict(enumerate(tree)) if isinstance(tree, list) else tree
    for key, child in inside.items() if isinstance(inside, dict) else ():
        yield from places(child, (*path, key))


def spoilt(tree, path, value):
    """A copy with another value in one place."""
    if not path:
        return value
    tree = dict(tree) if isinstance(tree, dict) else list(tree)
    tree[path[0]] = spoilt(tree[path[0]], path[1:], value)
    return tree


@pytest.mark.usefixtures("no_type_checker")
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_change_is_refused_or_another_layer(data):
    tree = data.draw(st.sampled_from(PARTS))
    inside = [path for path in places(tree) if path]
    tree = spoilt(tree, data.draw(st.sampled_from(inside)), data.draw(JSON))
    try:
        layer = rnnjax.build(tree)
    except VALUE as error:
        assert str(error).startswith("build: `")
    else:
        assert isinstance(layer, (rnnjax.Cell, rnnjax.Layer))
        assert set(rnnjax.describe(layer)) == {"format", "factory", "options"}

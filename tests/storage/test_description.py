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


# --- What is refused.

KEEP = "keep it in code, and its params by rnnjax.save_weights."
MEND = "mend it, or make another with rnnjax.describe."


def call(factory="lstm", **options):
    return {"factory": factory, "options": options}


def deep(levels):
    layer = rnnjax.stack(lstm)
    for _ in range(levels):
        layer = rnnjax.stack(layer)
    return layer


def deep_description(levels):
    tree = call(hidden_features=3)
    for _ in range(levels):
        tree = call("recurrent", cell=tree)
    return {"format": 1, **tree}


def broad(count):
    layer = rnnjax.stack(lstm)
    for _ in range(count):
        layer = rnnjax.stack(layer, layer)
    return layer


def doubled(times):
    tree = 0
    for _ in range(times):
        tree = [tree, tree]
    return tree


MESSAGES = table(
    describe={
        "no layer": (
            lambda w: rnnjax.describe("lstm"),
            TYPE,
            "describe: `layer` must be a cell or layer, got str 'lstm'; "
            "build it with rnnjax.lstm(...), rnnjax.stack(...) and the like.",
        ),
        "lambda": (
            lambda w: rnnjax.describe(rnnjax.stack(lstm, rnnjax.elman(3, activation=lambda x: x))),
            VALUE,
            "describe: `layer.layers[1].activation` must be a function that files can name, "
            f"such as jax.nn.relu, got the function <lambda>; {KEEP}",
        ),
        "a cell of one's own": (
            lambda w: rnnjax.describe(rnnjax.recurrent(lstm._replace(out_features=3))),
            VALUE,
            "describe: `layer.cell` must be as a factory of rnnjax has made it, "
            f"got a Cell of other functions; {KEEP}",
        ),
        "dtype": (
            lambda w: rnnjax.describe(rnnjax.lstm(3, param_dtype=jnp.float8_e3m4)),
            VALUE,
            "describe: `layer.param_dtype` must be one of float64, float32, float16, bfloat16, "
            f"float8_e4m3fn, float8_e5m2, got float8_e3m4; {KEEP}",
        ),
        "large": (
            lambda w: rnnjax.describe(rnnjax.lstm(2**31)),
            VALUE,
            "describe: `layer.hidden_features` must be below 2147483648, got 2147483648; " + KEEP,
        ),
        "many": (
            lambda w: rnnjax.describe(broad(12)),
            VALUE,
            f"describe: `layer` must have 1000 layers, heads and rounds at most, got more; {KEEP}",
        ),
        "rounds": (
            lambda w: rnnjax.describe(rnnjax.mogrifier_lstm(3, rounds=1000)),
            VALUE,
            "describe: `layer` must have 1000 layers, heads and rounds at most, got more; " + KEEP,
        ),
        "deep": (
            lambda w: rnnjax.describe(deep(40)),
            VALUE,
            f"describe: `layer` must be 64 levels deep at most, got more; {KEEP}",
        ),
    },
    build={
        "no dict": (
            lambda w: rnnjax.build("lstm"),
            TYPE,
            f"build: `description` must be a dict, got str 'lstm'; {MEND}",
        ),
        "format": (
            lambda w: rnnjax.build({"format": 2, **call(hidden_features=3)}),
            VALUE,
            "build: `format` must be 1, which this version of rnnjax reads, "
            f"got 2 in the description; {MEND}",
        ),
        "factory": (
            lambda w: rnnjax.build({"format": 1, **call("os.system")}),
            VALUE,
            "build: `factory` must be one of the names that rnnjax.describe writes, "
            f"got 'os.system' in the description; {MEND}",
        ),
        "keys": (
            lambda w: rnnjax.build({"format": 1, "factory": "lstm", "oops": 3}),
            VALUE,
            "build: `description` must have factory and options, "
            f"got 'factory', 'oops' in the description; {MEND}",
        ),
        "initialiser": (
            lambda w: rnnjax.build({"format": 1, **call(hidden_features=3, w_ih_init=None)}),
            VALUE,
            "build: `options` must be those of lstm, got 'w_ih_init' in the description; " + MEND,
        ),
        "missing": (
            lambda w: rnnjax.build({"format": 1, **call("stack", layers=[call(bias=True)])}),
            VALUE,
            "build: `options.layers[0].options` must have hidden_features, "
            f"got 'bias' in the description; {MEND}",
        ),
        "type": (
            lambda w: rnnjax.build(
                {"format": 1, **call("stack", layers=[call(hidden_features="x")])}
            ),
            VALUE,
            "build: `options.layers[0].options` must be what lstm takes, got "
            "\"lstm: `hidden_features` must be a whole number, got str 'x'; give an int.\" "
            f"in the description; {MEND}",
        ),
        "function": (
            lambda w: rnnjax.build({"format": 1, **call("pointwise", function={"function": "id"})}),
            VALUE,
            "build: `options.function.function` must be one of the names that rnnjax.describe "
            f"writes, got 'id' in the description; {MEND}",
        ),
        "dtype": (
            lambda w: rnnjax.build({"format": 1, **call(hidden_features=3, dtype="int8")}),
            VALUE,
            "build: `options.dtype` must be one of float64, float32, float16, bfloat16, "
            f"float8_e4m3fn, float8_e5m2, got 'int8' in the description; {MEND}",
        ),
        "infinite": (
            lambda w: rnnjax.build({"format": 1, **call(hidden_features=3, forget_bias=np.inf)}),
            VALUE,
            "build: `options.forget_bias` must be below 2147483648, got inf in the description; "
            + MEND,
        ),
        "chrono": (
            lambda w: rnnjax.build(
                {"format": 1, **call(hidden_features=3, forget_bias={"chrono": 2})}
            ),
            VALUE,
            "build: `options.forget_bias.chrono` must be a whole number from 3, "
            f"got 2 in the description; {MEND}",
        ),
        "object": (
            lambda w: rnnjax.build({"format": 1, **call(hidden_features=b"3")}),
            VALUE,
            "build: `options.hidden_features` must be a number, a word, a list or a description, "
            f"got a bytes in the description; {MEND}",
        ),
        "rates": (
            lambda w: rnnjax.build(
                {"format": 1, **call("zoneout", cell=call(hidden_features=3), rates=[["h"]])}
            ),
            VALUE,
            'build: `options` must be what zoneout takes, got "zoneout: `rates` must be pairs of '
            'names and numbers, got ((\'h\',),); give one number, or pairs such as ["h", 0.1]." '
            f"in the description; {MEND}",
        ),
        "heads": (
            lambda w: rnnjax.build(
                {"format": 1, **call("multihead_gru", hidden_features=2**30, num_heads=2**30)}
            ),
            VALUE,
            "build: `description` must have 1000 layers, heads and rounds at most, "
            f"got more in the description; {MEND}",
        ),
        "many": (
            lambda w: rnnjax.build(
                {"format": 1, **call("stack", layers=[call(hidden_features=1)] * 1000)}
            ),
            VALUE,
            "build: `description` must have 1000 layers, heads and rounds at most, "
            f"got more in the description; {MEND}",
        ),
        "a list within itself": (
            lambda w: rnnjax.build({"format": 1, **call("stack", layers=doubled(20))}),
            VALUE,
            "build: `description` must have 100000 values in lists at most, "
            f"got more in the description; {MEND}",
        ),
        "deep": (
            lambda w: rnnjax.build(deep_description(10_000)),
            VALUE,
            "build: `description` must be 64 levels deep at most, "
            f"got more in the description; {MEND}",
        ),
    },
)


@pytest.mark.parametrize("case", MESSAGES)
@pytest.mark.usefixtures("no_type_checker")
def test_refused(case):
    check_refused(MESSAGES[case])


def test_as_deep_and_broad_as_can_be():
    rnnjax.build(rnnjax.describe(deep(30)))
    rnnjax.build(rnnjax.describe(broad(8)))
    rnnjax.build(rnnjax.describe(rnnjax.mogrifier_lstm(3, rounds=999)))


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

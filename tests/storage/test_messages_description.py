"""What cannot be described or built is refused in one sentence."""

import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table  # noqa: F401

import rnnjax

merge = rnnjax.merge
lstm = rnnjax.lstm(4)


KEEP = "keep it in code, and its params by rnnjax.save_weights."
MAXIMUM = {"function": "jax.numpy.maximum"}
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
        "True for the format": (
            lambda w: rnnjax.build({"format": True, **call(hidden_features=3)}),
            VALUE,
            "build: `format` must be 1, which this version of rnnjax reads, "
            f"got True in the description; {MEND}",
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
        "1 for True, which is the default": (
            lambda w: rnnjax.build({"format": 1, **call(hidden_features=3, bias=1)}),
            VALUE,
            'build: `options` must be what lstm takes, got "lstm: `bias` must be True or False, '
            f'got int 1; give a bool." in the description; {MEND}',
        ),
        "function": (
            lambda w: rnnjax.build({"format": 1, **call("pointwise", function={"function": "id"})}),
            VALUE,
            "build: `options.function.function` must be one of the names that rnnjax.describe "
            f"writes, got 'id' in the description; {MEND}",
        ),
        "function of two arrays": (
            lambda w: rnnjax.build(
                {"format": 1, **call("dense", out_features=3, activation=MAXIMUM)}
            ),
            VALUE,
            'build: `options` must be what dense takes, got "dense: `activation` must take x, got '
            'maximum of 2 arrays; pass a function of one array, such as jax.nn.relu." '
            f"in the description; {MEND}",
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
    for layer in (deep(30), broad(8), rnnjax.mogrifier_lstm(3, rounds=999)):
        description = rnnjax.describe(layer)
        assert rnnjax.describe(rnnjax.build(description)) == description

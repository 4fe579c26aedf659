"""What is asked for and refused where modules of Haiku are read; without Haiku."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, table

from rnnjax.interop import haiku_to_rnnjax


def linear(rows, columns, dtype="float32"):
    return {"w": np.zeros((rows, columns), dtype), "b": np.zeros(columns, dtype)}


LSTM = {"lstm/linear": linear(7, 16)}
TWO = LSTM | {"lstm_1/linear": linear(9, 16)}
KEYS = "give params as hk.transform(...).init returns them."
NAMES = "must be a name, or a list of names and pairs of names, got"
CASES = table(
    haiku={
        "a perceptron": (
            lambda w: haiku_to_rnnjax({"linear": linear(3, 4), "linear_1": linear(4, 4)}),
            VALUE,
            "haiku_to_rnnjax: `names` must tell that the module is recurrent, which its name does "
            "not, got ''; if it is one (vanilla_rnn), give names=''.",
        ),
        "a dense layer": (
            lambda w: haiku_to_rnnjax({"head/linear": linear(7, 16)}),
            VALUE,
            "haiku_to_rnnjax: `names` must tell that the module is recurrent, which its name does "
            "not, got 'head'; if it is one (lstm), give names='head'.",
        ),
        "the name of another": (
            lambda w: haiku_to_rnnjax({"net/vanilla_rnn_1/linear": linear(7, 16)}),
            VALUE,
            "haiku_to_rnnjax: `names` must tell that the module is recurrent, which its name does "
            "not, got 'net/vanilla_rnn_1'; if it is one (lstm), give names='net/vanilla_rnn_1'.",
        ),
        "names of another kind": (
            lambda w: haiku_to_rnnjax(LSTM, names=5),
            TYPE,
            f"haiku_to_rnnjax: `names` {NAMES} int 5; such as ['lstm', 'gru'].",
        ),
        "a name of another kind": (
            lambda w: haiku_to_rnnjax(LSTM, names=[1]),
            TYPE,
            f"haiku_to_rnnjax: `names` {NAMES} list [1]; such as ['lstm', 'gru'].",
        ),
        "no names": (
            lambda w: haiku_to_rnnjax(LSTM, names=[]),
            VALUE,
            "haiku_to_rnnjax: `names` must name a module, got []; or None where there is one.",
        ),
        "a key of another kind": (
            lambda w: haiku_to_rnnjax({1: linear(7, 16)}),
            TYPE,
            f"haiku_to_rnnjax: `source` must have names as keys, got int 1; {KEYS}",
        ),
        "modules that do not fit": (
            lambda w: haiku_to_rnnjax(TWO, names=["lstm", "lstm_1"]),
            VALUE,
            "haiku_to_rnnjax: `source['lstm_1']` must read the 4 features of `source['lstm']`, got "
            "5; give the parts from bottom to top.",
        ),
        "directions of two widths": (
            lambda w: haiku_to_rnnjax(TWO, names=[("lstm", "lstm_1")]),
            VALUE,
            "haiku_to_rnnjax: `source['lstm_1']` must hold two directions that are alike, got w_ih "
            "float32 of shape (3, 16) and float32 of shape (5, 16); here both directions are one "
            "cell; build the two layers by hand.",
        ),
    }
)


@pytest.mark.parametrize("name", CASES)
def test_refused(name):
    check_refused(CASES[name])


def test_a_module_of_any_name_is_read_when_it_is_named():
    source = {"linear": linear(3, 4), "linear_1": linear(4, 4)}
    assert haiku_to_rnnjax(source, names="").params.w_hh.shape == (4, 4)


def test_one_is_added_after_the_cast():
    source = {"lstm/linear": linear(7, 16, jnp.bfloat16)}
    source["lstm/linear"]["b"][8:12] = 1e-3
    layer, params, report = haiku_to_rnnjax(source, dtype="float32")
    wanted = np.float32(1) + source["lstm/linear"]["b"][8:12].astype("float32")
    np.testing.assert_array_equal(params.b[4:8], wanted)
    assert report.notes == ()
    made = jax.eval_shape(lambda: layer.init(jax.random.key(0), 3))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(made)} == {"float32"}
    assert haiku_to_rnnjax(source).report.notes == (
        'b: summed in bfloat16, which rounds; dtype="float32" sums them in that',
    )

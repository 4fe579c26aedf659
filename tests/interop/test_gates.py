"""Where each gate stands in other frameworks, and with which sign; no round trip can tell."""

import jax
import numpy as np
import pytest

import rnnjax
from rnnjax import cells
from rnnjax.cells.recipe import recipe_of
from rnnjax.interop import (
    haiku_to_rnnjax,
    keras_to_rnnjax,
    onnx_to_rnnjax,
    rnnjax_to_haiku,
    rnnjax_to_keras,
    rnnjax_to_onnx,
    torch_to_rnnjax,
)
from rnnjax.interop.onnx_layout import pack

H = 2
ROWS = {"w_ih": 3, "w_hh": H}
LSTM, COUPLED, GRU = (1, 2, 3, 4), (2, 3, 4), (1, 2, 3)  # as ours stand


def labelled(numbers, *rows):
    """Blocks of these numbers, one a gate."""
    return np.tile(np.repeat(np.asarray(numbers, np.float32), H), (*rows, 1))


def params_of(kind, numbers, **more):
    """Params of which each gate's block holds its own number."""
    w_ih, w_hh = (labelled(numbers, rows) for rows in ROWS.values())
    return kind(w_ih=w_ih, w_hh=w_hh, b=labelled(numbers), **more)


lstm = params_of(cells.LSTMParams, LSTM)
peephole = params_of(
    cells.PeepholeLSTMParams, LSTM, p=np.repeat([[1.0], [2], [4]], H, 1).astype("f4")
)
coupled = params_of(cells.CoupledLSTMParams, COUPLED)
gru = params_of(cells.GRUParams, GRU, b_hn=np.full(H, 5, np.float32))
before = params_of(cells.GRUParams, GRU, b_hn=None)
mgu = params_of(cells.MGUParams, (2, 3), b_hn=np.full(H, 5, np.float32))
AFTER, BEFORE = rnnjax.gru(H), rnnjax.gru(H, reset="before")


def keras(cell, params):
    return rnnjax_to_keras(cell, params).weights


def haiku(cell, params):
    return [a for leaves in rnnjax_to_haiku(cell, params).weights.values() for a in leaves.values()]


def onnx(cell, params, *names):
    weights = rnnjax_to_onnx(cell, params).weights
    return [np.moveaxis(weights[name][0], 0, -1) for name in names]


CASES = {  # what stands there, and the numbers of its blocks
    "keras, gru": (keras(AFTER, gru)[1], (2, 1, 3)),
    "keras, biases": (keras(AFTER, gru)[2].ravel(), (2, 1, 3, 0, 0, 5)),
    "keras, gru before": (keras(BEFORE, before)[2], (2, 1, 3)),
    "keras, lstm": (keras(rnnjax.lstm(H), lstm)[0], (1, 2, 3, 4)),
    "haiku, gru": (haiku(BEFORE, before)[0], (-2, 1, 3)),
    "haiku, its bias": (haiku(BEFORE, before)[2], (-2, 1, 3)),
    "haiku, lstm": (haiku(rnnjax.lstm(H), lstm)[0], (1, 3, 2, 4)),
    "haiku, 1 off": (haiku(rnnjax.lstm(H), lstm)[1], (1, 3, 1, 4)),
    "onnx, lstm": (onnx(rnnjax.lstm(H), lstm, "R")[0], (1, 4, 2, 3)),
    "onnx, biases": (onnx(AFTER, gru, "B")[0], (2, 1, 3, 0, 0, 5)),
    "onnx, peepholes": (onnx(rnnjax.peephole_lstm(H), peephole, "P")[0], (1, 4, 2)),
    "onnx, coupled": (onnx(rnnjax.coupled_lstm(H), coupled, "W")[0], (-2, 4, 0, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_gates_stand_where_the_other_framework_has_them(name):
    there, numbers = CASES[name]
    np.testing.assert_array_equal(there, labelled(numbers, *there.shape[:-1]))


@pytest.mark.parametrize("reset", ["after", "before"])
def test_one_gate_for_two_of_onnx(reset):
    """With reset before, f takes the new state, and z there keeps the old one."""
    own = mgu if reset == "after" else mgu._replace(b_hn=None)
    arrays, attributes = pack("mgu", [own], {"reset": reset})
    z = 2 if reset == "after" else -2
    np.testing.assert_array_equal(arrays["R"][0].T, labelled((z, 2, 3), H))
    assert attributes.get("linear_before_reset", 0) == (reset == "after")


W, U = labelled(GRU, 3), labelled(GRU, H)
TWO = labelled((2, 1, 3)), labelled((20, 10, 30))  # z, r, n
READ = {
    "keras": lambda: keras_to_rnnjax([W, U, np.stack(TWO)], kind="gru"),
    "onnx": lambda: onnx_to_rnnjax(
        {"W": W.T[None], "R": U.T[None], "B": np.concatenate(TWO)[None]},
        attributes={"linear_before_reset": 1},
    ),
    "torch": lambda: torch_to_rnnjax(
        {
            "weight_ih_l0": W.T,
            "weight_hh_l0": U.T,
            "bias_ih_l0": labelled(GRU),
            "bias_hh_l0": labelled((10, 20, 30)),
        }
    ),
}


@pytest.mark.parametrize("name", READ)
def test_second_biases_are_added_and_that_of_the_candidate_stays_apart(name):
    [params] = jax.tree.leaves(READ[name]().params, is_leaf=lambda one: hasattr(one, "b_hn"))
    np.testing.assert_array_equal(params.b, labelled((11, 22, 3)))
    np.testing.assert_array_equal(params.b_hn, np.full(H, 30))


def test_a_vanilla_rnn_of_haiku_has_relu_and_two_biases():
    one = {"w": labelled([1], H), "b": labelled([1])}
    names = ("vanilla_rnn/linear", "vanilla_rnn/linear_1")
    cell, params, _ = haiku_to_rnnjax(dict.fromkeys(names, one))
    assert recipe_of(cell).options["activation"] is jax.nn.relu
    np.testing.assert_array_equal(params.b, labelled([2]))

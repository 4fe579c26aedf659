"""What cannot come from or go to Flax, Haiku and Equinox is refused in one sentence."""

import jax
import numpy as np
import pytest
from flax import linen, nnx
from messages import TYPE, VALUE, check_refused, made, no_type_checker, table  # noqa: F401

import rnnjax
from rnnjax.interop import (
    equinox_to_rnnjax,
    haiku_to_rnnjax,
    linen_to_rnnjax,
    nnx_to_rnnjax,
    rnnjax_to_equinox,
    rnnjax_to_haiku,
    rnnjax_to_linen,
    rnnjax_to_nnx,
)


def tree_of(cell):
    return rnnjax_to_linen(*made(cell)).weights["params"]


def without(tree, name, leaf=None):
    if leaf is not None:
        return tree | {name: without(tree[name], leaf)}
    return {k: v for k, v in tree.items() if k != name}


LSTM_TREE, GRU_TREE = tree_of(rnnjax.lstm(4)), tree_of(rnnjax.gru(4))
MGU_TREE, SIMPLE_TREE = tree_of(rnnjax.mgu(4)), tree_of(rnnjax.elman(4))
BIASED = made(rnnjax.gru(4))[1]._replace(b_hn=np.array([0, 0.5, -0.75, 0]))
HAIKU = rnnjax_to_haiku(
    *made(rnnjax.stack(rnnjax.lstm(4), rnnjax.lstm(4), rnnjax.gru(4, reset="before")))
).weights
EQX = rnnjax_to_equinox(*made(rnnjax.gru(4))).weights


class LSTMCell:
    """As another framework may call it."""


def nnx_simple():
    return nnx.SimpleCell(3, 4, residual=True, rngs=nnx.Rngs(0))


CASES = table(
    linen={
        "kind": (
            lambda w: linen_to_rnnjax(3),
            TYPE,
            "linen_to_rnnjax: `source` must be a mapping, got int 3; give names and arrays, such "
            "as a state dict.",
        ),
        "gates that are not there": (
            lambda w: linen_to_rnnjax(SIMPLE_TREE, gate_activation=jax.nn.hard_sigmoid),
            VALUE,
            "linen_to_rnnjax: `gate_activation` must be None where no layer is lstm or gru or mgu, "
            "got the function hard_sigmoid; leave it out.",
        ),
        "a tracer": (
            lambda w: jax.eval_shape(lambda p: rnnjax_to_linen(w.lstm, p).weights, w.p),
            TYPE,
            "rnnjax_to_linen: `params.w_ih` must be concrete, got a tracer; call rnnjax_to_linen "
            "outside of jit.",
        ),
        "nothing": (
            lambda w: linen_to_rnnjax([]),
            VALUE,
            "linen_to_rnnjax: `source` must be at least one tree, got none; give a tree.",
        ),
        "modules": (
            lambda w: linen_to_rnnjax([GRU_TREE, GRU_TREE], module=[None]),
            VALUE,
            "linen_to_rnnjax: `module` must be a list of 2, one for each tree, got list [None]; or "
            "leave it out.",
        ),
        "unknown tree": (
            lambda w: linen_to_rnnjax([GRU_TREE, {"cell": {"Dense_0": GRU_TREE["in"]}}]),
            VALUE,
            "linen_to_rnnjax: `source['1.cell']` must hold the weights of a cell of Flax that is "
            "known here, got ['Dense_0']; give the tree of the cell alone, or a list of such "
            "trees.",
        ),
        "missing": (
            lambda w: linen_to_rnnjax(without(LSTM_TREE, "hg", "bias")),
            VALUE,
            "linen_to_rnnjax: `source['hg.bias']` must be there, got only ['ho.bias']; give all "
            "arrays of the network.",
        ),
        "too many": (
            lambda w: linen_to_rnnjax(GRU_TREE | {"Dense_0": GRU_TREE["in"]}),
            VALUE,
            "linen_to_rnnjax: `source['Dense_0.bias']` must belong to the network, got (4,); leave "
            "it out, or convert the part it belongs to by itself.",
        ),
        "shape": (
            lambda w: linen_to_rnnjax(GRU_TREE | {"hz": {"kernel": np.ones((4, 3))}}),
            VALUE,
            "linen_to_rnnjax: `source['hz.kernel']` must have shape (4, 4), got (4, 3); give the "
            "arrays of one network as they are.",
        ),
        "no reset": (
            lambda w: linen_to_rnnjax(without(MGU_TREE, "hn", "bias")),
            VALUE,
            "linen_to_rnnjax: `source['hn.bias']` must be there, got none; an MGUCell with "
            "reset_gate=False is another cell, which rnnjax has not.",
        ),
        "directions": (
            lambda w: linen_to_rnnjax({"forward_rnn": GRU_TREE, "backward_rnn": SIMPLE_TREE}),
            VALUE,
            "linen_to_rnnjax: `source['backward_rnn']` must hold two directions that "
            "are alike, got GRUParams and ElmanParams; here both directions are one cell; build "
            "the two layers by hand.",
        ),
        "activations": (
            lambda w: linen_to_rnnjax(
                {"forward_rnn": SIMPLE_TREE, "backward_rnn": SIMPLE_TREE},
                module=linen.Bidirectional(
                    linen.RNN(linen.SimpleCell(4)),
                    linen.RNN(linen.SimpleCell(4, activation_fn=linen.relu)),
                ),
            ),
            VALUE,
            "linen_to_rnnjax: `source['backward_rnn']` must have the activations of forward_rnn, "
            "got others; here both directions are one cell; build the two layers by hand.",
        ),
        "residual": (
            lambda w: linen_to_rnnjax(SIMPLE_TREE, module=linen.SimpleCell(4, residual=True)),
            VALUE,
            "linen_to_rnnjax: `module SimpleCell` must have residual=False, got residual=True; no "
            "cell of rnnjax adds the state before the activation.",
        ),
        "another module": (
            lambda w: linen_to_rnnjax(GRU_TREE, module=linen.MGUCell(4)),
            VALUE,
            "linen_to_rnnjax: `module` must be a GRUCell, as the weights are, got MGUCell; give "
            "the module that has made the weights.",
        ),
        "no RNN": (
            lambda w: linen_to_rnnjax({"cell": GRU_TREE}, module=linen.GRUCell(4)),
            VALUE,
            "linen_to_rnnjax: `module` must be an RNN, as the weights are, got GRUCell; give the "
            "module that has made the weights.",
        ),
        "contradiction": (
            lambda w: linen_to_rnnjax(GRU_TREE, module=linen.GRUCell(4), gate_activation=np.abs),
            VALUE,
            "linen_to_rnnjax: `gate_activation` must be the module's gate_fn, got ufunc <ufunc "
            "'absolute'>; leave it out.",
        ),
        "no function": (
            lambda w: linen_to_rnnjax(GRU_TREE, activation="relu"),
            TYPE,
            "linen_to_rnnjax: `activation` must be a function, got str 'relu'; pass the function "
            "itself, such as jax.nn.relu.",
        ),
        "activation of an MGU": (
            lambda w: linen_to_rnnjax(MGU_TREE, activation=np.abs),
            VALUE,
            "linen_to_rnnjax: `activation` must be the usual one for an MGUCell, got ufunc <ufunc "
            "'absolute'>; rnnjax.mgu has no other.",
        ),
        "order": (
            lambda w: linen_to_rnnjax(
                {"cell": GRU_TREE}, module=linen.RNN(linen.GRUCell(4), reverse=True)
            ),
            VALUE,
            "linen_to_rnnjax: `module` must have keep_order=True where it has reverse=True, got "
            "keep_order=False; its outputs come in the order of reading; set keep_order=True.",
        ),
        "reset before": (
            lambda w: rnnjax_to_linen(*made(rnnjax.gru(4, reset="before"))),
            VALUE,
            "rnnjax_to_linen: `layer` must reset after the product, got reset='before'; no weights "
            "make it equal.",
        ),
        "projection": (
            lambda w: rnnjax_to_linen(*made(rnnjax.projected_lstm(4, out_features=2))),
            VALUE,
            "rnnjax_to_linen: `layer` must be one of ['lstm', 'gru', 'mgu', 'elman'], got "
            "projected_lstm, which projects its outputs; convert it by hand.",
        ),
        "layer norm": (
            lambda w: rnnjax_to_linen(
                *made(rnnjax.stack(rnnjax.gru(4), rnnjax.layer_norm_lstm(4)))
            ),
            VALUE,
            "rnnjax_to_linen: `layer.layers_1` must be one of ['lstm', 'gru', 'mgu', 'elman'], got "
            "layer_norm_lstm, which normalises inside its gates; convert it by hand.",
        ),
    },
    nnx={
        "kind": (
            lambda w: nnx_to_rnnjax(3),
            TYPE,
            "nnx_to_rnnjax: `source` must be a mapping, got int 3; give names and arrays, such as "
            "a state dict.",
        ),
        "nothing": (
            lambda w: nnx_to_rnnjax([]),
            VALUE,
            "nnx_to_rnnjax: `source` must be at least one module, got none; give a module.",
        ),
        "unknown tree": (
            lambda w: nnx_to_rnnjax({"kernel": np.ones((3, 4))}),
            VALUE,
            "nnx_to_rnnjax: `source` must hold the weights of a cell of Flax that is known here, "
            "got ['kernel']; give the tree of the cell alone, or a list of such trees.",
        ),
        "residual": (
            lambda w: nnx_to_rnnjax(nnx_simple()),
            VALUE,
            "nnx_to_rnnjax: `module SimpleCell` must have residual=False, got residual=True; no "
            "cell of rnnjax adds the state before the activation.",
        ),
        "b_hn": (
            lambda w: rnnjax_to_nnx(rnnjax.gru(4), BIASED),
            VALUE,
            "rnnjax_to_nnx: `layer` must have b_hn = 0, since nnx.GRUCell has none, got one of up "
            "to 0.75; go to Linen, whose GRUCell has one, or set it to zero and train on.",
        ),
        "reset before": (
            lambda w: rnnjax_to_nnx(*made(rnnjax.gru(4, reset="before"))),
            VALUE,
            "rnnjax_to_nnx: `layer` must reset after the product, got reset='before'; no weights "
            "make it equal.",
        ),
        "another cell": (
            lambda w: rnnjax_to_nnx(*made(rnnjax.mgu(4))),
            VALUE,
            "rnnjax_to_nnx: `layer` must be one of ['lstm', 'gru', 'elman'], got mgu; convert it "
            "by hand.",
        ),
        "optimized": (
            lambda w: rnnjax_to_nnx(*made(rnnjax.lstm(4)), optimized=1),
            TYPE,
            "rnnjax_to_nnx: `optimized` must be True or False, got int 1; give a bool.",
        ),
    },
    haiku={
        "kind": (
            lambda w: haiku_to_rnnjax([HAIKU]),
            TYPE,
            "haiku_to_rnnjax: `source` must be a mapping, got a list; give params as "
            "hk.transform(...).init returns them.",
        ),
        "several": (
            lambda w: haiku_to_rnnjax(HAIKU),
            VALUE,
            "haiku_to_rnnjax: `names` must name the modules where there are 3, got ['lstm', "
            "'lstm_1', 'gru']; their order is not in the params: give them from bottom to top.",
        ),
        "unknown name": (
            lambda w: haiku_to_rnnjax(HAIKU, names="lstm_2"),
            VALUE,
            "haiku_to_rnnjax: `names` must be of ['lstm', 'lstm_1', 'gru'], got 'lstm_2'; look at "
            "the keys.",
        ),
        "three ways": (
            lambda w: haiku_to_rnnjax(HAIKU, names=[("lstm", "lstm_1", "gru")]),
            VALUE,
            "haiku_to_rnnjax: `names` must hold names and pairs of names, got ('lstm', 'lstm_1', "
            "'gru'); a pair is forwards and backwards.",
        ),
        "directions": (
            lambda w: haiku_to_rnnjax(HAIKU, names=[("lstm", "gru")]),
            VALUE,
            "haiku_to_rnnjax: `source['gru']` must hold two directions that are alike, got "
            "LSTMParams and GRUParams; here both directions are one cell; build the two layers by "
            "hand.",
        ),
        "no LSTM": (
            lambda w: haiku_to_rnnjax({"lstm/linear": {"w": np.ones((3, 12)), "b": np.ones(12)}}),
            VALUE,
            "haiku_to_rnnjax: `source['lstm/linear.w']` must be of an LSTM: (D + H, 4H), got (3, "
            "12); name the modules that are recurrent with names=.",
        ),
        "no GRU": (
            lambda w: haiku_to_rnnjax({"gru": HAIKU["gru"] | {"w_i": np.ones((3, 4))}}),
            VALUE,
            "haiku_to_rnnjax: `source['gru.w_i']` must have shape (any, 3H), got (3, 4); give the "
            "arrays of one network as they are.",
        ),
        "reset after": (
            lambda w: rnnjax_to_haiku(*made(rnnjax.gru(4))),
            VALUE,
            "rnnjax_to_haiku: `layer` must reset before the product, got reset='after'; no weights "
            "make it equal.",
        ),
        "tanh": (
            lambda w: rnnjax_to_haiku(*made(rnnjax.elman(4))),
            VALUE,
            "rnnjax_to_haiku: `layer` must have relu, as VanillaRNN, got another activation; train "
            "with jax.nn.relu.",
        ),
        "activation": (
            lambda w: rnnjax_to_haiku(*made(rnnjax.lstm(4, activation=jax.nn.relu))),
            VALUE,
            "rnnjax_to_haiku: `layer` must have sigmoid gates and tanh, as there, got another "
            "activation; train with the usual ones.",
        ),
        "backwards": (
            lambda w: rnnjax_to_haiku(*made(rnnjax.recurrent(rnnjax.lstm(4), reverse=True))),
            VALUE,
            "rnnjax_to_haiku: `layer` must read forwards, got reverse=True; make it bidirectional, "
            "or turn the sequence around yourself.",
        ),
        "merge": (
            lambda w: rnnjax_to_haiku(
                *made(rnnjax.bidirectional(rnnjax.lstm(4), merge=rnnjax.merge.add))
            ),
            VALUE,
            "rnnjax_to_haiku: `layer` must concatenate its directions, got add; merge after it.",
        ),
    },
    equinox={
        "kind": (
            lambda w: equinox_to_rnnjax(LSTMCell()),
            TYPE,
            "equinox_to_rnnjax: `source` must be a mapping, got a LSTMCell; give names and arrays, "
            "such as a state dict.",
        ),
        "nothing": (
            lambda w: equinox_to_rnnjax([]),
            VALUE,
            "equinox_to_rnnjax: `source` must be at least one cell, got none; give a cell.",
        ),
        "three ways": (
            lambda w: equinox_to_rnnjax([EQX, (EQX, EQX, EQX)]),
            VALUE,
            "equinox_to_rnnjax: `source[1]` must be a cell or a pair of cells, got a tuple of 3; a "
            "pair is forwards and backwards.",
        ),
        "rows": (
            lambda w: equinox_to_rnnjax(EQX | {"weight_hh": np.ones((8, 4))}),
            VALUE,
            "equinox_to_rnnjax: `source['weight_hh']` must have 4 or 3 times 4 rows, got 8; give "
            "an LSTMCell or a GRUCell.",
        ),
        "half a bias": (
            lambda w: equinox_to_rnnjax(without(EQX, "bias_n")),
            VALUE,
            "equinox_to_rnnjax: `source['bias_n']` must be there, got nothing more; give all "
            "arrays of the network.",
        ),
        "directions": (
            lambda w: equinox_to_rnnjax(
                [(rnnjax_to_equinox(*made(rnnjax.gru(4, bias=False))).weights, EQX)]
            ),
            VALUE,
            "equinox_to_rnnjax: `source[0]` must hold two directions that are alike, got b "
            "none and float32 of shape (12,); here both directions are one cell; build the two "
            "layers by hand.",
        ),
        "reset before": (
            lambda w: rnnjax_to_equinox(*made(rnnjax.gru(4, reset="before"))),
            VALUE,
            "rnnjax_to_equinox: `layer` must reset after the product, got reset='before'; no "
            "weights make it equal.",
        ),
        "another cell": (
            lambda w: rnnjax_to_equinox(*made(rnnjax.elman(4))),
            VALUE,
            "rnnjax_to_equinox: `layer` must be one of ['lstm', 'gru'], got elman; convert it by "
            "hand.",
        ),
        "backwards": (
            lambda w: rnnjax_to_equinox(*made(rnnjax.recurrent(rnnjax.gru(4), reverse=True))),
            VALUE,
            "rnnjax_to_equinox: `layer` must read forwards, got reverse=True; make it "
            "bidirectional, or turn the sequence around yourself.",
        ),
        "merge": (
            lambda w: rnnjax_to_equinox(
                *made(rnnjax.bidirectional(rnnjax.gru(4), merge=rnnjax.merge.average))
            ),
            VALUE,
            "rnnjax_to_equinox: `layer` must concatenate its directions, got average; merge after "
            "it.",
        ),
    },
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", CASES)
def test_messages(name):
    check_refused(CASES[name])

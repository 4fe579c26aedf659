"""Weights of Flax, Haiku and Equinox as plain arrays: round trips to the bit, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import TYPE, VALUE, check_refused, no_type_checker, table  # noqa: F401

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


def optimized(layer, params):
    return rnnjax_to_nnx(layer, params, optimized=True)


def by_names(weights, options):
    return haiku_to_rnnjax(weights, names=options["names"])


def linen_again(weights, options):
    return linen_to_rnnjax(weights)


def nnx_again(weights, options):
    return nnx_to_rnnjax(weights)


def equinox_again(weights, options):
    return equinox_to_rnnjax(weights)


PEERS = {  # there, back, and the cells that are the same to the bit
    "linen": (rnnjax_to_linen, linen_again, ["lstm", "gru", "mgu", "elman"]),
    "nnx": (rnnjax_to_nnx, nnx_again, ["lstm", "gru without b_hn", "elman"]),
    "nnx optimized": (optimized, nnx_again, ["lstm", "gru without b_hn", "elman"]),
    "haiku": (rnnjax_to_haiku, by_names, ["gru before", "elman relu", "lstm of halves"]),
    "equinox": (rnnjax_to_equinox, equinox_again, ["lstm", "gru", "lstm no bias", "gru no bias"]),
}
CELLS = {
    "lstm": rnnjax.lstm,
    "lstm of halves": rnnjax.lstm,
    "lstm no bias": lambda n: rnnjax.lstm(n, bias=False),
    "gru": rnnjax.gru,
    "gru without b_hn": rnnjax.gru,
    "gru no bias": lambda n: rnnjax.gru(n, bias=False),
    "gru before": lambda n: rnnjax.gru(n, reset="before"),
    "mgu": rnnjax.mgu,
    "elman": rnnjax.elman,
    "elman relu": lambda n: rnnjax.elman(n, activation=jax.nn.relu),
}


def random_params(kind, thing, in_features, seed):
    """Random numbers in every leaf, but for what another framework has no place for."""
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(lambda: thing.init(jax.random.key(0), in_features))
    params = jax.tree.map(lambda a: rng.normal(size=a.shape).astype("float32"), like)
    if kind == "lstm of halves":  # to which 1 can be added and taken away again
        params = jax.tree.map(lambda a: np.round(a * 8) / 8, params)
    if kind == "gru without b_hn":
        params = params._replace(b_hn=np.zeros_like(params.b_hn))
    return params


@pytest.mark.parametrize("peer", PEERS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_there_and_back_is_the_same_to_the_bit(peer, data):
    there, back, kinds = PEERS[peer]
    layers, params, below = [], [], data.draw(st.integers(1, 4))
    for k in range(data.draw(st.integers(1, 3))):
        kind, width = data.draw(st.sampled_from(kinds)), data.draw(st.integers(1, 4))
        both = data.draw(st.booleans())
        cell = CELLS[kind](width)
        layers.append(rnnjax.bidirectional(cell) if both else cell)
        params.append(random_params(kind, layers[-1], below, k))
        below = width * (1 + both)
    layer, params = rnnjax.stack(*layers), tuple(params)
    weights, options, report = there(layer, params)
    again = back(weights, options)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    pairs = zip(jax.tree.leaves(again.params), jax.tree.leaves(params), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    arrays = jax.tree.leaves(weights)
    assert len(report.rows) == len(again.report.rows) == len(arrays)


@pytest.mark.parametrize("peer", PEERS)
def test_a_cell_gives_a_cell(peer):
    there, back, kinds = PEERS[peer]
    cell = CELLS[kinds[-1]](4)
    params = random_params(kinds[-1], cell, 3, 0)
    weights, options, _ = there(cell, params)
    again = back(weights, options)
    assert isinstance(again.layer, rnnjax.Cell) and again.layer.out_features == 4
    assert all(np.array_equal(a, b) for a, b in zip(again.params[:3], params[:3], strict=True))


def test_dtype_is_chosen():
    weights = rnnjax_to_linen(*made(rnnjax.gru(4))).weights
    assert linen_to_rnnjax(weights, dtype="bfloat16").params.b.dtype == jnp.bfloat16


def test_options_and_reports_tell_what_arrays_do_not():
    cell = rnnjax.lstm(4, gate_activation=jax.nn.hard_sigmoid, bias=False, learned_carry=True)
    both = rnnjax.bidirectional(cell, merge=rnnjax.merge.add)
    layer = rnnjax.stack(both, rnnjax.recurrent(rnnjax.elman(3), reverse=True), dropout=0.1)
    _, options, report = rnnjax_to_nnx(*made(layer, 2))
    inner = {
        "module": "LSTMCell",
        "in_features": 2,
        "hidden_features": 4,
        "gate_fn": jax.nn.hard_sigmoid,
    }
    way = {"module": "RNN", "cell": inner}
    simple = {"module": "SimpleCell", "in_features": 4, "hidden_features": 3}
    assert options["layers"] == [
        {
            "module": "Bidirectional",
            "forward_rnn": way,
            "backward_rnn": way,
            "merge_fn": rnnjax.merge.add,
        },
        {"module": "RNN", "cell": simple, "reverse": True, "keep_order": True},
    ]
    assert report.notes == (
        "layers_0: without dropout 0.1 between layers, which is off at inference",
        "layers_1: without dropout 0.1 between layers, which is off at inference",
        "layers_0: the learned initial carry has no place there; give layer.init_carry(params, x) "
        "as the initial state",
        "layers_0: has no bias; there it is zero, and trained",
    )
    assert report.rows[0].source == "0.forward_rnn.cell.ii.kernel"
    assert report.rows[0].target == "layers_0.w_ih[0]"


def test_what_a_module_says_is_noted():
    module = linen.GRUCell(4, dtype=jnp.bfloat16, carry_init=jax.nn.initializers.ones)
    report = linen_to_rnnjax(GRU_TREE, module=module).report
    assert report.notes == (
        "the cell: computes in bfloat16 there, in its own dtype here",
        "the cell: its carry_init is not zeros; give the carry",
    )


def made(layer, in_features=3):
    """With params of zeros, which take no program to make."""
    like = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features))
    return layer, jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)


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

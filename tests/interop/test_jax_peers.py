"""Weights of Flax, Haiku and Equinox as plain arrays: round trips to the bit, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import made

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
    tree = rnnjax_to_linen(*made(rnnjax.gru(4))).weights
    report = linen_to_rnnjax(tree, module=module).report
    assert report.notes == (
        "the cell: computes in bfloat16 there, in its own dtype here",
        "the cell: its carry_init is not zeros; give the carry",
    )

"""Flax, float64: linen's and nnx's cells under their `RNN`, with equal weights.

Lengths start at 1: for what Flax makes of 0, see `test_peers_mistakes.py`. Its outputs at padding
are garbage by contract, so only valid steps are compared.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from parity.layouts import TINY, linen_params, nnx_lstm
from registry import B, D, H, T, inputs, make

import rnnjax

pytestmark = pytest.mark.usefixtures("x64", "any_promotion")

LENGTHS = {"all steps": None, "lengths": np.array([4, T, 1], np.int32)}
LINEN = {
    "lstm": linen.LSTMCell,
    "gru": linen.GRUCell,
    "elman": linen.SimpleCell,
    "mgu": linen.MGUCell,
}


def assert_same(carry, ys, their_carry, theirs, lengths):
    valid = np.arange(T)[:, None] < (np.full(B, T) if lengths is None else lengths)
    np.testing.assert_allclose(np.asarray(ys)[valid], np.asarray(theirs)[valid], **TINY)
    # Flax carries (c, h), or h alone.
    named = dict(zip("ch", their_carry, strict=True)) if len(carry) == 2 else {"h": their_carry}
    for name, leaf in carry._asdict().items():
        np.testing.assert_allclose(leaf, named[name], err_msg=name, **TINY)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", LINEN)
def test_cell_equals_linen(name, reverse, lengths):
    cell, params = make(name, dtype=jnp.float64)
    xs = inputs(T, B, D, dtype=jnp.float64)
    rnn = linen.RNN(LINEN[name](H, param_dtype=jnp.float64), time_major=True)
    how = {"reverse": reverse, "keep_order": True, "return_carry": True}
    theirs = rnn.apply(linen_params(params), xs, seq_lengths=lengths, **how)
    ours = rnnjax.unroll(cell, params, xs, lengths=lengths, reverse=reverse)
    assert_same(*ours, *theirs, lengths)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_lstm_equals_nnx(reverse, lengths):
    cell, params = make("lstm", dtype=jnp.float64)
    xs = inputs(T, B, D, dtype=jnp.float64)
    rnn = nnx.RNN(nnx_lstm(params), time_major=True, rngs=nnx.Rngs(0))
    how = {"reverse": reverse, "keep_order": True, "return_carry": True}
    theirs = rnn(xs, seq_lengths=lengths, **how)
    ours = rnnjax.unroll(cell, params, xs, lengths=lengths, reverse=reverse)
    assert_same(*ours, *theirs, lengths)

"""Bad arguments of what runs a sequence are refused in one sentence, before anything is traced.

Each entry of a table is a call and the whole message: function, argument, wanted, got, way out.
"""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import (
    TYPE,
    VALUE,
    B,
    D,
    H,
    T,
    check_refused,
    no_type_checker,
    table,
)

import rnnjax

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

FEATURES = "the features come last, and params fix their number."
CARRY = "start from init_carry, or hand on the carry of an earlier segment."
PARAMS = "give what init made for this very cell or layer."
BOTH_PARAMS = "a tuple of 2 (LSTMParams(w_ih, w_hh, b), GRUParams(w_ih, w_hh, b, b_hn))"

INPUTS = {
    "tokens that 32 bits cannot hold": (
        lambda w: rnnjax.embedding(9, 2).apply(
            rnnjax.EmbeddingParams(jnp.ones((9, 2))), np.array([[3], [2**32 + 3]])
        ),
        VALUE,
        "embedding.apply: `xs` must fit into 32 bits, got 4294967299; count from 0, or call "
        'jax.config.update("jax_enable_x64", True) first.',
    ),
    "a masked array": (
        lambda w: w.unroll(np.ma.masked_array(np.ones((T, B, D), np.float32), mask=False)),
        TYPE,
        "unroll: `xs` must be a plain array, got a masked array; fill it with .filled(0), and give "
        "what is masked as mask=.",
    ),
    "feature width": (
        lambda w: w.unroll(jnp.ones((T, B, 9))),
        VALUE,
        f"unroll: `xs` must have shape (T, *batch, 4), got (7, 3, 9); {FEATURES}",
    ),
    "feature width, both ways": (
        lambda w: w.both.apply(w.p_both, jnp.ones((T, B, 9))),
        VALUE,
        f"bidirectional.apply: `xs` must have shape (T, *batch, 4), got (7, 3, 9); {FEATURES}",
    ),
    "feature width, stack": (
        lambda w: w.deep.apply(w.p_deep, jnp.ones((T, B, 9))),
        VALUE,
        f"stack.apply: `xs` must have shape (T, *batch, 4), got (7, 3, 9); {FEATURES}",
    ),
    "rank": (
        lambda w: w.unroll(jnp.ones(D)),
        VALUE,
        f"unroll: `xs` must have shape (T, *batch, 4), got (4,); {FEATURES}",
    ),
    "integers": (
        lambda w: w.unroll(jnp.ones((T, B, D), jnp.int32)),
        TYPE,
        "unroll: `xs` must be floating, got int32; "
        "cast it with .astype(jnp.float32), or embed what are indices.",
    ),
    "booleans": (
        lambda w: w.unroll(jnp.ones((T, B, D), bool)),
        TYPE,
        "unroll: `xs` must be floating, got bool; "
        "cast it with .astype(jnp.float32), or embed what are indices.",
    ),
    "list of numbers": (
        lambda w: w.unroll([[1.0, 2.0, 3.0, 4.0]] * T),
        TYPE,
        "unroll: `xs` must be one array, got a list of 7; "
        "wrap numbers in jnp.asarray, or stack the arrays.",
    ),
    "list of arrays": (  # each would pass for a sequence of T = B without a batch
        lambda w: w.unroll([jnp.ones((B, D))] * T),
        TYPE,
        "unroll: `xs` must be one array, got a list of 7; "
        "wrap numbers in jnp.asarray, or stack the arrays.",
    ),
    "word": (
        lambda w: w.unroll("abc"),
        TYPE,
        "unroll: `xs` must be an array, got str 'abc'; wrap it in jnp.asarray.",
    ),
    "objects": (
        lambda w: w.unroll(np.array([[None] * D] * T)),
        TYPE,
        "unroll: `xs` must be an array, got object of shape (7, 4); "
        "give an array, or wrap numbers in jnp.asarray.",
    ),
    "nothing": (
        lambda w: w.unroll(None),
        VALUE,
        "unroll: `xs` must hold an array, got NoneType None; give the inputs.",
    ),
}

CARRIES = {
    "width": (
        lambda w: w.unroll(w.xs, jax.tree.map(lambda a: jnp.zeros((B, 9)), w.carry)),
        VALUE,
        f"unroll: `carry.h` must have shape (3, 5), got (3, 9); {CARRY}",
    ),
    "width of one leaf": (
        lambda w: w.unroll(w.xs, w.carry._replace(c=jnp.zeros((B, 9)))),
        VALUE,
        f"unroll: `carry.c` must have shape (3, 5), got (3, 9); {CARRY}",
    ),
    "no batch": (
        lambda w: w.unroll(w.xs, rnnjax.LSTMCarry(jnp.zeros(H), jnp.zeros(H))),
        VALUE,
        f"unroll: `carry.h` must have shape (3, 5), got (5,); {CARRY}",
    ),
    "plain tuple": (
        lambda w: w.unroll(w.xs, (w.h, w.h)),
        TYPE,
        "unroll: `carry` must be LSTMCarry(h, c), got a tuple of 2 "
        f"(an array of shape (3, 5), an array of shape (3, 5)); {CARRY}",
    ),
    "one array": (
        lambda w: w.unroll(w.xs, w.h),
        TYPE,
        f"unroll: `carry` must be LSTMCarry(h, c), got an array of shape (3, 5); {CARRY}",
    ),
    "of another cell": (
        lambda w: w.unroll(w.xs, rnnjax.GRUCarry(w.h)),
        TYPE,
        f"unroll: `carry` must be LSTMCarry(h, c), got GRUCarry(h); {CARRY}",
    ),
    "half of it": (
        lambda w: w.unroll(w.xs, rnnjax.LSTMCarry(w.h, None)),
        TYPE,
        f"unroll: `carry` must be LSTMCarry(h, c), got LSTMCarry(h); {CARRY}",
    ),
    "empty": (
        lambda w: w.unroll(w.xs, ()),
        TYPE,
        f"unroll: `carry` must be LSTMCarry(h, c), got an empty tuple; {CARRY}",
    ),
    "word": (
        lambda w: w.unroll(w.xs, "zero"),
        TYPE,
        "unroll: `carry` must be an array, got str 'zero'; "
        "give an array, or wrap numbers in jnp.asarray.",
    ),
    "dtype": (
        lambda w: w.unroll(w.xs, w.carry._replace(c=w.h.astype(jnp.bfloat16))),
        TYPE,
        "unroll: `carry.c` must be float32, got bfloat16; cast it with .astype(jnp.float32), "
        "or build the cell with carry_dtype=jnp.bfloat16.",
    ),
    "integer dtype": (
        lambda w: w.unroll(w.xs, w.carry._replace(h=w.h.astype(jnp.int32))),
        TYPE,
        "unroll: `carry.h` must be float32, got int32; cast it with .astype(jnp.float32).",
    ),
    "of one layer for two": (
        lambda w: w.deep.apply(w.p_deep, w.xs, w.carry),
        TYPE,
        "stack.apply: `carry` must be a tuple of 2 (LSTMCarry(h, c), GRUCarry(h)), "
        f"got LSTMCarry(h, c); {CARRY}",
    ),
    "layers in another order": (
        lambda w: w.deep.apply(w.p_deep, w.xs, (rnnjax.GRUCarry(w.h), w.carry)),
        TYPE,
        "stack.apply: `carry` must be a tuple of 2 (LSTMCarry(h, c), GRUCarry(h)), "
        f"got a tuple of 2 (GRUCarry(h), LSTMCarry(h, c)); {CARRY}",
    ),
    "one direction for two": (
        lambda w: w.both.apply(w.p_both, w.xs, w.carry),
        VALUE,
        f"bidirectional.apply: `carry.h` must have shape (2, 3, 5), got (3, 5); {CARRY}",
    ),
}

PARAMETERS = {
    "of another cell": (
        lambda w: rnnjax.unroll(w.lstm, w.p_gru, w.xs),
        TYPE,
        "unroll: `params` must be LSTMParams(w_ih, w_hh, b), "
        f"got GRUParams(w_ih, w_hh, b, b_hn); {PARAMS}",
    ),
    "of another type of that name": (
        lambda w: rnnjax.unroll(
            w.lstm, collections.namedtuple("LSTMParams", w.p._fields)(*w.p), w.xs
        ),
        TYPE,
        "unroll: `params` must be LSTMParams(w_ih, w_hh, b), "
        f"got another LSTMParams(w_ih, w_hh, b); {PARAMS}",
    ),
    "of another width": (
        lambda w: rnnjax.unroll(rnnjax.lstm(9), w.p, w.xs),
        VALUE,
        f"unroll: `params.w_ih` must have shape (4, 36), got (4, 20); {PARAMS}",
    ),
    "with a bias too many": (
        lambda w: rnnjax.unroll(rnnjax.lstm(H, bias=False), w.p, w.xs),
        TYPE,
        f"unroll: `params` must be LSTMParams(w_ih, w_hh), got LSTMParams(w_ih, w_hh, b); {PARAMS}",
    ),
    "with a leaf missing": (
        lambda w: rnnjax.unroll(w.lstm, w.p._replace(w_hh=None), w.xs),
        TYPE,
        f"unroll: `params` must be LSTMParams(w_ih, w_hh, b), got LSTMParams(w_ih, b); {PARAMS}",
    ),
    "with a short leaf": (
        lambda w: rnnjax.unroll(w.lstm, w.p._replace(b=w.p.b[:3]), w.xs),
        VALUE,
        f"unroll: `params.b` must have shape (20,), got (3,); {PARAMS}",
    ),
    "of integers": (
        lambda w: rnnjax.unroll(w.lstm, jax.tree.map(lambda a: a.astype(jnp.int8), w.p), w.xs),
        TYPE,
        f"unroll: `params.w_ih` must be floating, got int8; {PARAMS}",
    ),
    "as a dict": (
        lambda w: rnnjax.unroll(w.lstm, rnnjax.params_to_dict(w.p), w.xs),
        TYPE,
        f"unroll: `params` must be from init, got a dict with ['b', 'w_hh', 'w_ih']; {PARAMS}",
    ),
    "none": (
        lambda w: rnnjax.unroll(w.lstm, None, w.xs),
        TYPE,
        f"unroll: `params` must be from init, got NoneType None; {PARAMS}",
    ),
    "of one direction for two": (
        lambda w: w.both.apply(w.p, w.xs),
        VALUE,
        f"bidirectional.apply: `params.w_ih` must have shape (2, 20, 20), got (4, 20); {PARAMS}",
    ),
    "of two directions for one": (
        lambda w: rnnjax.unroll(w.lstm, w.p_both, w.xs),
        VALUE,
        f"unroll: `params.w_ih` must have shape (2, 20), got (2, 4, 20); {PARAMS}",
    ),
    "of a cell for a stack": (
        lambda w: w.deep.apply(w.p, w.xs),
        TYPE,
        f"stack.apply: `params` must be from init, got LSTMParams(w_ih, w_hh, b); {PARAMS}",
    ),
    "of one layer too few": (
        lambda w: w.deep.apply(w.p_deep[:1], w.xs),
        TYPE,
        f"stack.apply: `params` must be {BOTH_PARAMS}, "
        f"got a tuple of 1 (LSTMParams(w_ih, w_hh, b)); {PARAMS}",
    ),
    "in another order": (
        lambda w: w.deep.apply(w.p_deep[::-1], w.xs),
        TYPE,
        f"stack.apply: `params` must be {BOTH_PARAMS}, "
        f"got a tuple of 2 (GRUParams(w_ih, w_hh, b, b_hn), LSTMParams(w_ih, w_hh, b)); {PARAMS}",
    ),
    "for a carry": (
        lambda w: w.deep.init_carry(w.p, w.xs[0]),
        TYPE,
        f"stack.init_carry: `params` must be from init, got LSTMParams(w_ih, w_hh, b); {PARAMS}",
    ),
    "a layer for a cell": (
        lambda w: rnnjax.unroll(w.both, w.p_both, w.xs),
        TYPE,
        "unroll: `cell` must be a Cell, got a Layer; "
        "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...).",
    ),
    "before the cell": (
        lambda w: rnnjax.unroll(w.p, w.lstm, w.xs),
        TYPE,
        "unroll: `cell` must be a Cell, got a LSTMParams; "
        "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...).",
    ),
}

LENGTHS = {
    "count": (
        lambda w: w.unroll(w.xs, lengths=[1, 2]),
        VALUE,
        "unroll: `lengths` must have shape (3,), got (2,); give one length per batch row.",
    ),
    "rank": (
        lambda w: w.unroll(w.xs, lengths=np.ones((T, B), int)),
        VALUE,
        "unroll: `lengths` must have shape (3,), got (7, 3); give one length per batch row.",
    ),
    "one number": (
        lambda w: w.deep.apply(w.p_deep, w.xs, lengths=3),
        VALUE,
        "stack.apply: `lengths` must have shape (3,), got (); give one length per batch row.",
    ),
    "floats": (
        lambda w: w.unroll(w.xs, lengths=[1.0, 2.0, 3.0]),
        TYPE,
        "unroll: `lengths` must be integers, got float64; count valid steps in whole numbers.",
    ),
    "booleans": (
        lambda w: w.unroll(w.xs, lengths=[True, False, True]),
        TYPE,
        "unroll: `lengths` must be integers, got bool; count valid steps in whole numbers.",
    ),
    "negative": (
        lambda w: w.unroll(w.xs, lengths=[1, -1, 2]),
        VALUE,
        "unroll: `lengths` must lie in 0..T = 0..7, got -1 at row 1; pad or cut the sequences.",
    ),
    "beyond T": (
        lambda w: w.unroll(w.xs, lengths=[1, 2, 8]),
        VALUE,
        "unroll: `lengths` must lie in 0..T = 0..7, got 8 at row 2; pad or cut the sequences.",
    ),
    "beyond T, layer": (
        lambda w: w.both.apply(w.p_both, w.xs, lengths=jnp.array([1, 2, 8])),
        VALUE,
        "bidirectional.apply: `lengths` must lie in 0..T = 0..7, got 8 at row 2; "
        "pad or cut the sequences.",
    ),
    "beyond T, explain": (
        lambda w: rnnjax.explain(w.lstm, w.p, w.xs, lengths=[1, 2, 8]),
        VALUE,
        "explain: `lengths` must lie in 0..T = 0..7, got 8 at row 2; pad or cut the sequences.",
    ),
    "beyond T, closed over by jit": (
        lambda w: jax.jit(lambda xs: w.unroll(xs, lengths=np.array([1, 2, 8])))(w.xs),
        VALUE,
        "unroll: `lengths` must lie in 0..T = 0..7, got 8 at row 2; pad or cut the sequences.",
    ),
    "beyond T, an array closed over by jit": (
        lambda w: closed_over(w, jnp.array([1, 2, 8])),
        VALUE,
        "unroll: `lengths` must lie in 0..T = 0..7, got 8 at row 2; pad or cut the sequences.",
    ),
    "floats, traced": (
        lambda w: jax.jit(lambda n: w.unroll(w.xs, lengths=n))(jnp.ones(B)),
        TYPE,
        "unroll: `lengths` must be integers, got float32; count valid steps in whole numbers.",
    ),
    "count, traced": (
        lambda w: jax.jit(lambda n: w.unroll(w.xs, lengths=n))(jnp.ones(2, jnp.int32)),
        VALUE,
        "unroll: `lengths` must have shape (3,), got (2,); give one length per batch row.",
    ),
}


def closed_over(w, lengths):
    return jax.jit(lambda xs: w.unroll(xs, lengths=lengths))(w.xs)


CASES = table(inputs=INPUTS, carry=CARRIES, params=PARAMETERS, lengths=LENGTHS)


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_sentence(name):
    check_refused(CASES[name])

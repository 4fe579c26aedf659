"""What a stepper refuses, in whole sentences."""

import flax.nnx
import jax
import numpy as np
import pytest
from messages import NO_LINEAR, TYPE, VALUE, B, D, H, T, check_refused, no_type_checker, table
from registry import random_params

import rnnjax
from rnnjax.methods.native.library import why_not_loaded

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

ONE_WAY = "its first output needs the last input: run whole sequences with apply, or take a "
ONE_WAY += "network that reads one way"
START = "start from init_carry, or hand on the carry of an earlier segment"
BOTH = rnnjax.bidirectional(rnnjax.gru(H))
BACK = rnnjax.recurrent(rnnjax.gru(H), reverse=True)
DEEP = rnnjax.stack(rnnjax.lstm(H), rnnjax.stack(rnnjax.gru(H), BOTH), dropout=0.1)
SKIPPING = rnnjax.stack(rnnjax.lstm(D), BACK, skip=rnnjax.merge.concatenate)
OTHER_TOKENS = rnnjax.stack(rnnjax.embedding(9, 4), rnnjax.gru(H))
TOKENS = rnnjax.stack(rnnjax.embedding(9, 3), rnnjax.gru(H))


def make(layer, features=D, **options):
    return rnnjax.stepper(layer, random_params(layer, features), **options)


def step(w):
    return make(w.lstm)


def x(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def begin(w, batch=(B,)):
    return rnnjax.LSTMCarry(x(*batch, H), x(*batch, H))


def backwards(got):
    return f"stepper: `cell_or_layer` must read forwards alone, got {got}; {ONE_WAY}."


def half_a_carry(step):
    step(step.init_carry(), x(D))  # the shape is known
    return step(tuple.__new__(rnnjax.LSTMCarry, [x(H)]), x(D))


def tokens(token):
    made = make(TOKENS, None)
    return made(made.init_carry((2,)), np.array([0, token]))


MADE = {
    "bidirectional": (lambda w: make(BOTH), VALUE, backwards("a bidirectional layer")),
    "changed": (
        lambda w: make(BOTH._replace(name="mine")),
        VALUE,
        backwards("a bidirectional layer"),
    ),
    "reversed": (lambda w: make(BACK), VALUE, backwards("a layer with reverse=True")),
    "deep inside": (
        lambda w: make(DEEP),
        VALUE,
        backwards("a bidirectional layer at layers_1.layers_1"),
    ),
    "with skip connections": (
        lambda w: make(SKIPPING),
        VALUE,
        backwards("a layer with reverse=True at layers_1"),
    ),
    "no layer": (
        lambda w: rnnjax.stepper(3, w.p),
        TYPE,
        "stepper: `cell_or_layer` must be cells, layers or functions of the features, got int 3; "
        "build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like.",
    ),
    "a module of ours": (
        lambda w: rnnjax.stepper(rnnjax.nnx.LSTM(D, H, rngs=flax.nnx.Rngs(0)), w.p),
        TYPE,
        "stepper: `cell_or_layer` must be cells, layers or functions of the features, got a LSTM, "
        "a module with weights of its own; give module.layer, and module.functional_params() as "
        "the params.",
    ),
    "a module of Linen": (
        lambda w: rnnjax.stepper(rnnjax.linen.LSTM(H), w.p),
        TYPE,
        "stepper: `cell_or_layer` must be cells, layers or functions of the features, got a LSTM, "
        "a module with weights of its own; build it with rnnjax.lstm(...), "
        "rnnjax.bidirectional(...) and the like.",
    ),
    "a module of Flax in a stack": (
        lambda w: rnnjax.stack(w.lstm, flax.nnx.Linear(H, 2, rngs=flax.nnx.Rngs(0))),
        TYPE,
        "stack: `layers` must be cells, layers or functions of the features, got a Linear, a "
        "module with weights of its own; build it with rnnjax.lstm(...), rnnjax.bidirectional(...) "
        "and the like.",
    ),
    "no params": (
        lambda w: rnnjax.stepper(w.deep, None),
        TYPE,
        "stepper: `params` must be from init, got NoneType None; give what init made for this "
        "very cell or layer.",
    ),
    "no params of layers": (
        lambda w: rnnjax.stepper(w.deep, ()),
        TYPE,
        "stepper: `params` must be from init, got an empty tuple; give what init made for this "
        "very cell or layer.",
    ),
    "params of another": (
        lambda w: rnnjax.stepper(w.lstm, w.p_gru),
        TYPE,
        "stepper: `params` must be LSTMParams(w_ih, w_hh, b), got GRUParams(w_ih, w_hh, b, b_hn); "
        "give what init made for this very cell or layer.",
    ),
    "params of another, of tokens": (
        lambda w: rnnjax.stepper(TOKENS, random_params(OTHER_TOKENS, None)),
        VALUE,
        "stepper: `params[0].w` must have shape (9, 3), got (9, 4); give what init made for "
        "this very cell or layer.",
    ),
    "no method": (
        lambda w: make(w.lstm, method="scan"),
        TYPE,
        "stepper: `method` must be a method, got 'scan'; give a value such as Scan(unroll=1) or "
        "Chunked(size=128).",
    ),
}
STEPS = {
    "a method that cannot serve": (
        lambda w: make(w.lstm, method=rnnjax.Linear())(begin(w), x(B, D)),
        VALUE,
        f"Stepper: `method` must serve this call, got {NO_LINEAR}",
    ),
    "width": (
        lambda w: step(w)(begin(w), x(B, D + 1)),
        VALUE,
        "Stepper: `x` must have shape (*batch, 4), got (3, 5); the features come last, and params "
        "fix their number.",
    ),
    "no array": (
        lambda w: step(w)(begin(w), [1.0] * D),
        TYPE,
        "Stepper: `x` must be one array, got a list of 4; wrap numbers in np.asarray, or stack "
        "the arrays.",
    ),
    "a number": (
        lambda w: make(TOKENS, None)(None, 3),
        TYPE,
        "Stepper: `x` must be one array, got int 3; wrap numbers in np.asarray, or stack the "
        "arrays.",
    ),
    "pickled": (
        lambda w: step(w).__reduce_ex__(4),
        TYPE,
        "Stepper.__reduce__: `self` must stay in its process, got a request for its bytes; hand "
        "on its layer and params by save and load, and make a stepper of them there.",
    ),
    "half a carry": (
        lambda w: half_a_carry(step(w)),
        TYPE,
        f"Stepper: `carry` must be LSTMCarry(h, c), got a LSTMCarry of 1; {START}.",
    ),
    "integers": (
        lambda w: step(w)(begin(w), x(B, D, dtype=np.int32)),
        TYPE,
        "Stepper: `x` must be floating, got int32; cast it with .astype(jnp.float32), or embed "
        "what are indices.",
    ),
    "no carry": (
        lambda w: step(w)(None, x(B, D)),
        TYPE,
        f"Stepper: `carry` must be LSTMCarry(h, c), got NoneType None; {START}.",
    ),
    "carry of another": (
        lambda w: step(w)(rnnjax.GRUCarry(x(B, H)), x(B, D)),
        TYPE,
        f"Stepper: `carry` must be LSTMCarry(h, c), got GRUCarry(h); {START}.",
    ),
    "carry of another batch": (
        lambda w: step(w)(begin(w, (2,)), x(B, D)),
        VALUE,
        f"Stepper: `carry.h` must have shape (3, 5), got (2, 5); {START}.",
    ),
    "carry of whole numbers": (
        lambda w: step(w)(jax.tree.map(lambda a: a.astype(int), begin(w)), x(B, D)),
        TYPE,
        "Stepper: `carry.h` must be float32, got int32; cast it with .astype(jnp.float32).",
    ),
    "token": (
        lambda w: tokens(9),
        VALUE,
        "Stepper: `x` must lie in 0..8, got 9 at (1,); count tokens from 0, or make more vectors.",
    ),
    "token of 64 bits": (
        lambda w: tokens(2**32 + 1),
        VALUE,
        "Stepper: `x` must fit into 32 bits, got 4294967297; count from 0, or call "
        'jax.config.update("jax_enable_x64", True) first.',
    ),
}
CHUNKS = {
    "a method that cannot serve": (
        lambda w: make(w.lstm, method=rnnjax.Linear()).chunk(begin(w), x(T, B, D)),
        VALUE,
        f"Stepper.chunk: `method` must serve this call, got {NO_LINEAR}",
    ),
    "no time": (
        lambda w: step(w).chunk(begin(w, ()), x(D)),
        VALUE,
        "Stepper.chunk: `xs` must have shape (T, *batch, 4), got (4,); the features come last, "
        "and params fix their number.",
    ),
    "lengths": (
        lambda w: step(w).chunk(begin(w), x(T, B, D), lengths=[1]),
        VALUE,
        "Stepper.chunk: `lengths` must have shape (3,), got (1,); give one length per batch row.",
    ),
    "a list": (
        lambda w: step(w).chunk(begin(w), [[1.0] * D]),
        TYPE,
        "Stepper.chunk: `xs` must be one array, got a list of 1; wrap numbers in np.asarray, or "
        "stack the arrays.",
    ),
    "carry": (
        lambda w: step(w).chunk(begin(w, (2,)), x(T, B, D)),
        VALUE,
        f"Stepper.chunk: `carry.h` must have shape (3, 5), got (2, 5); {START}.",
    ),
}
CARRIES = {
    "a number": (
        lambda w: step(w).init_carry(3),
        TYPE,
        "Stepper.init_carry: `batch` must be a tuple, got int 3; write (8,) for eight rows.",
    ),
    "half a row": (
        lambda w: step(w).init_carry((0.5,)),
        TYPE,
        "Stepper.init_carry: `batch` must be a whole number, got float 0.5; give an int.",
    ),
    "both": (
        lambda w: step(w).init_carry((B,), like=x(B, D)),
        VALUE,
        "Stepper.init_carry: `batch` must be left out where like is given, got (3,); like has "
        "batch axes of its own.",
    ),
    "any input": (
        lambda w: make(rnnjax.stack(jax.nn.relu, w.lstm)).init_carry(),
        VALUE,
        "Stepper.init_carry: `like` must be given for this layer, got None; params do not say "
        "what inputs look like: show one step of them.",
    ),
    "like of numbers": (
        lambda w: step(w).init_carry(like=[1.0] * D),
        TYPE,
        "Stepper.init_carry: `like` must be one array, got a list of 4; wrap numbers in "
        "np.asarray, or stack the arrays.",
    ),
    "like of another width": (
        lambda w: step(w).init_carry(like=x(B, D + 1)),
        VALUE,
        "Stepper.init_carry: `like` must have shape (*batch, 4), got (3, 5); the features come "
        "last, and params fix their number.",
    ),
}
CASES = table(made=MADE, step=STEPS, chunk=CHUNKS, init_carry=CARRIES)


@pytest.mark.parametrize("name", CASES)
def test_messages(name):
    check_refused(CASES[name])


def test_what_native_cannot_run_by_name(no_type_checker):
    if why_not_loaded() is not None:
        pytest.skip("the library was not built")
    message = (
        "stepper: `method` must serve this network, got Native(), which cannot: of layers_1, the "
        "library knows LSTM, GRU and Elman cells, dense layers, embeddings and activations, not "
        "mgu; use another method, or None to have one picked."
    )
    layer = rnnjax.stack(rnnjax.lstm(H), rnnjax.mgu(H))
    check_refused((lambda w: make(layer, method=rnnjax.Native()), VALUE, message))

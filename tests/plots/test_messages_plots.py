"""Bad use of pictures is refused in one sentence, before anything is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, B, D, H, T, check_refused, no_type_checker, table

import rnnjax
from rnnjax import plots
from rnnjax.cells.base import any_input

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

PLAIN = "give the cell that rnnjax.lstm or rnnjax.gru made, without wrappers."
PAIRS = "map names to pairs of a cell and its params"
NUMBERED = "number the units to draw, from 0."
DRAW_OUTSIDE = "return the numbers from jit, and draw them outside."
COUNTED = "give what was counted or weighed itself, not its logarithm."


def one(w):
    return w.xs[:, 0]


NUMBERS = {
    "gates of another cell": (
        lambda w: plots.gate_values(rnnjax.para_lstm(H), w.p, w.xs),
        VALUE,
        "gate_values: `cell` must be a plain LSTM or GRU, got one with "
        f"DiagonalForm(hidden_features=5); {PLAIN}",
    ),
    "gates of a wrapped cell": (
        lambda w: plots.gates(rnnjax.residual(w.lstm), w.p, one(w)),
        VALUE,
        f"gates: `cell` must be a plain LSTM or GRU, got one of other equations; {PLAIN}",
    ),
    "gates of other activations": (
        lambda w: plots.forgetting_times(rnnjax.gru(H, activation=jax.nn.relu), w.p_gru, w.xs),
        VALUE,
        "forgetting_times: `cell` must be a plain LSTM or GRU, got one of other equations; "
        f"{PLAIN}",
    ),
    "gates of a layer": (
        lambda w: plots.saturated_shares(w.both, w.p, w.xs),
        TYPE,
        "saturated_shares: `cell` must be a Cell, got a Layer; "
        "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...).",
    ),
    "gates of another carry": (
        lambda w: plots.gate_values(w.lstm, w.p, w.xs, w.h),
        TYPE,
        "gate_values: `carry` must be LSTMCarry(h, c), got an array of shape (3, 5); "
        "start from init_carry, or hand on the carry of an earlier segment.",
    ),
    "lags of a layer": (
        lambda w: plots.lag_norms(w.both, w.p, w.xs),
        TYPE,
        "lag_norms: `cell` must be a Cell, got a Layer; "
        "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...).",
    ),
    "lags of inputs without gradients": (
        lambda w: plots.lag_norms(w.lstm._replace(in_spec=any_input), w.p, jnp.ones((T, B), int)),
        TYPE,
        "lag_norms: `xs` must be one floating array, got int32; "
        "gradients are those for one array of floating inputs.",
    ),
    "lags of a tree": (
        lambda w: plots.lag_norms(w.lstm._replace(in_spec=any_input), w.p, (w.xs, w.xs)),
        TYPE,
        "lag_norms: `xs` must be one floating array, got a tuple of 2 (an array of shape (7, 3, 4),"
        " an array of shape (7, 3, 4)); gradients are those for one array of floating inputs.",
    ),
}


GATES = {
    "of a batch": (
        lambda w: plots.gates(w.lstm, w.p, w.xs),
        VALUE,
        "gates: `xs` must have shape (T, D), got (7, 3, 4); "
        "draw one row of a batch, such as xs[:, 0].",
    ),
    "without steps": (
        lambda w: plots.gates(w.lstm, w.p, jnp.zeros((0, D))),
        VALUE,
        "gates: `xs` must have a valid step, got none in shape (0, 4); give longer sequences.",
    ),
    "with too few tokens": (
        lambda w: plots.gates(w.lstm, w.p, one(w), tokens="words"),
        VALUE,
        "gates: `tokens` must have length 7, got 5; give one for each step of xs.",
    ),
    "with a number for tokens": (
        lambda w: plots.gates(w.lstm, w.p, one(w), tokens=7),
        TYPE,
        "gates: `tokens` must be a list of words, got int 7; give one for each step of xs.",
    ),
    "of too great a length": (
        lambda w: plots.gates(w.lstm, w.p, one(w), length=8),
        VALUE,
        "gates: `length` must be at most T = 7, got 8; count the valid steps.",
    ),
    "of no length": (
        lambda w: plots.gates(w.lstm, w.p, one(w), length=0),
        VALUE,
        "gates: `length` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "of a unit that there is not": (
        lambda w: plots.gates(w.lstm, w.p, one(w), units=[0, 5]),
        VALUE,
        f"gates: `units` must lie in 0..4, got 5; {NUMBERED}",
    ),
    "of units by name": (
        lambda w: plots.gates(w.lstm, w.p, one(w), units=["a"]),
        TYPE,
        f"gates: `units` must be a list of whole numbers, got list ['a']; {NUMBERED}",
    ),
    "of traced params": (
        lambda w: jax.jit(lambda p: plots.gates(w.lstm, p, one(w)))(w.p),
        VALUE,
        f"gates: `params` must hold numbers to draw, got traced ones; {DRAW_OUTSIDE}",
    ),
    "saturated, without a valid step": (
        lambda w: plots.saturation(w.lstm, w.p, w.xs, lengths=[0, 0, 0]),
        VALUE,
        "saturation: `xs` must have a valid step, got none in shape (7, 3, 4); "
        "give longer sequences.",
    ),
    "saturated, traced": (
        lambda w: jax.jit(lambda xs: plots.saturation(w.lstm, w.p, xs))(w.xs),
        VALUE,
        f"saturation: `xs` must hold numbers to draw, got traced ones; {DRAW_OUTSIDE}",
    ),
    "time constants of an Elman cell": (
        lambda w: plots.time_constants(rnnjax.elman(H), w.p, w.xs),
        VALUE,
        "time_constants: `cell` must be a plain LSTM or GRU, got one with "
        f"{rnnjax.elman(H).form}; {PLAIN}",
    ),
    "time constants of other lengths": (
        lambda w: plots.time_constants(w.lstm, w.p, w.xs, lengths=[8, 1, 1]),
        VALUE,
        "time_constants: `lengths` must lie in 0..T = 0..7, got 8 at row 0; "
        "pad or cut the sequences.",
    ),
    "gradients of a cell alone": (
        lambda w: plots.gradient_by_lag(w.lstm, w.xs),
        TYPE,
        f'gradient_by_lag: `cells` must {PAIRS}, got a Cell; give {{"LSTM": (cell, params)}}.',
    ),
    "gradients of no cell": (
        lambda w: plots.gradient_by_lag({}, w.xs),
        TYPE,
        f'gradient_by_lag: `cells` must {PAIRS}, got dict {{}}; give {{"LSTM": (cell, params)}}.',
    ),
    "gradients without params": (
        lambda w: plots.gradient_by_lag({"a": w.p_both}, w.xs),
        TYPE,
        f"gradient_by_lag: `cells` must {PAIRS}, got LSTMParams(w_ih, w_hh, b) for 'a'; "
        'give {"LSTM": (cell, params)}.',
    ),
    "gradients without steps": (
        lambda w: plots.gradient_by_lag({"a": (w.lstm, w.p)}, w.xs[:0]),
        VALUE,
        "gradient_by_lag: `xs` must have a valid step, got none in shape (0, 3, 4); "
        "give longer sequences.",
    ),
    "gradients for inputs of another width": (
        lambda w: plots.gradient_by_lag({"a": (w.lstm, w.p)}, w.xs[..., :2]),
        VALUE,
        "gradient_by_lag: `xs` must have shape (T, *batch, 4), got (7, 3, 2); "
        "the features come last, and params fix their number.",
    ),
}

CURVES = {
    "of an array": (
        lambda w: plots.curves(np.ones(3)),
        TYPE,
        "curves: `history` must map names to values, or be a list of such mappings, got "
        'float64 of shape (3,); give {"loss": [...]} or [{"epoch": 1, "loss": ...}, ...].',
    ),
    "without a measure": (
        lambda w: plots.curves({"epoch": [1]}),
        VALUE,
        "curves: `history` must hold values of an epoch, got no measure; draw it after an epoch.",
    ),
    "without an epoch": (
        lambda w: plots.curves({"loss": []}),
        VALUE,
        "curves: `history` must hold values of an epoch, got no epoch; draw it after an epoch.",
    ),
    "of epochs without a number": (
        lambda w: plots.curves([{"epoch": 1, "loss": 2.0}, {"loss": 1.0}]),
        VALUE,
        "curves: `history[1]` must have an \"epoch\", got a dict with ['loss']; "
        'give {"epoch": 1, "loss": ...}.',
    ),
    "of unequal lengths": (
        lambda w: plots.curves({"loss": [2.0, 1.0], "val_loss": [2.0]}),
        VALUE,
        "curves: `history['val_loss']` must have a value for each of 2 epochs, got 1; "
        "put None where nothing was measured.",
    ),
    "of words": (
        lambda w: plots.curves({"loss": ["low"]}),
        TYPE,
        "curves: `history['loss']` must be numbers, got list ['low']; "
        "give an array or lists of numbers.",
    ),
    "of several values an epoch": (
        lambda w: plots.curves({"loss": [[1.0, 2.0]]}),
        VALUE,
        "curves: `history['loss']` must have shape (epochs,), got (1, 2); "
        "give one number for each epoch.",
    ),
    "of a measure that there is not": (
        lambda w: plots.curves({"loss": [1.0]}, names=["accuracy"]),
        VALUE,
        "curves: `names` must be among ['loss'], got 'accuracy'; choose among these.",
    ),
    "of one name": (
        lambda w: plots.curves({"loss": [1.0]}, names="loss"),
        TYPE,
        "curves: `names` must be a list of names, got str 'loss'; give [\"loss\"].",
    ),
    "of no name": (
        lambda w: plots.curves({"loss": [1.0]}, names=[]),
        VALUE,
        "curves: `names` must name a measure, got none; leave it out to draw all.",
    ),
    "with another best": (
        lambda w: plots.curves({"loss": [1.0]}, higher_is_better=["f1"]),
        VALUE,
        "curves: `higher_is_better` must be among ['loss'], got 'f1'; choose among these.",
    ),
}

MATRICES = {
    "attention of a batch": (
        lambda w: plots.attention(np.ones((2, 3, 4)), "abcd", "abc"),
        VALUE,
        "attention: `weights` must have shape (targets, sources), got (2, 3, 4); "
        "give one matrix, such as that of one row of a batch.",
    ),
    "attention below 0": (
        lambda w: plots.attention(np.log([[0.5, 0.5]]), "ab", "a"),
        VALUE,
        f"attention: `weights` must be finite and at least 0, got -0.693147 at (0, 0); {COUNTED}",
    ),
    "attention to other sources": (
        lambda w: plots.attention(np.ones((2, 3)), "ab", "ab"),
        VALUE,
        "attention: `sources` must have length 3, got 2; give one for each column of weights.",
    ),
    "attention of other targets": (
        lambda w: plots.attention(np.ones((2, 3)), "abc", "abc"),
        VALUE,
        "attention: `targets` must have length 2, got 3; give one for each row of weights.",
    ),
    "confusion that is not square": (
        lambda w: plots.confusion(np.ones((2, 3))),
        VALUE,
        "confusion: `counts` must be square, got (2, 3); count a row and a column for every class.",
    ),
    "confusion below 0": (
        lambda w: plots.confusion([[1, 2], [-3, 4]]),
        VALUE,
        f"confusion: `counts` must be finite and at least 0, got -3 at (1, 0); {COUNTED}",
    ),
    "confusion of nan": (
        lambda w: plots.confusion([[1.0, np.nan], [0.0, 1.0]]),
        VALUE,
        f"confusion: `counts` must be finite and at least 0, got nan at (0, 1); {COUNTED}",
    ),
    "confusion of nothing": (
        lambda w: plots.confusion(np.zeros((2, 2))),
        VALUE,
        "confusion: `counts` must hold a count, got zeros alone; count predictions first.",
    ),
    "confusion of unequal rows": (
        lambda w: plots.confusion([[1, 2], [3]]),
        TYPE,
        "confusion: `counts` must be numbers, got list [[1, 2], [3]]; "
        "give an array or lists of numbers.",
    ),
    "confusion of other labels": (
        lambda w: plots.confusion(np.eye(2), ["one"]),
        VALUE,
        "confusion: `labels` must have length 2, got 1; give one for each class.",
    ),
}

CASES = table(numbers=NUMBERS, gates=GATES, curves=CURVES, matrices=MATRICES)


@pytest.mark.parametrize("name", CASES)
def test_message(name, monkeypatch):
    """Nothing is drawn before: a figure could not be made."""
    monkeypatch.setattr(plots.activity.style, "new_figure", None)
    check_refused(CASES[name])

"""Bad use of the helpers for sequences and parameters is refused in one sentence.

Each entry of a table is a call and the whole message.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import (
    TO_BOOL,
    TYPE,
    VALUE,
    check_refused,
    no_type_checker,
    table,
)

import rnnjax

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

CUT = "pad or cut the sequences."
WHOLE = "count valid steps in whole numbers."
DICT = "give the dict that params_to_dict made for the same cell or layer."
NAMES = "a dict with ['b', 'w_hh', 'w_ih']"

MASKS = {
    "with a hole": (
        lambda w: rnnjax.mask_to_lengths(jnp.array([True, False, True])),
        VALUE,
        "mask_to_lengths: `mask` must be True, then False, got a hole; "
        "give the mask itself to unroll, which takes any.",
    ),
    "padded in front": (
        lambda w: rnnjax.mask_to_lengths([False, True]),
        VALUE,
        "mask_to_lengths: `mask` must be True, then False, got a hole; "
        "give the mask itself to unroll, which takes any.",
    ),
    "of integers": (
        lambda w: rnnjax.mask_to_lengths(np.array([1, 0], np.int32)),
        TYPE,
        "mask_to_lengths: `mask` must be bool, got int32; "
        f"{TO_BOOL}, and lengths with lengths_to_mask.",
    ),
    "without that axis": (
        lambda w: rnnjax.mask_to_lengths(np.array([True]), time_axis=1),
        VALUE,
        "mask_to_lengths: `time_axis` must be an axis of shape (1,), got 1; 0 is time-major.",
    ),
    "from lengths beyond T": (
        lambda w: rnnjax.lengths_to_mask([4], 3),
        VALUE,
        f"lengths_to_mask: `lengths` must lie in 0..T = 0..3, got 4 at row 0; {CUT}",
    ),
    "from float lengths": (
        lambda w: rnnjax.lengths_to_mask([1.0], 3),
        TYPE,
        f"lengths_to_mask: `lengths` must be integers, got float64; {WHOLE}",
    ),
    "of a float T": (
        lambda w: rnnjax.lengths_to_mask([1], 3.0),
        VALUE,
        "lengths_to_mask: `num_steps` must be a whole number, got float 3.0; give xs.shape[0].",
    ),
    "of inputs for T": (
        lambda w: rnnjax.lengths_to_mask([1, 2, 3], w.xs),
        VALUE,
        "lengths_to_mask: `num_steps` must be a whole number, got float32 of shape (7, 3, 4); "
        "give xs.shape[0].",
    ),
    "to an axis it has not": (
        lambda w: rnnjax.lengths_to_mask([1], 3, time_axis=5),
        VALUE,
        "lengths_to_mask: `time_axis` must be an axis of shape (3, 1), got 5; 0 is time-major.",
    ),
}

NAMED = {
    "a name missing": (
        lambda w: rnnjax.params_from_dict(w.p, {"w_ih": w.p.w_ih, "b": w.p.b}),
        VALUE,
        f"params_from_dict: `params` must be {NAMES}, got a dict with ['b', 'w_ih']; {DICT}",
    ),
    "a name too many": (
        lambda w: rnnjax.params_from_dict(w.p, rnnjax.params_to_dict(w.p) | {"b_hn": w.p.b}),
        VALUE,
        f"params_from_dict: `params` must be {NAMES}, "
        f"got a dict with ['b', 'b_hn', 'w_hh', 'w_ih']; {DICT}",
    ),
    "a number for a name": (
        lambda w: rnnjax.params_from_dict(w.p, rnnjax.params_to_dict(w.p) | {0: w.p.b}),
        VALUE,
        f"params_from_dict: `params` must be {NAMES}, "
        f"got a dict with ['0', 'b', 'w_hh', 'w_ih']; {DICT}",
    ),
    "params themselves": (
        lambda w: rnnjax.params_from_dict(w.p, w.p),
        VALUE,
        f"params_from_dict: `params` must be {NAMES}, got LSTMParams(w_ih, w_hh, b); {DICT}",
    ),
    "another layer's": (
        lambda w: rnnjax.params_from_dict(
            w.p_deep, dict.fromkeys(["layers_0", "layers_1"], rnnjax.params_to_dict(w.p))
        ),
        VALUE,
        "params_from_dict: `params.layers_1` must be a dict with ['b', 'b_hn', 'w_hh', 'w_ih'], "
        f"got {NAMES}; {DICT}",
    ),
    "one level too deep": (
        lambda w: rnnjax.params_from_dict(w.p, rnnjax.params_to_dict(w.p) | {"b": {"x": w.p.b}}),
        VALUE,
        f"params_from_dict: `params.b` must be an array, got a dict with ['x']; {DICT}",
    ),
}


def on_sequences(function, argument):
    """What is wrong of `last_output` is wrong of `reverse_sequences`."""
    name = function.__name__
    return {
        "count of lengths": (
            lambda w: function(w.xs, [1, 2]),
            VALUE,
            f"{name}: `lengths` must match the batch axes of (3, 4), got (2,); "
            "give one per batch row.",
        ),
        "lengths beyond T": (
            lambda w: function(w.xs, [1, 2, 8]),
            VALUE,
            f"{name}: `lengths` must lie in 0..T = 0..7, got 8 at row 2; {CUT}",
        ),
        "float lengths": (
            lambda w: function(w.xs, [1.0, 2.0, 3.0]),
            TYPE,
            f"{name}: `lengths` must be integers, got float64; {WHOLE}",
        ),
        "time_axis": (
            lambda w: function(w.xs, time_axis=3),
            VALUE,
            f"{name}: `time_axis` must be an axis of shape (7, 3, 4), got 3; 0 is time-major.",
        ),
        "time_axis float": (
            lambda w: function(w.xs, time_axis=1.0),
            VALUE,
            f"{name}: `time_axis` must be an axis of shape (7, 3, 4), got 1.0; 0 is time-major.",
        ),
        "numbers": (
            lambda w: function([[1.0, 2.0]]),
            TYPE,
            f"{name}: `{argument}` must hold arrays, got float 1.0; wrap it in jnp.asarray.",
        ),
    }


CASES = table(
    mask=MASKS,
    params=NAMED,
    last_output=on_sequences(rnnjax.last_output, "ys"),
    reverse_sequences=on_sequences(rnnjax.reverse_sequences, "xs"),
)


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_sentence(name):
    check_refused(CASES[name])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32"])
def test_traced_lengths_are_clipped(dtype):
    """Also where T does not fit into the dtype of the lengths."""
    num_steps = 300
    clipped = jax.jit(lambda n: rnnjax.lengths_to_mask(n, num_steps).sum(0))
    lengths = np.array([0, 1, 100, 127], dtype)
    assert clipped(lengths).tolist() == [0, 1, 100, 127]
    assert rnnjax.lengths_to_mask(lengths, num_steps).sum(0).tolist() == [0, 1, 100, 127]
    top, bottom = int(np.iinfo(dtype).max), int(np.iinfo(dtype).min)
    wanted = [min(top, num_steps), max(bottom, 0)]
    assert clipped(np.array([top, bottom], dtype)).tolist() == wanted

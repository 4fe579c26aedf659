"""Bad data are refused before a batch is made, in one sentence each."""

import numpy as np
import pytest
from messages import TYPE, VALUE, check_five_parts, table

from rnnjax.data import Batch, rows, windows
from rnnjax.data.checks import as_batch, check_batch

Z, I = np.zeros, np.arange
XS = Z((5, 4, 2))
R = lambda *args, **options: rows(*args, **({"batch_size": 2} | options))
W = lambda *args, **options: windows(*args, **({"batch_size": 2, "num_steps": 3} | options))

ROWS = {
    "no batch": (
        lambda: R(XS),
        TYPE,
        (
            "rows: `batch` must be a Batch or a tuple of 2 to 5 arrays, got an array of shape"
            " (5, 4, 2); give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)."
        ),
    ),
    "dict": (
        lambda: R({"xs": XS}),
        TYPE,
        (
            "rows: `batch` must be a Batch or a tuple of 2 to 5 arrays, got a dict with "
            "['xs']; give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)."
        ),
    ),
    "one": (
        lambda: R((XS,)),
        TYPE,
        (
            "rows: `batch` must be a Batch or a tuple of 2 to 5 arrays, got a tuple of 1 (an "
            "array of shape (5, 4, 2)); give (xs, targets), or rnnjax.data.Batch(xs, targets,"
            " lengths)."
        ),
    ),
    "six": (
        lambda: R((XS,) * 6),
        TYPE,
        (
            "rows: `batch` must be a Batch or a tuple of 2 to 5 arrays, got a tuple of 6 (an "
            "array of shape (5, 4, 2), an array of shape (5, 4, 2), an array of shape (5, 4, "
            "2), an array of shape (5, 4, 2), an array of shape (5, 4, 2), an array of shape "
            "(5, 4, 2)); give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)."
        ),
    ),
    "no inputs": (
        lambda: R((None, Z(5))),
        VALUE,
        ("rows: `xs` must hold an array, got NoneType None; give the inputs, (B, T, ...)."),
    ),
    "nested lists": (
        lambda: R(([[1, 2], [3, 4]], [0, 1])),
        TYPE,
        ("rows: `xs[0][0]` must be an array, got int 1; wrap it in np.asarray."),
    ),
    "words": (
        lambda: R((np.array([["a", "b"]]), Z(1))),
        TYPE,
        ("rows: `xs` must hold numbers, got <U1; turn words into indices first."),
    ),
    "objects": (
        lambda: R((np.array([Z(3), Z(2)], dtype=object), Z(2))),
        TYPE,
        (
            "rows: `xs` must hold numbers, got object; sequences of unequal lengths go to "
            "data.buckets, as a list."
        ),
    ),
    "one axis": (
        lambda: R((Z(5), Z(5))),
        VALUE,
        ("rows: `xs` must have shape (B, T, ...), got (5,); rows come first."),
    ),
    "no rows": (
        lambda: R((Z((0, 4)), Z(0))),
        VALUE,
        ("rows: `xs` must have a row, got (0, 4); give at least one sequence."),
    ),
    "scalar target": (
        lambda: R((XS, np.float32(3))),
        VALUE,
        ("rows: `targets` must have shape (B, ...), got (); rows come first."),
    ),
    "rows of targets": (
        lambda: R((XS, Z(4))),
        VALUE,
        ("rows: `targets` must have 5 rows, as xs, got 4; give one per sequence."),
    ),
    "rows of tree": (
        lambda: R(({"a": XS, "b": Z((4, 4))}, Z(5))),
        VALUE,
        ("rows: `xs['b']` must have 5 rows, as xs['a'], got 4; give one per sequence."),
    ),
    "lengths float": (
        lambda: R((XS, None, Z(5))),
        TYPE,
        ("rows: `lengths` must be integers, got float64; count valid steps in whole numbers."),
    ),
    "lengths shape": (
        lambda: R((XS, None, I(4))),
        VALUE,
        ("rows: `lengths` must have shape (5,), got (4,); give one length per row."),
    ),
    "lengths long": (
        lambda: R((XS, None, I(5) + 1)),
        VALUE,
        ("rows: `lengths` must lie in 0..T = 0..4, got 5 at row 4; pad or cut the sequences."),
    ),
    "lengths negative": (
        lambda: R((XS, None, I(5) - 1)),
        VALUE,
        ("rows: `lengths` must lie in 0..T = 0..4, got -1 at row 0; pad or cut the sequences."),
    ),
    "weights shape": (
        lambda: R((XS, None, None, Z(4))),
        VALUE,
        (
            "rows: `weights` must have shape (5,) or (5, 4), got (4,); weigh every row or "
            "every step."
        ),
    ),
    "weights nan": (
        lambda: R((XS, None, None, np.array([1, 2, np.nan, 1, 1]))),
        VALUE,
        (
            "rows: `weights` must be finite and not negative, got nan at (2,); a weight of 0 "
            "leaves out."
        ),
    ),
    "weights inf": (
        lambda: R((XS, None, None, np.array([1, 2, np.inf, 1, 1]))),
        VALUE,
        (
            "rows: `weights` must be finite and not negative, got inf at (2,); a weight of 0 "
            "leaves out."
        ),
    ),
    "weights negative": (
        lambda: R((XS, None, None, -np.ones((5, 4)))),
        VALUE,
        (
            "rows: `weights` must be finite and not negative, got -1.0 at (0, 0); a weight of"
            " 0 leaves out."
        ),
    ),
    "weights words": (
        lambda: R((XS, None, None, np.array(list("abcde")))),
        TYPE,
        ("rows: `weights` must hold numbers, got <U1; turn words into indices first."),
    ),
    "resets dtype": (
        lambda: R((XS, None, None, None, Z((5, 4)))),
        TYPE,
        ("rows: `resets` must be bool, got float64; turn 0 and 1 into it with .astype(bool)."),
    ),
    "resets shape": (
        lambda: R((XS, None, None, None, Z(5, bool))),
        VALUE,
        ("rows: `resets` must have shape (5, 4), got (5,); give one per step of each row."),
    ),
    "batch 0": (
        lambda: R((XS, Z(5)), batch_size=0),
        VALUE,
        ("rows: `batch_size` must be at least 1, got 0; give the width or count that is meant."),
    ),
    "batch float": (
        lambda: R((XS, Z(5)), batch_size=2.0),
        TYPE,
        ("rows: `batch_size` must be a whole number, got float 2.0; give an int."),
    ),
    "shuffle": (
        lambda: R((XS, Z(5)), shuffle=1),
        TYPE,
        ("rows: `shuffle` must be True or False, got int 1; give a bool."),
    ),
    "seed": (
        lambda: R((XS, Z(5)), seed=-1),
        VALUE,
        ("rows: `seed` must not be negative, got -1; any from 0 on will do."),
    ),
    "seed none": (
        lambda: R((XS, Z(5)), seed=None),
        TYPE,
        ("rows: `seed` must be a whole number, got NoneType None; give an int."),
    ),
    "index": (
        lambda: R((XS, Z(5)))[-1],
        IndexError,
        ("Rows: `index` must be at least 0, got -1; the last batch of the first epoch is 2."),
    ),
    "index slice": (
        lambda: R((XS, Z(5)))[:2],
        TYPE,
        (
            "Rows: `index` must be a whole number, got slice slice(None, 2, None); data[0] is"
            " the first batch."
        ),
    ),
    "rows_of": (
        lambda: R((XS, Z(5))).rows_of(1.5),
        TYPE,
        ("Rows: `index` must be a whole number, got float 1.5; data[0] is the first batch."),
    ),
}
WINDOWS = {
    "scalar": (
        lambda: W(np.int32(3)),
        VALUE,
        ("windows: `stream` must have shape (N, ...), got (); time comes first."),
    ),
    "numbers": (
        lambda: W([1, 2, 3]),
        TYPE,
        (
            "windows: `stream` must be an array or a list of arrays, got list [1, 2, 3]; wrap"
            " numbers in np.asarray; a list has one array per document."
        ),
    ),
    "text": (
        lambda: W("text"),
        TYPE,
        (
            "windows: `stream` must be an array or a list of arrays, got str 'text'; wrap "
            "numbers in np.asarray; a list has one array per document."
        ),
    ),
    "empty list": (
        lambda: W([]),
        VALUE,
        ("windows: `stream` must hold a sequence, got none; give at least one."),
    ),
    "words": (
        lambda: W(np.array(["a", "b", "c"])),
        TYPE,
        ("windows: `stream` must hold numbers, got <U1; turn words into indices first."),
    ),
    "features": (
        lambda: W([Z((3, 2)), Z((4, 3))]),
        VALUE,
        (
            "windows: `stream[1]` must have shape (T, 2), got (4, 3); only the number of "
            "steps may differ."
        ),
    ),
    "short": (
        lambda: W(I(2)),
        VALUE,
        (
            "windows: `stream` must have at least 2 steps, one for each row, got 1; give a "
            "longer stream or a smaller batch_size."
        ),
    ),
    "short aligned": (
        lambda: W(I(1), I(1)),
        VALUE,
        (
            "windows: `stream` must have at least 2 steps, one for each row, got 1; give a "
            "longer stream or a smaller batch_size."
        ),
    ),
    "empty": (
        lambda: W(I(0)),
        VALUE,
        (
            "windows: `stream` must have at least 2 steps, one for each row, got 0; give a "
            "longer stream or a smaller batch_size."
        ),
    ),
    "targets length": (
        lambda: W(I(9), I(8)),
        VALUE,
        (
            "windows: `targets` must have 9 steps, as the stream, got 8; every element has "
            "its target."
        ),
    ),
    "targets list": (
        lambda: W(I(9), [1] * 9),
        TYPE,
        (
            "windows: `targets` must be an array, as the stream, got list [1, 1, 1, 1, 1, 1, "
            "1, 1, 1]; every element has its target."
        ),
    ),
    "targets array": (
        lambda: W([I(9), I(3)], I(12)),
        TYPE,
        (
            "windows: `targets` must be a list of arrays, as the stream, got int64 of shape "
            "(12,); every element has its target."
        ),
    ),
    "targets docs": (
        lambda: W([I(9), I(3)], [I(9)]),
        VALUE,
        (
            "windows: `targets` must have 2 documents, as the stream, got 1; every document "
            "has its targets."
        ),
    ),
    "targets doc": (
        lambda: W([I(9), I(3)], [I(9), I(4)]),
        VALUE,
        (
            "windows: `targets[1]` must have 3 steps, as the stream, got 4; every element has"
            " its target."
        ),
    ),
    "0": (
        lambda: W(I(9), batch_size=0),
        VALUE,
        ("windows: `batch_size` must be at least 1, got 0; give the width or count that is meant."),
    ),
    "T 0": (
        lambda: W(I(9), num_steps=0),
        VALUE,
        ("windows: `num_steps` must be at least 1, got 0; give the width or count that is meant."),
    ),
    "T float": (
        lambda: W(I(9), num_steps=3.0),
        TYPE,
        ("windows: `num_steps` must be a whole number, got float 3.0; give an int."),
    ),
    "shuffle": (
        lambda: W(I(9), shuffle="yes"),
        TYPE,
        ("windows: `shuffle` must be True or False, got str 'yes'; give a bool."),
    ),
    "seed": (
        lambda: W(I(9), seed=-1),
        VALUE,
        ("windows: `seed` must not be negative, got -1; any from 0 on will do."),
    ),
    "index": (
        lambda: W(I(9))[-1],
        IndexError,
        ("Windows: `index` must be at least 0, got -1; the last batch of the first epoch is 1."),
    ),
}
CASES = table(rows=ROWS, windows=WINDOWS)


@pytest.mark.parametrize("name", CASES)
def test_message(name):
    call, error, message = CASES[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message
    check_five_parts(message)


def test_messages_name_the_function_that_was_called():
    with pytest.raises(TypeError, match="^fit: `data` must be a Batch or a tuple of 2 to 5 arrays"):
        as_batch("fit", XS, argument="data")
    with pytest.raises(ValueError, match="^fit: `lengths` must lie in"):
        check_batch("fit", Batch(XS, lengths=I(5) + 1))


WHOLE = {
    "inputs alone": Batch(XS),
    "list for tuple": as_batch("fit", [XS, Z(5)]),
    "a batch": as_batch("fit", Batch(XS, Z(5))),
    "lengths 0 and T": Batch(XS, lengths=np.array([0, 4, 4, 0, 1], np.uint8)),
    "no steps": Batch(Z((5, 0)), lengths=Z(5, int)),
    "weights of rows": Batch(XS, weights=np.array([True, False, True, True, True])),
    "weights of steps": Batch(XS, weights=Z((5, 4))),
    "weights of the targets' steps": Batch(XS, Z((5, 9)), weights=Z((5, 9))),
    "nan in inputs": Batch(XS * np.nan, Z(5) * np.nan),
    "resets": Batch(XS, resets=Z((5, 4), bool)),
    "trees": Batch({"a": XS, "b": Z((5, 9))}, [Z(5), Z((5, 4, 3))]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_accepted(name):
    check_batch("fit", WHOLE[name])

"""Bad sequences are refused before a bucket is made, in one sentence each."""

import numpy as np
import pytest
from messages import TYPE, VALUE, check_five_parts, table

from rnnjax.data import buckets

Z, I = np.zeros, np.arange
XS = Z((5, 4, 2))
SEQUENCES = [I(3), I(5), I(1)]
K = lambda *args, **options: buckets(*args, **({"batch_size": 2} | options))

BUCKETS = {
    "array": (
        lambda: K(XS),
        TYPE,
        (
            "buckets: `sequences` must be a list of arrays, got float64 of shape (5, 4, 2); "
            "give one array per sequence, without padding; rows of one length go to "
            "data.rows."
        ),
    ),
    "none": (
        lambda: K([]),
        VALUE,
        ("buckets: `sequences` must hold a sequence, got none; give at least one."),
    ),
    "scalar": (
        lambda: K([1, 2, 3]),
        VALUE,
        (
            "buckets: `sequences[0]` must have shape (T, ...), got (); a list has one array "
            "per sequence."
        ),
    ),
    "words": (
        lambda: K(["ab", "c"]),
        TYPE,
        ("buckets: `sequences[0]` must hold numbers, got <U2; turn words into indices first."),
    ),
    "features": (
        lambda: K([Z((3, 2)), Z((4, 3))]),
        VALUE,
        (
            "buckets: `sequences[1]` must have shape (T, 2), got (4, 3); only the number of "
            "steps may differ."
        ),
    ),
    "ragged": (
        lambda: K([[[1, 2], [3]]]),
        VALUE,
        (
            "buckets: `sequences[0]` must be an array, got lists of unequal lengths; give "
            "every step the same features."
        ),
    ),
    "rank": (
        lambda: K([Z((3, 2)), Z(3)]),
        VALUE,
        (
            "buckets: `sequences[1]` must have shape (T, 2), got (3,); only the number of "
            "steps may differ."
        ),
    ),
    "dtype": (
        lambda: K([Z(3), I(3)]),
        TYPE,
        ("buckets: `sequences[1]` must be float64, got int64; give all sequences one dtype."),
    ),
    "targets number": (
        lambda: K(SEQUENCES, 3),
        TYPE,
        (
            "buckets: `targets` must be an array or a list, got int 3; give one per sequence,"
            " or a list with one array per sequence."
        ),
    ),
    "targets count": (
        lambda: K(SEQUENCES, Z(2)),
        VALUE,
        (
            "buckets: `targets` must have one entry for each of 3 sequences, got 2; one "
            "belongs to each."
        ),
    ),
    "targets list count": (
        lambda: K(SEQUENCES, [1, 2]),
        VALUE,
        (
            "buckets: `targets` must have one entry for each of 3 sequences, got 2; one "
            "belongs to each."
        ),
    ),
    "targets steps": (
        lambda: K(SEQUENCES, [I(3), I(4), I(1)]),
        VALUE,
        (
            "buckets: `targets[1]` must have 5 steps, as its sequence, got 4; give an array "
            "(N, ...) for one value per sequence."
        ),
    ),
    "targets words": (
        lambda: K(SEQUENCES, list("abc")),
        TYPE,
        ("buckets: `targets` must hold numbers, got <U1; turn words into indices first."),
    ),
    "targets mixed": (
        lambda: K(SEQUENCES, [I(3), 1, 2]),
        VALUE,
        (
            "buckets: `targets[1]` must have shape (T, ...), got (); a list has one array per"
            " sequence."
        ),
    ),
    "weights shape": (
        lambda: K(SEQUENCES, weights=Z((3, 2))),
        VALUE,
        ("buckets: `weights` must have one axis, got (3, 2); weigh every sequence or every step."),
    ),
    "weights negative": (
        lambda: K(SEQUENCES, weights=[1, -1, 2]),
        VALUE,
        (
            "buckets: `weights` must be finite and not negative, got -1 at (1,); a weight of "
            "0 leaves out."
        ),
    ),
    "weights steps": (
        lambda: K(SEQUENCES, weights=[Z(3), Z(4), Z(1)]),
        VALUE,
        (
            "buckets: `weights[1]` must have 5 steps, as its sequence, got 4; give an array "
            "(N, ...) for one value per sequence."
        ),
    ),
    "weights steps neg": (
        lambda: K(SEQUENCES, weights=[Z(3), Z(5) - 1, Z(1)]),
        VALUE,
        (
            "buckets: `weights[1]` must be finite and not negative, got -1.0 at (0,); a "
            "weight of 0 leaves out."
        ),
    ),
    "neither": (
        lambda: K(SEQUENCES, batch_size=None),
        VALUE,
        (
            "buckets: `batch_size` must be given, or tokens, got neither; tokens give buckets"
            " of shorter sequences more rows."
        ),
    ),
    "both": (
        lambda: K(SEQUENCES, tokens=20),
        VALUE,
        (
            "buckets: `batch_size` must be given, or tokens, got both; tokens give buckets of"
            " shorter sequences more rows."
        ),
    ),
    "0": (
        lambda: K(SEQUENCES, batch_size=0),
        VALUE,
        ("buckets: `batch_size` must be at least 1, got 0; give the width or count that is meant."),
    ),
    "tokens few": (
        lambda: K(SEQUENCES, batch_size=None, tokens=4),
        VALUE,
        (
            "buckets: `tokens` must be at least 5, 1 of the longest sequences, got 4; give "
            "more, or cut the sequences."
        ),
    ),
    "tokens multiple": (
        lambda: K(SEQUENCES, batch_size=None, tokens=9, multiple_of=2),
        VALUE,
        (
            "buckets: `tokens` must be at least 10, 2 of the longest sequences, got 9; give "
            "more, or cut the sequences."
        ),
    ),
    "multiple": (
        lambda: K(SEQUENCES, multiple_of=2),
        VALUE,
        (
            "buckets: `multiple_of` must be 1 without tokens, got 2; choose such a batch_size"
            " itself."
        ),
    ),
    "tokens bool": (
        lambda: K(SEQUENCES, batch_size=None, tokens=True),
        TYPE,
        ("buckets: `tokens` must be a whole number, got bool True; give an int."),
    ),
    "shapes": (
        lambda: K(SEQUENCES, max_shapes=0),
        VALUE,
        ("buckets: `max_shapes` must be at least 1, got 0; give the width or count that is meant."),
    ),
    "padding": (
        lambda: K(SEQUENCES, max_padding=0.1, max_shapes=1),
        VALUE,
        (
            "buckets: `max_padding` must be at least 0.55, which one shape reaches, got 0.1; "
            "allow more with max_shapes, or take smaller batches."
        ),
    ),
    "padding nan": (
        lambda: K(SEQUENCES, max_padding=float("nan")),
        VALUE,
        ("buckets: `max_padding` must be finite, got nan; give a number."),
    ),
    "boundaries order": (
        lambda: K(SEQUENCES, boundaries=(5, 3)),
        VALUE,
        (
            "buckets: `boundaries` must be growing whole numbers above 0, got tuple (5, 3); "
            "give padded lengths such as (16, 32, 64)."
        ),
    ),
    "boundaries float": (
        lambda: K(SEQUENCES, boundaries=(2.5, 5)),
        VALUE,
        (
            "buckets: `boundaries` must be growing whole numbers above 0, got tuple (2.5, 5);"
            " give padded lengths such as (16, 32, 64)."
        ),
    ),
    "boundaries 0": (
        lambda: K(SEQUENCES, boundaries=(0, 5)),
        VALUE,
        (
            "buckets: `boundaries` must be growing whole numbers above 0, got tuple (0, 5); "
            "give padded lengths such as (16, 32, 64)."
        ),
    ),
    "boundaries short": (
        lambda: K(SEQUENCES, boundaries=(2, 4)),
        VALUE,
        (
            "buckets: `boundaries` must reach 5, the length of sequence 1, got 4; end with a "
            "greater one, or cut the sequences."
        ),
    ),
    "tokens bounds": (
        lambda: K(SEQUENCES, boundaries=(2, 64), batch_size=None, tokens=32),
        VALUE,
        (
            "buckets: `tokens` must be at least 64, 1 of the longest sequences, got 32; give "
            "more, or cut the sequences."
        ),
    ),
    "pad": (
        lambda: K(SEQUENCES, pad=0.5),
        VALUE,
        ("buckets: `pad` must be one int64, got 0.5; 0 is the default."),
    ),
    "pad unsigned": (
        lambda: K([I(3).astype(np.uint8)], pad=-1),
        VALUE,
        ("buckets: `pad` must be one uint8, got -1; 0 is the default."),
    ),
    "pad words": (
        lambda: K(SEQUENCES, pad="x"),
        TYPE,
        ("buckets: `pad` must hold numbers, got <U1; turn words into indices first."),
    ),
    "shuffle": (
        lambda: K(SEQUENCES, shuffle=None),
        TYPE,
        ("buckets: `shuffle` must be True or False, got NoneType None; give a bool."),
    ),
    "seed": (
        lambda: K(SEQUENCES, seed=-1),
        VALUE,
        ("buckets: `seed` must not be negative, got -1; any from 0 on will do."),
    ),
    "index": (
        lambda: K(SEQUENCES)[-1],
        IndexError,
        ("Buckets: `index` must be at least 0, got -1; the last batch of the first epoch is 1."),
    ),
}
CASES = table(buckets=BUCKETS)


@pytest.mark.parametrize("name", CASES)
def test_message(name):
    call, error, message = CASES[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message
    check_five_parts(message)

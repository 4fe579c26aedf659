"""Bad data and epochs are refused by `fit` in one sentence, before anything is trained on them.

What must be accepted is listed too, since a check that refuses too much is a bug as well.
"""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from fits import (
    BATCHES,
    LABELS,
    LINEAR,
    READER,
    ROWS,
    STEPS,
    TAGGER,
    TOKENS,
    TRAINED,
    XS,
    D,
    N,
    T,
    check,
    fit,
    of,
)
from messages import TYPE, VALUE, table

from rnnjax import train


class Endless:
    """Data that repeat for ever, as Grain's `MapDataset.repeat()` makes them."""

    def __len__(self):
        return sys.maxsize

    def __getitem__(self, index):
        return BATCHES[index % 2]


AN_INT = "give an int."
A_BOOL = "give a bool."
A_COUNT = "give the width or count that is meant."
BATCH_WANTED = "must be a Batch, a tuple of arrays, or batches"
SUCH_DATA = "such as (xs, targets, lengths)."
PARTS_WANTED = "fit: `data` must be a Batch or a tuple of 2 to 5 arrays"
SUCH_PARTS = "give (xs, targets), or rnnjax.data.Batch(xs, targets, lengths)."
LABELS_WANTED = "fit: `targets` must be integer labels of shape (6,)"
FROM_0 = "count classes from 0, and let the model end in one output for each."
ONE_EACH = "give one class for each of them."
EPOCHS = "say how many batches make an epoch, or give a list or a data set."
MEANT = "give validation data, or the metric that is meant."
OF_FUNCTIONS = "make one of functions with train.from_functions."
THIS_MODEL = "give those of this very model, for inputs of this width."

DATA = {
    "dict": (
        lambda: fit(given={"xs": XS}, batch_size=2),
        TYPE,
        f"fit: `data` {BATCH_WANTED}, got a dict; {SUCH_DATA}",
    ),
    "str": (
        lambda: fit(given="rows.csv"),
        TYPE,
        f"fit: `data` {BATCH_WANTED}, got str 'rows.csv'; {SUCH_DATA}",
    ),
    "None": (
        lambda: fit(given=None),
        TYPE,
        f"fit: `data` {BATCH_WANTED}, got NoneType None; {SUCH_DATA}",
    ),
    "inputs alone": (
        lambda: fit(given=jnp.asarray(XS)),
        TYPE,
        f"fit: `data` {BATCH_WANTED}, got float32 of shape (6, 5, 3); {SUCH_DATA}",
    ),
    "a function": (
        lambda: fit(given=lambda: BATCHES),
        TYPE,
        f"fit: `data` {BATCH_WANTED}, got the function <lambda>; {SUCH_DATA}",
    ),
    "a tuple with one array": (
        lambda: fit(given=(XS,)),
        TYPE,
        f"{PARTS_WANTED}, got a tuple of 1 (an array of shape (6, 5, 3)); {SUCH_PARTS}",
    ),
    "a tuple of batches": (
        lambda: fit(given=tuple(BATCHES)),
        TYPE,
        f"{PARTS_WANTED}, got a tuple of batches; several batches are data for fit as a list.",
    ),
    "a list of arrays": (
        lambda: fit(given=[XS, LABELS]),
        TYPE,
        "fit: `data[0]` must be a Batch or a tuple of 2 to 5 arrays, got an array of shape "
        f"(6, 5, 3); {SUCH_PARTS}",
    ),
    "no rows": (
        lambda: fit(given=(XS[:0], LABELS[:0])),
        VALUE,
        "fit: `xs` must have a row, got (0, 5, 3); give at least one sequence.",
    ),
    "no batches": (
        lambda: fit(given=[]),
        VALUE,
        "fit: `data` must hold a batch, got none; give some batches.",
    ),
    "lengths beyond the data": (
        lambda: fit(given=of(lengths=ROWS.lengths + 3)),
        VALUE,
        "fit: `lengths` must lie in 0..T = 0..5, got 8 at row 0; pad or cut the sequences.",
    ),
    "too few lengths": (
        lambda: fit(given=of(lengths=[5, 3])),
        VALUE,
        "fit: `lengths` must have shape (6,), got (2,); give one length per row.",
    ),
    "words": (
        lambda: fit(given=of(xs=np.full((N, T, D), "a"))),
        TYPE,
        "fit: `xs` must hold numbers, got <U1; turn words into indices first.",
    ),
    "no axis of features": (
        lambda: fit(given=of(xs=XS[..., 0])),
        VALUE,
        "fit: `xs` must have shape (B, T, D), got (6, 5); "
        "put an axis of features last, as in xs[..., None].",
    ),
    "whole numbers for a GRU": (
        lambda: fit(TAGGER, STEPS._replace(xs=np.ones((N, T, D), np.int32))),
        TYPE,
        "fit: `xs` must be floating, got int32; "
        "cast it with .astype(np.float32), or embed what are indices.",
    ),
    "floats for an embedding": (
        lambda: fit(READER, (XS[..., 0], TOKENS[1])),
        TYPE,
        "fit: `xs` must be integer, got float32; count tokens in whole numbers.",
    ),
    "features for an embedding": (
        lambda: fit(READER, (TOKENS[0][..., None], TOKENS[1])),
        VALUE,
        "fit: `xs` must have shape (B, T), got (6, 5, 1); tokens have no axis of features.",
    ),
    "a token without a vector": (
        lambda: fit(READER, TOKENS),
        VALUE,
        "fit: `xs` must lie in 0..4, got 7 at (0, 0); count tokens from 0, or make more vectors.",
    ),
    "another width than the weights": (
        lambda: fit(given=of(xs=XS[..., :2]), weights=TRAINED.weights),
        VALUE,
        f"fit: `weights.params.layer.w_ih` must have shape (2, 12), got (3, 12); {THIS_MODEL}",
    ),
    "another width in validation": (
        lambda: fit(validation=of(xs=XS[..., :2])),
        VALUE,
        "fit: `xs` must have shape (B, T, 3), got (6, 5, 2); "
        "the features come last, and params fix their number.",
    ),
}

LABEL = {
    "too high": (
        lambda: fit(given=of(targets=LABELS + 1)),
        VALUE,
        f"fit: `targets` must lie in 0..C-1 = 0..1, got 2 at row 1; {FROM_0}",
    ),
    "too high in validation": (
        lambda: fit(validation=of(targets=LABELS + 1)),
        VALUE,
        f"fit: `targets` must lie in 0..C-1 = 0..1, got 2 at row 1; {FROM_0}",
    ),
    "too low in a later batch": (
        lambda: fit(LINEAR, [BATCHES[0], BATCHES[1]._replace(targets=LABELS[3:] - 1)]),
        VALUE,
        f"fit: `targets` must lie in 0..C-1 = 0..1, got -1 at row 1; {FROM_0}",
    ),
    "floats": (
        lambda: fit(given=of(targets=LABELS.astype(np.float32))),
        TYPE,
        f"{LABELS_WANTED}, got float32 of shape (6,); "
        "count classes in whole numbers, with .astype(int).",
    ),
    "another shape": (
        lambda: fit(given=of(targets=LABELS[:, None])),
        VALUE,
        f"{LABELS_WANTED}, got int32 of shape (6, 1); give one class for each output.",
    ),
    "one-hot": (
        lambda: fit(given=of(targets=np.eye(2)[LABELS])),
        VALUE,
        f"{LABELS_WANTED}, got float64 of shape (6, 2); "
        "give labels instead of one-hot rows: targets.argmax(-1).",
    ),
    "none": (
        lambda: fit(given=of(targets=None)),
        TYPE,
        f"{LABELS_WANTED}, got NoneType None; {ONE_EACH}",
    ),
    "a weight for a class that is not there": (
        lambda: fit(class_weights=[1.0, 2.0, 3.0]),
        VALUE,
        "fit: `class_weights` must hold one weight for each of 2 classes, got 3; or give a dict.",
    ),
    "a weight by the name of none": (
        lambda: fit(class_weights={5: 2.0}),
        VALUE,
        "fit: `class_weights` must name classes in 0..1, got 5; count classes from 0.",
    ),
    "a negative weight": (
        lambda: fit(class_weights={0: -2.0}),
        VALUE,
        "fit: `class_weights` must be finite and at least 0, got -2.0 for class 0; "
        "give a dict such as {0: 1.0, 3: 5.0}, or one weight for every class.",
    ),
    "weights by a word": (
        lambda: fit(class_weights="balanced"),
        TYPE,
        "fit: `class_weights` must be an array, got str 'balanced'; "
        "give an array, or wrap numbers in jnp.asarray.",
    ),
    "weights of what are no classes": (
        lambda: fit(given=(XS, XS[:, 0, :2]), loss=train.squared_error, class_weights=[1.0, 2.0]),
        TYPE,
        "fit: `targets` must be class labels where classes have weights, got float32 of shape "
        "(6, 2); give whole numbers.",
    ),
}

VALIDATION = {
    "split of 1": (
        lambda: fit(validation_split=1.0),
        VALUE,
        "fit: `validation_split` must lie in 0 <= share < 1, got 1.0; "
        "0.1 holds out a tenth of the rows.",
    ),
    "split of less than a row": (
        lambda: fit(validation_split=0.05),
        VALUE,
        "fit: `validation_split` must leave rows on both sides of 6, got 0.05; give more rows.",
    ),
    "split of all rows": (
        lambda: fit(validation_split=0.95),
        VALUE,
        "fit: `validation_split` must leave rows on both sides of 6, got 0.95; give more rows.",
    ),
    "split beside validation": (
        lambda: fit(validation_split=0.5, validation=ROWS),
        VALUE,
        "fit: `validation_split` must be 0 where validation data is given, got 0.5; "
        "give one of them.",
    ),
    "split of batches": (
        lambda: fit(given=BATCHES, validation_split=0.5),
        VALUE,
        "fit: `validation_split` must be 0 for data that comes in batches, got 0.5; "
        "give validation data.",
    ),
    "split True": (
        lambda: fit(validation_split=True),
        TYPE,
        "fit: `validation_split` must be a float, got bool True; give a number.",
    ),
    "a share for data": (
        lambda: fit(validation=0.2),
        TYPE,
        f"fit: `validation` {BATCH_WANTED}, got float 0.2; {SUCH_DATA}",
    ),
    "steps without data": (
        lambda: fit(validation_steps=2),
        VALUE,
        "fit: `validation_steps` must be None where there is nothing to validate with, got 2; "
        "give validation data.",
    ),
    "iterator": (
        lambda: fit(validation=iter(BATCHES)),
        VALUE,
        "fit: `validation_steps` must be given with an iterator, which cannot be read again, "
        f"got None; {EPOCHS}",
    ),
    "average that waits for it": (
        lambda: fit(averaging=train.nt_asgd()),
        VALUE,
        "fit: `averaging` must be None or ema(...) without validation data, got nt_asgd(...); "
        "give validation data.",
    ),
    "monitor": (
        lambda: fit(monitor="val_loss", metrics=[train.accuracy]),
        VALUE,
        f"fit: `monitor` must be one of ['accuracy', 'loss'], got 'val_loss'; {MEANT}",
    ),
    "monitor of a table": (
        lambda: fit(monitor="confusion", metrics=[train.confusion(2)]),
        VALUE,
        f"fit: `monitor` must be one of ['loss'], got 'confusion'; {MEANT}",
    ),
    "monitor by its measure": (
        lambda: fit(monitor=train.accuracy),
        TYPE,
        'fit: `monitor` must be a name of the history, got a Measure; give one such as "val_loss".',
    ),
}

EPOCH = {
    "epochs 0": (
        lambda: fit(epochs=0),
        VALUE,
        f"fit: `epochs` must be at least 1, got 0; {A_COUNT}",
    ),
    "epochs float": (
        lambda: fit(epochs=2.0),
        TYPE,
        f"fit: `epochs` must be a whole number, got float 2.0; {AN_INT}",
    ),
    "batch_size 0": (
        lambda: fit(batch_size=0),
        VALUE,
        f"fit: `batch_size` must be at least 1, got 0; {A_COUNT}",
    ),
    "batch_size of batches": (
        lambda: fit(given=BATCHES, batch_size=3),
        VALUE,
        "fit: `batch_size` must be None for data that comes in batches, got 3; "
        "leave it out, or give arrays.",
    ),
    "steps 0": (
        lambda: fit(steps_per_epoch=0),
        VALUE,
        f"fit: `steps_per_epoch` must be at least 1, got 0; {A_COUNT}",
    ),
    "an iterator without steps": (
        lambda: fit(given=iter(BATCHES)),
        VALUE,
        "fit: `steps_per_epoch` must be given with an iterator, which cannot be read again, "
        f"got None; {EPOCHS}",
    ),
    "an iterator that is empty": (
        lambda: fit(given=iter([]), steps_per_epoch=2),
        VALUE,
        "fit: `data` must hold a batch, got none; give some batches.",
    ),
    "an iterator that ends early": (
        lambda: fit(LINEAR, iter(BATCHES), steps_per_epoch=2, epochs=2),
        VALUE,
        "fit: `data` must hold 2 batches an epoch, got 0 in epoch 2; "
        "give data, or a smaller steps_per_epoch.",
    ),
    "a list that ends early": (
        lambda: fit(LINEAR, BATCHES, steps_per_epoch=5),
        VALUE,
        "fit: `data` must hold 5 batches an epoch, got 2 in epoch 1; "
        "give data, or a smaller steps_per_epoch.",
    ),
    "endless data": (
        lambda: fit(given=Endless()),
        VALUE,
        f"fit: `steps_per_epoch` must be given for endless data, got None; {EPOCHS}",
    ),
    "shuffle 1": (
        lambda: fit(shuffle=1),
        TYPE,
        f"fit: `shuffle` must be True or False, got int 1; {A_BOOL}",
    ),
}

REFUSED = table(data=DATA, labels=LABEL, validation=VALIDATION, epochs=EPOCH)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, any_promotion):
    check(REFUSED[name])


@pytest.mark.parametrize(
    "data",
    [
        ROWS._replace(lengths=[5, 3, 1, 4, 5, 2], weights=[1.0] * N),
        [list(batch) for batch in BATCHES],
        (batch for batch in BATCHES * 2),
        Endless(),
    ],
    ids=["lists of lengths", "lists for batches", "an iterator", "endless"],
)
def test_accepted(data, any_promotion):
    trained = fit(LINEAR, data, epochs=2, steps_per_epoch=2)
    assert trained.history["step"] == [2, 4]

"""Bad arguments of callbacks are refused in one sentence each."""

import pytest
from fits import (
    check,
)
from messages import TYPE, VALUE, table

from rnnjax import train

AN_INT = "give an int."
A_BOOL = "give a bool."
A_COUNT = "give the width or count that is meant."

CALLBACKS = {
    "patience 0": (
        lambda: train.EarlyStopping(0),
        VALUE,
        f"EarlyStopping: `patience` must be at least 1, got 0; {A_COUNT}",
    ),
    "patience float": (
        lambda: train.ReduceOnPlateau(patience=2.5),
        TYPE,
        f"ReduceOnPlateau: `patience` must be a whole number, got float 2.5; {AN_INT}",
    ),
    "min_delta": (
        lambda: train.EarlyStopping(2, min_delta=-0.1),
        VALUE,
        "EarlyStopping: `min_delta` must be at least 0, got -0.1; 0.0 takes every improvement.",
    ),
    "monitor": (
        lambda: train.EarlyStopping(2, monitor=train.accuracy),
        TYPE,
        "EarlyStopping: `monitor` must be a name of the history, got a Measure; "
        'give one such as "val_loss".',
    ),
    "restore_best": (
        lambda: train.EarlyStopping(2, restore_best="weights"),
        TYPE,
        f"EarlyStopping: `restore_best` must be True or False, got str 'weights'; {A_BOOL}",
    ),
    "factor": (
        lambda: train.ReduceOnPlateau(factor=1.0),
        VALUE,
        "ReduceOnPlateau: `factor` must lie in 0 < factor < 1, got 1.0; "
        "0.1 makes steps ten times smaller.",
    ),
    "least": (
        lambda: train.ReduceOnPlateau(least=2.0),
        VALUE,
        "ReduceOnPlateau: `least` must lie in 0 <= least < 1, got 2.0; 0.0 sets no bound.",
    ),
    "CSVLog": (
        lambda: train.CSVLog(3),
        TYPE,
        'CSVLog: `path` must be a path, got int 3; give one such as "history.csv".',
    ),
    "CSVLog, a folder": (
        lambda: train.CSVLog("/"),
        VALUE,
        "CSVLog: `path` must be that of a file, got the folder /; "
        'name a file in it, such as "history.csv".',
    ),
    "JSONLog": (
        lambda: train.JSONLog(None),
        TYPE,
        'JSONLog: `path` must be a path, got NoneType None; give one such as "history.jsonl".',
    ),
    "to_json": (
        lambda: train.History().to_json(3),
        TYPE,
        'History.to_json: `path` must be a path, got int 3; give one such as "history.jsonl".',
    ),
    "to_csv": (
        lambda: train.History().to_csv(None),
        TYPE,
        'History.to_csv: `path` must be a path, got NoneType None; give one such as "history.csv".',
    ),
    "TensorBoard": (
        lambda: train.TensorBoard(3),
        TYPE,
        'TensorBoard: `folder` must be a path, got int 3; give one such as "runs/first".',
    ),
    "Tracker": (
        lambda: train.Tracker(None),
        TYPE,
        "Tracker: `tracker` must have a log(values, step=...), got NoneType None; "
        "give what wandb.init() returns.",
    ),
}

REFUSED = table(callbacks=CALLBACKS)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, any_promotion):
    check(REFUSED[name])

"""Sequences padded to one batch."""

import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused_by_name, table

from rnnjax import data

UNEVEN = [np.array([3, 1, 2], np.int32), np.zeros(0, np.int32), np.array([4], np.int32)]


def test_what_is_padded_is_what_was_given():
    steps = [np.arange(3.0), np.zeros(0), np.ones(1)]
    batch = data.pad_sequences(UNEVEN, steps, weights=[2 * s for s in steps], num_steps=5, pad=9)
    assert batch.lengths.tolist() == [3, 0, 1] and batch.xs.dtype == np.int32
    assert batch.xs.tolist() == [[3, 1, 2, 9, 9], [9] * 5, [4, 9, 9, 9, 9]]
    assert batch.targets.tolist() == [[0, 1, 2, 0, 0], [0] * 5, [1, 0, 0, 0, 0]]
    assert batch.weights.dtype == np.float32
    assert (batch.weights == 2 * batch.targets).all()


def test_features_and_a_target_for_each_sequence_stay():
    rows = [np.ones((n, 2), np.float32) for n in (2, 1)]
    batch = data.pad_sequences(rows, [7, 8])
    assert batch.xs.shape == (2, 2, 2) and batch.xs[1].tolist() == [[1, 1], [0, 0]]
    assert batch.targets.tolist() == [7, 8] and batch.weights is None
    assert data.rows(batch, batch_size=2, shuffle=False)[0].lengths.tolist() == [2, 1]


def test_sequences_without_steps_make_a_step_of_padding():
    batch = data.pad_sequences([UNEVEN[1]])
    assert batch.xs.shape == (1, 1) and batch.lengths.tolist() == [0]


PAD = {
    "no list": (
        lambda: data.pad_sequences(np.ones((2, 3))),
        TYPE,
        "sequences` must be a list of arrays, got float64 of shape (2, 3); "
        "give one array per sequence, without padding; rows of one length go to data.rows.",
    ),
    "too short": (
        lambda: data.pad_sequences(UNEVEN, num_steps=2),
        VALUE,
        "num_steps` must be at least 3, the length of sequences[0], got 2; "
        "cut sequences, as in [s[:100] for s in sequences].",
    ),
    "no steps": (
        lambda: data.pad_sequences(UNEVEN[1:2], num_steps=0),
        VALUE,
        "num_steps` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "too few targets": (
        lambda: data.pad_sequences(UNEVEN, [1]),
        VALUE,
        "targets` must have one entry for each of 3 sequences, got 1; one belongs to each.",
    ),
    "a pad that is no token": (
        lambda: data.pad_sequences(UNEVEN, pad=0.5),
        VALUE,
        "pad` must be one int32, got 0.5; 0 is the default.",
    ),
}


CASES = table(pad_sequences=PAD)


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_padded_is_refused(name):
    check_refused_by_name(name, CASES)

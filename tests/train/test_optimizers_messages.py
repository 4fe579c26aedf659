"""Bad arguments of the recipe are refused in one sentence each."""

import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, table

from rnnjax import train

SMALL = "give a small one such as 1e-3."

REFUSED = table(
    optimizers={
        "rate": (
            lambda w: train.adamw(-1e-3),
            VALUE,
            f"adamw: `rate` must be at least 0, got -0.001; {SMALL}",
        ),
        "no rate": (
            lambda w: train.adamw(None),
            TYPE,
            "adamw: `rate` must be a float, got NoneType None; give a number.",
        ),
        "decay": (
            lambda w: train.adamw(1e-3, weight_decay=-0.1),
            VALUE,
            "adamw: `weight_decay` must be at least 0, got -0.1; 0.0 decays nothing.",
        ),
        "clip": (
            lambda w: train.adamw(1e-3, clip=0),
            VALUE,
            "adamw: `clip` must be above 0, got 0.0; 1.0 is usual.",
        ),
        "moment": (
            lambda w: train.adamw(1e-3, b2=1.0),
            VALUE,
            "adamw: `b2` must lie in 0 <= b2 < 1, got 1.0; 0.9 averages about ten steps.",
        ),
        "eps": (
            lambda w: train.adamw(1e-3, eps=0.0),
            VALUE,
            "adamw: `eps` must be above 0, got 0.0; it keeps steps finite; 1e-8 is usual.",
        ),
        "norm": (
            lambda w: train.clip_by_global_norm(np.inf),
            VALUE,
            "clip_by_global_norm: `max_norm` must be finite, got inf; give a number.",
        ),
        "norm of a word": (
            lambda w: train.clip_by_global_norm("1"),
            TYPE,
            "clip_by_global_norm: `max_norm` must be a float, got str '1'; give a number.",
        ),
    },
    schedules={
        "rate": (
            lambda w: train.warmup_cosine(-1.0, 10),
            VALUE,
            f"warmup_cosine: `rate` must be at least 0, got -1.0; {SMALL}",
        ),
        "steps": (
            lambda w: train.warmup_cosine(0.1, 1e3),
            TYPE,
            "warmup_cosine: `total_steps` must be a whole number, got float 1000.0; give an int.",
        ),
        "warm-up": (
            lambda w: train.warmup_cosine(0.1, 10, warmup_steps=10),
            VALUE,
            "warmup_cosine: `warmup_steps` must be below total_steps = 10, got 10; "
            "it is a part of them.",
        ),
        "final": (
            lambda w: train.warmup_cosine(0.1, 10, final=-0.1),
            VALUE,
            "warmup_cosine: `final` must be at least 0, got -0.1; 0.0 stops learning in the end.",
        ),
    },
    penalties={
        "l1": (
            lambda w: train.l1(-1.0),
            VALUE,
            "l1: `alpha` must be at least 0, got -1.0; a penalty is added to a loss.",
        ),
        "l2": (
            lambda w: train.l2(w.p),
            TYPE,
            "l2: `alpha` must be a float, got a LSTMParams; give a number.",
        ),
    },
    averages={
        "decay": (
            lambda w: train.ema(1.0),
            VALUE,
            "ema: `decay` must lie between 0 and 1, got 1.0; "
            "0.999 reaches back about a thousand steps.",
        ),
        "patience": (
            lambda w: train.nt_asgd(0),
            VALUE,
            "nt_asgd: `patience` must be at least 1, got 0; give the width or count that is meant.",
        ),
        "patience of a trigger": (
            lambda w: train.triggered([1.0], None),
            TYPE,
            "triggered: `patience` must be a whole number, got NoneType None; give an int.",
        ),
    },
)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

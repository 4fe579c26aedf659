"""What wrappers refuse, in one sentence each."""

import jax
import jax.numpy as jnp
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table
from wrapped import NOISY

import rnnjax

__all__ = ["no_type_checker"]

D = 3
KEY = jax.random.key(5)


def without_h():
    """A cell of a user, whose carry is one array."""
    return rnnjax.Cell(
        init=lambda key, in_features: {"w": jnp.ones((in_features, 2))},
        init_carry=lambda params, like: jnp.zeros((*like.shape[:-1], 2)),
        project=lambda params, xs: xs @ params["w"],
        step=lambda params, carry, z: (carry + z, carry + z),
        out_features=2,
    )


def run(cell):
    return rnnjax.unroll(cell, cell.init(KEY, D), jnp.ones((6, D)), key=KEY)


LSTM = lambda: rnnjax.lstm(5)
NO_CELL = "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...)."
OTHER = "regularise it with rnnjax.input_dropout or rnnjax.zoneout."
NO_W = f"`cell` must have `w_hh` in its params, got a dict with ['w']; {OTHER}"
H_AMONG = (
    "`cell` must have its output among its carry, as a leaf `h`, got an array of shape (2,); "
    "take another wrapper, such as rnnjax.input_dropout or rnnjax.clip_carry."
)

REFUSED = table(
    cells={
        name: (
            lambda w, wrap=wrap: wrap(rnnjax.recurrent(LSTM())),
            TYPE,
            f"{name}: `cell` must be a Cell, got a Layer; {NO_CELL}",
        )
        for name, wrap in {
            **NOISY,
            "clip_carry": lambda cell: rnnjax.clip_carry(cell, 1.0),
            "residual": rnnjax.residual,
            "layer_norm_outputs": rnnjax.layer_norm_outputs,
        }.items()
    },
    rates={
        "recurrent_dropout": (
            lambda w: rnnjax.recurrent_dropout(LSTM(), 1.0),
            VALUE,
            "recurrent_dropout: `rate` must lie in 0 <= rate < 1, got 1.0; 0.0 drops nothing.",
        ),
        "drop_connect": (
            lambda w: rnnjax.drop_connect(LSTM(), True),
            TYPE,
            "drop_connect: `rate` must be a float, got bool True; give a number.",
        ),
        "zoneout": (
            lambda w: rnnjax.zoneout(LSTM(), -0.1),
            VALUE,
            "zoneout: `rates` must lie in 0 <= rate < 1, got -0.1; 0.0 drops nothing.",
        ),
        "zoneout by name": (
            lambda w: rnnjax.zoneout(LSTM(), {"h": 0.1, "c": 2.0}),
            VALUE,
            "zoneout: `rates['c']` must lie in 0 <= rate < 1, got 2.0; 0.0 drops nothing.",
        ),
        "zoneout of strangers": (
            lambda w: run(rnnjax.zoneout(rnnjax.gru(5), {"h": 0.1, "c": 0.1})),
            VALUE,
            "zoneout: `rates` must name leaves of GRUCarry(h), got 'c'; "
            "a single rate is for all of them.",
        ),
        "expectation": (
            lambda w: rnnjax.zoneout(LSTM(), 0.1, expectation=1),
            TYPE,
            "zoneout: `expectation` must be True or False, got int 1; give a bool.",
        ),
        "scale": (
            lambda w: rnnjax.state_noise(LSTM(), -1.0),
            VALUE,
            "state_noise: `scale` must be at least 0, got -1.0; 0.0 adds nothing.",
        ),
        "limit": (
            lambda w: rnnjax.clip_carry(LSTM(), 0.0),
            VALUE,
            "clip_carry: `limit` must be above 0, got 0.0; leave the wrapper out for none.",
        ),
        "epsilon": (
            lambda w: rnnjax.layer_norm_outputs(LSTM(), epsilon=0.0),
            VALUE,
            "layer_norm_outputs: `epsilon` must be at least 1e-30, got 0.0; 1e-5 is usual.",
        ),
    },
    fits={
        "no w_hh, recurrent_dropout": (
            lambda w: run(rnnjax.recurrent_dropout(without_h(), 0.1)),
            VALUE,
            f"recurrent_dropout: {NO_W}",
        ),
        "no w_hh, drop_connect": (
            lambda w: rnnjax.drop_connect(without_h(), 0.1).init(KEY, D),
            VALUE,
            f"drop_connect: {NO_W}",
        ),
        "no h, zoneout": (
            lambda w: run(rnnjax.zoneout(without_h(), 0.1)),
            VALUE,
            f"zoneout: {H_AMONG}",
        ),
        "no h, state_noise": (
            lambda w: run(rnnjax.state_noise(without_h(), 0.1)),
            VALUE,
            f"state_noise: {H_AMONG}",
        ),
        "changed output": (
            lambda w: rnnjax.zoneout(rnnjax.residual(LSTM()), 0.1),
            VALUE,
            "zoneout: `cell` must put out its `h`, got a changed output; "
            "put zoneout inside, as in residual(zoneout(cell, ...)).",
        ),
        "changed output, clipped": (
            lambda w: rnnjax.clip_carry(rnnjax.with_carries(LSTM()), 1.0),
            VALUE,
            "clip_carry: `cell` must put out its `h`, got a changed output; "
            "put clip_carry inside, as in residual(clip_carry(cell, ...)).",
        ),
        "residual widths": (
            lambda w: rnnjax.residual(LSTM()).init(KEY, D),
            VALUE,
            "residual.init: `in_features` must be 5, the width of the output, got 3; "
            "put it around cells that keep the width, or use stack(..., skip=...).",
        ),
        "residual widths, first seen in a run": (
            lambda w: run(rnnjax.residual(without_h()._replace(out_features=None))),
            VALUE,
            "residual: `xs` must have the shape of the output, (2,), at each step, got (3,); "
            "put it around cells that keep the width, or use stack(..., skip=...).",
        ),
        "outputs that are a tree": (
            lambda w: rnnjax.layer_norm_outputs(LSTM()._replace(out_features=(5, 5))),
            VALUE,
            "layer_norm_outputs: `cell` must put out one array, got a tree of outputs; "
            "normalise what puts out one array.",
        ),
    },
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

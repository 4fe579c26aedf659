"""What the tests of wrappers share: wrappers, small problems, and the contract as a Python loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from compare import Point

import rnnjax

T, B, D, H = 5, 3, 4, 4  # as many inputs as outputs, for `residual`
KEY = jax.random.key(11)
cells = pytest.mark.parametrize("name", registry.VARIED)
FEW = ["lstm, learned carry", "gru, reset before", "elman"]
few_cells = pytest.mark.parametrize("name", FEW)
one_way = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])

# Noise, by what it needs of a cell.
ON_H = {
    "zoneout": lambda cell: rnnjax.zoneout(cell, 0.4),
    "state_noise": lambda cell: rnnjax.state_noise(cell, 0.3),
}
ON_W = {
    "recurrent_dropout": lambda cell: rnnjax.recurrent_dropout(cell, 0.4),
    "drop_connect": lambda cell: rnnjax.drop_connect(cell, 0.4),
}
NOISY = {"input_dropout": lambda cell: rnnjax.input_dropout(cell, 0.4), **ON_W, **ON_H}
SILENT = {  # the same with nothing to draw
    "input_dropout": lambda cell: rnnjax.input_dropout(cell, 0.0),
    "recurrent_dropout": lambda cell: rnnjax.recurrent_dropout(cell, 0.0),
    "drop_connect": lambda cell: rnnjax.drop_connect(cell, 0.0),
    "zoneout": lambda cell: rnnjax.zoneout(cell, 0.0),
    "state_noise": lambda cell: rnnjax.state_noise(cell, 0.0),
}
noises = pytest.mark.parametrize("noise", NOISY)


@functools.cache
def problem(name):
    """A cell, and random params, inputs and carry."""
    cell, params = registry.make(name, features=D, hidden=H)
    xs = registry.inputs_of(name, T, B, D)
    return cell, Point(params, xs, registry.random_carry(cell, params, xs[0], 2))


def unroll(cell, **options):
    """`unroll` as a function of a point; the definition, so that bits can be compared."""
    options = {"method": rnnjax.Scan()} | options
    return lambda params, xs, carry: rnnjax.unroll(cell, params, xs, carry, **options)


def has_h(name):
    """Whether the output is a leaf `h` of the carry."""
    cell, _, carry = registry.abstract(name)
    return hasattr(carry, "h") and carry.h.shape[-1] == cell.out_features


def has_matrix(name):
    """Whether all of `h` goes through one matrix of params."""
    w = getattr(registry.abstract(name)[1], "w_hh", None)
    return w is not None and w.ndim == 2 and has_h(name)


def serving(name):
    """The noisy wrappers that a cell can have."""
    chosen = {"input_dropout": NOISY["input_dropout"]}
    chosen |= ON_H if has_h(name) else {}
    return chosen | (ON_W if has_matrix(name) else {})


def by_hand(cell, after, valid, resets, reverse):
    """The contract as a Python loop; `after(t, old, new, y)` is what a wrapper does to a step."""

    def choose(flag, a, b):
        return jax.tree.map(lambda a, b: jnp.where(flag[:, None], a, b), a, b)

    def run(params, xs, carry):
        fresh, ys = cell.init_carry(params, xs[0]), [None] * T
        for t in reversed(range(T)) if reverse else range(T):
            begin = choose(resets[t], fresh, carry)
            new, y = after(t, begin, *cell.step(params, begin, cell.project(params, xs[t])))
            ys[t] = choose(valid[t], y, jnp.zeros_like(y))
            carry = choose(valid[t], new, carry)
        return carry, jnp.stack(ys)

    return run


OPTIONS = registry.sequence_options(T, B)["all"]
VALID = OPTIONS["mask"] & (np.arange(T)[:, None] < OPTIONS["lengths"])


def padded(xs):
    """The same with NaN at invalid steps."""
    return jnp.where(VALID[..., None], xs, jnp.nan)


def padded_tail(xs):
    return xs.at[:, 1].set(jnp.nan).at[3:, 2].set(jnp.nan)

"""What the tests of messages share: a right call to spoil, and what a message must have."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from registry import random_params

import rnnjax

T, B, D, H = 7, 3, 4, 5
VALUE, TYPE = ValueError, TypeError
NO_LINEAR = (
    "Linear(segment=256), which cannot: it knows cells that are linear in their carry, and this "
    "cell is none of them; use another method, or None to have one picked."
)
TO_BOOL = "turn 0 and 1 into it with .astype(bool)"


@pytest.fixture
def no_type_checker():
    """The checker of the other tests would answer for us."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@functools.cache
def world():
    """Cells, layers, params and arguments that are right; each case spoils one of them."""
    lstm, gru = rnnjax.lstm(H), rnnjax.gru(H)
    both, deep = rnnjax.bidirectional(lstm), rnnjax.stack(lstm, gru, dropout=0.1)
    made = lambda thing: random_params(thing, D, 0)
    h = jnp.zeros((B, H))
    return SimpleNamespace(
        lstm=lstm,
        gru=gru,
        both=both,
        deep=deep,
        p=made(lstm),
        p_gru=made(gru),
        p_both=made(both),
        p_deep=made(deep),
        xs=jnp.ones((T, B, D)),
        carry=rnnjax.LSTMCarry(h, h),
        h=h,
        unroll=lambda *args, **kwargs: rnnjax.unroll(lstm, made(lstm), *args, **kwargs),
    )


def made(layer, in_features=3):
    """A layer with params of zeros, which take no program to make."""
    like = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features))
    return layer, jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)


def table(**groups):
    """One table of named cases; a case is a call, its error, and the whole message."""
    return {
        f"{group}: {name}": case for group, cases in groups.items() for name, case in cases.items()
    }


def check_refused(case):
    call, error, message = case
    check_raised(lambda: call(world()), error, message)


def check_refused_by_name(name, cases):
    """A case of a table by function, whose message leaves out what the name says: "function: `"."""
    call, error, message = cases[name]
    check_raised(call, error, f"{name.partition(':')[0]}: `{message}")


def check_raised(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message
    check_five_parts(message)


def check_five_parts(message):
    function, _, rest = message.partition(": `")
    argument, _, rest = rest.partition("` must ")
    wanted, _, rest = rest.partition(", got ")
    got, _, way_out = rest.partition("; ")
    assert all([function, argument, wanted, got, way_out])
    assert way_out.endswith(".")

"""Choices: what greedy and sampling make of logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, table

from rnnjax import decoding

KEY = jax.random.key(0)
LOGITS = np.log(np.array([0.1, 0.4, 0.02, 0.3, 0.18], np.float32))
INF, NAN = np.inf, np.nan
ODD = np.array(
    [[NAN, 1, 2, 0, 0], [-INF] * 5, [1, INF, 2, 3, 0], [-INF, -INF, 0, -INF, -INF]], np.float32
)


def drawn(choose, logits=LOGITS, count=4000):
    tokens = choose(KEY, np.broadcast_to(logits, (count, 5)))
    assert tokens.dtype == jnp.int32
    return np.bincount(tokens, minlength=5) / count


def test_greedy():
    assert decoding.greedy(None, LOGITS).tolist() == 1
    assert decoding.greedy(None, jnp.ones((2, 3, 4), jnp.bfloat16)).tolist() == [[0] * 3] * 2
    assert decoding.greedy(KEY, ODD).tolist() == [-1, -1, 1, 2]


@pytest.mark.parametrize(
    ("options", "wanted"),
    {
        "plain": ({}, [0.1, 0.4, 0.02, 0.3, 0.18]),
        "temperature": ({"temperature": 0.5}, np.array([1, 16, 0.04, 9, 3.24]) / 29.28),
        "top_k": ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7, 0]),
        "top_k of more than all": ({"top_k": 99}, [0.1, 0.4, 0.02, 0.3, 0.18]),
        "top_p": ({"top_p": 0.75}, np.array([0, 0.4, 0, 0.3, 0.18]) / 0.88),
        "top_p of the first": ({"top_p": 0.3}, [0, 1, 0, 0, 0]),
        "of the best three": ({"top_k": 3, "top_p": 0.5}, [0, 4 / 7, 0, 3 / 7, 0]),
        "hot": ({"temperature": 1e9}, [0.2] * 5),
        "cold": ({"temperature": 1e-40}, [0, 1, 0, 0, 0]),
    }.values(),
)
def test_tokens_come_as_often_as_they_should(options, wanted):
    wanted = np.asarray(wanted)
    got = drawn(decoding.sampling(**options))
    assert np.all(np.abs(got - wanted) <= 4.5 * np.sqrt(wanted * (1 - wanted) / 4000))


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.9}], ids=str)
def test_what_is_impossible_is_not_drawn_and_no_token_is_minus_1(options):
    choose = decoding.sampling(**options)
    for seed in range(5):
        assert choose(jax.random.key(seed), ODD).tolist() == [-1, -1, 1, 2]
    ties = choose(KEY, np.zeros((200, 5), np.float32))
    assert set(ties.tolist()) == ({0, 1, 2} if "top_k" in options else set(range(5)))


def test_equal_options_are_the_same_function():
    assert decoding.sampling(top_k=3) is decoding.sampling(top_k=3, temperature=1)
    assert decoding.sampling(top_k=3) is not decoding.sampling(top_k=2)
    half = decoding.sampling(temperature=0.5)(KEY, LOGITS.astype(jnp.bfloat16))
    assert half.shape == () and half.dtype == jnp.int32


REFUSED = table(
    sampling={
        "cold": (
            lambda w: decoding.sampling(temperature=0),
            VALUE,
            "sampling: `temperature` must be above 0, got 0.0; decoding.greedy is the limit at 0.",
        ),
        "top_k": (
            lambda w: decoding.sampling(top_k=0),
            VALUE,
            "sampling: `top_k` must be at least 1, got 0; give the width or count that is meant.",
        ),
        "top_p": (
            lambda w: decoding.sampling(top_p=90),
            VALUE,
            "sampling: `top_p` must lie in 0 < top_p <= 1, got 90.0; 1.0 draws from all.",
        ),
    },
    choose={
        "no key": (
            lambda w: decoding.sampling()(None, LOGITS),
            TYPE,
            "sampling.choose: `key` must be one random key, got NoneType None; "
            "make one with jax.random.key(seed).",
        ),
        "tokens": (
            lambda w: decoding.greedy(None, np.arange(3)),
            TYPE,
            "greedy: `logits` must be floating, got int32; "
            "cast it with .astype(jnp.float32), or embed what are indices.",
        ),
        "nothing": (
            lambda w: decoding.greedy(None, np.zeros((3, 0), np.float32)),
            VALUE,
            "greedy: `logits` must have shape (*batch, V), got (3, 0); "
            "let the network end in rnnjax.dense(V).",
        ),
    },
)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

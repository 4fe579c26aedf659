"""The soft window of Graves (2013), section 5.1: an LSTM walks along a text while it writes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax


class WindowParams(NamedTuple):
    """What is trained, and the text that is read: params are what a loop does not change."""

    lstm: Any
    w: Any  # (H, 3 K)
    b: Any  # (3 K,)
    text: Any = None  # (*batch, U, A) vectors of letters


class WindowCarry(NamedTuple):
    """Where the window stands."""

    lstm: Any
    kappa: Any  # (*batch, K) places in the text
    weights: Any  # (*batch, U) how much of each letter was read last
    seen: Any  # (*batch, A) the letters, so weighted


def weigh(heights, sharpness, kappa, length):
    """How much of each of `length` letters K bells read: eq. 46."""
    away = kappa[..., None] - jnp.arange(length)
    return (heights[..., None] * jnp.exp(-sharpness[..., None] * away**2)).sum(-2)


def window(hidden, letters, bells=5, *, pace):
    """An LSTM that reads `letters` features of a text beside its inputs; `pace` of them a step.

    Its output is that of the LSTM, and what it has read.
    """
    lstm = rnnjax.lstm(hidden)

    def init(key, in_features):
        key_lstm, key_w = jax.random.split(key)
        w = jax.nn.initializers.glorot_uniform()(key_w, (hidden, 3 * bells)) / 4
        b = jnp.repeat(jnp.log(jnp.array([1 / bells, 1.0, pace])), bells)
        return WindowParams(lstm.init(key_lstm, in_features + letters), w, b)

    def init_carry(params, like):
        zeros = lambda width: jnp.zeros((*like.shape[:-1], width))
        length = params.text.shape[-2]
        fresh = lstm.init_carry(params.lstm, like)
        return WindowCarry(fresh, zeros(bells), zeros(length), zeros(letters))

    def step(params, carry, z):
        x = jnp.concatenate([z, carry.seen], -1)
        inner, h = lstm.step(params.lstm, carry.lstm, lstm.project(params.lstm, x))
        heights, sharpness, moves = jnp.split(jnp.exp(h @ params.w + params.b), 3, -1)
        kappa = carry.kappa + moves
        weights = weigh(heights, sharpness, kappa, params.text.shape[-2])
        seen = jnp.einsum("...u,...ua->...a", weights, params.text)
        return WindowCarry(inner, kappa, weights, seen), jnp.concatenate([h, seen], -1)

    return rnnjax.Cell(init, init_carry, lambda params, xs: xs, step, hidden + letters)

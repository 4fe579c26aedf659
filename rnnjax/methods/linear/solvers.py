r"""Three ways to solve $h_t = a_t h_{t-1} + b_t$; each is `a, b, h, reverse -> hs`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnjax._typing import Array

Solver = Callable[[Array, Array, Array, bool], Array]


def advance(a: Array, b: Array, h: Array) -> Array:
    """`a h + b`, where a factor of zero, as at a reset, forgets even what is no number."""
    return jnp.where(a == 0, b, a * h + b)


def one_by_one(a: Array, b: Array, h: Array, reverse: bool, *, unroll: int = 1) -> Array:
    """One step after the other."""

    def body(h: Array, coefficients: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = coefficients
        h = advance(a, b, h)
        return h, h

    return jax.lax.scan(body, h, (a, b), reverse=reverse, unroll=unroll)[1]


def by_doubling(a: Array, b: Array, h: Array, reverse: bool) -> Array:
    """All steps at once, in about 2 log2(T) passes; twice the multiplications."""
    first = -1 if reverse else 0
    b = b.at[first].set(advance(a[first], b[first], h))
    return jax.lax.associative_scan(combine, (a, b), reverse=reverse)[1]


def combine(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """The two steps as one."""
    a, b = other
    return advance(a, jnp.zeros_like(a), one[0]), advance(a, b, one[1])


def in_chunks(a: Array, b: Array, h: Array, reverse: bool, *, size: int) -> Array:
    """Chunks beside each other, one step after the other inside them, then their ends by doubling.

    Each chunk runs from zero and learns how much of its beginning reaches every step.
    """
    num_steps = a.shape[0]
    missing = -num_steps % size
    if missing:  # steps that change nothing, where reading ends
        edge = ((missing, 0) if reverse else (0, missing), *((0, 0),) * (a.ndim - 1))
        a = jnp.pad(a, edge, constant_values=1)
        b = jnp.pad(b, edge)
    a, b = (jnp.swapaxes(x.reshape(-1, size, *x.shape[1:]), 0, 1) for x in (a, b))

    def body(state: tuple[Array, Array], coefficients: tuple[Array, Array]):
        state = combine(state, coefficients)
        return state, state

    begin = jnp.ones_like(a[0]), jnp.zeros_like(b[0])
    (decay, end), (decays, hs) = jax.lax.scan(body, begin, (a, b), reverse=reverse)
    ends = by_doubling(decay, end, h, reverse)
    starts = [ends[1:], h[None]] if reverse else [h[None], ends[:-1]]
    hs = jnp.swapaxes(advance(decays, hs, jnp.concatenate(starts)[None]), 0, 1)
    hs = hs.reshape(-1, *hs.shape[2:])
    return hs[missing:] if reverse else hs[:num_steps]

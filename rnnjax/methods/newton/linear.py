"""Linear recurrences of units with a few states each, solved in a number of rounds like log T.

A unit's states are one array each, `(T, *batch, H)`, and what one of them hands to another in a
step is a block, an array of the same shape. A cell with one state a unit has one block, an LSTM,
with h and c, two rows of two. So products of matrices are elementwise products of few arrays.
"""

import functools
import operator
from typing import TypeAlias

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.methods.base import keep

States: TypeAlias = tuple[Float[Array, "T *batch H"], ...]
"""One array a state."""

Blocks: TypeAlias = tuple[States, ...]
"""`blocks[i][j]` is what state i takes over from state j."""


def times(rows: Blocks, states: States) -> States:
    """A matrix times a vector, for every step and unit by itself."""
    return tuple(functools.reduce(operator.add, map(operator.mul, row, states)) for row in rows)


def transpose(blocks: Blocks) -> Blocks:
    """The same with rows and columns exchanged."""
    return tuple(zip(*blocks, strict=True))


def one_after_the_other(
    first: tuple[Blocks, States], second: tuple[Blocks, States]
) -> tuple[Blocks, States]:
    """The affine map that does what two of them do."""
    (rows, shift), (later_rows, later_shift) = first, second
    columns = tuple(times(later_rows, column) for column in transpose(rows))
    moved = tuple(map(operator.add, times(later_rows, shift), later_shift))
    return transpose(columns), moved


def solve(blocks: Blocks, sources: States, begin: States | None, *, reverse: bool) -> States:
    r"""Solve $s_t = J_t s_{t-1} + b_t$ for all steps, in as many rounds as T has binary digits.

    Each round joins the map of every step, which reaches back over so many steps, to the map of
    the step where it ends, so that it reaches back over twice as many.

    A loop of our own: `lax.associative_scan` does less work, but writes every round out, and XLA
    compiles what that makes of two by two blocks of 4096 steps for half a minute.

    Args:
        blocks: J.
        sources: b.
        begin: the states before the step that is read first, `(*batch, H)`; None is zero.
        reverse: whether t + 1 stands in the place of t - 1.
    """
    if begin is not None:
        at = -1 if reverse else 0
        handed = times(tuple(tuple(a[at] for a in row) for row in blocks), begin)
        sources = tuple(a.at[at].add(b) for a, b in zip(sources, handed, strict=True))
    num_steps = sources[0].shape[0]
    steps = jnp.arange(num_steps, dtype=jnp.int32)
    place = num_steps - 1 - steps if reverse else steps  # in the order of reading

    def join(number: Array, maps: tuple[Blocks, States]) -> tuple[Blocks, States]:
        reach = jnp.left_shift(1, number)
        earlier = jax.tree.map(lambda a: jnp.roll(a, -reach if reverse else reach, axis=0), maps)
        return keep(place >= reach, one_after_the_other(earlier, maps), maps)

    rounds = (num_steps - 1).bit_length()
    return jax.lax.fori_loop(0, rounds, join, (blocks, sources))[1]

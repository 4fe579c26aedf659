"""`vmap` over the fused loops on CPU, where one batched product a step is slower than several.

Elsewhere `vmap` batches the loops as it batches everything.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree


def one_by_one(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Make `loop(weights, timed, begin)` take a `vmap` over weights one network at a time.

    A `vmap` over sequences alone becomes more rows: leaves of `timed`, and of all results but
    the last, are `(T, B, ...)`; those of `begin` and of the last result are `(B, ...)`.
    """
    if jax.default_backend() != "cpu":
        return loop

    @jax.custom_batching.custom_vmap
    def run(weights, timed, begin):
        return loop(weights, timed, begin)

    @run.def_vmap
    def rule(size, batched, weights, timed, begin):
        if not any(jax.tree.leaves(batched[0])):
            out = run(weights, _fold(timed, batched[1], size, 1), _fold(begin, batched[2], size, 0))
            out = (*(_unfold(part, size, 1) for part in out[:-1]), _unfold(out[-1], size, 0))
        else:
            arguments, flags = (weights, timed, begin), tuple(batched)
            moving = jax.tree.map(lambda x, b: x if b else None, arguments, flags)

            def one(moving):
                whole = jax.tree.map(
                    lambda x, m: x if m is None else m,
                    arguments,
                    moving,
                    is_leaf=lambda x: x is None,
                )
                return run(*whole)

            out = jax.lax.map(one, moving)
        return out, jax.tree.map(lambda _: True, out)

    return run


def _fold(tree: PyTree, batched: PyTree, size: int, axis: int) -> PyTree:
    """The mapped axis into the axis of rows, which is `axis` once the mapped one is gone."""

    def leaf(x: Array, is_batched: bool) -> Array:
        if is_batched:
            x = jnp.moveaxis(x, 0, axis + 1)
        else:
            x = jnp.expand_dims(x, axis + 1)
            x = jnp.broadcast_to(x, (*x.shape[: axis + 1], size, *x.shape[axis + 2 :]))
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    return jax.tree.map(leaf, tree, batched)


def _unfold(tree: PyTree, size: int, axis: int) -> PyTree:
    """The mapped axis back in front."""

    def leaf(x: Array) -> Array:
        x = x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :])
        return jnp.moveaxis(x, axis + 1, 0)

    return jax.tree.map(leaf, tree)

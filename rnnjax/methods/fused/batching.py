"""`vmap` of whole sequences as more networks and more rows.

On CPU one batched product a step is slower than several, and calls that have all networks at once
are batched so anywhere. Otherwise `vmap` batches the loops as it batches everything.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, PyTree
from rnnjax.methods.fused.problem import Run

UNROLLED = 4  # networks up to this number are written out, which spares copies of what they keep


def apart(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make `run(networks)` take a `vmap` over weights as more networks.

    `networks` is a tuple of `(weights, rest)`, and so long is the tuple of results.
    """

    @jax.custom_batching.custom_vmap
    def mapped(networks: Any) -> Any:
        return run(networks)

    @mapped.def_vmap
    def rule(size: int, batched: Any, networks: Any) -> Any:
        (batched,) = batched
        if not any(jax.tree.leaves([weights for weights, _ in batched])):
            axes = jax.tree.map(lambda b: 0 if b else None, batched)
            out = jax.vmap(run, in_axes=(axes,), axis_size=size)(networks)
            return out, _all_true(out)

        def pick(number: Any) -> Any:
            return jax.tree.map(lambda x, b: x[number] if b else x, networks, batched)

        if size * len(networks) > UNROLLED:
            out = jax.lax.map(lambda number: mapped(pick(number)), jnp.arange(size))
            return out, _all_true(out)
        several = zip(*map(pick, range(size)), strict=True)  # all copies of a network together
        results = mapped(tuple(network for copies in several for network in copies))
        groups = [results[i : i + size] for i in range(0, len(results), size)]
        out = tuple(jax.tree.map(lambda *xs: jnp.stack(xs), *group) for group in groups)
        return out, _all_true(out)

    return mapped


def as_rows(loop: Callable[[PyTree, PyTree, PyTree], Any]) -> Callable[..., Any]:
    """Make `loop(weights, timed, begin)` take a `vmap` over sequences as more rows.

    Leaves of `timed`, and of all results but the last, are `(T, B, ...)` or, without an axis of
    rows, `(T, ...)`; those of `begin` and of the last result are `(B, H)` or `(H,)`.
    """

    @jax.custom_batching.custom_vmap
    def mapped(weights: PyTree, timed: PyTree, begin: PyTree) -> Any:
        return loop(weights, timed, begin)

    @mapped.def_vmap
    def rule(size: int, batched: Any, weights: PyTree, timed: PyTree, begin: PyTree) -> Any:
        if any(jax.tree.leaves(batched[0])):
            axes = jax.tree.map(lambda b: 0 if b else None, tuple(batched))
            out = jax.vmap(loop, in_axes=axes, axis_size=size)(weights, timed, begin)
            return out, _all_true(out)
        first, its_batched = (jax.tree.leaves(tree)[0] for tree in (begin, batched[2]))
        fold, unfold = (_fold, _unfold) if first.ndim - its_batched == 2 else (_append, _remove)
        timed, begin = fold(timed, batched[1], size, 1), fold(begin, batched[2], size, 0)
        out = mapped(weights, timed, begin)
        out = (*(unfold(part, size, 1) for part in out[:-1]), unfold(out[-1], size, 0))
        return out, _all_true(out)

    return mapped


def with_rows(function: Any) -> Any:
    """Give a single row an axis, and take it away again."""

    def run(runs: list[Run]) -> list[Any]:
        if jnp.ndim(jax.tree.leaves(runs[0].begin)[0]) == 2:
            return function(runs)
        timed = lambda tree, change: jax.tree.map(lambda x: change(x, 1), tree)
        row = lambda tree, change: jax.tree.map(lambda x: change(x, 0), tree)
        runs = [
            Run(w, timed(over, jnp.expand_dims), row(begin, jnp.expand_dims))
            for w, over, begin in runs
        ]
        return [
            (*(timed(part, jnp.squeeze) for part in parts), row(last, jnp.squeeze))
            for *parts, last in function(runs)
        ]

    return run


def together(function: Any, runs: list[Run]) -> list[Any]:
    """Call once for all runs; a `vmap` over sequences brings more rows."""

    def loop(weights: Any, timed: Any, begin: Any) -> Any:
        results = with_rows(function)(
            [Run(*run) for run in zip(weights, timed, begin, strict=True)]
        )
        return tuple(zip(*results, strict=True))

    columns = as_rows(loop)(*(tuple(column) for column in zip(*runs, strict=True)))
    return list(zip(*columns, strict=True))


def _all_true(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda _: True, tree)


def _append(tree: PyTree, batched: PyTree, size: int, axis: int) -> PyTree:
    """The mapped axis to `axis`; what is not mapped is repeated along it."""

    def leaf(x: Array, is_batched: bool) -> Array:
        if is_batched:
            return jnp.moveaxis(x, 0, axis)
        return jnp.repeat(jnp.expand_dims(x, axis), size, axis)

    return jax.tree.map(leaf, tree, batched)


def _remove(tree: PyTree, size: int, axis: int) -> PyTree:
    """The mapped axis back in front."""
    del size
    return jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), tree)


def _fold(tree: PyTree, batched: PyTree, size: int, axis: int) -> PyTree:
    """The mapped axis into the axis of rows, which is `axis` once the mapped one is gone."""
    tree = _append(tree, batched, size, axis + 1)
    return jax.tree.map(lambda x: x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :]), tree)


def _unfold(tree: PyTree, size: int, axis: int) -> PyTree:
    """The axis of rows cut in two again, and the mapped one back in front."""

    def leaf(x: Array) -> Array:
        return x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :])

    return _remove(jax.tree.map(leaf, tree), size, axis + 1)

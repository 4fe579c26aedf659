"""In which order the fused loops visit steps, and on how many rows.

Time is cut into chunks. With a mask the rows are sorted by how many steps count, and each chunk
runs on the smallest of a few fixed numbers of rows that holds every row it needs, so that most
of the padding costs nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Int, PyTree

CHUNK_BYTES = 4 * 2**20  # of projected inputs: they stay in the cache until they are read
QUARTERS = 4  # row counts tried with a mask: a quarter of the batch, half of it, ...
MASKED_CHUNKS = 16  # how finely padding is skipped along time

# Of XLA:CPU, measured in benchmarks/NOTES.md.
THREADED_WEIGHTS = 2**17  # from this size on it splits the product of a step over threads
HALVED_WEIGHTS = 2**20  # up to this size two halves of the rows read them at little cost
LEAST_HALF = 8  # rows


class Part(NamedTuple):
    """Some of the rows."""

    begin: int
    count: int


class Plan(NamedTuple):
    """The static part of a schedule.

    Attributes:
        num_steps: T.
        chunk: steps in a chunk; the last chunk may have fewer.
        rows: the numbers of rows a chunk may run on, ascending; the last is B.
        reverse: whether time runs backwards.
        halves: whether a step runs on one half of the rows after the other: the second thread
            of a product then finds work before it falls asleep.
    """

    num_steps: int
    chunk: int
    rows: tuple[int, ...]
    reverse: bool
    halves: bool = False

    @property
    def num_chunks(self) -> int:
        """Chunks in T steps."""
        return -(-self.num_steps // self.chunk)

    def ahead(self, step: Array) -> Array:
        """The step that is visited after `step`, within one chunk."""
        return jnp.clip(step - 1 if self.reverse else step + 1, 0, self.chunk - 1)

    def parts(self, rows: int) -> tuple[Part, ...]:
        """The rows whole, or in halves."""
        if not self.halves or rows < 2 * LEAST_HALF:
            return (Part(0, rows),)
        half = -(-rows // 2)
        return Part(0, half), Part(half, rows - half)

    def backwards(self) -> "Plan":
        """The same chunks in the opposite order."""
        return self._replace(reverse=not self.reverse)


def gradient_plan(num_steps: int, batch: int, masked: bool, reverse: bool) -> Plan:
    """One chunk, since everything is kept anyway; several with a mask."""
    if not masked or batch < QUARTERS or num_steps < 2 * MASKED_CHUNKS:
        return Plan(num_steps, num_steps, (batch,), reverse)
    rows = tuple(-(-batch * part // QUARTERS) for part in range(1, QUARTERS + 1))
    return Plan(num_steps, -(-num_steps // MASKED_CHUNKS), rows, reverse)


def inference_plan(plan: Plan, step_bytes: int, num_weights: int) -> Plan:
    """Cut a `gradient_plan` so that projected inputs stay in the cache, and threads are busy.

    `step_bytes` is the size of one projected step, `num_weights` that of the recurrent matrix.
    """
    count = max(plan.num_chunks, round(plan.num_steps * step_bytes / CHUNK_BYTES))
    chunk = -(-plan.num_steps // min(count, plan.num_steps))
    halves = THREADED_WEIGHTS <= num_weights <= HALVED_WEIGHTS and jax.default_backend() == "cpu"
    return plan._replace(chunk=chunk, halves=halves)


def row_order(mask: Bool[Array, "T B"]) -> Int[Array, " B"]:
    """Rows with the most valid steps first."""
    return jnp.argsort(-mask.sum(0, dtype=jnp.int32), stable=True)


def levels(plan: Plan, mask: Bool[Array, "T B"] | None) -> Int[Array, " K"] | None:
    """Which entry of `plan.rows` each chunk needs; -1 where a chunk has no valid step."""
    if len(plan.rows) == 1 or mask is None:
        return None
    starts = jnp.arange(plan.num_chunks, dtype=jnp.int32) * plan.chunk
    first = jnp.minimum(starts, plan.num_steps - plan.chunk)

    def needed(start: Array) -> Array:
        window = jax.lax.dynamic_slice_in_dim(mask, start, plan.chunk)
        ranks = jnp.arange(1, mask.shape[1] + 1, dtype=jnp.int32)
        return jnp.where(window.any(0), ranks, 0).max()

    counts = jax.vmap(needed)(first)
    level = jnp.searchsorted(jnp.asarray(plan.rows, jnp.int32), counts).astype(jnp.int32)
    return jnp.where(counts == 0, -1, level)


class Chunk(NamedTuple):
    """One chunk to be run.

    Attributes:
        rows: on how many rows.
        start: the step that it is counted from.
        first: the first step visited, counted from `start`.
        loop: `body, state, buffers -> state, buffers`, with
            `body(step, part, state, buffers)`, `step` counted from `start`, `state` of the part.
    """

    rows: int
    start: Any
    first: Any
    loop: Callable[[Callable[..., Any], PyTree, PyTree], tuple[PyTree, PyTree]]


Visit = Callable[[Chunk, PyTree, PyTree], tuple[PyTree, PyTree]]


def sweep(
    plan: Plan, chunk_levels: Array | None, visit: Visit, carry: PyTree, buffers: PyTree
) -> tuple[PyTree, PyTree]:
    """Visit every chunk in order; `carry` leads with an axis of rows, `buffers` are whole."""
    last = plan.num_steps - plan.chunk

    def chunk(number: Any, state: PyTree) -> PyTree:
        number = plan.num_chunks - 1 - number if plan.reverse else number
        # The last window is shifted to end with the sequence; its first steps are not its own.
        start = jnp.minimum(number * plan.chunk, last) if last else 0
        skipped = number * plan.chunk - start if plan.num_steps % plan.chunk else 0
        first = plan.chunk - 1 if plan.reverse else skipped

        def loop(rows: int, body: Callable[..., Any], state: PyTree, buffers: PyTree) -> Any:
            parts = plan.parts(rows)

            def one(count: Any, state: Any) -> Any:
                states, buffers = state
                step = first - count if plan.reverse else first + count
                out = []
                for part, mine in zip(parts, states, strict=True):
                    mine, buffers = body(step, part, mine, buffers)
                    out.append(mine)
                return tuple(out), buffers

            states = tuple(_cut(state, part) for part in parts)
            states, buffers = jax.lax.fori_loop(0, plan.chunk - skipped, one, (states, buffers))
            if len(parts) == 1:
                return states[0], buffers
            return jax.tree.map(lambda *xs: jnp.concatenate(xs), *states), buffers

        def on(rows: int, start: Any, state: PyTree) -> PyTree:
            carry, buffers = state
            whole = Chunk(rows, start, first, functools.partial(loop, rows))
            head, buffers = visit(whole, _head(carry, rows), buffers)
            return _put_head(carry, head), buffers

        if chunk_levels is None:
            return on(plan.rows[-1], start, state)
        for level, rows in enumerate(plan.rows):
            # A loop of no or one pass, since a conditional would copy every buffer. The count,
            # which is 0, keeps XLA from hoisting the projection out of the loop.
            def once(count: Any, state: PyTree, rows: int = rows) -> PyTree:
                return on(rows, start + count, state)

            times = (chunk_levels[number] == level).astype(jnp.int32)
            state = jax.lax.fori_loop(0, times, once, state)
        return state

    if plan.num_chunks == 1 and chunk_levels is None:
        return chunk(0, (carry, buffers))
    return jax.lax.fori_loop(0, plan.num_chunks, chunk, (carry, buffers))


def _cut(tree: PyTree, part: Part) -> PyTree:
    return jax.tree.map(lambda x: x[part.begin : part.begin + part.count], tree)


def _head(tree: PyTree, rows: int) -> PyTree:
    return jax.tree.map(lambda x: x[:rows], tree)


def _put_head(tree: PyTree, heads: PyTree) -> PyTree:
    def leaf(x: Array, head: Array) -> Array:
        return head if x.shape == head.shape else x.at[: head.shape[0]].set(head)

    return jax.tree.map(leaf, tree, heads)

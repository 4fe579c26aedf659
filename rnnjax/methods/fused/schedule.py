"""In which order the fused loops visit steps, and on how many rows.

Time is cut into chunks. With a mask the rows are sorted by how many steps count, and each chunk
runs on the smallest of a few fixed numbers of rows that holds every row it needs, so that most
of the padding costs nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Int, PyTree

CHUNK_BYTES = 4 * 2**20  # of projected inputs: they stay in the cache until they are read
QUARTERS = 4  # row counts tried with a mask: a quarter of the batch, half of it, ...
MASKED_CHUNKS = 16  # how finely padding is skipped along time


class Plan(NamedTuple):
    """The static part of a schedule.

    Attributes:
        num_steps: T.
        chunk: steps in a chunk; the last chunk may have fewer.
        rows: the numbers of rows a chunk may run on, ascending; the last is B.
        reverse: whether time runs backwards.
    """

    num_steps: int
    chunk: int
    rows: tuple[int, ...]
    reverse: bool

    @property
    def num_chunks(self) -> int:
        """Chunks in T steps."""
        return -(-self.num_steps // self.chunk)

    def ahead(self, step: Array) -> Array:
        """The step that is visited after `step`, within one chunk."""
        return jnp.clip(step - 1 if self.reverse else step + 1, 0, self.chunk - 1)

    def backwards(self) -> "Plan":
        """The same chunks in the opposite order."""
        return self._replace(reverse=not self.reverse)


def make_plan(num_steps: int, batch: int, masked: bool, reverse: bool, step_bytes: int) -> Plan:
    """Chunks of about `CHUNK_BYTES` (one chunk where `step_bytes` is 0), finer ones with a mask."""
    count = max(1, round(num_steps * step_bytes / CHUNK_BYTES))
    rows = (batch,)
    if masked and batch >= QUARTERS and num_steps >= 2 * MASKED_CHUNKS:
        count = max(count, MASKED_CHUNKS)
        rows = tuple(-(-batch * part // QUARTERS) for part in range(1, QUARTERS + 1))
    chunk = -(-num_steps // min(count, num_steps))
    return Plan(num_steps, chunk, rows, reverse)


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
        loop: `body, state -> state`, with `body(step, state)`, `step` counted from `start`.
    """

    rows: int
    start: Any
    first: Any
    loop: Callable[[Callable[..., Any], PyTree], PyTree]


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

        def loop(body: Callable[..., Any], state: PyTree) -> PyTree:
            def one(count: Any, state: PyTree) -> PyTree:
                return body(first - count if plan.reverse else first + count, state)

            return jax.lax.fori_loop(0, plan.chunk - skipped, one, state)

        def on(rows: int, state: PyTree) -> PyTree:
            carry, buffers = state
            part, buffers = visit(Chunk(rows, start, first, loop), _head(carry, rows), buffers)
            return _put_head(carry, part), buffers

        if chunk_levels is None:
            return on(plan.rows[-1], state)
        for level, rows in enumerate(plan.rows):
            # A loop of no or one pass, since a conditional would copy every buffer.
            times = (chunk_levels[number] == level).astype(jnp.int32)
            state = jax.lax.fori_loop(0, times, lambda _, s, rows=rows: on(rows, s), state)
        return state

    if plan.num_chunks == 1 and chunk_levels is None:
        return chunk(0, (carry, buffers))
    return jax.lax.fori_loop(0, plan.num_chunks, chunk, (carry, buffers))


def _head(tree: PyTree, rows: int) -> PyTree:
    return jax.tree.map(lambda x: x[:rows], tree)


def _put_head(tree: PyTree, part: PyTree) -> PyTree:
    def leaf(x: Array, head: Array) -> Array:
        return head if x.shape == head.shape else x.at[: head.shape[0]].set(head)

    return jax.tree.map(leaf, tree, part)

"""In which order the fused loops visit rows and steps.

With a mask, on CPU, the rows are sorted by how many steps count and cut into blocks. Each runs on
its own, from the first step that counts in it to the last, so that most of the padding costs
nothing. Within a block, inference goes through time in chunks that are projected together.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Int, PyTree

CHUNK_BYTES = 4 * 2**20  # of projected inputs: they stay in the cache until they are read

# Of XLA:CPU, measured in benchmarks/NOTES.md.
BLOCKS = (4, 3, 2)  # numbers of blocks, the best first; one must divide the batch
BLOCKED_WORK = 2**27  # multiplications in the loop; below, a mask is cheaper than blocks
THREADED_WEIGHTS = 2**17  # from this size on it splits the product of a step over threads
HALVED_WEIGHTS = 2**20  # up to this size two halves of the rows read them at little cost
LEAST_HALF = 8  # rows


def on_cpu() -> bool:
    """Whether what was measured on CPU applies; a GPU or TPU wants few, large steps."""
    return jax.default_backend() == "cpu"


class Part(NamedTuple):
    """Some of the rows; only `begin` may be traced. Without an axis of rows, None."""

    begin: Any
    count: int

    def within(self, rows: "Part") -> "Part":
        """The same, counted from the first of `rows`."""
        return self._replace(begin=self.begin - rows.begin)


class Plan(NamedTuple):
    """The static part of a schedule.

    Attributes:
        num_steps: T.
        num_rows: B; None without an axis of rows.
        chunk: steps in a chunk; the last chunk may have fewer.
        blocks: how many blocks the rows are cut into.
        reverse: whether time runs backwards.
        halves: whether a step runs on one half of the rows after the other: the second thread
            of a product then finds work before it falls asleep.
    """

    num_steps: int
    num_rows: int | None
    chunk: int
    blocks: int
    reverse: bool
    halves: bool = False

    def ahead(self, step: Any) -> Array:
        """The step that is visited after `step`, within one chunk."""
        return jnp.clip(step - 1 if self.reverse else step + 1, 0, self.chunk - 1)

    def backwards(self) -> "Plan":
        """The same in the opposite order."""
        return self._replace(reverse=not self.reverse)

    def parts(self, rows: Part | None) -> tuple[Part | None, ...]:
        """Rows whole, or in halves."""
        if rows is None or not self.halves or rows.count < 2 * LEAST_HALF:
            return (rows,)
        half = -(-rows.count // 2)
        return Part(rows.begin, half), Part(rows.begin + half, rows.count - half)


def gradient_plan(like: Array, w_hh: Array, mask: Array | None, *, reverse: bool = False) -> Plan:
    """One chunk, since everything is kept anyway; on CPU, blocks with a mask.

    `like` is `(T, B, ...)`, or `(T, ...)` without an axis of rows.
    """
    steps, num_weights = like.shape[:-1], w_hh.size
    num_steps, num_rows = steps if len(steps) == 2 else (*steps, None)
    blocks = 1
    work = math.prod(steps) * num_weights
    if num_rows is not None and mask is not None and on_cpu() and work >= BLOCKED_WORK:
        wanted = BLOCKS if num_weights <= HALVED_WEIGHTS else BLOCKS[-1:]
        blocks = next((number for number in wanted if num_rows % number == 0), 1)
    return Plan(num_steps, num_rows, num_steps, blocks, reverse)


def chunk_steps(num_steps: int, step_bytes: int) -> int:
    """How many steps to project together, so that they stay in the cache until they are read."""
    count = min(max(1, round(num_steps * step_bytes / CHUNK_BYTES)), num_steps)
    # A divisor of T makes the chunks alike, which compiles to less.
    even = (n for n in range(count, 2 * count) if num_steps % n == 0)
    return -(-num_steps // next(even, count))


def inference_plan(plan: Plan, row_bytes: int, num_weights: int) -> Plan:
    """Cut a `gradient_plan` so that projected inputs stay in the cache, and threads are busy.

    `row_bytes` is the size of one projected step of one row, `num_weights` that of the recurrent
    matrix.
    """
    chunk = chunk_steps(plan.num_steps, (plan.num_rows or 1) // plan.blocks * row_bytes)
    halves = on_cpu() and THREADED_WEIGHTS <= num_weights <= HALVED_WEIGHTS
    return plan._replace(chunk=chunk, halves=halves)


def row_order(mask: Bool[Array, "T B"]) -> Int[Array, " B"]:
    """Rows with the most valid steps first."""
    return jnp.argsort(-mask.sum(0, dtype=jnp.int32), stable=True)


def spans(plan: Plan, mask: Array) -> tuple[Int[Array, " blocks"], Int[Array, " blocks"]]:
    """The first step that counts in each block, and the one after the last."""
    valid = mask.reshape(plan.num_steps, plan.blocks, -1).any(-1)
    steps = jnp.arange(plan.num_steps, dtype=jnp.int32)[:, None]
    begin = jnp.where(valid, steps, plan.num_steps).min(0)
    end = jnp.where(valid, steps + 1, 0).max(0)
    return jnp.minimum(begin, end), end


class Chunk(NamedTuple):
    """One chunk of steps to be run on one block of rows.

    Attributes:
        rows: the block.
        start: the step that the chunk is counted from.
        first: the first step visited, counted from `start`.
        loop: `body, state, buffers -> state, buffers`, with
            `body(step, part, state, buffers)`, `step` counted from `start`, `state` of the part.
    """

    rows: Part | None
    start: Any
    first: Any
    loop: Callable[[Callable[..., Any], PyTree, PyTree], tuple[PyTree, PyTree]]


Visit = Callable[[Chunk, PyTree, PyTree], tuple[PyTree, PyTree]]


def sweep(
    plan: Plan, mask: Array | None, visit: Visit, carry: PyTree, buffers: PyTree
) -> tuple[PyTree, PyTree]:
    """Visit all there is; `carry` leads with the axis of rows, `buffers` are whole."""
    if plan.num_rows is None or plan.blocks == 1 or mask is None:
        rows = None if plan.num_rows is None else Part(0, plan.num_rows)
        return _sweep_block(plan, rows, (0, plan.num_steps), visit, (carry, buffers))
    begin, end = spans(plan, mask)
    count = plan.num_rows // plan.blocks

    def block(number: Any, state: PyTree) -> PyTree:
        carry, buffers = state
        rows = Part(number * count, count)
        state = (_cut(carry, rows), buffers)
        part, buffers = _sweep_block(plan, rows, (begin[number], end[number]), visit, state)
        carry = jax.tree.map(
            lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, rows.begin, 0), carry, part
        )
        return carry, buffers

    return jax.lax.fori_loop(0, plan.blocks, block, (carry, buffers))


def _sweep_block(
    plan: Plan, rows: Part | None, span: tuple[Any, Any], visit: Visit, state: PyTree
) -> PyTree:
    """Visit the chunks that a span of steps touches, and in them the steps of the span."""
    begin, end = span
    last = plan.num_steps - plan.chunk
    low, high = begin // plan.chunk, -(-end // plan.chunk)

    def chunk(count: Any, state: PyTree) -> PyTree:
        number = high - 1 - count if plan.reverse else low + count
        # The last window is shifted to end with the sequence; its first steps are not its own.
        own = number * plan.chunk
        start = jnp.minimum(own, last) if last else 0
        if isinstance(end, int) and plan.num_steps % plan.chunk == 0:
            left, right = 0, plan.chunk
        else:
            left = jnp.maximum(own, begin) - start
            right = jnp.minimum(own + plan.chunk, end) - start
        first = right - 1 if plan.reverse else left

        def loop(body: Callable[..., Any], state: PyTree, buffers: PyTree) -> Any:
            parts = plan.parts(rows)

            def one(count: Any, state: Any) -> Any:
                states, buffers = state
                step = first - count if plan.reverse else first + count
                out = []
                for part, mine in zip(parts, states, strict=True):
                    mine, buffers = body(step, part, mine, buffers)
                    out.append(mine)
                return tuple(out), buffers

            states = (state,) if len(parts) == 1 else _apart(state, rows, parts)
            states, buffers = jax.lax.fori_loop(0, right - left, one, (states, buffers))
            if len(parts) == 1:
                return states[0], buffers
            return jax.tree.map(lambda *xs: jnp.concatenate(xs), *states), buffers

        return visit(Chunk(rows, start, first, loop), *state)

    if plan.chunk == plan.num_steps:
        return chunk(0, state)
    return jax.lax.fori_loop(0, high - low, chunk, state)


def _apart(state: PyTree, rows: Any, parts: tuple[Any, ...]) -> tuple[PyTree, ...]:
    """The state of each part of `rows`."""
    return tuple(_cut(state, part.within(rows)) for part in parts)


def _cut(tree: PyTree, part: Part) -> PyTree:
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, part.begin, part.count), tree)

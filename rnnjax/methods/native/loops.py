"""The loops of the fused method, handed to the compiled library.

All networks of a call go there together, each with arrays of its own, so that they run side by
side on the cores and nothing is stacked.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._typing import Array, PyTree
from rnnjax.cells.dtypes import matmul
from rnnjax.methods.fused.batching import as_rows
from rnnjax.methods.fused.problem import Kept, Loops, Problem, Run
from rnnjax.methods.fused.schedule import chunk_steps
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.native.call import ABSENT, BACKWARD, FORWARD, call, given
from rnnjax.methods.native.kinds import Kind, known
from rnnjax.methods.native.layout import pack_columns, pack_gates


def forward_call(
    kind: Kind, reverse: bool, runs: list[Run], *, keep: bool
) -> list[tuple[Array, Kept, PyTree]]:
    """Run networks forwards, with packed weights and projected inputs."""
    arrays, present = [], []
    for weights, (zs, flags), (carry, fresh) in runs:
        arrays += [zs, *weights, *leaves(kind, carry), given(flags.mask), given(flags.restarts)]
        arrays += leaves(kind, fresh)
        present += [True, True, kind.has_c]
        present += [keep, keep and kind.extra, keep, keep and kind.has_c]
    options = {"cell": np.int32(kind.number), "reverse": reverse, "keep": keep}
    out = call(FORWARD, arrays, present, in_place={0: 3} if keep else {}, **options)
    answers = []
    for (ys, h, c, columns, extra, start_h, start_c), run in zip(out, runs, strict=True):
        kept = (columns, extra) if kind.extra else (columns,)
        pairs = [(h, c), (start_h, start_c)]
        final, starts = (type(run.begin[0])(*pair[: 1 + kind.has_c]) for pair in pairs)
        answers.append((ys, Kept(kept, starts), final))
    return answers


def backward_call(kind: Kind, reverse: bool, runs: list[Run]) -> list[Any]:
    """Run networks backwards; deltas take the place of the columns."""
    arrays, present = [], []
    second = kind.extra and not kind.two_products  # whether the second buffer gets deltas
    for weights, (kept, dys, flags), dcarry in runs:
        columns, *extra = kept.columns
        arrays += [columns, *(extra or [ABSENT]), *leaves(kind, kept.starts), *weights]
        arrays += [dys, *leaves(kind, dcarry), given(flags.mask), given(flags.restarts)]
        fresh = flags.restarts is not None
        present += [True, second, True, kind.has_c, fresh, fresh and kind.has_c]
    options = {"cell": np.int32(kind.number), "reverse": reverse}
    in_place = {0: 0, 1: 1} if second else {0: 0}
    out = call(BACKWARD, arrays, present, in_place=in_place, **options)
    answers = []
    for (deltas, more, *gradients), run in zip(out, runs, strict=True):
        kept, _, flags = run.timed
        others = (more,) if second else kept.columns[1:]
        pairs = [gradients[:2], gradients[2:]]
        dbegin, dfresh = (type(run.begin)(*pair[: 1 + kind.has_c]) for pair in pairs)
        restarted = flags.restarts is not None
        answers.append(((deltas, *others), (dbegin, dfresh if restarted else None)))
    return answers


def leaves(kind: Kind, carry: Any) -> list[Any]:
    """`h` and `c`, absent where there are none."""
    if carry is None:
        return [ABSENT, ABSENT]
    return [carry.h, carry.c if kind.has_c else ABSENT]


def forward_weights(kind: Kind, w: Any) -> list[Any]:
    """Packed weights, those of the candidate, bias, and the candidate's own."""
    if kind.gates == 1:
        return [pack_columns(w.w_hh), ABSENT, given(w.b), ABSENT]
    if kind.has_c:
        return [pack_gates(w.w_hh, 4), ABSENT, given(w.b), ABSENT]
    bias = ABSENT if w.b_gates is None else jnp.concatenate([w.b_gates, w.b_n])
    if kind.two_products:
        return [pack_gates(w.w_gates, 2), pack_columns(w.w_n), bias, ABSENT]
    return [pack_gates(w.w_hh, 3), ABSENT, bias, given(w.b_hn)]


def backward_weights(kind: Kind, w: Any) -> list[Any]:
    """The same for the way back, turned around."""
    if kind.two_products:
        return [pack_columns(w.w_gates.T), pack_columns(w.w_n_transposed)]
    return [pack_columns(w.w_hh.T), ABSENT]


def with_rows(function: Any) -> Any:
    """Give a single row the axis that the library wants, and take it away again."""

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


def infer(problem: Problem, keep_starts: bool, runs: list[Run]) -> list[Any]:
    """Nothing is kept; the inputs are projected chunk by chunk."""
    assert not keep_starts
    return together(functools.partial(infer_rows, problem), runs)


def infer_rows(problem: Problem, runs: list[Run]) -> list[Any]:
    """Go through chunks that divide what they can, and through the rest."""
    kind = known(problem.form)
    steps, rows, _ = runs[0].timed[0].shape
    packed = [forward_weights(kind, run.weights[1]) for run in runs]
    row_bytes = 4 * sum(run.weights[0].shape[1] for run in runs)
    size = chunk_steps(steps, rows * row_bytes)
    count, rest = divmod(steps, size)

    def piece(carries: Any, start: Any, length: int) -> list[Any]:
        part = []
        for (w, timed, (_, fresh)), own, carry in zip(runs, packed, carries, strict=True):
            xs, flags = jax.tree.map(
                lambda x: jax.lax.dynamic_slice_in_dim(x, start, length), timed
            )
            zs = matmul(xs, w[0], problem.dtype, problem.gate_dtype)
            part.append(Run(own, (zs, flags), (carry, fresh)))
        return forward_call(kind, problem.reverse, part, keep=False)

    carries = [run.begin[0] for run in runs]
    if count <= 1 and not rest:
        return [(ys, None, carry) for ys, _, carry in piece(carries, 0, steps)]

    def write(state: Any, start: Any, length: int) -> Any:
        carries, outputs = state
        results = piece(carries, start, length)
        outputs = [
            jax.lax.dynamic_update_slice_in_dim(out, ys, start, 0)
            for out, (ys, _, _) in zip(outputs, results, strict=True)
        ]
        return [carry for _, _, carry in results], outputs

    def chunk(number: Any, state: Any) -> Any:
        if problem.reverse:
            number = count - 1 - number
        return write(state, number * size, size)

    empty = [
        vary(jnp.zeros((steps, *c.h.shape), problem.dtype), varying_axes(runs)) for c in carries
    ]
    state = (carries, empty)
    if rest and problem.reverse:
        state = write(state, count * size, rest)
    state = jax.lax.fori_loop(0, count, chunk, state)
    if rest and not problem.reverse:
        state = write(state, count * size, rest)
    return [(ys, None, carry) for carry, ys in zip(*state, strict=True)]


def forward(problem: Problem, runs: list[Run]) -> list[Any]:
    """What the gradient needs is kept."""
    kind = known(problem.form)
    runs = [run._replace(weights=forward_weights(kind, run.weights)) for run in runs]
    return together(functools.partial(forward_call, kind, problem.reverse, keep=True), runs)


def backward(problem: Problem, runs: list[Run]) -> list[Any]:
    """The way back."""
    kind = known(problem.form)
    runs = [run._replace(weights=backward_weights(kind, run.weights)) for run in runs]
    return together(functools.partial(backward_call, kind, problem.reverse), runs)


LOOPS = Loops(infer, forward, backward, sort_rows=False)

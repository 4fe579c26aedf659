"""The loops of the fused method and its products, handed to the compiled library.

All networks of a call go there together, each with arrays and a direction of its own, so that
they run side by side on the cores and nothing is stacked or turned around.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._typing import Array, PyTree
from rnnjax.methods import manual
from rnnjax.methods.fused.batching import together
from rnnjax.methods.fused.gradient import weight_gradients
from rnnjax.methods.fused.problem import Directions, Kept, Loops, Problem, Products, Run
from rnnjax.methods.native.call import ABSENT, BACKWARD, FORWARD, GRADIENTS, call, given
from rnnjax.methods.native.kinds import Kind, known
from rnnjax.methods.native.starts import Starts, starts_of


def forward_call(
    kind: Kind, directions: Directions, runs: list[Run], *, keep: bool
) -> list[tuple[Array, Kept | None, PyTree]]:
    """Project and run networks forwards; without `keep`, nothing is kept."""
    arrays, present = [], []
    for n, ((params, stack), (xs, flags), (carry, fresh)) in enumerate(runs):
        w_ih, w_hh = stack or (params.w_ih, params.w_hh)
        arrays += [xs, w_ih, w_hh, given(params.b)]
        arrays += [given(params.b_hn) if kind.reset_after else ABSENT, *leaves(kind, carry)]
        arrays += [given(flags.mask), given(flags.restarts), *leaves(kind, fresh)]
        present += [n == 0, True, kind.has_c]
        present += [keep, keep and kind.extra, keep, keep and kind.has_c]
    options = {"keep": keep, **of_networks(directions)}
    out = call(FORWARD, kind, arrays, present, in_place={}, **options)
    # XLA copies nothing where both directions are then put side by side, as they stand here.
    every = jnp.split(out[0][0], len(runs), axis=-1)
    answers = []
    for (_, h, c, columns, extra, origins, start_c), ys, run in zip(out, every, runs, strict=True):
        carry, fresh = run.begin
        final = type(carry)(*(h, c)[: 1 + kind.has_c])
        kept = None
        if keep:
            first = jnp.stack([begin.h for begin in (carry, fresh) if begin is not None])
            starts = Starts(origins, ys, first, start_c if kind.has_c else None)
            kept = Kept((columns, extra) if kind.extra else (columns,), starts)
        answers.append((ys, kept, final))
    return answers


def backward_call(kind: Kind, directions: Directions, runs: list[Run]) -> list[Any]:
    """Run networks backwards; deltas take the place of the columns."""
    arrays, present = [], []
    all_dys = jnp.concatenate([run.timed[1] for run in runs], axis=-1)
    every = [run.timed[0].starts for run in runs]
    for n, ((params, stack), (kept, _, flags), dcarry) in enumerate(runs):
        columns, *extra = kept.columns
        arrays += [columns, *(extra or [ABSENT])]
        arrays += starts_of(every, n) if kind.extra else [ABSENT] * 3
        arrays.append(given(kept.starts.c))
        arrays.append(stack[1] if stack else params.w_hh)
        arrays += [all_dys if n == 0 else ABSENT, *leaves(kind, dcarry)]
        arrays += [given(flags.mask), given(flags.restarts)]
        fresh = flags.restarts is not None
        present += [True, kind.reset_after, True, kind.has_c, fresh, fresh and kind.has_c]
    options = of_networks(directions)
    in_place = {0: 0, 1: 1} if kind.reset_after else {0: 0}
    out = call(BACKWARD, kind, arrays, present, in_place=in_place, **options)
    answers = []
    for (deltas, more, *gradients), run in zip(out, runs, strict=True):
        kept, _, flags = run.timed
        others = (more,) if kind.reset_after else kept.columns[1:]
        pairs = [gradients[:2], gradients[2:]]
        dbegin, dfresh = (type(run.begin)(*pair[: 1 + kind.has_c]) for pair in pairs)
        restarted = flags.restarts is not None
        answers.append(((deltas, *others), (dbegin, dfresh if restarted else None)))
    return answers


def of_networks(directions: Directions) -> dict[str, np.ndarray]:
    """Which of them run backwards, and which matrix of a stack belongs to each."""
    numbers, reverse = zip(*directions, strict=True)
    return {"reverse": np.asarray(reverse, np.int32), "number": np.asarray(numbers, np.int32)}


def leaves(kind: Kind, carry: Any) -> list[Any]:
    """`h` and `c`, absent where there are none."""
    if carry is None:
        return [ABSENT, ABSENT]
    return [carry.h, carry.c if kind.has_c else ABSENT]


def infer(
    problem: Problem, directions: Directions, runs: list[Run], *, keep_starts: bool
) -> list[Any]:
    """Nothing is kept."""
    assert not keep_starts
    kind = known(problem.form)
    return together(functools.partial(forward_call, kind, directions, keep=False), runs)


def forward(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
    """What the gradient needs is kept."""
    kind = known(problem.form)
    return together(functools.partial(forward_call, kind, directions, keep=True), runs)


def backward(problem: Problem, directions: Directions, runs: list[Run]) -> list[Any]:
    """The way back."""
    kind = known(problem.form)
    return together(functools.partial(backward_call, kind, directions), runs)


def gradients(problem: Problem, networks: list[Products]) -> list[PyTree]:
    """The gradients of all weights; where rows stand on several devices, XLA has to add them up."""
    kind = known(problem.form)
    if not manual.rows_are_here():
        return weight_gradients(problem, networks)
    arrays, present = [], []
    networks = [with_axis_of_rows(network) for network in networks]
    every = [network.starts for network in networks]
    for n, (params, xs, deltas, _, mask) in enumerate(networks):
        others = deltas[1] if kind.extra else ABSENT
        arrays += [xs, *starts_of(every, n), deltas[0], others, given(mask)]
        present += [True, True, params.b is not None]
        present.append(kind.reset_after and params.b_hn is not None)
    out = call(GRADIENTS, kind, arrays, present, in_place={})
    answers = []
    for (dw_ih, dw_hh, db, db_hn), network in zip(out, networks, strict=True):
        biases = {"b": None if network.params.b is None else db}
        if kind.reset_after:
            biases["b_hn"] = None if network.params.b_hn is None else db_hn
        answers.append(network.params._replace(w_ih=dw_ih, w_hh=dw_hh, **biases))
    return answers


def with_axis_of_rows(network: Products) -> Products:
    """The same where there is a single row."""
    if network.xs.ndim == 3:
        return network
    params, *arrays = network
    return Products(params, *jax.tree.map(lambda x: jnp.expand_dims(x, 1), arrays))


LOOPS = Loops(infer, forward, backward, gradients, skip_padding=True, one_call=True)

"""Run a cell over time: the one driver that every layer stands on."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Lengths, PyTree, Steps
from rnnjax.cells.base import Cell, fresh_carry
from rnnjax.cells.wrappers import check_cell
from rnnjax.methods.base import Call, Method, scan_steps
from rnnjax.methods.choice import Explanation, choose
from rnnjax.sequence.arguments import (
    Sequence,
    check_carry,
    check_params,
    check_sequence,
    with_flags_of_rows,
)
from rnnjax.sequence.meshes import settle


def unroll(
    cell: Cell,
    params: PyTree,
    xs: PyTree,
    carry: PyTree = None,
    *,
    lengths: Lengths | None = None,
    mask: Steps | None = None,
    resets: Steps | None = None,
    reverse: bool = False,
    key: Any = None,
    method: Method | None = None,
) -> tuple[PyTree, PyTree]:
    """Run `cell` over the leading (time) axis of `xs`.

    On an invalid step (`t >= length`, or `mask` False) the carry stands still and the output
    is zero. So a padded row, read in either direction, ends in the carry of its own last valid
    step, and a row of length 0 ends in the carry it began with. What stands in the padding,
    NaN and infinity too, reaches no output and no gradient.

    Works for T = 0, any number of batch axes (none included) and inputs that are a tree, under
    `jit`, `grad`, `vmap`, `shard_map` and meshes of every axis type. Compiled once for each
    cell, method and shape, also when called outside `jit`.

    Args:
        cell: what to run.
        params: from `cell.init`.
        xs: inputs, `(T, *batch, D)`, time first.
        carry: where to begin, such as the last carry of an earlier segment; None means
            `cell.init_carry`.
        lengths: valid steps of each row, `(*batch,)`, within 0..T; traced ones are clipped
            there. None means T.
        mask: True on valid steps, `(T, *batch)`, any pattern; a step counts if lengths and mask
            both say so. None means all of them.
        resets: True where the initial carry (a learned one too) replaces the carry before step
            t is taken, `(T, *batch)`; on invalid steps it does nothing. For packed sequences,
            mark the step of each segment that is read first: with `reverse` that is its last.
        reverse: read from the last step to the first; `ys[t]` still answers `xs[t]`.
        key: switches on the noise of the cell, if it has any; None means no noise.
        method: how to run, such as `Scan()` or `Chunked(256)`; None picks one (see `explain`).
            What it picks may have first derivatives in reverse mode only; `Scan()` has all.

    Returns:
        The final carry, and the outputs `ys`, `(T, *batch, H)`.

    Raises:
        TypeError: for an argument of the wrong kind, structure or dtype.
        ValueError: for a wrong shape, or concrete lengths outside 0..T.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.gru(5)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)), lengths=[7, 0])
        >>> carry.h.shape, ys.shape, float(abs(carry.h[1]).sum())
        ((2, 5), (7, 2, 5), 0.0)
    """
    sequence = check_call("unroll", cell, params, xs, lengths, mask, resets, reverse)
    carry = check_start("unroll", cell, params, sequence, carry, key)
    return unroll_checked(
        "unroll", cell, params, sequence, carry, reverse=reverse, key=key, method=method
    )


def explain(
    cell: Cell,
    params: PyTree,
    xs: PyTree,
    *,
    lengths: Lengths | None = None,
    mask: Steps | None = None,
    resets: Steps | None = None,
    reverse: bool = False,
    method: Method | None = None,
) -> Explanation:
    """Say which method `unroll` would take for these arguments, and why not the others.

    Args:
        cell: what would run.
        params: as for `unroll`.
        xs: as for `unroll`; only shapes and dtypes are read.
        lengths: as for `unroll`.
        mask: as for `unroll`.
        resets: as for `unroll`.
        reverse: as for `unroll`.
        method: as for `unroll`.

    Returns:
        The method, the reason, and the methods passed over; readable when printed.

    Raises:
        TypeError: as `unroll`.
        ValueError: as `unroll`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.elman(5)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> print(rnnjax.explain(cell, params, jnp.ones((7, 2, 3)), method=rnnjax.Scan()))
        Scan(unroll=1): asked for by name
          not Native: ...
          not Fused: another method was asked for by name
          not Linear: it knows cells that are linear in their carry, and this cell is none of them
          not Chunkwise: it knows the mLSTM, and this cell is another
          not Chunked: it pays one more forward pass for memory; ask for it on long sequences
          not Associative: it knows cells that are linear in their carry, and this cell is none ...
          not Newton: it pays for contracting dynamics on parallel hardware; ask for it by name
    """
    sequence = check_call("explain", cell, params, xs, lengths, mask, resets, reverse)
    return choose("explain", method, abstract_call(cell, params, sequence, reverse))


def check_call(
    function: str,
    cell: Cell,
    params: PyTree,
    xs: PyTree,
    lengths: Any,
    mask: Any,
    resets: Any,
    reverse: bool,
) -> Sequence:
    """The checks that `unroll` and `explain` share."""
    check_cell(function, cell)
    _checks.flag(function, "reverse", reverse)
    check_params(function, cell, params)
    spec = cell.in_spec(params)
    return check_sequence(function, spec, xs, lengths=lengths, mask=mask, resets=resets)


def check_start(
    function: str, cell: Cell, params: PyTree, sequence: Sequence, carry: PyTree, key: Any
) -> PyTree:
    """The checks of what a run begins with: its random key and its carry, which is handed back."""
    if key is not None:
        _checks.prng_key(function, key)
    if carry is None:
        return None
    like = jax.eval_shape(lambda p, x: fresh_carry(cell, p, x), params, sequence.xs)
    return check_carry(function, carry, like)


def abstract_call(cell: Cell, params: PyTree, sequence: Sequence, reverse: bool) -> Call:
    """What a method is asked, before a carry is made."""
    xs, mask, resets, lengths = sequence
    return Call(cell, params, xs, None, None, mask, resets, reverse, lengths)


def unroll_checked(
    function: str,
    cell: Cell,
    params: PyTree,
    sequence: Sequence,
    carry: PyTree,
    *,
    reverse: bool,
    key: Any,
    method: Method | None,
) -> tuple[PyTree, PyTree]:
    """Pick the method and run checked arguments; `function` is what messages name."""
    sequence = with_flags_of_rows(cell.in_spec(params), sequence)
    chosen = choose(function, method, abstract_call(cell, params, sequence, reverse))
    return run(cell, chosen.runs, reverse, params, sequence, carry, key)


def unroll_both_ways(
    function: str,
    cell: Cell,
    params: PyTree,
    sequence: Sequence,
    carry: PyTree,
    *,
    reverse: bool,
    key: Any,
    method: Method | None,
) -> tuple[PyTree, PyTree]:
    """The same with two networks, of which the second reads the other way.

    Params, carry, keys and results lead with an axis of 2. Noise may vary over time, and is drawn
    in the order of reading: with it the sequence is turned around, whatever the method.
    """
    first = jax.eval_shape(lambda tree: pick(tree, 0), params)
    sequence = with_flags_of_rows(cell.in_spec(first), sequence)
    call = abstract_call(cell, first, sequence, reverse)
    chosen: Any = choose(function, method, call).runs
    silent = key is None or cell.prepare is None
    if (
        silent
        and call.num_steps
        and hasattr(chosen, "runs_together")
        and chosen.runs_together(call)
    ):
        return run_together(cell, chosen, reverse, params, sequence, carry)
    one_way = functools.partial(run, cell, chosen, reverse)
    return by_turning_around(one_way, params, sequence, carry, key)


def by_turning_around(
    one_way: Callable[..., tuple[PyTree, PyTree]],
    params: PyTree,
    sequence: Sequence,
    carry: PyTree,
    keys: Any,
) -> tuple[PyTree, PyTree]:
    """Both ways in one `vmap`, the sequence turned around for the second network.

    Padding needs no special care: turned around it comes first, and the carry stands still. Only
    lengths would no longer be true.
    """
    sequence = sequence._replace(lengths=None)
    both = jax.tree.map(lambda a: jnp.stack([a, jnp.flip(a, 0)]), sequence)
    carry, ys = jax.vmap(one_way)(params, both, carry, keys)
    return carry, (pick(ys, 0), jax.tree.map(lambda y: jnp.flip(y[1], 0), ys))


def pick(tree: PyTree, number: int) -> PyTree:
    """What belongs to one network."""
    return jax.tree.map(lambda a: a[number], tree)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run(
    cell: Cell,
    method: Method,
    reverse: bool,
    params: PyTree,
    sequence: Sequence,
    carry: PyTree,
    key: Any,
) -> tuple[PyTree, PyTree]:
    """Run checked arguments; compiled once for each cell, method, direction and shape."""
    call = make_call(cell, reverse, params, sequence, carry, key)
    return method.run(call) if call.num_steps else scan_steps(call)  # without steps nothing runs


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def run_together(
    cell: Cell,
    method: Any,
    reverse: bool,
    params: PyTree,
    sequence: Sequence,
    carry: PyTree,
) -> tuple[PyTree, PyTree]:
    """Two networks side by side, the second the other way; results as in `unroll_both_ways`."""
    calls = tuple(
        make_call(cell, turned, pick(params, i), sequence, pick(carry, i), None)
        for i, turned in enumerate((reverse, not reverse))
    )
    (first, forward), (second, backward) = method.run_together(calls, params)
    return jax.tree.map(lambda a, b: jnp.stack([a, b]), first, second), (forward, backward)


def make_call(
    cell: Cell, reverse: bool, params: PyTree, sequence: Sequence, carry: PyTree, key: Any
) -> Call:
    """What a method is given."""
    xs, mask, resets, lengths = sequence
    fresh = fresh_carry(cell, params, xs)
    if key is not None and cell.prepare is not None:
        params, xs = cell.prepare(key, params, xs)
    start = settle(fresh if carry is None else carry, fresh, (params, xs, mask, resets))
    restore = None if resets is None else settle(fresh, fresh, (params, xs, mask, resets))
    return Call(cell, params, xs, start, restore, mask, resets, reverse, lengths)

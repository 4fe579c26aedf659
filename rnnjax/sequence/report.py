"""How the iteration of `Newton` goes on a sequence."""

import functools
from typing import Any

import jax

from rnnjax import _checks
from rnnjax._typing import Lengths, PyTree, Steps
from rnnjax.cells.base import Cell
from rnnjax.methods.choice import check_able
from rnnjax.methods.newton import Newton, NewtonReport
from rnnjax.sequence.arguments import Sequence
from rnnjax.sequence.unroll import abstract_call, check_call, check_start, make_call


def newton_report(
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
    method: Newton | None = None,
) -> NewtonReport:
    """Say whether `Newton` converges on a sequence, and in how many iterations.

    Runs the iteration that `unroll` with this method would run, and none of its fallbacks. Under
    `jit` the numbers are traced like any others.

    Args:
        cell: as for `unroll`.
        params: as for `unroll`.
        xs: as for `unroll`.
        carry: as for `unroll`.
        lengths: as for `unroll`.
        mask: as for `unroll`.
        resets: as for `unroll`.
        reverse: as for `unroll`.
        key: as for `unroll`.
        method: the iteration; None means `Newton()`.

    Returns:
        Whether it converged, the number of iterations, and what the steps miss by.

    Raises:
        TypeError: as `unroll`, and if `method` is another one.
        ValueError: as `unroll`, and where `Newton` cannot serve.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.para_gru(5)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> report = rnnjax.newton_report(cell, params, jnp.ones((1000, 2, 3)))
        >>> bool(report.converged), int(report.iterations) < 10
        (True, True)
    """
    method = Newton() if method is None else method
    if not isinstance(method, Newton):
        got, way_out = repr(method), "only Newton iterates"
        wanted = "be a Newton"
        _checks.refuse("newton_report", "method", wanted, got, way_out, error=TypeError)
    sequence = check_call("newton_report", cell, params, xs, lengths, mask, resets, reverse)
    carry = check_start("newton_report", cell, params, sequence, carry, key)
    check_able("newton_report", method, abstract_call(cell, params, sequence, reverse))
    return report(cell, method, reverse, params, sequence, carry, key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def report(
    cell: Cell,
    method: Newton,
    reverse: bool,
    params: PyTree,
    sequence: Sequence,
    carry: PyTree,
    key: Any,
) -> NewtonReport:
    """The report for checked arguments; compiled as `unroll` is."""
    return method.report(make_call(cell, reverse, params, sequence, carry, key))

"""The elementwise linear recurrence, with a gradient of its own."""

import functools

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Shaped
from rnnjax.methods.linear.solvers import Solver, one_by_one
from rnnjax.methods.lowering import by_platform
from rnnjax.methods.manual import why_not_explicit
from rnnjax.methods.reverse_only import first_order, reverse_mode

IN_KERNELS = ("float32", "bfloat16", "complex64")


def linear_scan(
    a: Shaped[Array, "T *axes"],
    b: Shaped[Array, "T *axes"],
    h: Shaped[Array, "*axes"] | None = None,
    *,
    reverse: bool = False,
) -> Shaped[Array, "T *axes"]:
    r"""Solve a linear recurrence over the leading axis, element by element.

    $$ h_t = a_t \odot h_{t-1} + b_t $$

    Its gradient is the same recurrence, read the other way:
    $\lambda_t = \bar h_t + a_{t+1} \lambda_{t+1}$, $\bar b_t = \lambda_t$,
    $\bar a_t = \lambda_t h_{t-1}$. First derivatives in reverse mode only.

    Args:
        a: factors, `(T, ...)`, real or complex.
        b: what is added, of the same shape and dtype.
        h: where to begin, `(...)`; None means zero.
        reverse: begin with the last step; `hs[t]` still answers `a[t]` and `b[t]`.

    Returns:
        `hs`, `(T, ...)`.

    Raises:
        ValueError: if shapes or dtypes differ.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> rnnjax.linear_scan(jnp.array([0.5, 0.5, 0.5]), jnp.ones(3)).tolist()
        [1.0, 1.5, 1.75]

    Reference: Martin & Cundy, *Parallelizing linear recurrent neural nets over sequence length*
    (2018).
    """
    a, b = _checks.array("linear_scan", "a", a), _checks.array("linear_scan", "b", b)
    _checks.flag("linear_scan", "reverse", reverse)
    if not a.ndim:
        _checks.refuse("linear_scan", "a", "have an axis of time", a.shape, "give (T, ...)")
    begin = jnp.zeros_like(a, shape=a.shape[1:]) if h is None else h
    begin = _checks.array("linear_scan", "h", begin)
    for name, x, shape in (("b", b, a.shape), ("h", begin, a.shape[1:])):
        if x.shape != shape or x.dtype != a.dtype:
            wanted = f"be {a.dtype} of shape {shape}"
            way_out = "broadcast and cast it to fit `a`"
            _checks.refuse("linear_scan", name, wanted, _checks.kind(x), way_out)
    return solve(a, b, begin, reverse, where_lowered)


def where_lowered(a: Array, b: Array, h: Array, reverse: bool) -> Array:
    """A solver: one step after the other; on a TPU its kernel, for the dtypes that it knows."""
    plain = functools.partial(one_by_one, reverse=reverse)
    if str(a.dtype) not in IN_KERNELS or why_not_explicit():
        return plain(a, b, h)

    def kernel(a: Array, b: Array, h: Array) -> Array:
        from rnnjax.methods.tpu.linear import by_kernel  # brings Pallas, which takes a while

        return by_kernel(a, b, h, reverse)

    here = kernel if jax.default_backend() == "tpu" else plain
    return by_platform(here, {"tpu": kernel}, plain)(a, b, h)


def solve(a: Array, b: Array, h: Array, reverse: bool, solver: Solver) -> Array:
    """The same, unchecked, by a solver that is given."""
    if not a.shape[0]:
        return b
    a, b, h = reverse_mode((a, b, h))
    return _solve(solver, reverse, a, b, h)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _solve(solver: Solver, reverse: bool, a: Array, b: Array, h: Array) -> Array:
    return solver(a, b, h, reverse)


def before(hs: Array, h: Array, reverse: bool) -> Array:
    """What each step began with, where the first one that is read began with `h`."""
    return jnp.concatenate([hs[1:], h[None]] if reverse else [h[None], hs[:-1]])


def _forward(solver: Solver, reverse: bool, a: Array, b: Array, h: Array):
    a, b, h = first_order((a, b, h))
    hs = solver(a, b, h, reverse)
    return hs, (a, h, hs)


def _backward(solver: Solver, reverse: bool, residuals: tuple[Array, Array, Array], dhs: Array):
    a, h, hs = residuals
    dhs = first_order(dhs)
    # The factor of a step reaches the one before it; nothing reaches the last one read.
    shifted = before(a, jnp.zeros_like(h), not reverse)
    slopes = solver(shifted, dhs, jnp.zeros_like(h), not reverse)
    begin = -1 if reverse else 0
    return slopes * before(hs, h, reverse), slopes, a[begin] * slopes[begin]


_solve.defvjp(_forward, _backward)

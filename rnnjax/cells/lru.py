"""The linear recurrent unit: a complex diagonal recurrence between two products."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import fresh, in_spec
from rnnjax.cells.dtypes import check_init, matmul, precision
from rnnjax.cells.initializers import glorot_uniform
from rnnjax.cells.linear import ComplexCarry, LinearForm, expand, linear_cell


class LRUParams(NamedTuple):
    """Weights of an LRU; complex ones as real parts, then imaginary parts, side by side.

    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D 2*N"]
    w_ho: Float[Array, "2*N H"]
    w_io: Float[Array, "D H"]
    decay: Float[Array, " N"]
    phase: Float[Array, " N"]
    scale: Float[Array, " N"]
    initial: ComplexCarry | None = None


class LRUInput(NamedTuple):
    """What a step reads: the projected input, and what goes around the recurrence."""

    u: Float[Array, "*batch 2*N"]
    around: Float[Array, "*batch H"]


@value
def lru(
    hidden_features: int,
    *,
    state_features: int | None = None,
    min_radius: float = 0.4,
    max_radius: float = 0.99,
    max_phase: float = 2 * math.pi,
    learned_carry: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the linear recurrent unit.

    $$ h' = \lambda \odot h + e^{\gamma} \odot (x B), \qquad y = \Re(h' C) + x D, \qquad
    \lambda = e^{-e^{\nu} + i e^{\theta}} $$

    The state is complex, and there is no gate: what comes between layers is up to you. Linear
    in the carry, so that methods may run it in parallel over time. It is stable whatever the
    weights, since $|\lambda| < 1$.

    Args:
        hidden_features: H, the width of the output.
        state_features: N, the number of complex numbers in the carry; None is H.
        min_radius: the smallest $|\lambda|$ at first.
        max_radius: the largest; close to 1 remembers long.
        max_phase: the largest angle of $\lambda$ at first, in radians.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of both parts of the state; None is `dtype`, but at least float32.

    Returns:
        A cell with params `LRUParams` and carry `ComplexCarry`.

    Raises:
        ValueError: for a width below 1, radii that do not satisfy `0 < min_radius < max_radius <
            1`, or a phase that is not above zero.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.lru(5, state_features=4).init(jax.random.key(0), in_features=3).w_ih.shape
        (3, 8)

    Reference: Orvieto et al., *Resurrecting recurrent neural networks for long sequences* (2023).
    """
    width = _checks.size("lru", "hidden_features", hidden_features)
    state = width if state_features is None else state_features
    state = _checks.size("lru", "state_features", state)
    radii = _checks.interval("lru", ("min_radius", "max_radius"), (min_radius, max_radius))
    angle = _checks.real("lru", "max_phase", max_phase)
    if angle <= 0:
        _checks.refuse("lru", "max_phase", "be above zero", angle, "2 pi covers the circle")
    _checks.flag("lru", "learned_carry", learned_carry)
    dtypes = precision("lru", dtype, param_dtype, carry_dtype)

    def init(key, in_features):
        rows = check_init("lru.init", key, dtypes, in_features)
        keys = jax.random.split(key, 5)
        uniform = lambda key, low, high: jax.random.uniform(key, (state,), jnp.float32, low, high)
        radius = jnp.sqrt(uniform(keys[0], radii[0] ** 2, radii[1] ** 2))
        decay = jnp.log(-jnp.log(radius))
        phase = jnp.log(uniform(keys[1], 1e-4 * angle, angle))
        scale = 0.5 * jnp.log1p(-jnp.square(radius))
        shapes = ((rows, 2 * state), (2 * state, width), (rows, width))
        weights = [glorot_uniform(key, shape) for key, shape in zip(keys[2:], shapes, strict=True)]
        initial = ComplexCarry(*jnp.zeros((2, state), dtypes.params)) if learned_carry else None
        arrays = [a.astype(dtypes.params) for a in (*weights, decay, phase, scale)]
        return LRUParams(*arrays, initial=initial)

    def init_carry(params, like):
        starts = params.initial or (None, None)
        dtype = dtypes.of_carry(like, params.w_ih)
        return ComplexCarry(*(fresh(start, like, state, dtype) for start in starts))

    def project(params, xs):
        compute, wide = (f(xs, params.w_ih) for f in (dtypes.of_compute, dtypes.of_carry))
        parts = (matmul(xs, w, compute, wide).astype(compute) for w in (params.w_ih, params.w_io))
        return LRUInput(*parts)

    def coefficients(params, z, dtype):
        u_re, u_im = jnp.split(z.u.astype(dtype), 2, axis=-1)
        decay, phase, scale = (
            jnp.exp(p.astype(dtype)) for p in (params.decay, params.phase, params.scale)
        )
        a = jnp.exp(jax.lax.complex(-decay, phase))
        scale = expand(scale, u_re, dtype)
        return expand(a, u_re, a.dtype), jax.lax.complex(scale * u_re, scale * u_im)

    def output(params, h, z):
        parts = jnp.concatenate([h.real, -h.imag], axis=-1)
        read_out = matmul(parts, params.w_ho, z.u.dtype, parts.dtype)
        return (read_out + z.around.astype(parts.dtype)).astype(z.u.dtype)

    form = LinearForm(coefficients, output)
    return linear_cell(init, init_carry, project, form, out_features=width, in_spec=in_spec)

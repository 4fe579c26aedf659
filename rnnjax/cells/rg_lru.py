"""The real-gated linear recurrent unit of Griffin."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, InputSpec, value
from rnnjax.cells.dense import fresh
from rnnjax.cells.dtypes import check_init, precision
from rnnjax.cells.linear import LinearCarry, LinearForm, expand, linear_cell

STEEPEST = 1000.0  # derivative of the square root: beyond it, half precision made NaN of gradients


class RGLRUParams(NamedTuple):
    """Weights of an RG-LRU; gates are packed in the order r, i, within each of N heads.

    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "N d 2*d"]
    b: Float[Array, "N 2*d"]
    decay: Float[Array, " H"]
    initial: LinearCarry | None = None


@value
def rg_lru(
    hidden_features: int,
    *,
    num_heads: int = 1,
    sharpness: float = 8.0,
    min_radius: float = 0.9,
    max_radius: float = 0.999,
    learned_carry: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the RG-LRU, whose gates scale the decay and the input of every unit.

    $$ h' = a \odot h + \sqrt{1 - a^2} \odot (i \odot x), \qquad \log a = -s \, r \odot
    \text{softplus}(\Lambda) $$

    with $r, i = \sigma(x W + b)$, of which $W$ is block-diagonal. Linear in the carry, so that
    methods may run it in parallel over time. The derivative of the square root is bounded by
    1000, as in RecurrentGemma, since it has no limit as a approaches 1. The first step is as
    every other: nothing is scaled up where a sequence begins.

    Args:
        hidden_features: H, the width of `h`, the output and the input.
        num_heads: N, the number of blocks that gates are made in; it divides H.
        sharpness: s, by how much a gate may shorten the memory.
        min_radius: the smallest a that a unit has at first, where its gate is open.
        max_radius: the largest.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `RGLRUParams` and carry `LinearCarry`.

    Raises:
        ValueError: for a width below 1, heads that do not divide it, or radii that do not satisfy
            `0 < min_radius < max_radius < 1`; in `init`, for an input width that is not H.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.rg_lru(6, num_heads=2).init(jax.random.key(0), in_features=6).w_ih.shape
        (2, 3, 6)

    Reference: De et al., *Griffin: mixing gated linear recurrences with local attention for
    efficient language models* (2024).
    """
    width = _checks.size("rg_lru", "hidden_features", hidden_features)
    heads = _checks.heads("rg_lru", num_heads, width)
    sharp = _checks.real("rg_lru", "sharpness", sharpness)
    radii = _checks.interval("rg_lru", ("min_radius", "max_radius"), (min_radius, max_radius))
    _checks.flag("rg_lru", "learned_carry", learned_carry)
    dtypes = precision("rg_lru", dtype, param_dtype, carry_dtype)

    def init(key, in_features):
        if check_init("rg_lru.init", key, dtypes, in_features) != width:
            way_out = "put rnnjax.dense(...) before it, or choose hidden_features to fit"
            _checks.refuse("rg_lru.init", "in_features", f"be {width}", in_features, way_out)
        key_w, key_decay = jax.random.split(key)
        size = width // heads
        draw = jax.nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
        w_ih = draw(key_w, (heads, size, 2 * size), jnp.float32).astype(dtypes.params)
        reached = jax.random.uniform(key_decay, (width,), jnp.float32, *radii)
        decay = jnp.log(jnp.expm1(-jnp.log(reached) / sharp)).astype(dtypes.params)
        initial = LinearCarry(jnp.zeros(width, dtypes.params)) if learned_carry else None
        return RGLRUParams(w_ih, jnp.zeros((heads, 2 * size), dtypes.params), decay, initial)

    def init_carry(params, like):
        start = None if params.initial is None else params.initial.h
        return LinearCarry(fresh(start, like, width, dtypes.of_carry(like, params.w_ih)))

    def project(params, xs):
        compute, wide = (f(xs, params.w_ih) for f in (dtypes.of_compute, dtypes.of_carry))
        blocks = xs.astype(compute).reshape(*xs.shape[:-1], heads, width // heads)
        s = jnp.einsum(
            "...nd,ndg->...ng", blocks, params.w_ih.astype(compute), preferred_element_type=wide
        )
        s = s + jnp.expand_dims(params.b.astype(s.dtype), range(s.ndim - 2))
        r, i = (gate.reshape(xs.shape) for gate in jnp.split(s.astype(compute), 2, axis=-1))
        return jnp.concatenate([r, i, xs.astype(compute)], axis=-1)

    def coefficients(params, z, dtype):
        r, i, x = jnp.split(z.astype(dtype), 3, axis=-1)
        decay = -sharp * jax.nn.softplus(params.decay.astype(dtype))
        log_a = jax.nn.sigmoid(r) * expand(decay, r, dtype)
        return jnp.exp(log_a), bounded_sqrt(-jnp.expm1(2 * log_a)) * jax.nn.sigmoid(i) * x

    def output(params, h, z):
        return h.astype(z.dtype)

    return linear_cell(
        init,
        init_carry,
        project,
        LinearForm(coefficients, output),
        out_features=width,
        in_spec=lambda params: InputSpec((width,)),
    )


@jax.custom_jvp
def bounded_sqrt(x: Array) -> Array:
    """The square root, with a derivative of at most 1000."""
    return jnp.sqrt(x)


@bounded_sqrt.defjvp
def _bounded_sqrt_rule(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return jnp.sqrt(x), dx / (2 * jnp.sqrt(jnp.maximum(x, (0.5 / STEEPEST) ** 2)))

"""The mLSTM some steps at a time: parallel inside a chunk, recurrent between chunks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, PyTree
from rnnjax.cells.dtypes import promote
from rnnjax.cells.mlstm import MLSTMCarry, MLSTMForm, MLSTMInputs, mlstm_readout
from rnnjax.methods import manual
from rnnjax.methods.base import Call, keep, zeros_like
from rnnjax.methods.chunked import in_segments


@dataclasses.dataclass(frozen=True)
class Chunkwise:
    """Run the mLSTM chunk by chunk: inside a chunk all steps at once, as an attention.

    A step of `Scan` reads and writes the whole memory matrix, and its gradient keeps one a step.
    Here the matrix is touched once a chunk, the rest are matmuls, and a gradient keeps one matrix
    a chunk and computes each chunk once more. Numbers are those of `Scan`, up to the order of
    summation, and so are the gradients, in both modes and of any order. But a `carry_dtype` below
    float32 is rounded to between chunks alone, and a NaN at a step that counts spoils the whole
    chunk and all later ones, past resets too.

    Attributes:
        size: steps in a chunk; it need not divide T, but one that does spares a copy. Work inside
            a chunk grows with it, the number of matrices that are kept falls.

    Raises:
        ValueError: if `size` is below 1.

    Reference: Beck et al., *Tiled flash linear attention* (2025), of which this is the simple
    chunkwise form.
    """

    size: int = 32

    def __post_init__(self) -> None:
        _checks.size("Chunkwise", "size", self.size)

    def why_not(self, call: Call) -> str | None:
        """Other cells have no form that is parallel in a chunk."""
        if not isinstance(call.cell.form, MLSTMForm):
            return "it knows the mLSTM, and this cell is another"
        return manual.why_not_explicit()

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Project all inputs at once, then scan over chunks."""
        xs = call.xs if call.mask is None else keep(call.mask, call.xs, zeros_like(call.xs))
        zs = call.cell.project(call.params, xs)
        return in_segments(one_chunk, call._replace(xs=zs), self.size)


def one_chunk(call: Call) -> tuple[MLSTMCarry, Array]:
    """Run one chunk; the `xs` of the call are what the cell's `project` made.

    Axes are `(*batch, N, L, features)` inside, for L steps in reading order.
    """
    z, mask, resets = call.xs, call.mask, call.resets
    if call.reverse:
        z, mask, resets = jax.tree.map(lambda a: jnp.flip(a, 0), (z, mask, resets))
    dtype = promote(z.i.dtype, call.carry.c.dtype)
    c, n, m = (leaf.astype(dtype) for leaf in call.carry)
    q, k, v = (jnp.moveaxis(leaf.astype(dtype), 0, -2) for leaf in (z.q, z.k, z.v))
    into, within = exponents(z, m, mask, resets)

    shift = finite(largest(*jax.lax.stop_gradient((into, within))))  # no output depends on it
    from_past = jnp.exp(into - shift)
    weights = jnp.exp(within - jnp.expand_dims(shift, -1)) * jnp.matmul(q, k.mT)
    numerator = jnp.expand_dims(from_past, -1) * jnp.matmul(q, c) + jnp.matmul(weights, v)
    normaliser = from_past * jnp.matmul(q, jnp.expand_dims(n, -1))[..., 0] + weights.sum(-1)
    h = jnp.moveaxis(mlstm_readout(numerator, normaliser, shift), -2, 0)
    ys = (z.o.astype(dtype) * h.reshape(z.o.shape)).astype(z.o.dtype)

    into, within = into[..., -1], within[..., -1, :]
    m = largest(into, within)
    past = jnp.expand_dims(jnp.exp(into - finite(m)), -1)
    k = k * jnp.expand_dims(jnp.exp(within - jnp.expand_dims(finite(m), -1)), -1)
    c, n = jnp.expand_dims(past, -1) * c + jnp.matmul(k.mT, v), past * n + k.sum(-2)
    carry = MLSTMCarry(*(a.astype(b.dtype) for a, b in zip((c, n, m), call.carry, strict=True)))
    if mask is not None:
        carry, ys = keep(mask.any(0), carry, call.carry), keep(mask, ys, zeros_like(ys))
    return carry, jnp.flip(ys, 0) if call.reverse else ys


def exponents(z: MLSTMInputs, m: Array, mask: Any, resets: Any) -> tuple[Array, Array]:
    """Logarithms of the weights that each step gives to the carry, and to the steps of the chunk.

    An invalid step adds nothing and forgets nothing, a reset forgets everything before it.

    Returns:
        `(*batch, N, L)`, and `(*batch, N, L, L)` with -inf where a step would look ahead.
    """
    i, log_f = (jnp.moveaxis(leaf.astype(m.dtype), 0, -1) for leaf in (z.i, z.log_f))
    per_head = lambda flags: jnp.expand_dims(jnp.moveaxis(flags, 0, -1), -2)
    if mask is not None:
        i = jnp.where(per_head(mask), i, -jnp.inf)
        log_f = jnp.where(per_head(mask), log_f, 0.0)
    if resets is not None:
        cut = resets if mask is None else resets & mask
        log_f = jnp.where(per_head(cut), -jnp.inf, log_f)
    into = jnp.cumsum(log_f, axis=-1) + jnp.expand_dims(m, -1)
    size, axes = i.shape[-1], range(i.ndim - 1)
    triangle = lambda k: jnp.expand_dims(jnp.tri(size, k=k, dtype=bool), axes)
    # Summed from one step to the other, since differences of long sums would be all rounding.
    decay = jnp.cumsum(jnp.where(triangle(-1), jnp.expand_dims(log_f, -1), 0.0), axis=-2)
    return into, jnp.where(triangle(0), decay + jnp.expand_dims(i, -2), -jnp.inf)


def largest(into: Array, within: Array) -> Array:
    """The new m: what stands in no step is the carry's, so it wins where they are equal."""
    inside = within.max(-1)
    return jnp.where(into >= inside, into, inside)


def finite(m: Array) -> Array:
    """Zero where nothing was read yet, so that -inf is not taken from -inf."""
    return jnp.where(m == -jnp.inf, 0.0, m)

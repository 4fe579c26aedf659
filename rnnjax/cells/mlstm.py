"""The mLSTM: an LSTM whose memory is a matrix, and whose gates never look at it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import fresh, in_spec
from rnnjax.cells.dtypes import at_least_float32, check_init, matmul, precision, promote
from rnnjax.cells.initializers import Initializer, glorot_uniform, per_gate

LARGEST_M = 30.0  # exp(-m) is held above exp(-30), so that what is divided by is never zero


class MLSTMCarry(NamedTuple):
    """What an mLSTM hands from one step to the next: one matrix memory a head.

    `c` and `n` are kept divided by `exp(m)`. A fresh carry has `m` = -inf, so that rows may start
    at different times: whatever comes first counts in full.
    """

    c: Float[Array, "*batch N d_k d_v"]
    n: Float[Array, "*batch N d_k"]
    m: Float[Array, "*batch N"]


class MLSTMParams(NamedTuple):
    """mLSTM weights, packed along the last axis in the order q, k, v, i, f, o.

    q and k are `N d_k` wide, v and o are H, i and f are N; heads stand side by side.
    """

    w_ih: Float[Array, "D G"]
    b: Float[Array, " G"]


class MLSTMInputs(NamedTuple):
    """What an mLSTM makes of its inputs: all but the recurrence.

    `q` is divided by the root of d_k, `i` is the exponent of the input gate, `log_f` the logarithm
    of the forget gate, `o` the output gate itself.
    """

    q: Float[Array, "*steps N d_k"]
    k: Float[Array, "*steps N d_k"]
    v: Float[Array, "*steps N d_v"]
    i: Float[Array, "*steps N"]
    log_f: Float[Array, "*steps N"]
    o: Float[Array, "*steps H"]


class MLSTMForm(NamedTuple):
    """The mLSTM, as fast methods may restate it; a fresh carry is empty."""

    hidden_features: int
    num_heads: int
    key_features: int


@value
def mlstm(
    hidden_features: int,
    *,
    num_heads: int = 1,
    key_features: int | None = None,
    input_bias: float = 0.0,
    forget_bias: tuple[float, float] = (3.0, 6.0),
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the mLSTM of xLSTM: keys and values are added to a matrix, and a query reads it.

    $$ m' = \max(\log \sigma(\tilde f) + m, \tilde i), \qquad
    f = e^{\log \sigma(\tilde f) + m - m'}, \qquad i = e^{\tilde i - m'} $$
    $$ C' = f C + i\, k^\top v, \qquad n' = f n + i\, k, \qquad
    h = o \odot \frac{\hat q C'}{\max(|\hat q \cdot n'|, e^{-m'})}, \qquad
    \hat q = q / \sqrt{d_k} $$

    for each of N heads by itself, with $q, k, v, \tilde i, \tilde f$ parts of $x W_{ih} + b$, gates
    one number a head, and $o$ the sigmoid of the last part. There are no recurrent weights, so
    that `Chunkwise` can compute many steps at once.

    Nothing is added to the denominator. It is held above $e^{-30}$, which matters only where m
    exceeds 30 and a query is orthogonal to n. A head's q, k or v with an entry above the fourth
    root of the largest number (4e9 in float32) is shrunk to it, so that products can be summed.

    Args:
        hidden_features: H, the width of the output, a multiple of `num_heads`.
        num_heads: N; each head has values of H / N features and a memory of its own.
        key_features: the width d_k of queries and keys of a head; None means H / N.
        input_bias: what the bias of $\tilde i$ starts from. Some published configurations
            take -10, under which outputs start near zero and want a norm behind the cell.
        forget_bias: what the bias of $\tilde f$ starts from in the first and in the last head;
            those between are spread evenly. A single head takes the first.
        w_ih_init: initialiser of the weights, called once a part with shape `(D, width)`, or a
            tuple of six in the order q, k, v, i, f, o.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights. Gates and
            what is summed over time are at least float32.
        param_dtype: of the weights.
        carry_dtype: of the carry; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MLSTMParams` and carry `MLSTMCarry`.

    Raises:
        ValueError: for a width below 1, a width that heads cannot share, a number of
            initialisers that is not six, or of forget biases that is not two.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.mlstm(6, num_heads=2, key_features=4)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 5, 3)))
        >>> carry.c.shape, carry.n.shape, carry.m.shape, ys.shape
        ((5, 2, 4, 3), (5, 2, 4), (5, 2), (7, 5, 6))

    Reference: Beck et al., *xLSTM: extended long short-term memory* (2024).
    """
    width = _checks.size("mlstm", "hidden_features", hidden_features)
    heads = _checks.heads("mlstm", num_heads, width)
    keys = width // heads
    if key_features is not None:
        keys = _checks.size("mlstm", "key_features", key_features)
    inits = per_gate("mlstm", "w_ih_init", w_ih_init, 6)
    start = _checks.real("mlstm", "input_bias", input_bias)
    first, last = _check_ends(forget_bias)
    dtypes = precision("mlstm", dtype, param_dtype, carry_dtype)
    widths = (heads * keys, heads * keys, width, heads, heads, width)
    edges = [sum(widths[: n + 1]) for n in range(5)]

    def init(key, in_features):
        rows = check_init("mlstm.init", key, dtypes, in_features)
        wide = at_least_float32(dtypes.params)
        draws = zip(jax.random.split(key, 6), inits, widths, strict=True)
        w_ih = jnp.concatenate([draw(k, (rows, n), wide) for k, draw, n in draws], axis=-1)
        parts = [jnp.zeros(n, wide) for n in widths]
        parts[3] = jnp.full(heads, start, wide)
        parts[4] = jnp.linspace(first, last, heads, dtype=wide)
        return MLSTMParams(w_ih.astype(dtypes.params), jnp.concatenate(parts).astype(dtypes.params))

    def init_carry(params, like):
        empty = lambda *shape: _empty(like, shape, dtypes.of_carry(like, params.w_ih))
        c, n = empty(heads, keys, width // heads), empty(heads, keys)
        return MLSTMCarry(c, n, empty(heads) - jnp.inf)

    def project(params, xs):
        dtype = dtypes.of_compute(xs, params.w_ih)
        wide = at_least_float32(dtypes.of_carry(xs, params.w_ih))
        zs = matmul(xs, params.w_ih, dtype, wide)
        zs = zs + jnp.expand_dims(params.b.astype(wide), range(zs.ndim - 1))
        q, k, v, i, f, o = jnp.split(zs, edges, axis=-1)
        by_head = lambda a: a.reshape(*a.shape[:-1], heads, a.shape[-1] // heads)
        q, k, v = (_bounded(by_head(a), dtype) for a in (q / keys**0.5, k, v))
        return MLSTMInputs(q, k, v, i, jax.nn.log_sigmoid(f), jax.nn.sigmoid(o).astype(dtype))

    form = MLSTMForm(width, heads, keys)
    return Cell(init, init_carry, project, mlstm_step, width, in_spec=in_spec, form=form)


def mlstm_step(
    params: MLSTMParams, carry: MLSTMCarry, z: MLSTMInputs
) -> tuple[MLSTMCarry, Float[Array, "*batch H"]]:
    """Advance an mLSTM by one step; nothing is read of the params."""
    del params
    dtype = promote(z.i.dtype, carry.c.dtype)
    q, k, v, i, log_f, o = (leaf.astype(dtype) for leaf in z)
    c, n, m = (leaf.astype(dtype) for leaf in carry)
    kept = log_f + m
    m = jnp.maximum(kept, i)
    forget, add = (jnp.expand_dims(jnp.exp(gate - m), -1) for gate in (kept, i))
    k = add * k
    n = forget * n + k
    c = jnp.expand_dims(forget, -1) * c + jnp.expand_dims(k, -1) * jnp.expand_dims(v, -2)
    h = mlstm_readout((jnp.expand_dims(q, -1) * c).sum(-2), (q * n).sum(-1), m)
    new = (leaf.astype(old.dtype) for leaf, old in zip((c, n, m), carry, strict=True))
    return MLSTMCarry(*new), (o * h.reshape(o.shape)).astype(z.o.dtype)


def mlstm_readout(
    numerator: Float[Array, "*steps N d_v"],
    normaliser: Float[Array, "*steps N"],
    m: Float[Array, "*steps N"],
) -> Float[Array, "*steps N d_v"]:
    r"""Return $\hat q C / \max(|\hat q \cdot n|, e^{-m})$ from $\hat q C$ and $\hat q \cdot n$.

    Where m is negative both are taken times $e^m$, which cannot overflow. What is not taken is
    selected away, not multiplied by zero, so that it cannot spoil a gradient.
    """
    scale = jnp.exp(jnp.where(m < 0, m, 0.0))
    least = jnp.exp(-jnp.where(m < 0, 0.0, jnp.where(m < LARGEST_M, m, LARGEST_M)))
    size = scale * jnp.abs(normaliser)
    below = jnp.where(size > least, size, least)
    unit = jnp.expand_dims(jax.lax.stop_gradient(below), -1)  # no square of it in a gradient
    return jnp.expand_dims(scale, -1) * numerator / unit / (jnp.expand_dims(below, -1) / unit)


def _check_ends(ends: Any) -> tuple[float, float]:
    if not isinstance(ends, (tuple, list)):
        got, way_out = _checks.kind(ends), "give it as (3.0, 6.0)"
        wanted = "be the first and the last head's"
        _checks.refuse("mlstm", "forget_bias", wanted, got, way_out, error=TypeError)
    if len(ends) != 2:
        got, way_out = f"{len(ends)} numbers", "those between are spread evenly"
        _checks.refuse("mlstm", "forget_bias", "be two numbers", got, way_out)
    first, last = (_checks.real("mlstm", "forget_bias", end) for end in ends)
    return first, last


def _empty(like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros behind the batch axes of `like`, sharded as it is."""
    zeros = fresh(None, like, 1, dtype)
    lead = jnp.expand_dims(zeros, range(zeros.ndim, zeros.ndim + len(shape) - 1))
    return jnp.broadcast_to(lead, (*zeros.shape[:-1], *shape))


def _bounded(a: Array, dtype: Any) -> Array:
    """Vectors shrunk to the fourth root of the largest number, and to the range of `dtype`."""
    limit = min(float(jnp.finfo(a.dtype).max) ** 0.25, float(jnp.finfo(dtype).max))
    size = jnp.maximum(jnp.abs(a).max(-1, keepdims=True), limit)
    still = jax.lax.stop_gradient(size)
    # This is a * limit / size, but no gradient multiplies by what was not shrunk.
    return (a * (limit / still) / (size / still)).astype(dtype)

"""The LSTM whose pre-activations are normalised over the rows of a batch, step by step."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Float
from rnnjax.cells.base import Cell, InputSpec, value
from rnnjax.cells.dense import DenseParts, dense, fresh
from rnnjax.cells.dtypes import Precision, at_least_float32, matmul, promote
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    lstm_bias,
    orthogonal,
)
from rnnjax.cells.lstm import LSTMCarry
from rnnjax.cells.norm import check_epsilon, input_product
from rnnjax.cells.wrappers.common import Beside


class Moments(NamedTuple):
    """Mean and variance of N numbers, at one step or at each of several."""

    mean: Float[Array, "*steps N"]
    variance: Float[Array, "*steps N"]


class BatchNormStatistics(NamedTuple):
    """Moments of all that a batch-norm LSTM normalises: products with x and h, and c.

    Those in params are running averages of S = `max_steps` steps each.
    """

    x: Moments
    h: Moments
    c: Moments


class BatchNormLSTMParams(NamedTuple):
    """Weights of a batch-norm LSTM; gates are packed in the order i, f, g, o.

    `scale_x` and `scale_h` multiply the normalised products with the input and with h;
    `scale_c` and `shift_c` follow the normalised c. `statistics` are not for an optimizer.
    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    scale_x: Float[Array, " G"]
    scale_h: Float[Array, " G"]
    scale_c: Float[Array, " H"]
    shift_c: Float[Array, " H"]
    b: Float[Array, " G"]
    statistics: BatchNormStatistics
    initial: LSTMCarry | None = None


class BatchNormLSTMCarry(NamedTuple):
    """What a batch-norm LSTM hands on: `count` is how many steps each row has taken.

    It is no integer, so that one can differentiate with respect to a carry.
    """

    h: Float[Array, "*batch H"]
    c: Float[Array, "*batch H"]
    count: Float[Array, "*batch 1"]


class BatchNormForm(NamedTuple):
    """The `form` of a cell that has another one for training.

    Attributes:
        training: it has the same params and carry and normalises with the moments of the batch.
            Its inputs are `Beside(x, valid)`, valid of shape `(*batch, 1)`; where that is False
            the carry stands still. It puts out `(y, OfBatch)`.
    """

    training: Cell


class OfBatch(NamedTuple):
    """What a batch says of one step: its moments, the rows behind them, and their count."""

    statistics: BatchNormStatistics
    rows: Float[Array, "*steps"]
    count: Float[Array, "*steps"]


class TrainingInput(NamedTuple):
    """One step's input to the training cell: the input half as the gates want it, and more."""

    a: Float[Array, "*batch G"]
    valid: Bool[Array, "*batch 1"]
    moments: Moments


@value
def batch_norm_lstm(
    hidden_features: int,
    *,
    max_steps: int,
    epsilon: float = 1e-5,
    forget_bias: float | Chrono = 1.0,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM with recurrent batch normalisation.

    $$ s = \gamma_x \odot N(x W_{ih}) + \gamma_h \odot N(h W_{hh}) + b, \qquad
       N(v) = \frac{v - \mathrm{mean}_t}{\sqrt{\mathrm{var}_t + \varepsilon}} $$
    $$ c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh(\gamma_c \odot N(c') + \beta_c) $$

    with i, f, o sigmoids of their parts of s, and g the tanh. Mean and variance are of each
    unit by itself, and of each t, which counts the valid steps of a row since it began or was
    reset.

    This cell infers: it reads them from `params.statistics`, so that every row stands for itself,
    and it runs wherever a cell does. To train it, call `rnnjax.unroll_batch_norm` in the loss: it
    takes the moments of the batch, and returns new statistics. `unroll` never makes any: they
    would stay at mean 0 and variance 1, but for what an optimizer does to them, as to weights.

    Steps after the last of `max_steps` use its statistics, so that 1 shares them over time.
    Variances below zero count as zero. The carry counts steps in its own dtype.

    Args:
        hidden_features: H, the width of `h`, `c` and the output.
        max_steps: S, for how many steps there are statistics, such as the longest sequence of
            the training set.
        epsilon: what is added to the variance, at least 1e-30.
        forget_bias: what the forget gate's bias starts from, or `chrono(max_steps)`.
        learned_carry: whether the initial `h` and `c` are parameters; they start from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of four in the order i, f, g, o.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights; statistics are float32 at least.
        carry_dtype: of the carry; None is `dtype`, but at least float32.

    Returns:
        A cell with params `BatchNormLSTMParams`, whose scales start from 0.1 and `shift_c` from
        0, and carry `BatchNormLSTMCarry`.

    Raises:
        ValueError: for a width or `max_steps` below 1, an `epsilon` below 1e-30, a number of
            initialisers that is not four, or a `carry_dtype` that cannot count `max_steps`.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> cell = rnnjax.batch_norm_lstm(5, max_steps=7)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> params.statistics.h.mean.shape, params.statistics.c.variance.shape
        ((7, 20), (7, 5))

    Reference: Cooijmans et al., *Recurrent batch normalization* (2017), eqs. 6 to 8.
    """
    name = "batch_norm_lstm"
    parts = dense(
        name,
        hidden_features,
        LSTMCarry,
        num_gates=4,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    max_steps = check_max_steps(name, max_steps, parts.dtypes)
    epsilon = check_epsilon(name, epsilon)
    draw_bias = lstm_bias(name, forget_bias)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        width, dtype = parts.width, parts.dtypes.params
        return BatchNormLSTMParams(
            w_ih,
            w_hh,
            scale_x=jnp.full(4 * width, 0.1, dtype),
            scale_h=jnp.full(4 * width, 0.1, dtype),
            scale_c=jnp.full(width, 0.1, dtype),
            shift_c=jnp.zeros(width, dtype),
            b=draw_bias(key_b, width, dtype),
            statistics=initial_statistics(max_steps, width, at_least_float32(dtype)),
            initial=parts.initial(),
        )

    def init_carry(params, like):
        h, c = parts.init_carry(params, like)
        return BatchNormLSTMCarry(h, c, fresh(None, like, 1, h.dtype))

    def project(params, xs):
        v, dtype = input_product(parts, params, xs)
        return (v - jnp.expand_dims(centre(params, v.dtype), range(v.ndim - 1))).astype(dtype)

    step = functools.partial(inference_step, epsilon=epsilon)
    cell = parts.cell(init, step)._replace(init_carry=init_carry, project=project)
    return cell._replace(form=BatchNormForm(training_cell(cell, parts, epsilon)))


def check_max_steps(function: str, max_steps: Any, dtypes: Precision) -> int:
    """A number of steps that the carry can count."""
    max_steps = _checks.size(function, "max_steps", max_steps)
    if dtypes.carry is not None:
        most = 2 ** (jnp.finfo(dtypes.carry).nmant + 1)  # one more is rounded off
        if max_steps - 1 > most:
            got = f"{dtypes.carry.name}, which counts to {most}"
            wanted = f"count to max_steps - 1 = {max_steps - 1}"
            _checks.refuse(function, "carry_dtype", wanted, got, "float32 counts to 16777216")
    return max_steps


def initial_statistics(max_steps: int, width: int, dtype: Any) -> BatchNormStatistics:
    """Mean 0 and variance 1."""

    def moments(n):
        return Moments(jnp.zeros((max_steps, n), dtype), jnp.ones((max_steps, n), dtype))

    return BatchNormStatistics(moments(4 * width), moments(4 * width), moments(width))


def batch_norm_lstm_step(
    params: BatchNormLSTMParams,
    carry: BatchNormLSTMCarry,
    a: Float[Array, "*batch G"],
    *,
    dtype: Any,
    normal_h: Callable[[Array], tuple[Array, Moments]],
    normal_c: Callable[[Array], tuple[Array, Moments]],
) -> tuple[BatchNormLSTMCarry, Float[Array, "*batch H"], tuple[Moments, Moments]]:
    """Advance a batch-norm LSTM by one step, whoever knows the moments.

    `a` is the normalised input half with the bias, as wide as gates are computed; `dtype` that
    of matmul inputs and the output. The last result are the moments of products with h, and of c.
    """
    from_h, moments_h = normal_h(matmul(carry.h, params.w_hh, dtype, a.dtype))
    i, f, g, o = jnp.split(a + from_h, 4, axis=-1)
    c = jax.nn.sigmoid(f) * carry.c.astype(a.dtype) + jax.nn.sigmoid(i) * jnp.tanh(g)
    seen, moments_c = normal_c(c)
    h = jax.nn.sigmoid(o) * jnp.tanh(seen)
    kind = carry.h.dtype
    new = BatchNormLSTMCarry(h.astype(kind), c.astype(kind), carry.count + 1)
    return new, h.astype(dtype), (moments_h, moments_c)


def inference_step(
    params: BatchNormLSTMParams,
    carry: BatchNormLSTMCarry,
    z: Float[Array, "*batch G"],
    *,
    epsilon: float,
) -> tuple[BatchNormLSTMCarry, Float[Array, "*batch H"]]:
    """Advance by one step with the running averages; `z` is the centred product with the input."""
    at = jax.tree.map(functools.partial(read, carry.count[..., 0]), params.statistics)
    mean = at.x.mean - jnp.expand_dims(centre(params, at.x.mean.dtype), range(at.x.mean.ndim - 1))
    at = at._replace(x=at.x._replace(mean=mean))

    def normal(moments, scale, shift=None):
        return lambda v: (by_moments(v, moments, scale, shift, epsilon=epsilon), moments)

    dtype = at_least_float32(promote(z.dtype, carry.h.dtype))
    a, _ = normal(at.x, params.scale_x, params.b)(z.astype(dtype))
    carry, y, _ = batch_norm_lstm_step(
        params,
        carry,
        a,
        dtype=z.dtype,
        normal_h=normal(at.h, params.scale_h),
        normal_c=normal(at.c, params.scale_c, params.shift_c),
    )
    return carry, y


def centre(params: BatchNormLSTMParams, dtype: Any) -> Float[Array, " G"]:
    """Taken off products before they are rounded, so that far from zero they lose no more.

    The mean of the first step: near those of the others, and read at no cost in every step.
    """
    return params.statistics.x.mean[0].astype(dtype)


def read(count: Float[Array, "*batch"], table: Float[Array, "S N"]) -> Float[Array, "*batch N"]:
    """The entries for rows that have taken so many steps; the last for all later ones."""
    slot = count.astype(jnp.int32)
    # On a mesh with explicit axes a gather must be told where its result lives.
    explicit = jax.sharding.get_abstract_mesh().explicit_axes
    where = jax.P(*jax.typeof(slot).sharding.spec, None) if explicit else None
    return table.at[slot].get(mode="clip", wrap_negative_indices=False, out_sharding=where)


def training_cell(cell: Cell, parts: DenseParts, epsilon: float) -> Cell:
    """The cell that normalises with the moments of the batch; see `BatchNormForm`."""

    def project(params, inputs):
        v, dtype = input_product(parts, params, inputs.xs)
        a, moments = by_batch(
            v, inputs.other, params.scale_x, params.b, time_axes=1, epsilon=epsilon
        )
        return TrainingInput(a.astype(dtype), inputs.other, moments)

    def step(params, carry, z):
        normal = functools.partial(by_batch, valid=z.valid, epsilon=epsilon)
        new, y, (moments_h, moments_c) = batch_norm_lstm_step(
            params,
            carry,
            z.a.astype(at_least_float32(promote(z.a.dtype, carry.h.dtype))),
            dtype=z.a.dtype,
            normal_h=functools.partial(normal, scale=params.scale_h),
            normal_c=functools.partial(normal, scale=params.scale_c, shift=params.shift_c),
        )
        keep = lambda new, old: jnp.where(z.valid, new, old)
        count = jax.lax.stop_gradient(carry.count)
        of_batch = OfBatch(
            BatchNormStatistics(z.moments, moments_h, moments_c),
            rows=z.valid.sum(dtype=z.moments.mean.dtype),
            count=count.max(initial=0, where=z.valid),
        )
        return jax.tree.map(keep, new, carry), (keep(y, jnp.zeros_like(y)), of_batch)

    return Cell(
        init=cell.init,
        init_carry=lambda params, like: cell.init_carry(params, like.xs),
        project=project,
        step=step,
        out_features=cell.out_features,
        in_spec=lambda params: Beside(cell.in_spec(params), InputSpec((1,), jnp.bool_)),
        output_is_h=False,
    )


def by_moments(
    v: Float[Array, "*batch N"],
    moments: Moments,
    scale: Float[Array, " N"],
    shift: Float[Array, " N"] | None = None,
    *,
    epsilon: float,
) -> Float[Array, "*batch N"]:
    """Take off the mean, divide by the root of the variance, then scale and shift."""
    mean, variance = (a.astype(v.dtype) for a in moments)
    v = (v - mean) * jax.lax.rsqrt(jnp.maximum(variance, 0) + epsilon)
    return affine(v, scale, shift)


def by_batch(
    v: Float[Array, "*steps N"],
    valid: Bool[Array, "*steps 1"],
    scale: Float[Array, " N"],
    shift: Float[Array, " N"] | None = None,
    *,
    epsilon: float,
    time_axes: int = 0,
) -> tuple[Float[Array, "*steps N"], Moments]:
    """The same with the moments of valid rows, which are returned as constants to derivatives.

    The result depends neither on a shift nor, epsilon apart, on a scale of `v`, so both are taken
    off first: no square overflows, and equal numbers become zeros, as a row by itself does.
    Without a valid row nothing is normalised, and the moments mean nothing.
    """
    axes = tuple(range(time_axes, v.ndim - 1))
    still, least = jax.lax.stop_gradient(v), float(jnp.finfo(v.dtype).min)
    top = still.max(axes, keepdims=True, initial=least, where=valid)
    bottom = still.min(axes, keepdims=True, initial=-least, where=valid)
    size = jnp.maximum(top - bottom, 1)
    share = valid.astype(v.dtype)
    share = share / jnp.maximum(share.sum(axes, keepdims=True), 1)
    u = jnp.where(valid, (v - top) / size, 0)
    mean = (share * u).sum(axes, keepdims=True)
    u = jnp.where(valid, u - mean, 0)
    variance = (share * jnp.square(u)).sum(axes, keepdims=True)
    u = u * jax.lax.rsqrt(variance + jnp.square(math.sqrt(epsilon) / size))
    moments = Moments(top + size * mean, jnp.minimum(size * (size * variance), -least))
    constant = lambda a: jax.lax.stop_gradient(a.squeeze(axes))
    return affine(u, scale, shift), jax.tree.map(constant, moments)


def affine(
    v: Float[Array, "*steps N"], scale: Float[Array, " N"], shift: Float[Array, " N"] | None
) -> Float[Array, "*steps N"]:
    """Scale and shift, in the dtype of `v`."""
    spread = lambda a: jnp.expand_dims(a.astype(v.dtype), range(v.ndim - 1))
    return v * spread(scale) if shift is None else v * spread(scale) + spread(shift)

"""The minimal gated cells: their gates do not read the carry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import DenseParts, dense, in_spec
from rnnjax.cells.initializers import Initializer, glorot_uniform
from rnnjax.cells.linear import LinearCarry, LinearForm, linear_cell


class MinimalParams(NamedTuple):
    """Weights of a minGRU (gates z, h) or a minLSTM (gates f, i, h), packed along the last axis.

    `b` is None without bias, `initial` without a learned initial carry.
    """

    w_ih: Float[Array, "D G"]
    b: Float[Array, " G"] | None = None
    initial: LinearCarry | None = None


def identity(x: Array) -> Array:
    """The candidate as it is."""
    return x


def positive(x: Array) -> Array:
    r"""The activation that the log-space form of the minimal cells has: always above zero.

    $$ x + 1/2 \text{ where } x \geq 0, \qquad \sigma(x) \text{ elsewhere} $$

    Reference: Feng et al., *Were RNNs all we needed?* (2024).
    """
    return jnp.where(x >= 0, jnp.maximum(x, 0) + 0.5, jax.nn.sigmoid(x))


@value
def min_gru(
    hidden_features: int,
    *,
    activation: Callable[[Array], Array] = identity,
    bias: bool = True,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the GRU whose gate and candidate do not read the carry.

    $$ h' = (1 - z) \odot h + z \odot \phi(n), \quad z = \sigma(x W_z + b_z), \; n = x W_n + b_n $$

    Linear in the carry, so that methods may run it in parallel over time. As in the paper z lets
    the new state in, where that of `gru` keeps the old one. `positive` as the activation
    makes the function that the paper computes in log space.

    Args:
        hidden_features: H, the width of `h` and the output.
        activation: of the candidate, such as `rnnjax.cells.positive`; none by default.
        bias: whether there is a bias.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of two in the order z, n.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MinimalParams` and carry `LinearCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not two.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.min_gru(5).init(jax.random.key(0), in_features=3).w_ih.shape
        (3, 10)

    Reference: Feng et al., *Were RNNs all we needed?* (2024); Martin & Cundy, *Parallelizing
    linear recurrent neural nets over sequence length* (2018).
    """
    squash = _checks.activation("min_gru", "activation", activation)
    parts = dense(
        "min_gru",
        hidden_features,
        LinearCarry,
        num_gates=2,
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        recurrent=False,
        dtypes=(dtype, param_dtype, carry_dtype),
    )

    def coefficients(params, z, dtype):
        gate, new = jnp.split(z.astype(dtype), 2, axis=-1)
        return jax.nn.sigmoid(-gate), jax.nn.sigmoid(gate) * squash(new)

    return minimal_cell(parts, coefficients)


@value
def min_lstm(
    hidden_features: int,
    *,
    activation: Callable[[Array], Array] = identity,
    bias: bool = True,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the LSTM whose gates do not read the carry and sum to one.

    $$ h' = f' \odot h + i' \odot \phi(n), \quad f' = \frac{f}{f + i}, \; i' = \frac{i}{f + i} $$

    with $f, i = \sigma(x W + b)$ and $n = x W_n + b_n$. Linear in the carry, so that methods may
    run it in parallel over time. The quotients stay exact where both gates underflow.

    Args:
        hidden_features: H, the width of `h` and the output.
        activation: of the candidate, such as `rnnjax.cells.positive`; none by default.
        bias: whether there is a bias.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order f, i, n.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `MinimalParams` and carry `LinearCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not three.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.min_lstm(5).init(jax.random.key(0), in_features=3).w_ih.shape
        (3, 15)

    Reference: Feng et al., *Were RNNs all we needed?* (2024).
    """
    squash = _checks.activation("min_lstm", "activation", activation)
    parts = dense(
        "min_lstm",
        hidden_features,
        LinearCarry,
        num_gates=3,
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        recurrent=False,
        dtypes=(dtype, param_dtype, carry_dtype),
    )

    def coefficients(params, z, dtype):
        f, i, new = jnp.split(z.astype(dtype), 3, axis=-1)
        u = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)
        return jax.nn.sigmoid(u), jax.nn.sigmoid(-u) * squash(new)

    return minimal_cell(parts, coefficients)


def minimal_cell(parts: DenseParts, coefficients: Callable[..., Any]) -> Cell:
    """A cell of dense input weights alone, whose output is its state."""

    def init(key, in_features):
        w_ih, _, _ = parts.input_weights(key, in_features)
        b = jnp.zeros(w_ih.shape[1], parts.dtypes.params) if parts.bias else None
        return MinimalParams(w_ih, b, parts.initial())

    def output(params, h, z):
        return h.astype(z.dtype)

    form = LinearForm(coefficients, output)
    return linear_cell(
        init, parts.init_carry, parts.project, form, out_features=parts.width, in_spec=in_spec
    )

"""The recurrent network whose units do not read each other."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, DiagonalForm, value
from rnnjax.cells.dense import dense
from rnnjax.cells.dtypes import promote
from rnnjax.cells.elman import ElmanCarry
from rnnjax.cells.initializers import Initializer, glorot_uniform


class IndRNNParams(NamedTuple):
    """IndRNN weights; the recurrent ones, `u`, are a vector.

    `b` is None without bias, `initial` without a learned initial carry.
    """

    w_ih: Float[Array, "D H"]
    u: Float[Array, " H"]
    b: Float[Array, " H"] | None = None
    initial: ElmanCarry | None = None


@value
def indrnn(
    hidden_features: int,
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    max_steps: int | None = None,
    bias: bool = True,
    learned_carry: bool = False,
    w_ih_init: Initializer = glorot_uniform,
    u_init: Initializer | None = None,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the independently recurrent cell, whose units read only themselves.

    $$ h' = \phi(x W_{ih} + b + u \odot h) $$

    What a unit remembers after T steps is scaled by $u^T$, so u decides how long it remembers:
    weights start spread over all time scales from none to as long as is safe. Nothing holds them
    there in training; to bound them as the paper does, clip `params.u` after each update. Units
    meet only in the next layer, so stack several.

    Args:
        hidden_features: H, the width of `h` and the output.
        activation: $\phi$, such as `jax.nn.relu` or `jnp.tanh`.
        max_steps: the longest sequence to be read. Weights u then start from a uniform draw
            between 0 and $2^{1/T_{max}}$, so that nothing grows more than twofold over such a
            sequence; None stands for sequences without end, between 0 and 1.
        bias: whether there is a bias.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, shape `(D, H)`.
        u_init: initialiser of u, shape `(H,)`, in place of that draw; then leave `max_steps` out.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `IndRNNParams` and carry `ElmanCarry`.

    Raises:
        ValueError: for a width or `max_steps` below 1, or a `max_steps` beside a `u_init`.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.indrnn(5, max_steps=784).init(jax.random.key(0), in_features=3).u.shape
        (5,)

    Reference: Li, Li, Cook, Zhu & Gao, *Independently recurrent neural network (IndRNN): building
    a longer and deeper RNN* (2018).
    """
    parts = dense(
        "indrnn",
        hidden_features,
        ElmanCarry,
        num_gates=1,
        hh_rows=(),
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=_initializer(max_steps, u_init),
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    squash = _checks.activation("indrnn", "activation", activation)

    def init(key, in_features):
        w_ih, u, _ = parts.weights(key, in_features)
        b = jnp.zeros(parts.width, parts.dtypes.params) if bias else None
        return IndRNNParams(w_ih, u, b, parts.initial())

    step = functools.partial(indrnn_step, activation=squash)
    return parts.cell(init, step, DiagonalForm(parts.width))


def indrnn_step(
    params: IndRNNParams,
    carry: ElmanCarry,
    z: Float[Array, "*batch H"],
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> tuple[ElmanCarry, Float[Array, "*batch H"]]:
    """Advance an IndRNN by one step; only `u` is read of the params, and there is no matmul."""
    dtype = promote(z.dtype, carry.h.dtype)
    u = jnp.expand_dims(params.u.astype(dtype), range(z.ndim - 1))
    h = activation(z.astype(dtype) + u * carry.h.astype(dtype))
    return ElmanCarry(h.astype(carry.h.dtype)), h.astype(z.dtype)


def _initializer(max_steps: int | None, u_init: Initializer | None) -> Initializer:
    """What draws u, from the two options for it."""
    if u_init is None:
        steps = None if max_steps is None else _checks.size("indrnn", "max_steps", max_steps)
        return jax.nn.initializers.uniform(1.0 if steps is None else 2.0 ** (1.0 / steps))
    if max_steps is not None:
        way_out = "leave one of the two out"
        _checks.refuse("indrnn", "max_steps", "be None beside a u_init", max_steps, way_out)
    return _checks.function("indrnn", "u_init", u_init, such_as="jax.nn.initializers.uniform()")

"""The simple recurrent network."""

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense
from rnnjax.cells.dtypes import matmul, promote
from rnnjax.cells.initializers import Initializer, glorot_uniform, orthogonal


class ElmanCarry(NamedTuple):
    """What an Elman cell hands from one step to the next."""

    h: Float[Array, "*batch H"]


class ElmanParams(NamedTuple):
    """Elman weights; `b` is None without bias, `initial` without a learned initial carry."""

    w_ih: Float[Array, "D H"]
    w_hh: Float[Array, "H H"]
    b: Float[Array, " H"] | None = None
    initial: ElmanCarry | None = None


class ElmanForm(NamedTuple):
    """The Elman cell, as fast methods may restate it."""

    hidden_features: int
    activation: Callable[[Array], Array]


@value
def elman(
    hidden_features: int,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    bias: bool = True,
    learned_carry: bool = False,
    w_ih_init: Initializer = glorot_uniform,
    w_hh_init: Initializer = orthogonal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the simple recurrent cell, `nn.RNN` of PyTorch and `SimpleRNN` of Keras.

    $$ h' = \phi(x W_{ih} + b + h W_{hh}) $$

    Args:
        hidden_features: H, the width of `h` and the output.
        activation: $\phi$, such as `jnp.tanh` or `jax.nn.relu`. With relu, start `w_hh_init`
            from `scaled_identity()` and clip gradients.
        bias: whether there is a bias.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, shape `(D, H)`.
        w_hh_init: initialiser of the recurrent weights, shape `(H, H)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `ElmanParams` and carry `ElmanCarry`.

    Raises:
        ValueError: for a width below 1.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.elman(5, activation=jax.nn.relu).init(jax.random.key(0), in_features=3).b.shape
        (5,)

    Reference: Elman, *Finding structure in time* (1990).
    """
    parts = dense(
        "elman",
        hidden_features,
        ElmanCarry,
        num_gates=1,
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    squash = _checks.activation("elman", "activation", activation)

    def init(key, in_features):
        w_ih, w_hh, _ = parts.weights(key, in_features)
        b = jnp.zeros(parts.width, parts.dtypes.params) if bias else None
        return ElmanParams(w_ih, w_hh, b, parts.initial())

    step = functools.partial(elman_step, activation=squash)
    form = ElmanForm(parts.width, squash) if isinstance(squash, Hashable) else None
    return parts.cell(init, step, form)


def elman_step(
    params: ElmanParams,
    carry: ElmanCarry,
    z: Float[Array, "*batch H"],
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
) -> tuple[ElmanCarry, Float[Array, "*batch H"]]:
    """Advance an Elman cell by one step; only `w_hh` is read of the params."""
    dtype = promote(z.dtype, carry.h.dtype)
    h = activation(z.astype(dtype) + matmul(carry.h, params.w_hh, z.dtype, dtype))
    return ElmanCarry(h.astype(carry.h.dtype)), h.astype(z.dtype)

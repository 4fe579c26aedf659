"""The simple recurrent unit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, DiagonalForm, value
from rnnjax.cells.dense import dense, in_spec
from rnnjax.cells.initializers import Initializer, glorot_uniform
from rnnjax.cells.linear import LinearForm, computed_in, expand, linear_cell


class SRUCarry(NamedTuple):
    """What an SRU hands from one step to the next; its output is another number."""

    c: Float[Array, "*batch H"]


class SRUParams(NamedTuple):
    """Weights of an SRU, packed in the order candidate, f, r, highway.

    `v` are the weights of f and r for the carry; None where gates do not read it. `initial` is
    None without a learned initial carry.
    """

    w_ih: Float[Array, "D 4*H"]
    b: Float[Array, " 4*H"]
    v: Float[Array, "2 H"] | None = None
    initial: SRUCarry | None = None


@value
def sru(
    hidden_features: int,
    *,
    gates_read_carry: bool = False,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the simple recurrent unit, with its highway.

    $$ c' = f \odot c + (1 - f) \odot n, \qquad y = r \odot c' + (1 - r) \odot u $$

    with $n, u$ and the arguments of $f, r = \sigma(\cdot)$ from $x W + b$. Where gates do not
    read the carry the cell is linear in it, and methods may run it in parallel over time; with
    `gates_read_carry` $v \odot c$ is added to those arguments, and it is not, but `Newton` may run
    it. The highway has a product of its own, so that inputs may have any width.

    Args:
        hidden_features: H, the width of the carry and the output.
        gates_read_carry: whether f and r read the carry, unit by unit.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a group with shape `(D, H)`, or
            a tuple of four in the order n, f, r, u.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `c`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `SRUParams` and carry `SRUCarry`.

    Raises:
        ValueError: for a width below 1, or a number of initialisers that is not four.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.sru(5).init(jax.random.key(0), in_features=3).w_ih.shape
        (3, 20)

    Reference: Lei, Zhang, Wang, Dai & Artzi, *Simple recurrent units for highly parallelizable
    recurrence* (2018).
    """
    reads = _checks.flag("sru", "gates_read_carry", gates_read_carry)
    parts = dense(
        "sru",
        hidden_features,
        SRUCarry,
        num_gates=4,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        recurrent=False,
        dtypes=(dtype, param_dtype, carry_dtype),
    )

    def init(key, in_features):
        w_ih, key_v, _ = parts.input_weights(key, in_features)
        b = jnp.zeros(w_ih.shape[1], parts.dtypes.params)
        v = jax.random.uniform(key_v, (2, parts.width), jnp.float32, -1, 1) if reads else None
        v = None if v is None else v.astype(parts.dtypes.params)
        return SRUParams(w_ih, b, v, parts.initial())

    def coefficients(params, z, dtype):
        n, f, _, _ = jnp.split(z.astype(dtype), 4, axis=-1)
        return jax.nn.sigmoid(f), jax.nn.sigmoid(-f) * n

    def output(params, h, z):
        _, _, r, u = jnp.split(z.astype(h.dtype), 4, axis=-1)
        return (jax.nn.sigmoid(r) * h + jax.nn.sigmoid(-r) * u).astype(z.dtype)

    def step(params, carry, z):
        dtype = computed_in(z, carry)
        n, f, r, u = jnp.split(z.astype(dtype), 4, axis=-1)
        c = carry.c.astype(dtype)
        v_f, v_r = (expand(v, c, dtype) for v in params.v)
        moved = jnp.concatenate([n, f + v_f * c, r + v_r * c, u], axis=-1)
        a, b = coefficients(params, moved, dtype)
        c = a * c + b
        return SRUCarry(c.astype(carry.c.dtype)), output(params, c, moved).astype(z.dtype)

    cell = linear_cell(
        init,
        parts.init_carry,
        parts.project,
        LinearForm(coefficients, output),
        out_features=parts.width,
        in_spec=in_spec,
    )
    return cell._replace(step=step, form=DiagonalForm(parts.width)) if reads else cell

"""The gated recurrent unit, in both of its published forms."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense
from rnnjax.cells.dtypes import matmul, promote
from rnnjax.cells.initializers import (
    Chrono,
    Initializer,
    glorot_uniform,
    gru_bias,
    orthogonal,
)


class GRUCarry(NamedTuple):
    """What a GRU hands from one step to the next."""

    h: Float[Array, "*batch H"]


class GRUParams(NamedTuple):
    """GRU weights; gates are packed along the last axis in the order r, z, n.

    `b_hn` stands inside the product with r, so it cannot be folded into `b`; it is None with
    `reset="before"`, and both are None without bias. `initial` is None unless it is learned.
    """

    w_ih: Float[Array, "D G"]
    w_hh: Float[Array, "H G"]
    b: Float[Array, " G"] | None = None
    b_hn: Float[Array, " H"] | None = None
    initial: GRUCarry | None = None


class GRUForm(NamedTuple):
    """The plain GRU, as fast methods may restate it: sigmoid gates, tanh candidate."""

    hidden_features: int
    reset: str


@value
def gru(
    hidden_features: int,
    *,
    reset: Literal["after", "before"] = "after",
    update_bias: float | Chrono = 0.0,
    bias: bool = True,
    learned_carry: bool = False,
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    w_hh_init: Initializer | tuple[Initializer, ...] = orthogonal,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the GRU, with the reset gate after or before the recurrent product.

    $$ h' = (1 - z) \odot n + z \odot h $$

    with $r, z = \sigma(\cdot)$ of $x W_{ih} + b + h W_{hh}$, and the candidate

    $$ n = \tanh(x W_{in} + b_n + r \odot (h W_{hn} + b_{hn})) \quad \text{reset after} $$
    $$ n = \tanh(x W_{in} + b_n + (r \odot h) W_{hn}) \quad \text{reset before} $$

    Reset after is the GRU of PyTorch and cuDNN, and of Keras's default; before is that of the
    paper, of Haiku and of ONNX's default. They are different functions, and no choice of
    weights turns one into the other. Here z keeps the old state; Haiku and some textbooks give
    z the new one, so theirs is 1 minus ours.

    Args:
        hidden_features: H, the width of `h` and the output.
        reset: where the reset gate acts; `"before"` costs two dependent matmuls a step.
        update_bias: what the bias of z starts from, or `chrono(max_steps)`; larger remembers
            longer.
        bias: whether there are biases; without them, leave `update_bias` alone.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called once a gate with shape `(D, H)`, or
            a tuple of three in the order r, z, n.
        w_hh_init: the same for the recurrent weights, shape `(H, H)`.
        gate_activation: of r and z.
        activation: of n.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `h`; None is `dtype`, but at least float32.

    Returns:
        A cell with params `GRUParams` and carry `GRUCarry`.

    Raises:
        ValueError: for a width below 1, an unknown `reset`, a number of initialisers that is not
            three, or an `update_bias` that has no bias to live in.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.gru(5).init(jax.random.key(0), in_features=3)
        >>> params.w_ih.shape, params.b.shape, params.b_hn.shape
        ((3, 15), (15,), (5,))

    Reference: Cho et al., *Learning phrase representations using RNN encoder-decoder* (2014).
    """
    parts = dense(
        "gru",
        hidden_features,
        GRUCarry,
        num_gates=3,
        bias=bias,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        w_hh_init=w_hh_init,
        dtypes=(dtype, param_dtype, carry_dtype),
    )
    after = _checks.choice("gru", "reset", reset, ("after", "before")) == "after"
    draw_bias = gru_bias("gru", update_bias)
    gate = _checks.activation("gru", "gate_activation", gate_activation)
    squash = _checks.activation("gru", "activation", activation)
    if not bias and update_bias != 0.0:
        way_out = "leave one of the two out"
        _checks.refuse("gru", "update_bias", "be left out where bias=False", update_bias, way_out)

    def init(key, in_features):
        w_ih, w_hh, key_b = parts.weights(key, in_features)
        b = draw_bias(key_b, parts.width, parts.dtypes.params) if bias else None
        b_hn = jnp.zeros(parts.width, parts.dtypes.params) if bias and after else None
        return GRUParams(w_ih, w_hh, b, b_hn, parts.initial())

    plain = gate is jax.nn.sigmoid and squash is jnp.tanh
    advance = gru_step if after else gru_step_reset_before
    step = functools.partial(advance, gate_activation=gate, activation=squash)
    return parts.cell(init, step, GRUForm(parts.width, reset) if plain else None)


def gru_step(
    params: Any,
    carry: GRUCarry,
    z: Float[Array, "*batch G"],
    *,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    product: Callable[..., Array] = matmul,
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """Advance a GRU with reset after by one step: one `product` of h and `w_hh`, and `b_hn`."""
    dtype = promote(z.dtype, carry.h.dtype)
    q = product(carry.h, params.w_hh, z.dtype, dtype)
    carry, h = gru_gates(
        z.astype(dtype),
        q,
        carry,
        params.b_hn,
        gate_activation=gate_activation,
        activation=activation,
    )
    return carry, h.astype(z.dtype)


def gru_gates(
    z: Float[Array, "*batch G"],
    q: Float[Array, "*batch G"],
    carry: GRUCarry,
    b_hn: Float[Array, " H"] | None = None,
    *,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """What a GRU with reset after does with its halves of input and h, packed r, z, n.

    Both have one dtype, and so has the output.
    """
    x_r, x_z, x_n = jnp.split(z, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(q, 3, axis=-1)
    if b_hn is not None:
        h_n = h_n + jnp.expand_dims(b_hn.astype(h_n.dtype), range(h_n.ndim - 1))
    reset, update = gate_activation(x_r + h_r), gate_activation(x_z + h_z)
    candidate = activation(x_n + reset * h_n)
    return _blend(carry, update, candidate, z.dtype)


def gru_step_reset_before(
    params: Any,
    carry: GRUCarry,
    z: Float[Array, "*batch G"],
    *,
    gate_activation: Callable[[Array], Array] = jax.nn.sigmoid,
    activation: Callable[[Array], Array] = jnp.tanh,
    product: Callable[..., Array] = matmul,
) -> tuple[GRUCarry, Float[Array, "*batch H"]]:
    """Advance a GRU with reset before by one step: two `product`s, one of which waits."""
    dtype = promote(z.dtype, carry.h.dtype)
    width = carry.h.shape[-1]
    x_r, x_z, x_n = jnp.split(z.astype(dtype), 3, axis=-1)
    gates = product(carry.h, params.w_hh[..., : 2 * width], z.dtype, dtype)
    h_r, h_z = jnp.split(gates, 2, axis=-1)
    reset, update = gate_activation(x_r + h_r), gate_activation(x_z + h_z)
    kept = reset * carry.h.astype(dtype)
    candidate = activation(x_n + product(kept, params.w_hh[..., 2 * width :], z.dtype, dtype))
    return _blend(carry, update, candidate, z.dtype)


def _blend(carry: GRUCarry, update: Array, candidate: Array, dtype: Any):
    h = (1 - update) * candidate + update * carry.h.astype(update.dtype)
    return GRUCarry(h.astype(carry.h.dtype)), h.astype(dtype)

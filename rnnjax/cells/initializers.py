"""Where weights start: one initialiser a gate, in every floating dtype."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, Key
from rnnjax.cells.dtypes import at_least_float32

Initializer = Callable[..., Any]
"""`key, shape, dtype -> array`, as in `jax.nn.initializers`."""

glorot_uniform: Initializer = jax.nn.initializers.glorot_uniform()
orthogonal: Initializer = jax.nn.initializers.orthogonal()


class Chrono(NamedTuple):
    """Gate biases that remember for up to `max_steps` steps; see `chrono`."""

    max_steps: int

    def __call__(self, key: Any, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        """Draw the biases of the gate that keeps the old state."""
        steps = jax.random.uniform(key, shape, dtype, 1.0, self.max_steps - 1.0)
        return jnp.log(steps)


def chrono(max_steps: int) -> Chrono:
    r"""Spread the memory of the units over time scales up to `max_steps`.

    $$ b_f \sim \log U(1, T_{max} - 1), \qquad b_i = -b_f $$

    Give it as `forget_bias` of an LSTM, whose input gate then starts from the negative, or as
    `update_bias` of a GRU, whose update gate keeps the old state.

    Args:
        max_steps: the longest dependency to be learned, in time steps, at least 3.

    Raises:
        ValueError: if `max_steps` is below 3.

    Reference: Tallec & Ollivier, *Can recurrent neural networks warp time?* (2018).
    """
    if _checks.size("chrono", "max_steps", max_steps) < 3:
        _checks.refuse(
            "chrono", "max_steps", "be at least 3", max_steps, "use a plain bias for shorter memory"
        )
    return Chrono(int(max_steps))


def scaled_identity(scale: float = 1.0) -> Initializer:
    """Start a recurrent matrix from the identity times `scale`, as relu cells want.

    Reference: Le, Jaitly & Hinton, *A simple way to initialize recurrent networks of rectified
    linear units* (2015).
    """
    scale = _checks.real("scaled_identity", "scale", scale)

    def init(key, shape, dtype=jnp.float32):
        return scale * jnp.eye(*shape, dtype=dtype)

    return init


def per_gate(function: str, argument: str, init: Any, num_gates: int) -> tuple[Initializer, ...]:
    """One initialiser a gate, from one for all of them or a tuple of `num_gates`."""
    inits = tuple(init) if isinstance(init, (tuple, list)) else (init,) * num_gates
    if len(inits) != num_gates:
        way_out = "give one for all gates, or a tuple with one a gate"
        _checks.refuse(function, argument, f"name {num_gates} gates", len(inits), way_out)
    for item in inits:
        such_as = "jax.nn.initializers.orthogonal()"
        _checks.function(function, argument, item, such_as=such_as)
    return inits


def packed(
    key: Key[Array, ""], inits: tuple[Initializer, ...], shape: tuple[int, ...], dtype: Any
) -> Float[Array, "*rows G"]:
    """Draw each gate by itself, and pack them along the last axis.

    Drawn in float32 at least: the QR behind `orthogonal` knows no bfloat16.
    """
    wide = at_least_float32(dtype)
    keys = jax.random.split(key, len(inits))
    gates = [init(k, shape, wide) for k, init in zip(keys, inits, strict=True)]
    return jnp.concatenate(gates, axis=-1).astype(dtype)


def lstm_bias(function: str, forget_bias: Any) -> Callable[[Any, int, Any], Any]:
    """How to draw the bias of gates i, f, g, o: `key, width, dtype -> (4 * width,)`."""
    draw_forget = gate_bias(function, "forget_bias", forget_bias)

    def draw(key: Any, width: int, dtype: Any) -> Any:
        forget = draw_forget(key, (width,), jnp.float32)
        zeros = jnp.zeros_like(forget)
        start = -forget if isinstance(forget_bias, Chrono) else zeros
        return jnp.concatenate([start, forget, zeros, zeros]).astype(dtype)

    return draw


def gru_bias(function: str, update_bias: Any) -> Callable[[Any, int, Any], Any]:
    """How to draw the bias of gates r, z, n: `key, width, dtype -> (3 * width,)`."""
    draw_update = gate_bias(function, "update_bias", update_bias)

    def draw(key: Any, width: int, dtype: Any) -> Any:
        update = draw_update(key, (width,), jnp.float32)
        zeros = jnp.zeros_like(update)
        return jnp.concatenate([zeros, update, zeros]).astype(dtype)

    return draw


def gate_bias(
    function: str, argument: str, value: Any
) -> Callable[[Any, tuple[int, ...], Any], Any]:
    """A bias initialiser from a number or from `chrono(...)`."""
    if isinstance(value, Chrono):
        return value
    number = _checks.real(function, argument, value)
    return lambda key, shape, dtype: jnp.full(shape, number, dtype)

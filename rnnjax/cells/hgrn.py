"""The hierarchically gated recurrent network: a complex state, with a bound on forgetting."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.dense import dense, in_spec
from rnnjax.cells.initializers import Initializer, glorot_uniform
from rnnjax.cells.linear import ComplexCarry, LinearForm, expand, linear_cell


class HGRNParams(NamedTuple):
    """Weights of an HGRN of N complex numbers, H = 2N.

    Packed in the order f (N), candidate's real and imaginary part (2N), output gate (2N).
    `initial` is None without a learned initial carry.
    """

    w_ih: Float[Array, "D 5*N"]
    b: Float[Array, " 5*N"]
    phase: Float[Array, " N"]
    initial: ComplexCarry | None = None


@value
def hgrn(
    hidden_features: int,
    *,
    lower_bound: float = 0.0,
    learned_carry: bool = False,
    w_ih_init: Initializer = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the HGRN cell: gated, linear in the carry, with a complex state that turns.

    $$ h' = \alpha e^{i\theta} \odot h + (1 - \alpha) \odot c, \qquad \alpha = \beta +
    (1 - \beta) \sigma(f), \qquad y = \sigma(g) \odot [\Re h', \Im h'] $$

    with $f$, $g$ and both parts of $c = \text{silu}(\cdot)$ from $x W + b$. Give upper layers of
    a stack a higher `lower_bound`: they then keep what lower ones forget. The paper's
    normalisation and output product are layers of their own.

    Args:
        hidden_features: H, the width of the output, even: the carry has H / 2 complex numbers.
        lower_bound: $\beta$, below which no forget gate goes, `0 <= lower_bound < 1`.
        learned_carry: whether the initial carry is a parameter; it starts from zero.
        w_ih_init: initialiser of the input weights, called for each of five groups with shape
            `(D, H / 2)`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of both parts of the state; None is `dtype`, but at least float32.

    Returns:
        A cell with params `HGRNParams` and carry `ComplexCarry`.

    Raises:
        ValueError: for a width that is odd or below 1, or a bound out of range.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.hgrn(6).init(jax.random.key(0), in_features=3).w_ih.shape
        (3, 15)

    Reference: Qin, Yang & Zhong, *Hierarchically gated recurrent neural network for sequence
    modeling* (2023).
    """
    width = _checks.size("hgrn", "hidden_features", hidden_features)
    if width % 2:
        way_out = "the output is two numbers of each complex one"
        _checks.refuse("hgrn", "hidden_features", "be even", width, way_out)
    floor = _checks.real("hgrn", "lower_bound", lower_bound)
    if not 0.0 <= floor < 1.0:
        way_out = "0.0 bounds nothing"
        _checks.refuse("hgrn", "lower_bound", "lie in 0 <= lower_bound < 1", floor, way_out)
    parts = dense(
        "hgrn",
        width // 2,
        ComplexCarry,
        num_gates=5,
        learned_carry=learned_carry,
        w_ih_init=w_ih_init,
        recurrent=False,
        dtypes=(dtype, param_dtype, carry_dtype),
    )

    def init(key, in_features):
        w_ih, key_phase, _ = parts.input_weights(key, in_features)
        phase = jax.random.uniform(key_phase, (parts.width,), jnp.float32, 0, 2 * math.pi)
        b = jnp.zeros(w_ih.shape[1], parts.dtypes.params)
        return HGRNParams(w_ih, b, phase.astype(parts.dtypes.params), parts.initial())

    def coefficients(params, z, dtype):
        f, re, im, _, _ = jnp.split(z.astype(dtype), 5, axis=-1)
        kept = floor + (1 - floor) * jax.nn.sigmoid(f)
        let_in = (1 - floor) * jax.nn.sigmoid(-f)
        phase = expand(params.phase, f, dtype)
        a = jax.lax.complex(kept * jnp.cos(phase), kept * jnp.sin(phase))
        return a, jax.lax.complex(let_in * jax.nn.silu(re), let_in * jax.nn.silu(im))

    def output(params, h, z):
        parts = jnp.concatenate([h.real, h.imag], axis=-1)
        gate = jax.nn.sigmoid(z[..., -width:].astype(parts.dtype))
        return (gate * parts).astype(z.dtype)

    form = LinearForm(coefficients, output)
    return linear_cell(
        init, parts.init_carry, parts.project, form, out_features=width, in_spec=in_spec
    )

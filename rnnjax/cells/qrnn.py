"""The quasi-recurrent network: a causal convolution over time, and pooling."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, InputSpec, value
from rnnjax.cells.dense import fresh
from rnnjax.cells.dtypes import check_init, precision
from rnnjax.cells.initializers import Initializer, glorot_uniform, packed, per_gate
from rnnjax.cells.linear import LinearForm, WindowCarry, linear_cell

GATES = {"f": 2, "fo": 3, "ifo": 4}


class QRNNParams(NamedTuple):
    """Weights of a QRNN for K steps, the newest first; packed in the order n, f, o, i.

    With `"f"` pooling there is no o, and i with `"ifo"` alone.
    """

    w_ih: Float[Array, "K D G"]
    b: Float[Array, " G"]


@value
def qrnn(
    hidden_features: int,
    *,
    kernel_size: int = 2,
    pooling: Literal["f", "fo", "ifo"] = "fo",
    w_ih_init: Initializer | tuple[Initializer, ...] = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    carry_dtype: Any = None,
) -> Cell:
    r"""Make the quasi-recurrent network: gates that read the last K inputs, and no carry.

    $$ c' = f \odot c + (1 - f) \odot n, \qquad y = o \odot c' $$

    with $n = \tanh s_n$, $f, o = \sigma(s)$ and $s_t = b + \sum_{k<K} x_{t-k} W_k$. With `"ifo"`
    pooling an input gate of its own takes the place of $1 - f$; with `"f"`, $y = c'$. Linear in
    the carry, so that methods may run it in parallel over time. The window holds the last inputs
    that counted, and none from before a reset.

    Args:
        hidden_features: H, the width of the carry and the output.
        kernel_size: K, how many inputs a step reads, at least 1.
        pooling: which gates there are.
        w_ih_init: initialiser of the input weights, called once a gate and kernel position with
            shape `(D, H)`, or a tuple with one a gate in the order n, f, o, i.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        carry_dtype: of `c` and the window; None is `dtype`, but at least float32.

    Returns:
        A cell with params `QRNNParams` and carry `WindowCarry`.

    Raises:
        ValueError: for a width or kernel below 1, an unknown pooling, or a number of
            initialisers that is not that of the gates.
        TypeError: for an option of the wrong kind.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.qrnn(5).init(jax.random.key(0), in_features=3).w_ih.shape
        (2, 3, 15)

    Reference: Bradbury, Merity, Xiong & Socher, *Quasi-recurrent neural networks* (2017).
    """
    width = _checks.size("qrnn", "hidden_features", hidden_features)
    taps = _checks.size("qrnn", "kernel_size", kernel_size)
    gates = GATES[_checks.choice("qrnn", "pooling", pooling, tuple(GATES))]
    inits = per_gate("qrnn", "w_ih_init", w_ih_init, gates)
    dtypes = precision("qrnn", dtype, param_dtype, carry_dtype)

    def init(key, in_features):
        rows = check_init("qrnn.init", key, dtypes, in_features)
        keys = jax.random.split(key, taps)
        w_ih = jnp.stack([packed(k, inits, (rows, width), dtypes.params) for k in keys])
        return QRNNParams(w_ih, jnp.zeros(gates * width, dtypes.params))

    def init_carry(params, like):
        dtype = dtypes.of_carry(like, params.w_ih)
        behind = fresh(None, like, (taps - 1) * gates * width, dtype)
        window = behind.reshape(*like.shape[:-1], taps - 1, gates * width)
        return WindowCarry(fresh(None, like, width, dtype), window)

    def project(params, xs):
        compute, wide = (f(xs, params.w_ih) for f in (dtypes.of_compute, dtypes.of_carry))
        zs = jnp.einsum(
            "...d,kdg->...kg",
            xs.astype(compute),
            params.w_ih.astype(compute),
            preferred_element_type=wide,
        )
        first = jnp.arange(taps)[:, None] == 0
        b = jnp.where(first, params.b.astype(wide)[None], jnp.zeros((), wide))
        return (zs + jnp.expand_dims(b, range(zs.ndim - 2))).astype(compute)

    def coefficients(params, s, dtype):
        n, f, *others = jnp.split(s.astype(dtype), gates, axis=-1)
        let_in = jax.nn.sigmoid(others[1] if gates == 4 else -f)
        return jax.nn.sigmoid(f), let_in * jnp.tanh(n)

    def output(params, h, s):
        if gates == 2:
            return h
        return jax.nn.sigmoid(s[..., 2 * width : 3 * width]) * h

    return linear_cell(
        init,
        init_carry,
        project,
        LinearForm(coefficients, output),
        out_features=width,
        in_spec=lambda params: InputSpec((params.w_ih.shape[1],)),
    )

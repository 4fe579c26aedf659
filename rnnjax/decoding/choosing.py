"""What makes the next token of logits: the best one, or one that is drawn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, Int
from rnnjax.cells.base import InputSpec, remembered
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.sequence.arguments import check_kind

NONE = -1  # the token where there is none


def greedy(key: Any, logits: Float[Array, "*batch V"]) -> Int[Array, "*batch"]:
    """Choose the most likely token; of equal ones the first.

    Where logits hold NaN, or none is above minus infinity, there is no token, and the answer is -1;
    an embedding makes NaN of it, so a row stays at -1.

    Args:
        key: not read; None will do.
        logits: of V tokens.

    Returns:
        Tokens, int32.

    Example:
        >>> import jax.numpy as jnp
        >>> from rnnjax import decoding
        >>> decoding.greedy(None, jnp.array([[0.1, 2.0, 2.0], [jnp.nan, 1.0, 0.0]])).tolist()
        [1, -1]
    """
    logits = check_logits("greedy", logits)
    return where_possible(logits, jnp.argmax(logits, -1))


def sampling(
    *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Callable[[Any, Any], Array]:
    r"""Make a choice that draws tokens.

    $$ P(v) \propto e^{l_v / \tau} $$

    over the `top_k` most likely tokens, and of these over the smallest set of the most likely ones
    that has at least the probability `top_p`. Equal options give the same function. Tokens with a
    logit of minus infinity are never drawn. Where logits hold NaN, or none is above minus infinity,
    there is no token, and the answer is -1.

    Args:
        temperature: $\tau$, above 0; less than 1 keeps nearer to what is likely.
        top_k: how many tokens may be drawn; None, or more than there are, means all.
        top_p: how much probability may be drawn from, in 0 < top_p <= 1; None means all.

    Returns:
        `choose(key, logits) -> tokens`, for logits `(*batch, V)`.

    Raises:
        TypeError: for an option of the wrong kind.
        ValueError: for one out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rnnjax import decoding
        >>> choose = decoding.sampling(temperature=0.7, top_k=2)
        >>> int(choose(jax.random.key(0), jnp.array([-jnp.inf, 3.0, -9.0, 1.0]))) in (1, 3)
        True

    Reference: Fan, Lewis & Dauphin, *Hierarchical neural story generation* (2018), for `top_k`;
    Holtzman et al., *The curious case of neural text degeneration* (2020), for `top_p`.
    """
    temperature = _checks.real("sampling", "temperature", temperature)
    if temperature <= 0.0:
        way_out = "decoding.greedy is the limit at 0"
        _checks.refuse("sampling", "temperature", "be above 0", temperature, way_out)
    if top_k is not None:
        top_k = _checks.size("sampling", "top_k", top_k)
    if top_p is not None:
        top_p = _checks.real("sampling", "top_p", top_p)
        if not 0.0 < top_p <= 1.0:
            way_out = "1.0 draws from all"
            _checks.refuse("sampling", "top_p", "lie in 0 < top_p <= 1", top_p, way_out)
    return _sampling(temperature, top_k, top_p)


@remembered(64)
def _sampling(temperature: float, top_k: int | None, top_p: float | None) -> Any:
    def choose(key: Any, logits: Any) -> Array:
        _checks.prng_key("sampling.choose", key)
        logits = check_logits("sampling.choose", logits)
        scaled = from_top(logits.astype(at_least_float32(logits.dtype))) / temperature
        if top_k is None and top_p is None:
            return where_possible(logits, jax.random.categorical(key, scaled))
        count = scaled.shape[-1] if top_k is None else min(top_k, scaled.shape[-1])
        best, tokens = jax.lax.top_k(scaled, count)  # of equal ones the first
        if top_p is not None:
            share = jax.nn.softmax(best)
            best = jnp.where(jnp.cumsum(share, -1) - share < top_p, best, -jnp.inf)
        place = jax.random.categorical(key, best)
        drawn = jnp.take_along_axis(tokens, place[..., None], axis=-1)[..., 0]
        return where_possible(logits, drawn)

    return choose


def from_top(logits: Array) -> Array:
    """Logits less the highest of them, which may be infinite."""
    top = logits.max(-1, keepdims=True)
    shifted = logits - jnp.where(jnp.isfinite(top), top, 0)
    certain = jnp.where(logits == jnp.inf, 0, -jnp.inf).astype(logits.dtype)
    return jnp.where(top == jnp.inf, certain, shifted)


def where_possible(logits: Array, tokens: Array) -> Int[Array, "*batch"]:
    """Tokens, and -1 where logits hold NaN or leave none."""
    possible = logits.max(-1) > -jnp.inf  # not so for NaN
    return jnp.where(possible, tokens.astype(jnp.int32), NONE)


def check_logits(function: str, logits: Any) -> Array:
    """Logits with an axis of tokens."""
    logits = _checks.array(function, "logits", logits)
    if logits.ndim == 0 or not logits.shape[-1]:
        way_out = "let the network end in rnnjax.dense(V)"
        _checks.refuse(function, "logits", "have shape (*batch, V)", logits.shape, way_out)
    check_kind(function, "logits", logits, InputSpec(), cast="jnp.float32")
    return logits

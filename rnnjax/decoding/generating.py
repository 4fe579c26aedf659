"""Generation: what a step puts out becomes what it reads next."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Int, PyTree
from rnnjax.decoding.choosing import greedy
from rnnjax.decoding.programs import (
    Step,
    are_tokens,
    as_arrays,
    check_end,
    check_first,
    check_outcome,
    check_rows,
    check_step_function,
    run,
)
from rnnjax.methods.base import keep, typed_as
from rnnjax.methods.manual import vary, varying_axes


class Generated(NamedTuple):
    """What was generated.

    Attributes:
        carry: after the last step. It has not read the last values; `generate` goes on from both.
        values: what was chosen at each of N steps, `(N, B, ...)`.
        lengths: how many of them count in each row, `(B,)`, the one that ended it, too.
    """

    carry: PyTree
    values: PyTree
    lengths: Int[Array, " B"]


def generate(
    step: Step,
    carry: PyTree,
    first: PyTree,
    *,
    num_steps: int,
    choose: Callable[[Any, Any], Any] = greedy,
    key: Any = None,
    end: int | None = None,
) -> Generated:
    """Generate step by step: each reads what was chosen before.

    One compiled loop. With `end` it stops as soon as every row has ended; without, it has a
    gradient. It goes on from `carry` and `first`: for a prompt, run all but its last token with
    `apply`, and give the carry after that and the last token.

    Args:
        step: `carry, inputs -> carry, outputs`, such as `step_of(layer, params)`. Outside of jit,
            a function of one's own is compiled once as long as it is the same function; what it
            holds is constant.
        carry: where to begin.
        first: what the first step reads: tokens `(B,)`, vectors `(B, D)`, or a tree of them.
        num_steps: N.
        choose: `key, outputs -> values`, which the next step reads: `greedy`, `sampling(...)`, the
            `sample` of `train.mixture_density(...)`, or a function of one's own.
        key: each step has a key of its own that is made of it, the same for any `num_steps`. None
            is for what draws nothing: `choose` is given None.
        end: the token that ends a row. Such a row stands still, its carry too; its other values
            are `end`. None ends no row.

    Returns:
        The carry, the values `(N, B, ...)`, and how many of each row count.

    Raises:
        TypeError: for an argument of the wrong kind, structure or dtype.
        ValueError: for a wrong shape, and options out of range.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> from rnnjax import decoding
        >>> layer = rnnjax.stack(rnnjax.embedding(9, 4), rnnjax.gru(5), rnnjax.dense(9))
        >>> params = layer.init(jax.random.key(0), in_features=None)
        >>> step, start = decoding.step_of(layer, params), jnp.array([1, 1])
        >>> carry = layer.init_carry(params, start)
        >>> draw = {"choose": decoding.sampling(temperature=0.8), "key": jax.random.key(1)}
        >>> decoding.generate(step, carry, start, num_steps=6, **draw).values.shape
        (6, 2)
    """
    check_step_function("generate", step)
    count = _checks.size("generate", "num_steps", num_steps)
    _checks.function("generate", "choose", choose, such_as="decoding.greedy")
    way_out = "give decoding.greedy, or call decoding.sampling() first, which makes one"
    _checks.takes("generate", "choose", choose, ("key", "outputs"), way_out)
    if key is not None:
        _checks.prng_key("generate", key)
    if end is not None:
        end = check_end("generate", end)
    first, carry = check_first("generate", first), as_arrays("generate", carry)
    return run(_generate, step, carry, first, key, num_steps=count, choose=choose, end=end)


def _generate(
    step: Step, carry: PyTree, first: PyTree, key: Any, *, num_steps: int, choose: Any, end: Any
) -> Generated:
    outputs = check_outcome("generate", step, carry, first)
    first = _like_values(first, jax.eval_shape(choose, key, outputs))
    axes = varying_axes((step, carry, first, key))
    carry, first = vary((carry, first), axes)

    def advance(n: Array, carry: PyTree, inputs: PyTree) -> tuple[PyTree, PyTree]:
        after, outputs = step(carry, inputs)
        values = choose(None if key is None else jax.random.fold_in(key, n), outputs)
        return typed_as(after, carry), typed_as(values, inputs)

    if end is not None:
        check_rows("generate", carry, len(jax.tree.leaves(first)[0]))
        return _until(advance, carry, first, num_steps, end)

    def body(state: Any, n: Array) -> Any:
        carry, values = advance(n, *state)
        return (carry, values), values

    steps = jnp.arange(num_steps, dtype=jnp.int32)
    (carry, _), values = jax.lax.scan(body, (carry, first), steps)
    rows = jax.tree.leaves(first)[0].shape[:1]
    return Generated(carry, values, jnp.full(rows, num_steps, jnp.int32))


def _until(advance: Any, carry: PyTree, first: PyTree, num_steps: int, end: int) -> Generated:
    """Steps until every row has ended, or there are enough."""
    if not are_tokens(first):
        got, way_out = _checks.describe(first), "leave it out where values are no tokens"
        _checks.refuse("generate", "end", "go with integers of shape (B,)", got, way_out)

    def body(state: Any) -> Any:
        n, carry, tokens, ended, lengths, values = state
        after, chosen = advance(n, carry, tokens)
        chosen = jnp.where(ended, end, chosen)
        carry = keep(ended, carry, after)
        lengths = lengths + (~ended).astype(jnp.int32)
        values = values.at[n].set(chosen)
        return n + 1, carry, chosen, ended | (chosen == end), lengths, values

    def goes_on(state: Any) -> Any:
        return (state[0] < num_steps) & ~state[3].all()

    none = jnp.zeros_like(first, jnp.int32)
    values = jnp.broadcast_to(jnp.full_like(first, end), (num_steps, *first.shape))
    state = (jnp.int32(0), carry, first, none.astype(bool), none, values)
    state = vary(state, varying_axes(first))
    _, carry, _, _, lengths, values = jax.lax.while_loop(goes_on, body, state)
    return Generated(carry, values, lengths)


def _like_values(first: PyTree, values: PyTree) -> PyTree:
    """The first inputs in the dtypes of those that follow; refuse what is of another form."""
    way_out = "what is chosen is read by the next step, as first is by the first"
    _checks.same_structure("generate", "first", first, values, way_out)

    def leaf(given: Array, like: Any) -> Array:
        kinds = (jnp.integer, jnp.floating)
        same = any(all(jnp.issubdtype(a.dtype, k) for a in (given, like)) for k in kinds)
        if given.dtype != like.dtype and not same:
            wanted, got = f"be {like.dtype.name}, as what is chosen", given.dtype.name
            _checks.refuse("generate", "first", wanted, got, way_out, error=TypeError)
        return jax.lax.convert_element_type(given, like.dtype)

    return jax.tree.map(leaf, first, values)

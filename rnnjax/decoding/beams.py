"""Beam search: the best of several sequences that are written side by side."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Float, Int, PyTree
from rnnjax.cells.dtypes import at_least_float32
from rnnjax.decoding.choosing import NONE
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
from rnnjax.methods.manual import vary, varying_axes


class Beams(NamedTuple):
    """The sequences that beam search found, best first.

    Attributes:
        tokens: W of them for each row, `(W, N, B)`; `end` behind the one that ended it.
        lengths: how many tokens count, that which ended it, too, `(W, B)`.
        scores: log-probabilities, divided by the length penalty, `(W, B)`.
    """

    tokens: Int[Array, "W N B"]
    lengths: Int[Array, "W B"]
    scores: Float[Array, "W B"]


class State(NamedTuple):
    """What the search hands from step to step: W lanes for each row, best first."""

    n: Array
    carry: PyTree
    tokens: Int[Array, "W B"]
    log_probs: Float[Array, "W B"]  # minus infinity in a lane that stands for nothing
    lengths: Int[Array, "W B"]
    ended: Bool[Array, "W B"]
    failed: Bool[Array, " B"]  # NaN was met
    parents: Int[Array, "N W B"]  # the lane from which each came
    history: Int[Array, "N W B"]

    @property
    def live(self) -> Bool[Array, "W B"]:
        """Lanes that may be continued."""
        return ~self.ended & (self.log_probs > -jnp.inf) & ~self.failed[None]


def beam_search(
    step: Step,
    carry: PyTree,
    first: Any,
    *,
    end: int,
    num_steps: int,
    width: int = 4,
    length_penalty: float = 0.0,
) -> Beams:
    r"""Search for the most likely sequences: at each step the best W are kept.

    $$ s(y) = \log P(y) \, / \, ((5 + |y|) / 6)^\alpha $$

    Sequences that ended compete with those that go on, each by the score of its own length; of
    equal ones the better beam, then the lower token, comes first. It stops when all have ended.
    Width 1 is `generate` with `greedy`. There is no promise that the best of all is found, unless W
    is at least the number of sequences.

    A token with a logit of minus infinity is never chosen. Where there are fewer than W possible
    sequences, beams behind them have score minus infinity, length 0 and `end` throughout. A row
    in which a beam meets NaN, or plus infinity, has score NaN and tokens -1, N of them, in all its
    beams.

    Args:
        step: `carry, tokens (B,) -> carry, logits (B, V)`, such as `step_of(layer, params)`. It is
            mapped over beams; what it holds, such as a `Memory`, is not copied for each.
        carry: where to begin; every array leads with rows, B.
        first: what the first step reads, tokens `(B,)`.
        end: the token that ends a sequence.
        num_steps: N, how long sequences get.
        width: W, how many are kept.
        length_penalty: $\alpha$, at least 0; more of it favours longer ones. At 0.0 scores are
            log-probabilities.

    Returns:
        Tokens `(W, N, B)`, lengths `(W, B)` and scores `(W, B)`, best first.

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
        >>> beams = decoding.beam_search(step, carry, start, end=0, num_steps=6, width=3)
        >>> beams.tokens.shape, beams.scores.shape
        ((3, 6, 2), (3, 2))

    Reference: Graves, *Sequence transduction with recurrent neural networks* (2012); Wu et al.,
    *Google's neural machine translation system* (2016), eq. (14), for the length penalty.
    """
    name = "beam_search"
    check_step_function(name, step)
    count = _checks.size(name, "num_steps", num_steps)
    width = _checks.size(name, "width", width)
    penalty = _checks.real(name, "length_penalty", length_penalty)
    if penalty < 0.0:
        way_out = "0.0 compares log-probabilities"
        _checks.refuse(name, "length_penalty", "be at least 0", penalty, way_out)
    end = check_end(name, end)
    first, carry = check_first(name, first), as_arrays(name, carry)
    if not are_tokens(first):
        got, way_out = _checks.describe(first), "give every row the token that begins it"
        _checks.refuse(name, "first", "be integers of shape (B,)", got, way_out, error=TypeError)
    check_rows(name, carry, len(first))
    first = jax.lax.convert_element_type(first, jnp.int32)
    options = {"end": end, "num_steps": count, "width": width, "length_penalty": penalty}
    return run(_search, step, carry, first, **options)


def _search(
    step: Step,
    carry: PyTree,
    first: Array,
    *,
    end: int,
    num_steps: int,
    width: int,
    length_penalty: float,
) -> Beams:
    logits = check_outcome("beam_search", step, carry, first)
    _check_tokens(logits, len(first), end)
    score = lambda state: state.log_probs / _penalty(state, length_penalty)
    state = _start(carry, first, logits, end=end, num_steps=num_steps, width=width)
    state = vary(state, varying_axes((step, carry, first)))
    state = jax.lax.while_loop(
        lambda state: (state.n < num_steps) & state.live.any(),
        lambda state: _advance(step, state, end, length_penalty),
        state,
    )
    impossible, failed = state.log_probs == -jnp.inf, state.failed
    tokens = jnp.where(impossible, end, _traced_back(state))
    lengths = jnp.where(impossible, 0, state.lengths)
    return Beams(
        jnp.moveaxis(jnp.where(failed, NONE, tokens), 0, 1),
        jnp.where(failed, num_steps, lengths),
        jnp.where(failed, jnp.nan, score(state)),
    )


def _start(
    carry: PyTree, first: Array, logits: Any, *, end: int, num_steps: int, width: int
) -> State:
    """One lane that stands for the empty sequence, and others for nothing."""
    spread = lambda a: jnp.broadcast_to(a[None], (width, *a.shape))
    tokens = spread(first)
    lanes = jax.lax.broadcasted_iota(jnp.int32, tokens.shape, 0)
    dtype = at_least_float32(logits.dtype)
    none = jnp.zeros_like(tokens)
    steps = (num_steps, *tokens.shape)
    return State(
        n=jnp.int32(0),
        carry=jax.tree.map(spread, carry),
        tokens=tokens,
        log_probs=jnp.where(lanes == 0, 0, -jnp.inf).astype(dtype),
        lengths=none,
        ended=none.astype(bool),
        failed=jnp.zeros_like(first, bool),
        parents=jnp.broadcast_to(lanes, steps),
        history=jnp.broadcast_to(none + end, steps),
    )


def _advance(step: Step, state: State, end: int, length_penalty: float) -> State:
    """Continue every lane that is live by every token, and keep the best W."""
    carry, logits = jax.vmap(step)(state.carry, state.tokens)
    costs = _log_softmax(logits.astype(state.log_probs.dtype))  # (W, B, V)
    live, vocabulary = state.live, logits.shape[-1]
    broken = jnp.isnan(costs)
    failed = state.failed | (broken & live[..., None]).any((0, 2))
    costs = jnp.where(broken, -jnp.inf, costs)
    state = state._replace(lengths=state.lengths + live.astype(jnp.int32))

    # One that ended is continued in one way, by what it is.
    stays = jax.lax.broadcasted_iota(jnp.int32, costs.shape, 2) == end
    costs = jnp.where(live[..., None], costs, jnp.where(stays, 0, -jnp.inf))
    found = state.log_probs[..., None] + costs
    ranked = found / _penalty(state, length_penalty)[..., None]
    by_row = lambda a: jnp.moveaxis(a, 0, 1).reshape(a.shape[1], -1)  # (B, W * V)
    places = jax.lax.top_k(by_row(ranked), len(live))[1]
    parents, tokens = (places // vocabulary).T, (places % vocabulary).T
    return State(
        n=state.n + 1,
        carry=_picked(carry, parents),
        tokens=tokens,
        log_probs=jnp.take_along_axis(by_row(found), places, axis=1).T,
        lengths=_picked(state.lengths, parents),
        ended=_picked(state.ended, parents) | (tokens == end),
        failed=failed,
        parents=state.parents.at[state.n].set(parents),
        history=state.history.at[state.n].set(tokens),
    )


def _picked(tree: PyTree, lanes: Int[Array, "W B"]) -> PyTree:
    """What stands in these lanes, row by row."""

    def leaf(a: Array) -> Array:
        index = jnp.expand_dims(lanes, range(lanes.ndim, a.ndim))
        return jnp.take_along_axis(a, index, axis=0)

    return jax.tree.map(leaf, tree)


def _traced_back(state: State) -> Int[Array, "N W B"]:
    """The tokens of every lane, from the last to the first."""

    def back(lanes: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        parents, tokens = step
        return _picked(parents, lanes), _picked(tokens, lanes)

    lanes = jax.lax.broadcasted_iota(jnp.int32, state.tokens.shape, 0)
    lanes = vary(lanes, varying_axes(state.parents))
    return jax.lax.scan(back, lanes, (state.parents, state.history), reverse=True)[1]


def _penalty(state: State, alpha: float) -> Float[Array, "W B"]:
    return ((5 + state.lengths.astype(state.log_probs.dtype)) / 6) ** alpha


def _log_softmax(logits: Array) -> Array:
    """NaN where there is no distribution; minus infinity stays what it is."""
    return jnp.where(logits == -jnp.inf, -jnp.inf, jax.nn.log_softmax(logits))


def _check_tokens(logits: Any, rows: int, end: int) -> None:
    """Refuse outputs that are no logits of every row, and an end that is no token."""
    shape = getattr(logits, "shape", ())
    if len(shape) != 2 or shape[0] != rows or not jnp.issubdtype(logits.dtype, jnp.floating):
        wanted, got = f"put out floats of shape ({rows}, V)", _checks.describe(logits)
        way_out = "let the network end in rnnjax.dense(V)"
        _checks.refuse("beam_search", "step", wanted, got, way_out)
    if end >= shape[1]:
        wanted, way_out = f"lie in 0..{shape[1] - 1}", "give the token that ends a sequence"
        _checks.refuse("beam_search", "end", wanted, end, way_out)

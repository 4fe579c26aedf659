"""Scores, weights and contexts: what attention computes once its arguments are checked."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float
from rnnjax.cells.dtypes import Precision, at_least_float32


def read_memory(
    memory: Any, queries: Float[Array, "*steps K"], scores_of: Any, dtypes: Precision
) -> tuple[Array, Array]:
    """Context and weights of projected queries, of one step or of many.

    Args:
        memory: keys, values and mask.
        queries: as wide as the keys, `(*batch, K)` or `(T, *batch, K)`.
        scores_of: a factor for products, or the vector of additive scores.
        dtypes: of the computation.
    """
    one_step = queries.ndim == memory.keys.ndim - 1
    queries = queries[None] if one_step else queries
    if isinstance(scores_of, float):
        scores = _products(memory.keys, queries, dtypes) * scores_of
    else:
        scores = _additive(memory.keys, queries, scores_of, dtypes)
    valid = None
    if memory.mask is not None:
        valid = jnp.broadcast_to(jnp.moveaxis(memory.mask, 0, -1)[None], scores.shape)
    weights = softmax(scores, valid)
    compute = dtypes.of_compute(queries, memory.values)
    context = jnp.einsum(
        "t...s,s...d->t...d",
        weights.astype(compute),
        memory.values.astype(compute),
        preferred_element_type=at_least_float32(compute),
    ).astype(compute)
    return (context[0], weights[0]) if one_step else (context, weights)


def _products(keys: Array, queries: Array, dtypes: Precision) -> Float[Array, "T *batch S"]:
    compute = dtypes.of_compute(queries, keys)
    operands = queries.astype(compute), keys.astype(compute)
    wide = at_least_float32(compute)
    return jnp.einsum("t...k,s...k->t...s", *operands, preferred_element_type=wide)


def _additive(
    keys: Array, queries: Array, v: Array, dtypes: Precision
) -> Float[Array, "T *batch S"]:
    compute = dtypes.of_compute(queries, keys)
    keys = jnp.moveaxis(keys, 0, -2)[None].astype(compute)  # (1, *batch, S, K)
    hidden = jnp.tanh(queries[..., None, :].astype(compute) + keys)
    wide = at_least_float32(compute)
    return jnp.matmul(hidden, v.astype(compute), preferred_element_type=wide)


def softmax(
    scores: Float[Array, "*steps S"], valid: Bool[Array, "*steps S"] | None
) -> Float[Array, "*steps S"]:
    """Weights over the last axis; all of them zero where nothing is valid, with finite slopes."""
    if valid is not None:
        scores = jnp.where(valid, scores, -jnp.inf)
    top = jax.lax.stop_gradient(scores.max(-1, keepdims=True, initial=-jnp.inf))
    top = jnp.where(top == -jnp.inf, 0, top)
    powers = jnp.exp(scores - top)
    total = powers.sum(-1, keepdims=True)
    return powers / jnp.where(total == 0, 1, total)

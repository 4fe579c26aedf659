"""The layer below recurrent ones: a vector for each token."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float
from rnnjax.cells.base import InputSpec, value
from rnnjax.cells.dtypes import precision
from rnnjax.cells.initializers import Initializer
from rnnjax.cells.wrappers.dropout import scale_up
from rnnjax.sequence.arguments import check_tokens
from rnnjax.sequence.layer import Layer, blank

# Vectors of length 1 on average, as Flax's Embed draws them.
unit_length = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


class EmbeddingParams(NamedTuple):
    """A vector for each of V tokens."""

    w: Float[Array, "V H"]


@value
def embedding(
    num_embeddings: int,
    out_features: int,
    *,
    dropout: float = 0.0,
    w_init: Initializer = unit_length,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    r"""Make a layer that looks up a vector for the token of every step.

    $$ y_t = W_{x_t} $$

    Its inputs are whole numbers without an axis of features, `(T, *batch)`. A token outside
    `0..num_embeddings - 1` is an error where it can be seen, and NaN where it cannot (traced).

    Args:
        num_embeddings: how many tokens there are, V.
        out_features: the width of the vectors.
        dropout: the probability of dropping a word, wherever it stands and in every row, drawn
            once for a sequence; vectors of the others are scaled by `1 / (1 - dropout)`. Nothing
            is dropped without a key.
        w_init: initialiser of the vectors, shape `(V, H)`; a pre-trained matrix is
            `lambda key, shape, dtype: matrix`.
        dtype: of outputs; None means that of the weights.
        param_dtype: of the weights.

    Returns:
        A layer with params `EmbeddingParams` and an empty carry; its `init` takes any
        `in_features`, None too.

    Raises:
        TypeError: for an option of the wrong kind, and tokens that are no whole numbers.
        ValueError: if a number is below 1, for a rate out of range, and for concrete tokens out
            of range.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.stack(rnnjax.embedding(50, 8), rnnjax.lstm(16), rnnjax.dense(50))
        >>> params = layer.init(jax.random.key(0), in_features=None)
        >>> layer.apply(params, jnp.array([[3, 1], [4, 1], [5, 9]]))[1].shape
        (3, 2, 50)

    Reference, of dropout: Gal & Ghahramani, *A theoretically grounded application of dropout in
    recurrent neural networks* (2016); as in AWD-LSTM, Merity, Keskar & Socher, *Regularizing and
    optimizing LSTM language models* (2018).
    """
    count = _checks.size("embedding", "num_embeddings", num_embeddings)
    width = _checks.size("embedding", "out_features", out_features)
    rate = _checks.rate("embedding", "dropout", dropout)
    _checks.function("embedding", "w_init", w_init, such_as="jax.nn.initializers.normal()")
    dtypes = precision("embedding", dtype, param_dtype, None)

    def init(key, in_features=None):
        _checks.prng_key("embedding.init", key)
        _checks.usable_dtype("embedding.init", "param_dtype", dtypes.params)
        w = jnp.asarray(w_init(key, (count, width), dtypes.params), dtypes.params)
        if w.shape != (count, width):
            way_out = "give a vector for each token"
            wanted = f"return shape {(count, width)}"
            _checks.refuse("embedding.init", "w_init", wanted, w.shape, way_out)
        return EmbeddingParams(w)

    def run(params, sequence, carry, *, key, method):
        tokens = blank(sequence.xs, sequence.mask)
        check_tokens("embedding", "xs", tokens, None, params.w.shape[0])  # of a layer below
        if tokens.dtype.itemsize < 4:
            tokens = tokens.astype(jnp.int32)  # which can say V
        # Negative ones would count from the end.
        tokens = jnp.where(tokens < 0, params.w.shape[0], tokens)
        ys = look_up(params.w, tokens, jnp.nan)
        if rate and key is not None:
            ys = drop_words(key, params.w.shape[0], tokens, ys, rate)
        return (), blank(ys.astype(dtypes.compute or ys.dtype), sequence.mask)

    def in_spec(params):
        return InputSpec((), jnp.integer, below=params.w.shape[0])

    return Layer("embedding", init, run, lambda in_features: width, in_spec, bool(rate))


def look_up(table: Array, tokens: Array, beyond: Any) -> Array:
    """The row of each token, and `beyond` where there is none; sharded as the tokens are."""
    out = None
    if jax.sharding.get_abstract_mesh().explicit_axes:
        out = jax.P(*jax.typeof(tokens).sharding.spec, *(None,) * (table.ndim - 1))
    return table.at[tokens].get(mode="fill", fill_value=beyond, out_sharding=out)


def drop_words(key: Any, count: int, tokens: Array, ys: Array, rate: float) -> Array:
    """Zero the vectors of words drawn from all of them, and scale the others up."""
    kept = jax.random.bernoulli(key, 1.0 - rate, (count,))
    there = look_up(kept, tokens, True)
    return jnp.where(there[..., None], scale_up(ys, rate), jnp.zeros_like(ys))

"""One matrix for both ends of a language model: it reads tokens, and says how likely each is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Float, PyTree
from rnnjax.cells.base import Cell, value
from rnnjax.cells.recipe import recipe_of
from rnnjax.sequence.dense import DenseParams, dense
from rnnjax.sequence.embedding import EmbeddingParams
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.stack import stack


class TiedParams(NamedTuple):
    """Params of a body with one embedding around it; `b` is None without bias."""

    embedding: EmbeddingParams
    body: PyTree
    b: Float[Array, " V"] | None = None


@value
def tied_embedding(embedding: Layer, body: Cell | Layer, *, bias: bool = True) -> Layer:
    r"""Make a language model that reads and says tokens with the same vectors.

    $$ y_t = \text{body}(W_{x_{1 \dots t}})_t \, W^\top + b $$

    It is `stack(embedding, body, dense(V))` with one matrix for both ends, `(V, H)`, whose gradient
    is that of both. Dropout of the embedding acts on the words read alone.

    Args:
        embedding: made by `rnnjax.embedding(V, H)`; its `dtype` is that of the logits, too.
        body: a cell or layer that makes H features of H, such as `rnnjax.lstm(H)`.
        bias: whether there is a bias; it starts from zero.

    Returns:
        A layer of tokens `(T, *batch)` and logits `(T, *batch, V)`, zero at padding, with params
        `TiedParams` and the carry of `body`.

    Raises:
        TypeError: if `embedding` is not as `rnnjax.embedding` has made it, or `body` is neither
            cell nor layer.
        ValueError: if `body` has another width than the embedding.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.tied_embedding(rnnjax.embedding(50, 8), rnnjax.lstm(8))
        >>> params = layer.init(jax.random.key(0))
        >>> carry, logits = layer.apply(params, jnp.array([[3, 1], [4, 1], [5, 9]]))
        >>> logits.shape, rnnjax.count_parameters((params.embedding, params.b))
        ((3, 2, 50), 450)

    Reference: Press & Wolf, *Using the output embedding to improve language models* (2017); Inan,
    Khosravi & Socher, *Tying word vectors and word classifiers* (2017).
    """
    function = "tied_embedding"
    recipe = recipe_of(embedding)
    if not isinstance(embedding, Layer) or recipe is None or recipe.factory != "embedding":
        got = embedding.name if isinstance(embedding, Layer) else _checks.kind(embedding)
        way_out = "its matrix is read at both ends: the rest goes into the body"
        wanted = "be made by rnnjax.embedding"
        _checks.refuse(function, "embedding", wanted, got, way_out, error=TypeError)
    inner = as_layer(function, body, argument="body")
    _checks.flag(function, "bias", bias)
    count, width = recipe.options["num_embeddings"], recipe.options["out_features"]
    above = inner.out_features(width)
    if above != width:
        way_out = f"end it with rnnjax.dense({width}), or use projected_lstm"
        wanted = f"have {width} features, as the embedding"
        _checks.refuse(function, "body", wanted, above, way_out)
    network = stack(*untied_layers(embedding, inner, bias))

    def init(key, in_features=None):
        _checks.prng_key("tied_embedding.init", key)
        key_embedding, key_body = jax.random.split(key)
        vectors = embedding.init(key_embedding, None)
        b = jnp.zeros(count, vectors.w.dtype) if bias else None
        return TiedParams(vectors, inner.init(key_body, width), b)

    def run(params, sequence, carry, *, key, method):
        carries = None if carry is None else ((), carry, ())
        params = untied(params)
        (_, carry, _), ys = network.run(params, sequence, carries, key=key, method=method)
        return carry, ys

    return Layer(
        name="tied_embedding",
        init=init,
        run=run,
        out_features=lambda in_features: count,
        in_spec=lambda params: embedding.in_spec(params.embedding),
        noisy=network.noisy,
    )


def untied_layers(embedding: Layer, body: Cell | Layer, bias: bool) -> tuple[Layer, Layer, Layer]:
    """The layers of which a stack would do the same."""
    recipe = recipe_of(embedding)
    assert recipe is not None  # the factory has looked
    dtypes = {name: recipe.options[name] for name in ("dtype", "param_dtype")}
    head = dense(recipe.options["num_embeddings"], bias=bias, **dtypes)
    return embedding, as_layer("tied_embedding", body), head


def untied(params: TiedParams) -> tuple[EmbeddingParams, PyTree, DenseParams]:
    """Params of a stack that does the same; they may be abstract, or those of `quantize`."""
    return params.embedding, params.body, DenseParams(_turned(params.embedding.w), params.b)


def _turned(w: PyTree) -> PyTree:
    """The matrix for logits; with it turns the scale of each token, which is a channel there."""

    def leaf(a: Any) -> Any:
        if isinstance(a, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(a.shape[::-1], a.dtype)
        return a.T

    return jax.tree.map(leaf, w)

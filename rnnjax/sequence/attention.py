"""Attention: what a query reads from a memory, such as the states of an encoder."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Float, PyTree
from rnnjax.cells.base import InputSpec, value
from rnnjax.cells.dtypes import Precision, matmul, precision
from rnnjax.cells.initializers import Initializer, glorot_uniform, packed
from rnnjax.cells.recipe import Recipe
from rnnjax.sequence.arguments import check_kind, check_sequence
from rnnjax.sequence.layer import blank
from rnnjax.sequence.reading import read_memory

WAY_OUT = "give what init made for this very attention"


class Memory(NamedTuple):
    """What queries read, S steps of it; made once for each sequence by `Attention.memorise`.

    Attributes:
        keys: what queries are compared with.
        values: what is read; zero at padding.
        mask: True on valid steps; None means all of them.
    """

    keys: Float[Array, "S *batch K"]
    values: Float[Array, "S *batch D"]
    mask: Bool[Array, "S *batch"] | None = None


class Attention(NamedTuple):
    """How queries read a memory: pure functions, made by `dot_attention` or `additive_attention`.

    Attributes:
        init: `key, query_features, memory_features -> params`.
        memorise: `params, memory -> Memory`: all that no query changes, once for each sequence.
            `memory` is `(S, *batch, D)`, time first. With `lengths=` of shape `(*batch,)`, or
            `mask=` of shape `(S, *batch)`, what stands at other steps, NaN too, changes nothing and
            has a gradient of exactly zero.
        read: `params, memory, queries -> context, weights`. Queries are one step's, `(*batch, H)`,
            or those of T steps, `(T, *batch, H)`, which are read in one product. The context is as
            wide as the memory, `(..., D)`; weights `(..., S)`, in float32 at least, sum to 1 over
            valid steps. Of a row without any both are zero.
        recipe: the factory that made it, and its options.
    """

    init: Callable[[Any, int, int], PyTree]
    memorise: Callable[..., Memory]
    read: Callable[[PyTree, Memory, Any], tuple[Array, Array]]
    recipe: Recipe | None = None


class DotAttentionParams(NamedTuple):
    """Weights of `dot_attention` with features."""

    w_query: Float[Array, "H K"]
    w_memory: Float[Array, "D K"]


class AdditiveAttentionParams(NamedTuple):
    """Weights of `additive_attention`."""

    w_query: Float[Array, "H K"]
    w_memory: Float[Array, "D K"]
    b: Float[Array, " K"]
    v: Float[Array, " K"]


@value
def dot_attention(
    features: int | None = None,
    *,
    w_init: Initializer = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Attention:
    r"""Make attention whose scores are scaled products.

    $$ a_{ts} = \text{softmax}_s \, (q_t W_q) \cdot (m_s W_m) / \sqrt{K}, \qquad
       c_t = \sum_s a_{ts} m_s $$

    The memory itself is read, so the context is as wide as the memory. Where no output of a
    decoder goes back into its inputs, all its steps run first, by any method, and read then, all
    at once (Luong); `docs/decoding.md` shows how to read inside the loop.

    Args:
        features: K, the width in which queries and memory are compared. None compares them as they
            are, without any weights; both are then equally wide.
        w_init: initialiser of both matrices, shapes `(H, K)` and `(D, K)`.
        dtype: of matmul inputs and of the context; None takes it from queries, memory and weights.
        param_dtype: of the weights.

    Returns:
        Attention with params `DotAttentionParams`; an empty tuple for `features=None`.

    Raises:
        TypeError: for an option of the wrong kind.
        ValueError: if `features` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> attention = rnnjax.dot_attention(8)
        >>> params = attention.init(jax.random.key(0), query_features=6, memory_features=4)
        >>> memory = attention.memorise(params, jnp.ones((9, 2, 4)), lengths=[9, 5])
        >>> context, weights = attention.read(params, memory, jnp.ones((7, 2, 6)))
        >>> context.shape, weights.shape
        ((7, 2, 4), (7, 2, 9))

    Reference: Luong, Pham & Manning, *Effective approaches to attention-based neural machine
    translation* (2015), "general"; Vaswani et al., *Attention is all you need* (2017), eq. (1).
    """
    name = "dot_attention"
    if features is None:
        return _unweighted(name, precision(name, dtype, param_dtype, None))
    width, dtypes = _options(name, features, w_init, dtype, param_dtype)

    def init(key, query_features, memory_features):
        shapes = (query_features, memory_features, width)
        (w_query, w_memory), _ = _matrices(name, key, dtypes, w_init, shapes)
        return DotAttentionParams(w_query, w_memory)

    def memorise(params, memory, *, lengths=None, mask=None):
        _check_params(f"{name}.memorise", params, DotAttentionParams)
        memory, valid = _check_memory(name, memory, params.w_memory.shape[0], lengths, mask)
        compute = dtypes.of_compute(memory, params.w_memory)
        return Memory(matmul(memory, params.w_memory, compute, compute), memory, valid)

    def read(params, memory, queries):
        _check_params(f"{name}.read", params, DotAttentionParams)
        queries = _check_queries(name, memory, queries, *params.w_query.shape)
        compute = dtypes.of_compute(queries, params.w_query)
        queries = matmul(queries, params.w_query, compute, compute)
        return read_memory(memory, queries, width**-0.5, dtypes)

    return Attention(init, memorise, read)


def _unweighted(name: str, dtypes: Precision) -> Attention:
    """Scaled products of queries and memory as they are."""

    def init(key, query_features, memory_features):
        function = f"{name}.init"
        _checks.prng_key(function, key)
        wanted = _checks.size(function, "memory_features", memory_features)
        if _checks.size(function, "query_features", query_features) != wanted:
            wanted = f"equal memory_features = {wanted} where features is None"
            way_out = "give dot_attention(features) a width in which to compare them"
            _checks.refuse(function, "query_features", wanted, query_features, way_out)
        return ()

    def memorise(params, memory, *, lengths=None, mask=None):
        _check_params(f"{name}.memorise", params, None)
        memory, valid = _check_memory(name, memory, None, lengths, mask)
        return Memory(memory, memory, valid)

    def read(params, memory, queries):
        _check_params(f"{name}.read", params, None)
        queries = _check_queries(name, memory, queries, None, None)
        return read_memory(memory, queries, queries.shape[-1] ** -0.5, dtypes)

    return Attention(init, memorise, read)


@value
def additive_attention(
    features: int,
    *,
    w_init: Initializer = glorot_uniform,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Attention:
    r"""Make attention whose scores are those of a small network.

    $$ a_{ts} = \text{softmax}_s \, v \cdot \tanh(q_t W_q + m_s W_m + b), \qquad
       c_t = \sum_s a_{ts} m_s $$

    The memory itself is read, so the context is as wide as the memory. Queries of T steps at once
    need room for `T * S * K` numbers in each row; `dot_attention` needs `T * S`.

    Args:
        features: K, the width of the network.
        w_init: initialiser of both matrices, shapes `(H, K)` and `(D, K)`, and of $v$, `(K, 1)`.
        dtype: of matmul inputs and of the context; None takes it from queries, memory and weights.
        param_dtype: of the weights.

    Returns:
        Attention with params `AdditiveAttentionParams`.

    Raises:
        TypeError: for an option of the wrong kind.
        ValueError: if `features` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> attention = rnnjax.additive_attention(8)
        >>> params = attention.init(jax.random.key(0), query_features=6, memory_features=4)
        >>> memory = attention.memorise(params, jnp.ones((9, 2, 4)), lengths=[9, 0])
        >>> context, weights = attention.read(params, memory, jnp.ones((2, 6)))
        >>> weights.sum(-1).tolist()
        [1.0, 0.0]

    Reference: Bahdanau, Cho & Bengio, *Neural machine translation by jointly learning to align
    and translate* (2015), section 3.1 and appendix A.1.2.
    """
    name = "additive_attention"
    width, dtypes = _options(name, features, w_init, dtype, param_dtype)

    def init(key, query_features, memory_features):
        shapes = (query_features, memory_features, width)
        (w_query, w_memory), key_v = _matrices(name, key, dtypes, w_init, shapes)
        v = packed(key_v, (w_init,), (width, 1), dtypes.params)[:, 0]
        b = jnp.zeros(width, dtypes.params)
        return AdditiveAttentionParams(w_query, w_memory, b, v)

    def memorise(params, memory, *, lengths=None, mask=None):
        _check_params(f"{name}.memorise", params, AdditiveAttentionParams)
        memory, valid = _check_memory(name, memory, params.w_memory.shape[0], lengths, mask)
        compute = dtypes.of_compute(memory, params.w_memory)
        keys = matmul(memory, params.w_memory, compute, compute)
        b = jnp.expand_dims(params.b.astype(compute), range(keys.ndim - 1))
        return Memory(keys + b, memory, valid)

    def read(params, memory, queries):
        _check_params(f"{name}.read", params, AdditiveAttentionParams)
        queries = _check_queries(name, memory, queries, *params.w_query.shape)
        compute = dtypes.of_compute(queries, params.w_query)
        queries = matmul(queries, params.w_query, compute, compute)
        return read_memory(memory, queries, params.v, dtypes)

    return Attention(init, memorise, read)


def _options(
    name: str, features: Any, w_init: Any, dtype: Any, param_dtype: Any
) -> tuple[int, Precision]:
    width = _checks.size(name, "features", features)
    _checks.function(name, "w_init", w_init, such_as="jax.nn.initializers.orthogonal()")
    return width, precision(name, dtype, param_dtype, None)


def _matrices(
    name: str, key: Any, dtypes: Precision, w_init: Initializer, sizes: tuple[int, int, int]
) -> tuple[list[Array], Any]:
    """Draw the matrices of queries and memory, and hand on a key."""
    function = f"{name}.init"
    _checks.prng_key(function, key)
    _checks.usable_dtype(function, "dtype", dtypes.compute)
    _checks.usable_dtype(function, "param_dtype", dtypes.params)
    names = ("query_features", "memory_features")
    rows = [_checks.size(function, *pair) for pair in zip(names, sizes, strict=False)]
    *keys, rest = jax.random.split(key, 3)
    pairs = zip(keys, rows, strict=True)
    return [packed(k, (w_init,), (n, sizes[2]), dtypes.params) for k, n in pairs], rest


def _check_params(function: str, params: Any, kind: Any) -> None:
    """Refuse params that another factory made."""
    empty = isinstance(params, tuple) and not params
    if not (empty if kind is None else isinstance(params, kind)):
        wanted = "be ()" if kind is None else f"be {kind.__name__}"
        got = _checks.describe(params)
        _checks.refuse(function, "params", wanted, got, WAY_OUT, error=TypeError)


def _check_memory(
    name: str, memory: Any, width: int | None, lengths: Any, mask: Any
) -> tuple[Array, Any]:
    """The memory, zero at padding, and its mask."""
    sequence = check_sequence(
        f"{name}.memorise",
        InputSpec((width,)),
        memory,
        lengths=lengths,
        mask=mask,
        resets=None,
        argument="memory",
    )
    return blank(sequence.xs, sequence.mask), sequence.mask


def _check_queries(
    name: str, memory: Any, queries: Any, width: int | None, features: int | None
) -> Array:
    """Queries as an array; refuse those of other rows, and a memory of other attention."""
    function = f"{name}.read"
    if not isinstance(memory, Memory):
        got, way_out = _checks.describe(memory), "call memorise first, once for each sequence"
        _checks.refuse(function, "memory", "be a Memory", got, way_out, error=TypeError)
    if features not in (None, memory.keys.shape[-1]):
        wanted, got = f"have keys of width {features}", memory.keys.shape[-1]
        way_out = "memorise with the params that read"
        _checks.refuse(function, "memory", wanted, got, way_out)
    queries = _checks.array(function, "queries", queries)
    width = memory.keys.shape[-1] if width is None else width
    one = (*memory.keys.shape[1:-1], width)
    if queries.shape != one and queries.shape[1:] != one:
        wanted = f"have shape {one} for one step, or with T in front for all"
        way_out = "every row of the memory has its own queries"
        _checks.refuse(function, "queries", wanted, queries.shape, way_out)
    check_kind(function, "queries", queries, InputSpec(), cast="jnp.float32")
    return queries

"""Sequence arguments at the public door: checked, time-major, lengths and mask made one."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Array, Bool, Int, PyTree
from rnnjax.cells.base import ANY_INPUT, InputSpec
from rnnjax.sequence.masks import check_bool, check_lengths, lengths_to_mask
from rnnjax.sequence.meshes import follow


class Sequence(NamedTuple):
    """Checked inputs, time-major.

    Attributes:
        xs: a tree of arrays `(T, *batch, ...)`.
        mask: `(T, *batch)`, True on valid steps, from lengths and mask together; None means all.
        resets: `(T, *batch)` or None.
        lengths: `(*batch,)`, where lengths were given and no mask beside them; else None.
    """

    xs: PyTree
    mask: Bool[Array, "T *batch"] | None
    resets: Bool[Array, "T *batch"] | None
    lengths: Int[Array, "*batch"] | None = None


def check_sequence(
    function: str,
    spec: PyTree,
    xs: PyTree,
    *,
    lengths: Any,
    mask: Any,
    resets: Any,
    time_major: bool = True,
    argument: str = "xs",
) -> Sequence:
    """Check what every function over sequences takes, before anything is traced.

    Args:
        function: the name that the user called.
        spec: an `InputSpec` for every leaf of `xs`, or a tree of them.
        xs: inputs, `(T, *batch, ...)`, or `(*batch, T, ...)` where not `time_major`.
        lengths: valid steps of each row, or None.
        mask: valid steps, or None.
        resets: fresh starts, or None.
        time_major: whether time comes first, here and in `mask` and `resets`.
        argument: what the user calls the inputs.
    """
    leaves = _with_specs(function, argument, spec, xs)
    lead = None
    for name, x, leaf_spec in leaves:
        axes = ("T", "*batch") if time_major else ("*batch", "T")
        shape = _check_leaf(function, name, x, leaf_spec, axes)
        if lead not in (None, shape):
            way_out = "all inputs share the axes of time and batch"
            _checks.refuse(function, name, f"begin with axes {lead}", shape, way_out)
        lead = shape
    assert lead is not None
    num_steps, batch = (lead[0], lead[1:]) if time_major else (lead[-1], lead[:-1])
    front = functools.partial(jnp.moveaxis, source=0 if time_major else len(batch), destination=0)
    arrays = [front(x) for _, x, _ in leaves]

    def flags(argument: str, value: Any) -> Any:
        if value is None:
            return None
        value = check_bool(function, argument, value)
        if value.shape != lead:
            axes = "(T, *batch)" if time_major else "(*batch, T)"
            way_out = "give one per step of each batch row"
            _checks.refuse(function, argument, f"have shape {axes} = {lead}", value.shape, way_out)
        return front(value)

    valid, restarts = flags("mask", mask), flags("resets", resets)
    count = None
    if lengths is not None:
        count = check_lengths(function, lengths, num_steps)
        if count.shape != batch:
            way_out = "give one length per batch row"
            _checks.refuse(function, "lengths", f"have shape {batch}", count.shape, way_out)
        counted = lengths_to_mask(count, num_steps)
        valid = counted if valid is None else valid & counted
    name, x, first = leaves[0]
    if first.below is not None:
        there = None if valid is None else jnp.moveaxis(valid, 0, 0 if time_major else len(batch))
        check_tokens(function, name, x, there, first.below)
    tree = jax.tree.unflatten(jax.tree.structure(xs), arrays)
    alike = lambda flags: None if flags is None else follow(flags, tree)
    return Sequence(tree, alike(valid), alike(restarts), count if mask is None else None)


def check_step(
    function: str, spec: PyTree, x: PyTree, *, argument: str = "x"
) -> tuple[PyTree, tuple[int, ...]]:
    """Check one step's input, `(*batch, ...)`; return it as JAX arrays, and the batch axes."""
    leaves = _with_specs(function, argument, spec, x)
    lead = None
    for name, leaf, leaf_spec in leaves:
        shape = _check_leaf(function, name, leaf, leaf_spec, ("*batch",))
        if lead not in (None, shape):
            way_out = "all inputs share the axes of batch"
            _checks.refuse(function, name, f"begin with axes {lead}", shape, way_out)
        lead = shape
        if leaf_spec.below is not None:
            check_tokens(function, name, leaf, None, leaf_spec.below)
    assert lead is not None
    return jax.tree.unflatten(jax.tree.structure(x), [leaf for _, leaf, _ in leaves]), lead


def _with_specs(
    function: str, argument: str, spec: PyTree, xs: PyTree
) -> list[tuple[str, Array, InputSpec]]:
    """Name, array and spec of every leaf of the inputs."""
    paths, structure = jax.tree_util.tree_flatten_with_path(xs)
    specs = jax.tree.leaves(spec, is_leaf=_is_spec)
    if _is_spec(spec):
        if spec is not ANY_INPUT and not jax.tree_util.treedef_is_leaf(structure):
            got, way_out = _checks.describe(xs), "wrap numbers in jnp.asarray, or stack the arrays"
            _checks.refuse(function, argument, "be one array", got, way_out, error=TypeError)
        specs = [spec] * len(paths)
    elif jax.tree.structure(spec, is_leaf=_is_spec) != structure:
        way_out = "give the inputs that the cell was made for"
        wanted = f"be {_checks.describe(spec)}"
        got = _checks.describe(xs)
        _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)
    if not paths:
        _checks.refuse(function, argument, "hold an array", _checks.kind(xs), "give the inputs")
    out = []
    for (path, x), leaf_spec in zip(paths, specs, strict=True):
        name = argument + jax.tree_util.keystr(path)
        if not hasattr(x, "shape"):
            way_out = "wrap it in jnp.asarray"
            _checks.refuse(function, name, "be an array", _checks.kind(x), way_out, error=TypeError)
        out.append((name, _checks.array(function, name, x), leaf_spec))
    return out


def _check_leaf(
    function: str, name: str, x: Array, spec: InputSpec, axes: tuple[str, ...]
) -> tuple[int, ...]:
    """Check one input array; return its axes of time and batch, as they stand."""
    rank = len(spec.shape)
    lead, features = x.shape[: max(x.ndim - rank, 0)], x.shape[max(x.ndim - rank, 0) :]
    fits = x.ndim >= rank + axes.count("T") and all(
        want in (None, got) for want, got in zip(spec.shape, features, strict=False)
    )
    if not fits:
        free = ["S"] * (rank - 1) + ["D"]  # axes of space, and the features
        trailing = [f if n is None else str(n) for f, n in zip(free, spec.shape, strict=False)]
        wanted = f"have shape ({', '.join([*axes, *trailing])})"
        way_out = "the features come last, and params fix their number"
        _checks.refuse(function, name, wanted, x.shape, way_out)
    check_kind(function, name, x, spec, cast="jnp.float32")
    return lead


def check_kind(function: str, name: str, x: Any, spec: InputSpec, *, cast: str) -> None:
    """Refuse inputs of another kind of dtype; `cast` is the one to cast floats to."""
    if jnp.issubdtype(x.dtype, spec.kind):
        return
    way_out = f"cast it with .astype({cast}), or embed what are indices"
    if spec.kind is jnp.integer:
        way_out = "count tokens in whole numbers"
    wanted = f"be {spec.kind.__name__}"
    _checks.refuse(function, name, wanted, x.dtype.name, way_out, error=TypeError)


def check_tokens(function: str, argument: str, tokens: Any, valid: Any, count: int) -> None:
    """Name the first valid token that has no vector, where numbers can be seen."""
    if not (_checks.is_concrete(tokens) and _checks.is_concrete(valid)):
        return
    tokens = np.asarray(tokens)
    bad = (tokens < 0) | (tokens >= count)
    if valid is not None:
        bad &= np.asarray(valid)
    if bad.any():
        where = tuple(np.argwhere(bad)[0].tolist())
        got, way_out = f"{tokens[where]} at {where}", "count tokens from 0, or make more vectors"
        _checks.refuse(function, argument, f"lie in 0..{count - 1}", got, way_out)


def check_params(function: str, cell_or_layer: Any, params: PyTree) -> None:
    """Refuse params that another cell or layer made, by their containers and shapes."""
    way_out = "give what init made for this very cell or layer"
    try:
        spec = cell_or_layer.in_spec(params)
    except (AttributeError, IndexError, KeyError, TypeError):
        got = _checks.describe(params)
        _checks.refuse(function, "params", "be from init", got, way_out, error=TypeError)
    if isinstance(spec, InputSpec) and spec.shape and spec.shape[-1] is not None:
        template = abstract_params(cell_or_layer, spec.shape[-1])
        _checks.same_structure(function, "params", params, template, way_out)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        for (path, leaf), like in zip(leaves, jax.tree.leaves(template), strict=True):
            if not jnp.issubdtype(leaf.dtype, jnp.floating) and like.dtype != leaf.dtype:
                name, got = "params" + jax.tree_util.keystr(path), leaf.dtype.name
                _checks.refuse(function, name, "be floating", got, way_out, error=TypeError)


def check_carry(function: str, carry: PyTree, like: PyTree) -> PyTree:
    """The carry as arrays; refuse containers, shapes or dtypes that are not those of `like`."""
    way_out = "start from init_carry, or hand on the carry of an earlier segment"
    leaves, structure = jax.tree.flatten(carry)
    arrays = [_checks.array(function, "carry", leaf) for leaf in leaves]
    if len(arrays) != len(jax.tree.leaves(like)):  # containers need not take so many
        wanted, got = f"be {_checks.describe(like)}", _checks.describe(carry)
        _checks.refuse(function, "carry", wanted, got, way_out, error=TypeError)
    arrays = jax.tree.unflatten(structure, arrays)
    _checks.same_structure(function, "carry", arrays, like, way_out)
    pairs = zip(jax.tree_util.tree_leaves_with_path(arrays), jax.tree.leaves(like), strict=True)
    for (path, leaf), wanted in pairs:
        if leaf.dtype != wanted.dtype:
            name = "carry" + jax.tree_util.keystr(path)
            way_out, got = f"cast it with .astype(jnp.{wanted.dtype.name})", leaf.dtype.name
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                way_out += f", or build the cell with carry_dtype=jnp.{got}"
            _checks.refuse(function, name, f"be {wanted.dtype.name}", got, way_out, error=TypeError)
    return arrays


@functools.lru_cache(maxsize=64)  # it holds what the layer holds
def abstract_params(cell_or_layer: Any, in_features: Any) -> PyTree:
    """The structure and shapes of the params that `init` makes, without making them."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda k: cell_or_layer.init(k, in_features), key)


def num_feature_axes(spec: PyTree) -> int:
    """How many trailing axes of an input (of the first, in a tree) are features."""
    return len(jax.tree.leaves(spec, is_leaf=_is_spec)[0].shape)


def num_batch_axes(spec: PyTree, sequence: Sequence) -> int:
    """How many batch axes checked inputs have."""
    return jax.tree.leaves(sequence.xs)[0].ndim - 1 - num_feature_axes(spec)


def with_flags_of_rows(spec: PyTree, sequence: Sequence) -> Sequence:
    """Repeat flags for rows that have none of their own: axes of space, to a cell that reads none.

    It comes to that in a stack alone, where inputs are made by the layer below.
    """
    if spec is ANY_INPUT:
        return sequence
    like = jax.tree.leaves(sequence.xs)[0]
    rows = like.shape[: 1 + num_batch_axes(spec, sequence)]

    def spread(flags: Any) -> Any:
        if flags is None or flags.shape == rows:
            return flags
        flags = jnp.expand_dims(flags, range(flags.ndim, len(rows)))
        return follow(jnp.broadcast_to(flags, rows), like)

    mask, resets = spread(sequence.mask), spread(sequence.resets)
    lengths = sequence.lengths if mask is sequence.mask else None
    return sequence._replace(mask=mask, resets=resets, lengths=lengths)


def _is_spec(node: Any) -> bool:
    return isinstance(node, InputSpec)

"""Parameters as plain dicts of named arrays, and how many there are."""

import math
from typing import Any

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree


def count_parameters(params: PyTree) -> int:
    """Count the numbers in a tree of parameters.

    Args:
        params: from `init`, or any tree of arrays; abstract ones from `jax.eval_shape` will do.

    Returns:
        How many numbers there are in all leaves together.

    Example:
        >>> import jax, rnnjax
        >>> rnnjax.count_parameters(rnnjax.lstm(5).init(jax.random.key(0), in_features=3))
        180
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def params_to_dict(params: PyTree) -> PyTree:
    """Turn params into nested dicts with names for keys, as Flax modules and files hold them.

    NamedTuples become dicts by field, tuples dicts with keys `layers_0`, `layers_1` and so on;
    what is None, and layers without parameters, are left out.

    Args:
        params: from `init` of a cell or layer.

    Returns:
        Nested dicts with the same arrays.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.gru(5, bias=False), rnnjax.dense(2))
        >>> tree = rnnjax.params_to_dict(layer.init(jax.random.key(0), in_features=3))
        >>> {name: sorted(leaves) for name, leaves in tree.items()}
        {'layers_0': ['w_hh', 'w_ih'], 'layers_1': ['b', 'w']}
    """
    if not isinstance(params, tuple):
        return params
    items = ((name, params_to_dict(child)) for name, child in _children(params))
    return {name: child for name, child in items if not _is_empty(child)}


def params_from_dict(like: PyTree, tree: PyTree) -> PyTree:
    """Turn the dicts of `params_to_dict` back into params.

    Args:
        like: params of the same cell or layer, real or abstract (from `jax.eval_shape`); their
            structure is used, not their values.
        tree: nested dicts with the arrays.

    Returns:
        Params with the structure of `like` and the arrays of `tree`.

    Raises:
        ValueError: if a name is missing, or there is one too many.

    Example:
        >>> import jax, rnnjax
        >>> params = rnnjax.lstm(5).init(jax.random.key(0), in_features=3)
        >>> again = rnnjax.params_from_dict(params, rnnjax.params_to_dict(params))
        >>> type(again).__name__, bool((again.w_ih == params.w_ih).all())
        ('LSTMParams', True)
    """
    return _from_dict("params", like, tree)


def _from_dict(path: str, like: PyTree, tree: PyTree) -> PyTree:
    if not isinstance(like, tuple):
        if isinstance(tree, dict):
            way_out = "give the dict that params_to_dict made for the same cell or layer"
            _checks.refuse("params_from_dict", path, "be an array", _checks.describe(tree), way_out)
        return tree
    children = [(name, child) for name, child in _children(like) if not _is_empty(child)]
    wanted = [name for name, _ in children]
    if not isinstance(tree, dict) or set(tree) != set(wanted):
        way_out = "give the dict that params_to_dict made for the same cell or layer"
        got = _checks.describe(tree)
        _checks.refuse("params_from_dict", path, f"be a dict with {sorted(wanted)}", got, way_out)
    values = {
        name: _from_dict(f"{path}.{name}", child, tree[name]) if name in tree else child
        for name, child in _children(like)
    }
    make = getattr(like, "_make", tuple)
    return make(values.values())


def _children(node: Any) -> list[tuple[str, PyTree]]:
    """The names and parts of a NamedTuple or tuple."""
    names = getattr(node, "_fields", None) or [f"layers_{i}" for i in range(len(node))]
    return list(zip(names, node, strict=True))


def _is_empty(tree: PyTree) -> bool:
    """Whether there is no array in a tree."""
    return not jax.tree.leaves(tree)

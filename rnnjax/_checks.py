"""Argument checks. One format: function, argument, wanted, got, way out."""

import inspect
import math
import numbers
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def refuse(
    function: str,
    argument: str,
    wanted: str,
    got: Any,
    way_out: str,
    *,
    error: type[Exception] = ValueError,
) -> NoReturn:
    """Raise the one sentence that every bad argument is answered with."""
    raise error(f"{function}: `{argument}` must {wanted}, got {got}; {way_out}.")


def kind(value: Any) -> str:
    """A value in a few words: its dtype and shape, or its type."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 and " at 0x" not in text else f"a {type(value).__name__}"


def is_concrete(value: Any) -> bool:
    """Whether the numbers can be read now, on this host: not traced, not sharded over others."""
    return not isinstance(value, jax.core.Tracer) and getattr(value, "is_fully_addressable", True)


def size(function: str, argument: str, value: Any, *, least: int = 1) -> int:
    """A whole number that is not too small."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        refuse(function, argument, "be a whole number", kind(value), "give an int", error=TypeError)
    if value < least:
        way_out = "give the width or count that is meant"
        refuse(function, argument, f"be at least {least}", value, way_out)
    return int(value)


def flag(function: str, argument: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(value, bool):
        refuse(function, argument, "be True or False", kind(value), "give a bool", error=TypeError)
    return value


def real(function: str, argument: str, value: Any) -> float:
    """A finite number that is no bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        refuse(function, argument, "be a float", kind(value), "give a number", error=TypeError)
    if not math.isfinite(value):
        refuse(function, argument, "be finite", value, "give a number")
    return float(value)


def rate(function: str, argument: str, value: Any) -> float:
    """A probability below 1, at which something is dropped."""
    value = real(function, argument, value)
    if not 0.0 <= value < 1.0:
        refuse(function, argument, "lie in 0 <= rate < 1", value, "0.0 drops nothing")
    return value


def heads(function: str, value: Any, width: int) -> int:
    """A number of heads that share the units equally."""
    if width % size(function, "num_heads", value):
        way_out = "every head has as many units"
        refuse(function, "num_heads", f"divide hidden_features = {width}", value, way_out)
    return int(value)


def interval(
    function: str, arguments: tuple[str, str], values: tuple[Any, Any]
) -> tuple[float, float]:
    """Two numbers between 0 and 1, the smaller one first."""
    low, high = (real(function, *pair) for pair in zip(arguments, values, strict=True))
    if not 0.0 < low < high < 1.0:
        wanted = f"satisfy 0 < {arguments[0]} < {arguments[1]} < 1"
        refuse(function, arguments[0], wanted, (low, high), "choose two radii in that order")
    return low, high


def function(
    caller: str, argument: str, value: Any, *, such_as: str = "jax.nn.relu"
) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        way_out = f"pass the function itself, such as {such_as}"
        refuse(caller, argument, "be a function", kind(value), way_out, error=TypeError)
    return value


def activation(caller: str, argument: str, value: Any) -> Callable[[Any], Any]:
    """A function of one array."""
    way_out = "pass a function of one array, such as jax.nn.relu"
    takes(caller, argument, function(caller, argument, value), ("x",), way_out)
    return value


def merge(caller: str, argument: str, value: Any) -> Callable[[Any, Any], Any]:
    """A function of two arrays."""
    such_as = "rnnjax.merge.add"
    way_out = f"pass a function of two arrays, such as {such_as}"
    takes(caller, argument, function(caller, argument, value, such_as=such_as), ("a", "b"), way_out)
    return value


def takes(
    caller: str, argument: str, value: Callable[..., Any], names: tuple[str, ...], way_out: str
) -> None:
    """Refuse a function that cannot be called with so many arguments, before it is."""
    if not accepts(value, names, {}):
        got = signature(value)
        refuse(caller, argument, f"take {', '.join(names)}", got, way_out, error=TypeError)


def signature(value: Callable[..., Any]) -> str:
    """A function with the names of its arguments."""
    title = getattr(value, "__name__", type(value).__name__)
    if count := inputs_of(value):
        return f"{title} of {count} arrays"
    return f"{title}({', '.join(inspect.signature(value).parameters)})"


def inputs_of(value: Callable[..., Any]) -> int | None:
    """How many arrays a ufunc takes, whose signature does not tell; None for other functions."""
    count = getattr(value, "nin", None)
    return count if isinstance(count, int) else None


def accepts(value: Callable[..., Any], positional: tuple, named: dict[str, Any]) -> bool:
    """Whether a function can be called with these arguments, as far as it tells."""
    count = inputs_of(value)
    if count is not None:
        return count == len(positional)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some functions of C do not tell
        return True
    try:
        signature.bind(*positional, **named)
    except TypeError:
        return False
    return True


def choice(caller: str, argument: str, value: Any, options: tuple[str, ...]) -> str:
    """One of a few words."""
    if value not in options:
        refuse(caller, argument, f"be one of {list(options)}", repr(value), "choose one of these")
    return value


def path(caller: str, argument: str, value: Any, *, such_as: str) -> Path:
    """Where a file or folder is."""
    if not isinstance(value, (str, os.PathLike)):
        got, way_out = describe(value), f'give one such as "{such_as}"'
        refuse(caller, argument, "be a path", got, way_out, error=TypeError)
    return Path(value)


def float_dtype(caller: str, argument: str, value: Any) -> jnp.dtype:
    """A floating dtype; None, which NumPy takes for float64, is none."""
    way_out = "give one such as jnp.float32"
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if value is None or dtype is None:
        refuse(caller, argument, "be a floating dtype", kind(value), way_out, error=TypeError)
    if not jnp.issubdtype(dtype, jnp.floating):
        refuse(caller, argument, "be a floating dtype", dtype.name, way_out, error=TypeError)
    return dtype


def usable_dtype(caller: str, argument: str, dtype: jnp.dtype | None) -> None:
    """Refuse float64 where JAX would silently make float32 of it."""
    if dtype == jnp.float64 and not jax.config.read("jax_enable_x64"):
        way_out = 'call jax.config.update("jax_enable_x64", True) first'
        refuse(caller, argument, "be a dtype that JAX has switched on", "float64", way_out)


def array(caller: str, argument: str, value: Any) -> jax.Array:
    """An array, or numbers that make one."""
    if isinstance(value, np.ndarray):
        value = _plain(caller, argument, value)
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):  # words, objects, lists of unequal lengths
        way_out = "give an array, or wrap numbers in jnp.asarray"
        refuse(caller, argument, "be an array", kind(value), way_out, error=TypeError)


def _plain(caller: str, argument: str, value: np.ndarray) -> np.ndarray:
    """An array of NumPy that JAX takes as it is; refuse what it would silently change."""
    if isinstance(value, np.ma.MaskedArray):
        way_out = "fill it with .filled(0), and give what is masked as mask="
        refuse(caller, argument, "be a plain array", "a masked array", way_out, error=TypeError)
    if value.dtype.kind in "iu" and value.dtype.itemsize == 8 and value.size:
        range32 = np.iinfo(f"{value.dtype.kind}4")
        fits = range32.min <= value.min() and value.max() <= range32.max
        if not fits and not jax.config.read("jax_enable_x64"):
            got = max(value.min(), value.max(), key=abs)
            way_out = 'count from 0, or call jax.config.update("jax_enable_x64", True) first'
            refuse(caller, argument, "fit into 32 bits", got, way_out)
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def prng_key(caller: str, value: Any) -> None:
    """One random key, typed or of the older raw kind."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    if not (typed or (dtype == jnp.uint32 and shape in ((2,), (4,)))):
        way_out = "make one with jax.random.key(seed)"
        refuse(caller, "key", "be one random key", kind(value), way_out, error=TypeError)


def same_structure(caller: str, argument: str, got: Any, wanted: Any, way_out: str) -> None:
    """Refuse a tree whose containers or leaf shapes are not those of `wanted`."""
    if jax.tree.structure(got) != jax.tree.structure(wanted):
        path, got, wanted = first_difference(got, wanted)
        there, here = describe(got), describe(wanted)
        there = f"another {there}" if there == here else there
        refuse(caller, argument + path, f"be {here}", there, way_out, error=TypeError)
    leaves = zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(wanted), strict=True)
    for (path, leaf), like in leaves:
        name = argument + jax.tree_util.keystr(path)
        shape = getattr(leaf, "shape", None)
        if shape != like.shape:
            refuse(caller, name, f"have shape {like.shape}", shape or kind(leaf), way_out)


def first_difference(got: Any, wanted: Any, path: str = "") -> tuple[str, Any, Any]:
    """Where two trees of other structures are told apart in words, and what stands there."""
    if describe(got) == describe(wanted):
        for (key, inner), (_, like) in zip(children(got), children(wanted), strict=False):
            if jax.tree.structure(inner) != jax.tree.structure(like):
                return first_difference(inner, like, path + jax.tree_util.keystr(key))
    return path, got, wanted


def children(tree: Any) -> list[tuple[Any, Any]]:
    """What a node of a tree holds, each with its key."""
    is_leaf = lambda node: node is not tree
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)


def describe(tree: Any) -> str:
    """The containers of a tree in words: `LSTMCarry(h, c)`, `a tuple of 2`."""
    if hasattr(tree, "_fields"):
        if len(tree) != len(tree._fields):  # not made by its constructor
            return f"a {type(tree).__name__} of {len(tree)}"
        names = [n for n, v in zip(tree._fields, tree, strict=True) if v is not None]
        return f"{type(tree).__name__}({', '.join(names)})"
    if isinstance(tree, (tuple, list)):
        if not tree:
            return f"an empty {type(tree).__name__}"
        # Our own trees are tuples; a list may be anything, and long.
        inner = f" ({', '.join(map(describe, tree))})" if isinstance(tree, tuple) else ""
        return f"a {type(tree).__name__} of {len(tree)}{inner}"
    if isinstance(tree, dict):
        return f"a dict with {sorted(map(str, tree))}"
    return kind(tree) if not hasattr(tree, "shape") else f"an array of shape {tuple(tree.shape)}"

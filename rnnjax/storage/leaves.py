"""The arrays of a tree by name: whether a file fits them, and putting what it holds in place."""

from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding, Sharding

from rnnjax import _checks
from rnnjax._typing import PyTree

BARE = "array"  # the name of a tree that is one array


class Leaf(NamedTuple):
    """What is known of an array without its numbers."""

    name: str  # `params.w_ih`
    shape: tuple[int, ...]
    dtype: str


class Source(NamedTuple):
    """Where arrays come from, for messages."""

    function: str
    place: str
    way_out: str
    whole: str = "`like`"  # what the leaves are of

    def refuse(
        self, leaf: str, wanted: str, got: Any, error: type[Exception] = ValueError
    ) -> NoReturn:
        """Say which leaf does not fit."""
        got = f"{got} in {self.place}"
        _checks.refuse(self.function, leaf, wanted, got, self.way_out, error=error)


def named_leaves(function: str, argument: str, tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by their paths, `params.layers_0.w_ih`, in the order of `jax.tree`."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if path and path[-1] == jax.tree_util.GetAttrKey("value"):
            path = path[:-1]  # so ends the path of every variable of NNX
        name = jax.tree_util.keystr(path, simple=True, separator=".") or BARE
        if name in named:
            way_out = "rename a key that has a dot in it"
            _checks.refuse(function, argument, "name its leaves apart", f"two `{name}`", way_out)
        named[name] = leaf
    return named


def check_arrays(function: str, named: dict[str, Any]) -> None:
    """Refuse leaves that are no arrays of numbers or keys, which can be read now, and whole."""
    for name, leaf in named.items():
        if isinstance(leaf, jax.core.Tracer):
            way_out = f"call {function} outside of jit"
            _checks.refuse(function, name, "be concrete", "a tracer", way_out, error=TypeError)
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)) or not is_number(leaf):
            way_out = "wrap numbers in jnp.asarray, and keep what is no number out of the tree"
            got = _checks.kind(leaf)
            _checks.refuse(function, name, "be an array of numbers", got, way_out, error=TypeError)
        if isinstance(leaf, np.ma.MaskedArray):
            way_out = "fill it, and keep its mask as an array of its own"
            wanted, got = "be an array without a mask", f"a masked array, {_checks.kind(leaf)}"
            _checks.refuse(function, name, wanted, got, way_out, error=TypeError)


def is_number(leaf: Any) -> bool:
    """Whether an array holds numbers, booleans or random keys: nothing that must be unpickled."""
    return jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == jnp.bool_ or is_key(leaf)


def is_key(leaf: Any) -> bool:
    """Whether an array holds typed random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe(named: dict[str, Any]) -> list[Leaf]:
    """Names, shapes and dtypes; the order of bytes is not part of a dtype."""
    return [Leaf(name, tuple(a.shape), a.dtype.name) for name, a in named.items()]


def check_like(function: str, named: dict[str, Any]) -> None:
    """Refuse leaves that tell no shape and dtype, or a dtype that could not be returned."""
    for name, leaf in named.items():
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            way_out = "give the tree itself, or what jax.eval_shape makes of its function"
            got = _checks.kind(leaf)
            _checks.refuse(function, name, "be an array", got, way_out, error=TypeError)
        wide = leaf.dtype.name in ("float64", "int64", "uint64", "complex128")
        if wide and not is_numpy(leaf) and not jax.config.read("jax_enable_x64"):
            way_out = 'call jax.config.update("jax_enable_x64", True) first'
            wanted = "be of a dtype that JAX has switched on"
            _checks.refuse(function, name, wanted, leaf.dtype.name, way_out)


def check_fits(like: dict[str, Any], stored: Iterable[Leaf], source: Source) -> None:
    """Refuse a tree whose names, dtypes or shapes are not those of a file; nothing is cast."""
    found = {leaf.name: leaf for leaf in stored}
    for wanted in describe(like):
        got = found.pop(wanted.name, None)
        if got is None:
            source.refuse(wanted.name, "be there", "no leaf of this name")
        elif got.dtype != wanted.dtype:
            source.refuse(wanted.name, f"have dtype {wanted.dtype}", got.dtype, TypeError)
        elif got.shape != wanted.shape:
            source.refuse(wanted.name, f"have shape {wanted.shape}", got.shape)
    for leaf in found.values():
        wanted = f"be a leaf of {source.whole}, which has no such name"
        source.refuse(leaf.name, wanted, f"{leaf.dtype} of shape {leaf.shape}")


def is_numpy(like: Any) -> bool:
    """Whether a leaf shall be given back as an array of NumPy."""
    return isinstance(like, (np.ndarray, np.generic))


def sharding_of(function: str, name: str, like: Any) -> Sharding | None:
    """Where the array shall lie; None leaves it to JAX, as with an array that is not committed."""
    sharding = getattr(like, "sharding", None)
    if isinstance(like, jax.Array) and not like.committed:
        return None
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, AbstractMesh):
        mesh = jax.sharding.get_mesh()  # what eval_shape tells of an array has no devices
        if mesh.abstract_mesh != sharding.mesh:
            way_out = f"call {function} under jax.set_mesh(mesh)"
            _checks.refuse(function, name, "lie on devices", sharding, way_out)
        return NamedSharding(mesh, sharding.spec)
    return sharding


def put(array: Any, like: Any, sharding: Sharding | None) -> Any:
    """An array that was read, as one of NumPy or JAX and where `like` has it."""
    if is_numpy(like):
        return array if isinstance(like, np.ndarray) else array[()]
    return jax.device_put(array, sharding)

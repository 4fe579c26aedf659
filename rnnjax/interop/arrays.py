"""Arrays of another framework by name: read, checked, and accounted for."""

from collections.abc import Mapping
from typing import Any, NoReturn

import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax.interop.report import Named, Report, Row


class Arrays:
    """Named arrays that are taken one by one; what is left over at the end is refused.

    They are cast to `dtype` as they are taken, before anything is computed of them; None keeps
    theirs.
    """

    def __init__(self, function: str, argument: str, tree: Any, *, dtype: Any = None):
        self.function, self.argument = function, argument
        self.dtype = None if dtype is None else _checks.float_dtype(function, "dtype", dtype)
        self.left = flat(function, argument, tree)
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str, shape: tuple[int | None, ...], *, target: str, how: str) -> Any:
        """The array of NumPy of this name; None in the shape stands for any size."""
        if name not in self.left:
            got = f"only {sorted(self.left)[:8]}" if self.left else "nothing more"
            self.refuse(name, "be there", got, "give all arrays of the network")
        array = self.left.pop(name)
        fits = len(shape) == array.ndim and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = f"have shape ({', '.join('any' if n is None else str(n) for n in shape)})"
            self.refuse(name, wanted, array.shape, "give the arrays of one network as they are")
        self.rows.append(Row(name, array.shape, target, how))
        return array if self.dtype is None else array.astype(self.dtype)

    def note_sum(self, target: str, total: np.ndarray) -> None:
        """Note where the sum of two arrays of 16 bits has been rounded to as many."""
        if total.dtype.itemsize < np.dtype("float32").itemsize:
            way_out = 'dtype="float32" sums them in that'
            self.notes.append(f"{target}: summed in {total.dtype.name}, which rounds; {way_out}")

    def finish(self) -> Report:
        """Refuse arrays that nothing has asked for, and report on the others."""
        if self.left:
            name = min(self.left)
            way_out = "leave it out, or convert the part it belongs to by itself"
            self.refuse(name, "belong to the network", self.left[name].shape, way_out)
        return Report(tuple(self.rows), tuple(self.notes))

    def refuse(self, name: str, wanted: str, got: Any, way_out: str) -> NoReturn:
        """Say what is wrong with an array."""
        _checks.refuse(self.function, f"{self.argument}[{name!r}]", wanted, got, way_out)


def flat(function: str, argument: str, tree: Any) -> Named:
    """Nested mappings as one, names joined by dots; every leaf an array of floats."""
    return {
        name: as_floats(function, f"{argument}[{name!r}]", value)
        for name, value in joined(function, argument, tree).items()
    }


def joined(function: str, argument: str, tree: Any) -> dict[str, Any]:
    """Nested mappings as one, names joined by dots; each of them once."""
    if not isinstance(tree, Mapping):
        way_out = "give names and arrays, such as a state dict"
        got = _checks.kind(tree)
        _checks.refuse(function, argument, "be a mapping", got, way_out, error=TypeError)
    found: dict[str, Any] = {}
    for key, value in tree.items():
        more = {str(key): value}
        if isinstance(value, Mapping):
            inner = joined(function, argument, value)
            more = {f"{key}.{name}": leaf for name, leaf in inner.items()}
        twice = [name for name in more if name in found]
        if twice:
            way_out = "its names are joined by dots: rename one of them"
            wanted = "name every array once"
            _checks.refuse(function, argument, wanted, f"{twice[0]!r} twice", way_out)
        found |= more
    return found


def as_floats(function: str, argument: str, value: Any) -> np.ndarray:
    """An array of NumPy in the dtype that it has; tensors of PyTorch are brought to the host."""
    array = to_numpy(value)
    if array.dtype == object or not jnp.issubdtype(array.dtype, jnp.floating):
        way_out = "give the array of weights itself"
        got = _checks.kind(value)
        _checks.refuse(function, argument, "be an array of floats", got, way_out, error=TypeError)
    return array


def to_numpy(value: Any) -> np.ndarray:
    """What NumPy makes of an array, a tensor of PyTorch, or a variable that holds an array."""
    if hasattr(value, "detach"):  # of PyTorch, which must not be imported for this
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none of its own
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    if isinstance(value, str | bytes | Mapping) or value is None:
        return np.asarray(value, dtype=object)
    return np.asarray(value)

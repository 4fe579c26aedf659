"""Params in a file of safetensors, with a checksum; loading it never runs code."""

import hashlib
import json
import types
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.sequence.params import params_to_dict
from rnnjax.storage import files, leaves

CHECKSUM = "rnnjax.sha256"  # in the file's metadata
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}


def save_weights(path: str | Path, params: PyTree) -> None:
    """Write params to a file of safetensors, which other frameworks read as well.

    Names are those of `params_to_dict`, joined by dots: `layers_0.w_ih`; in other trees, such as
    dicts and the state of an NNX module, the path of each leaf. A checksum of all of it stands in
    the metadata. The file is written under another name, synced and renamed: whatever happens,
    there is the whole new file, or what was there before.

    Args:
        path: of the file, in a folder that exists.
        params: a tree of arrays; from `init`, or `nnx.state(module, nnx.Param)`.

    Raises:
        ImportError: if safetensors is not installed.
        TypeError: for a leaf that is no array, or of a dtype that safetensors lacks.
        ValueError: if two leaves have the same name.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile, jax, rnnjax
        >>> from rnnjax import load_weights, save_weights
        >>> params = rnnjax.lstm(5).init(jax.random.key(0), in_features=3)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lstm.safetensors"
        >>> save_weights(path, params)
        >>> bool((load_weights(path, params).w_ih == params.w_ih).all())
        True
    """
    safetensors = import_safetensors("save_weights")
    named = named_params("save_weights", "params", params)
    leaves.check_arrays("save_weights", named)
    for name, leaf in named.items():
        if leaf.dtype.name not in DTYPES.values() or name == "__metadata__":
            wanted = "have a name and dtype that safetensors can hold"
            way_out = "rnnjax.train.save keeps any tree"
            got = _checks.kind(leaf)
            _checks.refuse("save_weights", name, wanted, got, way_out, error=TypeError)
    arrays = {name: plain(leaf) for name, leaf in named.items()}
    data = safetensors.numpy.save(arrays, metadata={CHECKSUM: checksum(arrays)})
    files.replace_file(Path(path), data)


def load_weights(path: str | Path, like: PyTree) -> PyTree:
    """Read params from a file of safetensors.

    Nothing is cast, and nothing left out: a name, shape or dtype that is not that of `like` is
    refused. In a file that `save_weights` has made, any change of names, dtypes, shapes or
    numbers is found by its checksum; files from elsewhere have none.

    Args:
        path: of the file.
        like: params of the same model, real or abstract (from `jax.eval_shape`); their structure,
            shapes, dtypes and shardings are used, not their values.

    Returns:
        Params with the structure of `like`, arrays of NumPy where it has such, and of JAX
        elsewhere.

    Raises:
        ImportError: if safetensors is not installed.
        OSError: if there is no such file, or it cannot be read.
        ValueError: for what is no such file, or damaged, or has other names or shapes.
        TypeError: for another dtype.

    Example:
        >>> import pathlib, tempfile, jax, rnnjax
        >>> from rnnjax import load_weights, save_weights
        >>> cell = rnnjax.gru(5)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "gru.safetensors"
        >>> save_weights(path, cell.init(jax.random.key(0), in_features=3))
        >>> load_weights(path, cell.init(jax.random.key(0), in_features=4))
        Traceback (most recent call last):
        ValueError: load_weights: `w_ih` must have shape (4, 15), got (3, 15) in ...
    """
    function = "load_weights"
    named = named_params(function, "like", like)
    leaves.check_like(function, named)
    arrays, stored = read(path)
    way_out = "these weights are of another model: give another file"
    leaves.check_fits(named, stored, leaves.Source(function, str(path), way_out))
    loaded = [
        leaves.put(arrays[name], leaf, leaves.sharding_of(function, name, leaf))
        for name, leaf in named.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), loaded)


def import_safetensors(function: str) -> types.ModuleType:
    """The package, or what to do about its absence."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        message = f"{function}: safetensors is not installed; pip install rnnjax[train]."
        raise ImportError(message) from error
    return safetensors


def named_params(function: str, argument: str, params: PyTree) -> dict[str, Any]:
    """The leaves in the order of `jax.tree`, by the names that they have in the file."""
    values, structure = jax.tree.flatten(params)
    numbered = jax.tree.unflatten(structure, range(len(values)))
    numbers = leaves.named_leaves(function, argument, params_to_dict(numbered))
    return {name: values[i] for name, i in sorted(numbers.items(), key=lambda item: item[1])}


def plain(leaf: Any) -> np.ndarray:
    """An array of NumPy, rows first and in this machine's order of bytes."""
    array = np.asarray(leaf, order="C")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """The SHA-256 of names, dtypes, shapes and numbers, in whatever order the file has them."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def read(path: str | Path) -> tuple[dict[str, np.ndarray], list[leaves.Leaf]]:
    """The arrays of a file, and what they are; those of dtypes that we lack are not among them."""
    safetensors = import_safetensors("load_weights")
    data = Path(path).read_bytes()
    arrays, stored = {}, []
    try:
        for name, tensor in safetensors.deserialize(data):
            shape, dtype = tuple(tensor["shape"]), DTYPES.get(tensor["dtype"])
            stored.append(leaves.Leaf(name, shape, dtype or tensor["dtype"]))
            if dtype is not None:
                arrays[name] = np.frombuffer(tensor["data"], jnp.dtype(dtype)).reshape(shape)
    except (safetensors.SafetensorError, ValueError) as error:
        refuse_file(path, "be a file of safetensors", str(error))
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    wanted = (header.get("__metadata__") or {}).get(CHECKSUM)
    if wanted is not None and checksum(arrays) != wanted:
        refuse_file(path, "hold what was written", "something else, by its checksum,")
    return arrays, stored


def refuse_file(path: str | Path, wanted: str, got: str) -> NoReturn:
    """Say what is wrong with a file."""
    _checks.refuse("load_weights", "path", wanted, f"{got} in {path}", "give a sound copy of it")

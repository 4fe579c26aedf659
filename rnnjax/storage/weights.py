"""Params in a file of safetensors, with a checksum; loading it never runs code."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.sequence.params import params_to_dict
from rnnjax.storage import leaves, tensors


def save_weights(path: str | Path, params: PyTree) -> None:
    """Write params to a file of safetensors, which other frameworks read as well.

    `save` writes the layer, too, so that `load` needs none. This one takes any tree of arrays.

    Names are those of `params_to_dict`, joined by dots: `layers_0.w_ih`; in other trees, such as
    dicts and the state of an NNX module, the path of each leaf. A checksum of all of it stands in
    the metadata. The file is written under another name, synced and renamed: whatever happens,
    there is the whole new file, or what was there before. Symbolic links are followed, and a file
    that is replaced leaves its mode to the new one.

    Args:
        path: of the file, in a folder that exists.
        params: a tree of arrays; from `init`, or `nnx.state(module, nnx.Param)`.

    Raises:
        ImportError: if safetensors is not installed.
        TypeError: for a leaf that is no array, or of a dtype that safetensors lacks, or with a
            name that leads out of a folder, as `../w`; for a `path` that is none.
        ValueError: for no array at all, two leaves of the same name, or a `path` that is a pipe or
            device.
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
    function = "save_weights"
    path = tensors.named_file(function, path)
    named = named_params(function, "params", params)
    if not named:
        got, way_out = _checks.describe(params), "give what init made"
        _checks.refuse(function, "params", "hold an array", got, way_out)
    tensors.write(function, path, named, {})


def load_weights(path: str | Path, like: PyTree) -> PyTree:
    """Read params from a file of safetensors.

    Nothing is cast, and nothing left out: a name, shape or dtype that is not that of `like` is
    refused. In a file that `save_weights` or `save` has made, any change of names, dtypes,
    shapes or numbers is found by its checksum; files from elsewhere have none.

    Args:
        path: of the file.
        like: params of the same model, real or abstract (from `jax.eval_shape`); their structure,
            shapes, dtypes and shardings are used, not their values.

    Returns:
        Params with the structure of `like`, arrays of NumPy where it has such, and of JAX
        elsewhere.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: for what is no such file, or damaged, or has other names or shapes.
        TypeError: for another dtype, or a `path` that is none.

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
    path = tensors.named_file(function, path)
    named = named_params(function, "like", like)
    leaves.check_like(function, named)
    with tensors.opened(function, path) as file:
        way_out = "these weights are of another model: give another file"
        leaves.check_fits(named, file.leaves(), leaves.Source(function, str(path), way_out))
        arrays = file.arrays()
    return put_in_place(function, named, arrays, like)


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read any file of safetensors as arrays of NumPy, such as one that PyTorch has written.

    Where there is a checksum, as in the files of `save_weights` and `save`, it must be right.

    Args:
        path: of the file.

    Returns:
        All arrays by name, in the order of the file; bfloat16 and float8 are those of ml_dtypes.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: for what is no such file, or damaged, or has names that lead out of a folder.
        TypeError: for a dtype that NumPy and ml_dtypes lack, as of four bits, or a `path` that is
            none.

    Example:
        >>> import pathlib, tempfile, jax, rnnjax
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "gru.safetensors"
        >>> rnnjax.save_weights(path, rnnjax.gru(5).init(jax.random.key(0), in_features=3))
        >>> {name: array.shape for name, array in sorted(rnnjax.load_arrays(path).items())}
        {'b': (15,), 'b_hn': (5,), 'w_hh': (5, 15), 'w_ih': (3, 15)}
    """
    with tensors.opened("load_arrays", path) as file:
        return file.arrays()


def put_in_place(
    function: str, named: dict[str, Any], arrays: dict[str, np.ndarray], like: PyTree
) -> PyTree:
    """The arrays that were read, in a tree like this one, whose leaves are `named`."""
    loaded = [
        leaves.put(arrays[name], leaf, leaves.sharding_of(function, name, leaf))
        for name, leaf in named.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), loaded)


def named_params(function: str, argument: str, params: PyTree) -> dict[str, Any]:
    """The leaves in the order of `jax.tree`, by the names that they have in the file."""
    values, structure = jax.tree.flatten(params)
    numbered = jax.tree.unflatten(structure, range(len(values)))
    numbers = leaves.named_leaves(function, argument, params_to_dict(numbered))
    return {name: values[i] for name, i in sorted(numbers.items(), key=lambda item: item[1])}

"""A layer and its params in one file: what it is in words, and its numbers."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell, InputSpec
from rnnjax.sequence.arguments import abstract_params, check_params
from rnnjax.sequence.layer import Layer
from rnnjax.storage import leaves, tensors
from rnnjax.storage.description import built, described, least_arrays
from rnnjax.storage.header import Damage, brief, parse
from rnnjax.storage.weights import named_params, put_in_place

LAYER, WIDTH = "rnnjax.layer", "rnnjax.in_features"  # in the file's metadata
MOST = 1_000_000  # letters of a description
DIGITS = 9  # of the width
SOUND = "give a sound copy of it"
MADE = "give what init made for this very layer; params_from_dict makes it of dicts"


class Loaded(NamedTuple):
    """What `load` found in a file.

    Attributes:
        layer: the cell or layer, with the default initialisers.
        params: its params, as arrays of JAX.
    """

    layer: Cell | Layer
    params: PyTree


def save(
    path: str | Path, layer: Cell | Layer, params: PyTree, *, in_features: int | None = None
) -> None:
    """Write a cell or layer and its params to one file, of which `load` makes both again.

    The file is one of safetensors, with names as `save_weights` gives them, so that other programs
    read the numbers. In its metadata stand what `describe` says of the layer, the width of the
    inputs, and a checksum of everything. It is written whole or not at all.

    Args:
        path: of the file, in a folder that exists.
        layer: made by the factories of rnnjax.
        params: from its `init`, maybe trained; in the dtypes that it gives them.
        in_features: the width of the inputs. None takes it from the params, which tell it unless
            the lowest layer is a plain function.

    Raises:
        ImportError: if safetensors is not installed.
        TypeError: for what is neither cell nor layer, params of another kind or dtype, or a `path`
            that is none.
        ValueError: for a layer that cannot be described, params of another shape, or a `path` that
            is a pipe or device.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile, jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(8)), rnnjax.dense(2))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rnnjax.save(path, layer, layer.init(jax.random.key(0), in_features=3))
        >>> loaded = rnnjax.load(path)
        >>> loaded.layer is layer, loaded.params[1].w.shape
        (True, (16, 2))
    """
    function = "save"
    path = tensors.named_file(function, path)
    description = described(function, layer)
    way_out = "keep it in code, and its params by rnnjax.save_weights"
    again = built(leaves.Source(function, "its description", way_out), description)
    check_params(function, layer, params)
    width = _width(function, layer, params, in_features)
    like = abstract_params(again, width)
    _checks.same_structure(function, "params", params, like, MADE)
    named = named_params(function, "params", params)
    leaves.check_arrays(function, named)
    for name, wanted in named_params(function, "params", like).items():
        if named[name].dtype != wanted.dtype:
            way_out = "make the layer with this param_dtype, or keep params by rnnjax.save_weights"
            got = named[name].dtype.name
            _checks.refuse(function, name, f"be {wanted.dtype.name}", got, way_out, error=TypeError)
    texts = {LAYER: json.dumps(description), WIDTH: json.dumps(width)}
    tensors.write(function, path, named, texts)


def load(path: str | Path) -> Loaded:
    """Read a cell or layer and its params from a file that `save` has written.

    Nothing in the file is run: names are looked up in a fixed table. All sizes are checked before
    an array is made, against those of the file and those of the layer; a changed bit is found by
    the checksum. There is the whole model, or an error.

    Args:
        path: of the file.

    Returns:
        The layer and its params; `load(path).layer.apply(load(path).params, xs)` runs it.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: for what is no such file, or damaged; or float64 while JAX has it switched off.
        TypeError: for an array of another dtype than the layer's, or a `path` that is none.

    Example:
        >>> import pathlib, tempfile, jax, rnnjax
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> cell = rnnjax.gru(8, reset="before")
        >>> rnnjax.save(path, cell, cell.init(jax.random.key(0), in_features=3))
        >>> layer, params = rnnjax.load(path)
        >>> layer is cell, params.w_ih.shape
        (True, (3, 24))
    """
    function = "load"
    with tensors.opened(function, path) as file:
        source = leaves.Source(function, str(file.path), SOUND, "the layer described")
        layer, width = _described(file, source)
        _check_switched_on(function, file)
        like = _abstract(source, layer, width)
        named = named_params(function, "params", like)
        leaves.check_fits(named, file.leaves(), source)
        arrays = file.arrays()
    return Loaded(layer, put_in_place(function, named, arrays, like))


def _width(function: str, layer: Cell | Layer, params: PyTree, given: int | None) -> int | None:
    """The width of the inputs; None for tokens, which have none."""
    if given is not None:
        width = _checks.size(function, "in_features", given)
        if width >= 10**DIGITS:
            way_out = "give the width of the inputs"
            _checks.refuse(function, "in_features", f"be below {10**DIGITS}", width, way_out)
        return width
    spec = layer.in_spec(params)
    if not isinstance(spec, InputSpec) or (spec.shape and spec.shape[-1] is None):
        wanted, way_out = "be given where params do not tell it", "give the width of the inputs"
        _checks.refuse(function, "in_features", wanted, None, way_out)
    return spec.shape[-1] if spec.shape else None


def _described(file: tensors.TensorFile, source: leaves.Source) -> tuple[Cell | Layer, int | None]:
    """The layer and the width of its inputs, of sound metadata."""
    texts = file.header.metadata
    if LAYER not in texts:
        way_out = (
            "read its arrays by rnnjax.load_arrays, or params by rnnjax.load_weights; "
            "those of PyTorch become ours by rnnjax.interop.torch_to_rnnjax"
        )
        file.refuse("be written by rnnjax.save", "no description of a layer", way_out)
    if not {WIDTH, tensors.CHECKSUM} <= set(texts):
        file.refuse("be written by rnnjax.save", "no width or no checksum")
    if len(texts[LAYER]) > MOST:
        got = f"{len(texts[LAYER])} letters"
        file.refuse(f"describe its layer in {MOST} letters at most", got)
    width = texts[WIDTH]
    if width != "null" and not (width.isascii() and width.isdigit() and len(width) <= DIGITS):
        file.refuse("tell the width of the inputs", ascii(width[:20]))
    try:
        description = parse(texts[LAYER])
    except Damage as damage:
        file.refuse("describe its layer", str(damage))
    layer, least = built(source, description), least_arrays(description)
    if len(file.header.entries) < least:  # before its shapes are worked out, which takes long
        got = f"{len(file.header.entries)} arrays"
        file.refuse(f"hold the arrays of the layer described, {least} at least", got)
    return layer, None if width == "null" else int(width)


def _check_switched_on(function: str, file: tensors.TensorFile) -> None:
    """Refuse what JAX would silently make narrower."""
    abstract = {
        leaf.name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for leaf in file.leaves()
        if leaf.dtype in ("float64", "int64", "uint64", "complex128")
    }
    leaves.check_like(function, abstract)


def _abstract(source: leaves.Source, layer: Cell | Layer, width: int | None) -> Any:
    """The shapes and dtypes of the params, before anything is made."""
    try:
        return abstract_params(layer, width)
    except Exception as error:  # of any factory, for sizes and options that do not go together
        source.refuse("params", "be those of the layer described", f'"{brief(error)}"')

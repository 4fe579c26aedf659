"""Recurrent weights by PyTorch's names."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax.cells.base import Cell
from rnnjax.cells.elman import ElmanParams
from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams
from rnnjax.cells.projected import ProjectedLSTMParams
from rnnjax.interop.arrays import Arrays, joined
from rnnjax.interop.assemble import cell_of, one_layer
from rnnjax.sequence.layer import Layer
from rnnjax.storage.weights import load_arrays

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
MODULES = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")
MODES = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}  # of a module


def activation_of(function: str, source: Any, nonlinearity: str | None) -> Any:
    """The nonlinearity of an `nn.RNN` as a function; None where nobody tells it."""
    said = MODES.get(getattr(source, "mode", ""), getattr(source, "nonlinearity", None))
    if nonlinearity is not None:
        _checks.choice(function, "nonlinearity", nonlinearity, tuple(ACTIVATIONS))
        if said not in (None, nonlinearity):
            wanted = f"be {said!r} as in the module"
            _checks.refuse(function, "nonlinearity", wanted, nonlinearity, "leave it out")
    return ACTIVATIONS.get(nonlinearity or said or "")


def notes_of(module: Any, name: str = "") -> list[str]:
    """What a recurrent module has that its weights do not."""
    start = f"{name}: " if name else ""
    notes = []
    if getattr(module, "batch_first", False):
        notes.append(f"{start}batch_first=True there; here time is first")
    rate = getattr(module, "dropout", 0.0)
    if isinstance(rate, float) and rate:
        notes.append(f"{start}without dropout {rate} between layers, which is off at inference")
    return notes


def is_theirs(module: Any) -> bool:
    """Whether a module's class is of PyTorch itself, so that its forward is the usual one."""
    return type(module).__module__.startswith("torch.nn.")


def check_module(function: str, source: Any, prefix: str) -> Any:
    """The recurrent module of a source that is one, or that holds it; None for arrays and files."""
    if not hasattr(source, "state_dict"):
        return None
    module, name = source, "source"
    if prefix:
        name = f"source[{prefix!r}]"
        try:
            module = source.get_submodule(prefix.rstrip("."))
        except AttributeError:
            return None  # whose names will be missing
    if not is_theirs(module) or type(module).__name__ not in MODULES:
        wanted = "be a recurrent module of torch.nn itself"
        got = f"a {type(module).__name__} of {type(module).__module__}"
        way_out = (
            "give its state_dict() if its forward is the usual one, "
            "or a whole model with prefix= or order="
        )
        _checks.refuse(function, name, wanted, got, way_out, error=TypeError)
    return module


def state_dict(source: Any) -> Any:
    """The named tensors of a module or a file; a mapping as it is."""
    if isinstance(source, str | Path):
        return load_arrays(source)
    return source.state_dict() if hasattr(source, "state_dict") else source


def under(function: str, named: Any, prefix: str) -> Any:
    """The part of a state dict whose names begin with a prefix, without it."""
    if not isinstance(prefix, str):
        got = _checks.kind(prefix)
        way_out = 'such as "encoder.gru"'
        _checks.refuse(function, "prefix", "be a name", got, way_out, error=TypeError)
    if not prefix or not hasattr(named, "items"):
        return named
    start = prefix.rstrip(".") + "."
    named = joined(function, "source", named)
    part = {n.removeprefix(start): a for n, a in named.items() if n.startswith(start)}
    if not part:
        groups = sorted({n.rpartition(".")[0] for n in named if re.search(r"weight_ih(_l0)?$", n)})
        way_out = f"there are {groups}" if groups else "no recurrent weights are there"
        _checks.refuse(function, "prefix", "begin names of the state dict", repr(prefix), way_out)
    return part


def read_levels(
    arrays: Arrays, activation: Any, *, start: str = "", first: int = 0, below: int | None = None
) -> list[tuple[Cell | Layer, Any]]:
    """All layers of a recurrent module, whose names there begin with `start`, with their params.

    `first` is the number of the lowest one here, and `below` the width that it must read.
    """
    levels = []
    while not levels or f"{start}weight_ih_l{len(levels)}" in arrays:
        k = len(levels)
        both = f"{start}weight_ih_l{k}_reverse" in arrays
        ends = [("", "[0]"), ("_reverse", "[1]")] if both else [("", "")]
        ways = [
            read_way(arrays, (start, f"_l{k}{end}"), f"layers_{first + k}.", way, below=below)
            for end, way in ends
        ]
        cell = cell_for(arrays, ways[0], activation)
        name = f"source['{start}weight_ih_l{k}_reverse']"
        levels.append(one_layer(cell, ways, function=arrays.function, name=name))
        below = cell.out_features * len(ways)
    return levels


def read_way(
    arrays: Arrays,
    ends: tuple[str, str],
    target: str,
    way: str = "",
    *,
    below: int | None = None,
) -> Any:
    """The params of one direction of one layer, whose names there have these two ends."""
    start, end = ends
    here = lambda *names: ", ".join(f"{target}{name}{way}" for name in names)

    def matrix(name: str, shape: tuple[int | None, ...], field: str) -> Any:
        name = f"{start}{name}{end}"
        return arrays.take(name, shape, target=here(field), how="transposed").T

    w_ih = matrix("weight_ih", (None, below), "w_ih")
    w_hh = matrix("weight_hh", (w_ih.shape[1], None), "w_hh")
    wide, narrow = w_ih.shape[1], w_hh.shape[0]
    projected = f"{start}weight_hr{end}" in arrays
    w_hr = matrix("weight_hr", (narrow, None), "w_hr") if projected else None
    width = narrow if w_hr is None else w_hr.shape[0]
    num_gates = wide // width if width and wide % width == 0 else 0
    if num_gates not in ((4,) if projected else (4, 3, 1)):
        wanted = f"have 4, 3 or 1 times {width} rows"
        arrays.refuse(f"{start}weight_ih{end}", wanted, wide, "give an LSTM, a GRU or a simple RNN")
    split = num_gates == 3
    b = b_hn = None
    if f"{start}bias_ih{end}" in arrays:
        b = arrays.take(f"{start}bias_ih{end}", (wide,), target=here("b"), how="plus bias_hh")
        target_hh = here("b", "b_hn") if split else here("b")
        how = "its n block apart" if split else "plus bias_ih"
        b_hh = arrays.take(f"{start}bias_hh{end}", (wide,), target=target_hh, how=how)
        if split:
            b_hn = b_hh[2 * width :]
            b_hh = np.concatenate([b_hh[: 2 * width], np.zeros_like(b_hn)])
        b = b + b_hh
        arrays.note_sum(here("b"), b)
    if w_hr is not None:
        if b is None:
            arrays.notes.append(f"{here('b')} is zero: there is no bias there")
            b = np.zeros_like(w_ih[0])
        return ProjectedLSTMParams(w_ih, w_hh, w_hr, b)
    if num_gates == 4:
        return LSTMParams(w_ih, w_hh, b)
    return GRUParams(w_ih, w_hh, b, b_hn) if split else ElmanParams(w_ih, w_hh, b)


def cell_for(arrays: Arrays, params: Any, activation: Any) -> Cell:
    """The cell of these params; weights do not tell the nonlinearity of an Elman cell."""
    if not isinstance(params, ElmanParams):
        return cell_of(params)
    if activation is None:
        way_out = "its weights do not tell: look at the module's constructor"
        wanted = "be 'tanh' or 'relu' for an nn.RNN"
        _checks.refuse(arrays.function, "nonlinearity", wanted, None, way_out)
    return cell_of(params, activation=activation)

"""Weights of `LSTM`, `GRU` and `VanillaRNN` of Haiku."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.elman import ElmanParams
from rnnjax.cells.gru import GRUParams
from rnnjax.cells.lstm import LSTMParams
from rnnjax.interop import layouts
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Level, Reading, as_params, cell_of, one_layer, stacked
from rnnjax.interop.report import Converted, Foreign, Report, Row
from rnnjax.sequence.layer import Layer

MODULES = {"lstm": "LSTM", "gru": "GRU", "elman": "VanillaRNN"}
NAMES = {"lstm": "lstm", "gru": "gru", "elman": "vanilla_rnn"}

Names = str | tuple[str, str]


def haiku_to_rnnjax(
    source: Any, *, names: Names | Sequence[Names] | None = None, dtype: Any = None
) -> Converted:
    """Bring an `LSTM`, `GRU` or `VanillaRNN` of Haiku here; the outputs are equal.

    One module gives a cell, several give a `stack`. Haiku's GRU resets before the product and its
    update gate takes the new state, so ours is `gru(reset="before")` with that gate's weights
    negated. Its LSTM adds 1 to the forget gate at run time: ours has it in `b`, which rounds.

    Args:
        source: the params of `hk.transform(...).init`, or a part of them.
        names: of the module, or of several from bottom to top, as the keys of `source` begin:
            `"my_net/~/lstm"`; a pair of them is forwards and backwards. Other modules are left
            alone. None where there is only one, by the name that Haiku gives it.
        dtype: of the params; None keeps that of the weights.

    Returns:
        The layer or cell, its params, and the report on every array.

    Raises:
        TypeError: for what is no mapping, names of other kinds, and arrays of other kinds.
        ValueError: for several modules without `names` and one of a name that does not tell, names
            that are not there, and arrays that are missing, too many, or of shapes that do not fit.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import haiku_to_rnnjax
        >>> source = {"net/~/lstm/linear": {"w": np.ones((7, 16)), "b": np.zeros(16)}}
        >>> cell, params, _ = haiku_to_rnnjax(source, dtype="float32")
        >>> params.w_ih.shape, params.b.tolist()[3:6]  # the forget gate's begin at 4
        ((3, 16), [0.0, 1.0, 1.0])
    """
    function = "haiku_to_rnnjax"
    if not isinstance(source, Mapping):
        way_out = "give params as hk.transform(...).init returns them"
        got = _checks.kind(source)
        _checks.refuse(function, "source", "be a mapping", got, way_out, error=TypeError)
    check_kinds(function, source, names)
    found = modules_in(source)
    if names is None:
        check_alone(function, source, found)
        wanted: Sequence[Names] = found
    else:
        wanted = [names] if isinstance(names, str) else names
        source = chosen(function, source, found, wanted)
    arrays = Arrays(function, "source", source, dtype=dtype)
    alone = names is None or isinstance(names, str)
    layers, trees, places = [], [], []
    for k, name in enumerate(wanted):
        target = "" if alone else f"layers_{k}."
        ways = [name] if isinstance(name, str) else list(name)
        ends = [""] if len(ways) == 1 else ["[0]", "[1]"]
        read = [read_module(arrays, w, target, end) for w, end in zip(ways, ends, strict=True)]
        cell = cell_of(read[0], activation=activation_of(read[0]), reset="before")
        places.append(f"source[{ways[0]!r}]")
        back = f"source[{ways[-1]!r}]"
        layer, params = one_layer(cell, read, function=function, name=back)
        layers.append(layer)
        trees.append(params)
    layer, params = layers[0], trees[0]
    if not alone:
        layer, params = stacked(function, places, layers, trees)
    return Converted(layer, as_params(function, params), arrays.finish())


def check_kinds(function: str, source: Mapping[Any, Any], names: Any) -> None:
    """Refuse names, of arrays or asked for, that are none."""
    for key in source:
        if not isinstance(key, str):
            way_out = "give params as hk.transform(...).init returns them"
            got = _checks.kind(key)
            _checks.refuse(function, "source", "have names as keys", got, way_out, error=TypeError)
    if names is None or isinstance(names, str):
        return
    listed = isinstance(names, list | tuple)
    pairs = [[one] if isinstance(one, str) else one for one in names] if listed else [None]
    if not all(isinstance(p, list | tuple) and all(isinstance(w, str) for w in p) for p in pairs):
        wanted, got = "be a name, or a list of names and pairs of names", _checks.kind(names)
        way_out = "such as ['lstm', 'gru']"
        _checks.refuse(function, "names", wanted, got, way_out, error=TypeError)
    if not pairs:
        _checks.refuse(function, "names", "name a module", names, "or None where there is one")


def check_alone(function: str, source: Mapping[str, Any], found: Sequence[str]) -> None:
    """Refuse several modules, and one that may not be recurrent: a dense layer looks like one."""
    if len(found) != 1:
        way_out = "their order is not in the params: give them from bottom to top"
        wish = f"name the modules where there are {len(found)}"
        _checks.refuse(function, "names", wish, found[:8], way_out)
    own = re.fullmatch(r"(?:.*/)?(lstm|gru|vanilla_rnn)(?:_\d+)?", found[0])
    held = "lstm"
    if f"{start(found[0])}linear_1" in source:
        held = "vanilla_rnn"
    elif found[0] in source:
        held = "gru"
    if own is None or own[1] != held:
        wish = "tell that the module is recurrent, which its name does not"
        got, way_out = repr(found[0]), f"if it is one ({held}), give names={found[0]!r}"
        _checks.refuse(function, "names", wish, got, way_out)


def activation_of(params: Any) -> Any:
    """A VanillaRNN of Haiku is one with relu; the others have tanh."""
    return jax.nn.relu if isinstance(params, ElmanParams) else jax.numpy.tanh


def modules_in(source: Mapping[str, Any]) -> list[str]:
    """The names of the recurrent modules."""
    out = []
    for key, leaves in source.items():
        if isinstance(leaves, Mapping) and "w_i" in leaves:
            out.append(key)
        elif key == "linear" or key.endswith("/linear"):
            out.append(key.removesuffix("linear").removesuffix("/"))
    return out


def chosen(
    function: str, source: Mapping[str, Any], found: Sequence[str], wanted: Sequence[Names]
) -> dict[str, Any]:
    """The params of the modules that were named."""
    for name in wanted:
        if not isinstance(name, str) and len(name) != 2:
            way_out = "a pair is forwards and backwards"
            _checks.refuse(function, "names", "hold names and pairs of names", name, way_out)
    flat = [w for name in wanted for w in ([name] if isinstance(name, str) else name)]
    for name in flat:
        if name not in found:
            _checks.refuse(function, "names", f"be of {found[:8]}", repr(name), "look at the keys")
    own = lambda key, name: key == name or key.removeprefix(start(name)) in ("linear", "linear_1")
    return {k: leaves for k, leaves in source.items() if any(own(k, name) for name in flat)}


def start(name: str) -> str:
    """What stands before the names of a module's linear layers."""
    return f"{name}/" if name else ""


def read_module(arrays: Arrays, name: str, target: str, way: str = "") -> Any:
    """The params of one module."""
    here = lambda *fields: ", ".join(f"{target}{field}{way}" for field in fields)
    if f"{name}.w_i" in arrays:
        return read_gru(arrays, name, here)
    if f"{start(name)}linear_1.w" in arrays:
        return read_vanilla(arrays, start(name), here)
    w: Any = arrays.take(
        f"{start(name)}linear.w",
        (None, None),
        target=here("w_ih", "w_hh"),
        how="split, igfo -> ifgo",
    )
    width, rest = divmod(w.shape[1], len(layouts.LSTM))
    if rest or not 0 < width < w.shape[0]:
        wanted = "be of an LSTM: (D + H, 4H)"
        way_out = "name the modules that are recurrent with names="
        arrays.refuse(f"{start(name)}linear.w", wanted, w.shape, way_out)
    b = arrays.take(
        f"{start(name)}linear.b",
        w.shape[1:],
        target=here("b"),
        how="igfo -> ifgo, 1 added to f (rounds)",
    )

    def ours(array: Any) -> Any:
        return layouts.reorder(array, layouts.HAIKU_LSTM, layouts.LSTM)

    rows = w.shape[0] - width
    b = forget_added(ours(b), 1)
    arrays.note_sum(here("b"), b)
    return LSTMParams(ours(w[:rows]), ours(w[rows:]), b)


def forget_added(b: Any, number: int) -> Any:
    """A bias of ours with a number added to the forget gate's block."""
    parts = layouts.blocks(b, layouts.LSTM)
    parts["f"] = parts["f"] + np.asarray(number, b.dtype)
    return np.concatenate([parts[gate] for gate in layouts.LSTM])


def read_gru(arrays: Arrays, name: str, here: Any) -> GRUParams:
    """The params of one GRU."""
    how = "zrn -> rzn, z negated"
    take: Callable[..., Any] = lambda leaf, shape, field: layouts.negate(
        layouts.reorder(
            arrays.take(f"{name}.{leaf}", shape, target=here(field), how=how),
            layouts.HAIKU_GRU,
            layouts.GRU,
        ),
        layouts.GRU,
        "z",
    )
    found = arrays.left[f"{name}.w_i"]
    columns = found.shape[-1] if found.ndim == 2 else 0
    if not columns or columns % len(layouts.GRU):
        way_out = "give the arrays of one network as they are"
        arrays.refuse(f"{name}.w_i", "have shape (any, 3H)", found.shape, way_out)
    w_ih = take("w_i", (None, None), "w_ih")
    return GRUParams(
        w_ih,
        take("w_h", (columns // len(layouts.GRU), columns), "w_hh"),
        take("b", (columns,), "b"),
    )


def read_vanilla(arrays: Arrays, start: str, here: Any) -> ElmanParams:
    """The params of one VanillaRNN, whose second bias may be missing."""
    take = lambda name, shape, field, how: arrays.take(
        f"{start}{name}", shape, target=here(field), how=how
    )
    w_ih = take("linear.w", (None, None), "w_ih", "as it is")
    width = w_ih.shape[1]
    w_hh = take("linear_1.w", (width, width), "w_hh", "as it is")
    both = f"{start}linear_1.b" in arrays
    b = take("linear.b", (width,), "b", "plus linear_1" if both else "as it is")
    if both:
        b = b + take("linear_1.b", (width,), "b", "plus linear")
        arrays.note_sum(here("b"), b)
    return ElmanParams(w_ih, w_hh, b)


def rnnjax_to_haiku(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write the weights as Haiku's `LSTM`, `GRU` and `VanillaRNN` have them.

    Args:
        layer: a cell, a layer of one, a bidirectional layer, or a stack of them.
        params: of `layer`.

    Returns:
        The params, by Haiku's names for modules that are made in this order: `lstm/linear`,
        `lstm_1/linear`, with a backward one after its forward one; the options, in which
        `options["names"]` is what `haiku_to_rnnjax` asks for; and the report. `b - 1` rounds.

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for what Haiku's modules cannot be: reset after, an Elman cell that is not one
            with relu, other activations, cells and merges, and a direction that is only backward.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.stack(rnnjax.lstm(5), rnnjax.gru(4, reset="before"))
        >>> there = rnnjax.interop.rnnjax_to_haiku(layer, layer.init(jax.random.key(0), 3))
        >>> list(there.weights), there.options["names"]
        (['lstm/linear', 'gru'], ['lstm', 'gru'])
    """
    reading = Reading("rnnjax_to_haiku", layer, params)
    weights: dict[str, dict[str, np.ndarray]] = {}
    names, modules, rows = [], [], []
    counts = dict.fromkeys(NAMES, 0)
    for level in reading.levels(tuple(MODULES)):
        check_level(reading, level)
        own_names = []
        for way, own in enumerate(reading.without_initial(level)):
            number = counts[level.kind]
            counts[level.kind] += 1
            name = NAMES[level.kind] + (f"_{number}" if number else "")
            own_names.append(name)
            for key, leaf, array, target, how in write_module(name, own):
                weights.setdefault(key, {})[leaf] = array
                here = ", ".join(level.named(field, way) for field in target.split(", "))
                rows.append(Row(f"{key}.{leaf}", array.shape, here, how))
        names.append(own_names[0] if len(own_names) == 1 else tuple(own_names))
        width = level.directions[0].w_hh.shape[0]
        modules.append({"module": MODULES[level.kind], "hidden_size": width})
        if level.directions[0].b is None:
            reading.notes.append(f"{level.where}: has no bias; there it is trained")
    alone = isinstance(layer, Cell)
    options = modules[0] | {"names": names[0]} if alone else {"layers": modules, "names": names}
    return Foreign(weights, options, Report(tuple(rows), tuple(reading.notes)))


def check_level(reading: Reading, level: Level) -> None:
    """Refuse what no module of Haiku is."""
    part = level.part
    reading.forwards_only(part, reset="before")
    if level.kind == "elman" and part.options["activation"] is not jax.nn.relu:
        way_out = "train with jax.nn.relu"
        reading.refuse(part, "have relu, as VanillaRNN", "another activation", way_out)


def write_module(name: str, params: Any) -> list[tuple[str, str, Any, str, str]]:
    """Key and leaf there, array, name here and what was done, of one module."""
    b = np.zeros_like(params.w_ih[0]) if params.b is None else params.b
    if isinstance(params, ElmanParams):
        return [
            (f"{name}/linear", "w", params.w_ih, "w_ih", "as it is"),
            (f"{name}/linear", "b", b, "b", "as it is"),
            (f"{name}/linear_1", "w", params.w_hh, "w_hh", "as it is"),
            (f"{name}/linear_1", "b", np.zeros_like(b), "b", "zero"),
        ]
    if isinstance(params, GRUParams):
        there = lambda array: layouts.reorder(
            layouts.negate(array, layouts.GRU, "z"), layouts.GRU, layouts.HAIKU_GRU
        )
        how = "rzn -> zrn, z negated"
        return [
            (name, "w_i", there(params.w_ih), "w_ih", how),
            (name, "w_h", there(params.w_hh), "w_hh", how),
            (name, "b", there(b), "b", how),
        ]
    there: Callable[[Any], Any] = lambda array: layouts.reorder(
        array, layouts.LSTM, layouts.HAIKU_LSTM
    )
    w = np.concatenate([params.w_ih, params.w_hh])
    how = "ifgo -> igfo"
    return [
        (f"{name}/linear", "w", there(w), "w_ih, w_hh", f"joined, {how}"),
        (f"{name}/linear", "b", there(forget_added(b, -1)), "b", f"{how}, 1 off f (rounds)"),
    ]

"""Networks of ours as modules of PyTorch: one recurrent module, or parts by name."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax.cells.projected import ProjectedLSTMParams
from rnnjax.interop.assemble import Level, Reading
from rnnjax.interop.pytorch_reading import ACTIVATIONS
from rnnjax.interop.report import Row
from rnnjax.sequence.layer import pointwise
from rnnjax.sequence.parts import Part

KINDS = ("lstm", "projected_lstm", "gru", "elman")
NUM_GATES = {"lstm": 4, "projected_lstm": 4, "gru": 3, "elman": 1}
CONSTRUCTORS = {"lstm": "LSTM", "projected_lstm": "LSTM", "gru": "GRU", "elman": "RNN"}
POINTWISE = {
    "ReLU": jax.nn.relu,
    "Tanh": jnp.tanh,
    "Sigmoid": jax.nn.sigmoid,
    "SiLU": jax.nn.silu,
    "Softsign": jax.nn.soft_sign,
}
AROUND = ("embedding", "dense", "pointwise")  # what a model has beside recurrent modules
SUCH_AS = 'order=("embed", "lstm", "head")'


class Module(NamedTuple):
    """One module there.

    Attributes:
        options: of its constructor, with the name of its class as `module`.
        arrays: name there, array, name here and what was done.
    """

    options: dict[str, Any]
    arrays: list[tuple[str, np.ndarray, str, str]]

    def rows(self, start: str) -> list[Row]:
        """Of the report, with what its names begin with."""
        return [Row(start + name, a.shape, here, how) for name, a, here, how in self.arrays]


def one_module(reading: Reading) -> Module:
    """All parts as one recurrent module."""
    for part in reading.parts:
        if part.factory in AROUND:
            way_out = f"name the modules of the model, such as {SUCH_AS}"
            reading.refuse(part, "be recurrent without order=", part.factory, way_out)
    return recurrent(reading, reading.levels(KINDS))


def modules(reading: Reading, order: Any) -> dict[str, Module]:
    """The parts as modules of these names."""
    if isinstance(order, str) or not isinstance(order, Sequence) or not order:
        wanted, got = "be names of modules from bottom to top", _checks.kind(order)
        way_out = f"such as {SUCH_AS}"
        _checks.refuse(reading.function, "order", wanted, got, way_out, error=TypeError)
    units = [unit for part in reading.parts for unit in units_of(part)]
    names = named(reading, units, [str(name) for name in order])
    out: dict[str, Module] = {}
    for name, pairs in itertools.groupby(zip(names, units, strict=True), lambda pair: pair[0]):
        if name in out:
            way_out = "levels of one module stand in a row"
            _checks.refuse(reading.function, "order", "name a module once", repr(name), way_out)
        group = [unit for _, unit in pairs]
        if len(group) > 1 or group[0].factory not in AROUND:
            out[name] = recurrent(reading, [reading.level(part, KINDS) for part in group])
        else:
            out[name] = WRITERS[group[0].factory](reading, group[0])
    return out


def units_of(part: Part) -> list[Part]:
    """A part, and the activation of a dense layer as another one, which has no weights."""
    if part.factory != "dense" or part.options["activation"] is None:
        return [part]
    after = pointwise(part.options["activation"])
    return [part, part._replace(thing=after, recipe=after.recipe, params=())]


def named(reading: Reading, units: Sequence[Part], order: list[str]) -> list[str]:
    """The name of the module that each unit goes to.

    There is a name for each of them, or one for all recurrent levels in a row that are alike.
    """
    if len(order) == len(units):
        return order
    alike = lambda pair: signature(pair[1]) if pair[1].factory in KINDS else pair[0]
    runs = [len(list(run)) for _, run in itertools.groupby(enumerate(units), alike)]
    if len(order) == len(runs):
        return [name for name, count in zip(order, runs, strict=True) for _ in range(count)]
    told = ", ".join(unit.factory or "a layer" for unit in units)
    either = f"{len(units)} names" + (f" or {len(runs)}" if len(runs) < len(units) else "")
    way_out = f"the parts are {told}; levels of one module may have its name in a row"
    _checks.refuse(reading.function, "order", f"hold {either}", len(order), way_out)


def signature(part: Part) -> tuple[Any, ...]:
    """What levels of one module share."""
    directions = part.directions
    activation = part.options.get("activation")
    return part.factory, len(directions), directions[0].w_hh.shape, activation


def embedding(reading: Reading, part: Part) -> Module:
    """A table of vectors."""
    num, width = part.params.w.shape
    options = {"module": "Embedding", "num_embeddings": num, "embedding_dim": width}
    return Module(options, [("weight", owned(part.params.w), f"{part.name}.w", "as it is")])


def linear(reading: Reading, part: Part) -> Module:
    """A dense layer, without its activation."""
    w, b = part.params
    arrays = [("weight", owned(w.T), f"{part.name}.w", "transposed")]
    if b is not None:
        arrays.append(("bias", owned(b), f"{part.name}.b", "as it is"))
    sizes = {"in_features": w.shape[0], "out_features": w.shape[1]}
    return Module({"module": "Linear", **sizes, "bias": b is not None}, arrays)


def function(reading: Reading, part: Part) -> Module:
    """A function of the features, which has no weights."""
    for name, known in POINTWISE.items():
        if part.options["function"] is known:
            return Module({"module": name}, [])
    got = _checks.kind(part.options["function"])
    reading.refuse(part, f"apply one of {list(POINTWISE)}", got, "apply it after the module")


WRITERS = {"embedding": embedding, "dense": linear, "pointwise": function}


def recurrent(reading: Reading, levels: list[Level]) -> Module:
    """One recurrent module of some levels."""
    options = module_options(reading, levels)
    arrays = []
    for k, level in enumerate(levels):
        if options["bias"] and level.directions[0].b is None:
            reading.notes.append(f"{level.where}: has no bias; there it is zero, and trained")
        for way, own in enumerate(reading.without_initial(level)):
            end = f"_l{k}" + ("_reverse" if way else "")
            arrays += [
                (name + end, owned(array), level.named(target, way) if target else "", how)
                for name, array, target, how in write_way(own, options["bias"])
            ]
    return Module(options, arrays)


def owned(array: Any) -> np.ndarray:
    """An array that PyTorch may write to, in the order of its memory."""
    return np.array(array, order="C")


def module_options(reading: Reading, levels: list[Level]) -> dict[str, Any]:
    """What the module's constructor takes; refuses what one module cannot be."""
    first = levels[0]
    own = first.directions[0]
    options: dict[str, Any] = {
        "module": CONSTRUCTORS[first.kind],
        "input_size": own.w_ih.shape[0],
        "hidden_size": own.w_hh.shape[-1] // NUM_GATES[first.kind],
        "num_layers": len(levels),
        "bias": any(level.directions[0].b is not None for level in levels),
        "bidirectional": len(first.directions) == 2,
    }
    if first.kind == "projected_lstm":
        options["proj_size"] = own.w_hr.shape[1]
        if options["proj_size"] >= options["hidden_size"]:
            wanted = f"have out_features below {options['hidden_size']}, as PyTorch asks for"
            reading.refuse(first.part, wanted, options["proj_size"], "make it narrower")
    if first.kind == "elman":
        options["nonlinearity"] = nonlinearity_of(reading, first)
    for level in levels:
        reading.forwards_only(level.part, reset="after")
        if signature(level.part) != signature(first.part):
            wanted = f"be of one kind, width and direction with {first.where}"
            way_out = f"name a module for each, such as {SUCH_AS}"
            reading.refuse(level.part, wanted, level.kind, way_out)
    return options


def nonlinearity_of(reading: Reading, level: Level) -> str:
    """What PyTorch calls the activation of an Elman cell."""
    for name, known in ACTIVATIONS.items():
        if level.part.options["activation"] is known:
            return name
    reading.refuse(level.part, "have tanh or relu", "another activation", "train with one of these")


def write_way(params: Any, bias: bool) -> list[tuple[str, np.ndarray, str, str]]:
    """Name there, array, name here and what was done, of one direction of one layer."""
    arrays = [
        ("weight_ih", params.w_ih.T, "w_ih", "transposed"),
        ("weight_hh", params.w_hh.T, "w_hh", "transposed"),
    ]
    if isinstance(params, ProjectedLSTMParams):
        arrays.append(("weight_hr", params.w_hr.T, "w_hr", "transposed"))
    if bias:
        zeros = np.zeros(params.w_ih.shape[1], params.w_ih.dtype)
        b, b_hh = zeros if params.b is None else params.b, zeros
        b_hn = getattr(params, "b_hn", None)
        if b_hn is not None:
            b_hh = np.concatenate([zeros[: -len(b_hn)], b_hn])
        arrays.append(("bias_ih", b, "b", "as it is"))
        arrays.append(("bias_hh", b_hh, "b_hn" if b_hh is not zeros else "", "zero elsewhere"))
    return arrays

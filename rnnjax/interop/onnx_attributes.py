"""What the operators of ONNX may be told, by attribute."""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax import _checks
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.onnx_activations import ACTIVATIONS, DEFAULTS, USUAL, Activation, by_name

SHARED = {
    "hidden_size": "a whole number",
    "direction": "a word",
    "activations": "a list of words",
    "activation_alpha": "a list of floats",
    "activation_beta": "a list of floats",
    "clip": "a float",
    "layout": "0 or 1",
}
SCHEMA = {
    "LSTM": SHARED | {"input_forget": "0 or 1"},
    "GRU": SHARED | {"linear_before_reset": "0 or 1"},
    "RNN": SHARED,
}
KINDS = {"a whole number": numbers.Integral, "a float": numbers.Real, "a word": str}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
KNOWN = list(dict.fromkeys(one.name for one in ACTIVATIONS))


def named(function: str, given: Any) -> dict[str, Any]:
    """Attributes from a mapping, with words as text and arrays as lists."""
    if not isinstance(given, Mapping):
        way_out = "give names and values, {} for ONNX's defaults"
        got = _checks.kind(given)
        _checks.refuse(function, "attributes", "be a mapping", got, way_out, error=TypeError)
    return {str(name): plain(value) for name, value in given.items() if value is not None}


def plain(value: Any) -> Any:
    """Bytes as text and arrays as numbers, in lists too."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def check_kinds(function: str, where: str, op_type: str, attributes: dict[str, Any]) -> None:
    """Refuse attributes that the operator does not have, and values of other kinds."""
    for name, value in attributes.items():
        argument = f"{where}.{name}"
        kind = SCHEMA[op_type].get(name)
        if kind is None:
            wanted, got = f"be an attribute of {op_type}", _checks.kind(value)
            _checks.refuse(function, argument, wanted, got, "leave it out")
        if not is_of(kind, value):
            got, way_out = _checks.kind(value), "see ONNX's operator"
            _checks.refuse(function, argument, f"be {kind}", got, way_out, error=TypeError)


def is_of(kind: str, value: Any) -> bool:
    """Whether a value is of such a kind."""
    if kind.startswith("a list of "):
        one = f"a {kind.removeprefix('a list of ')[:-1]}"
        return isinstance(value, list) and all(is_of(one, each) for each in value)
    if kind == "0 or 1":
        return isinstance(value, numbers.Integral) and value in (0, 1)
    return isinstance(value, KINDS[kind]) and not isinstance(value, bool)


def check_attributes(
    arrays: Arrays, attributes: dict[str, Any], taken: dict[str, np.ndarray]
) -> None:
    """Refuse attributes that contradict the arrays, or that no cell of ours can follow."""
    refuse = lambda name, wanted, got, way_out: _checks.refuse(
        arrays.function, f"{arrays.argument}.{name}", wanted, got, way_out
    )
    dirs, _, width = taken["R"].shape
    direction = attributes.get("direction")
    if direction is None and dirs == 1:
        direction = "forward"
    if DIRECTIONS.get(direction or "") != dirs:
        way_out = "the first axis of W counts directions"
        wanted = f"fit {dirs} direction{'s' * (dirs > 1)}"
        refuse("direction", wanted, repr(direction), way_out)
    if attributes.get("hidden_size", width) != width:
        refuse("hidden_size", f"be {width}, as R says", attributes["hidden_size"], "leave it out")
    if attributes.get("clip") is not None:
        way_out = "our cells do not clip: export the model without"
        refuse("clip", "be left out", attributes["clip"], way_out)
    if attributes.get("input_forget"):
        if "P" in taken:
            way_out = "our coupled_lstm has no peepholes, and our peephole_lstm is not coupled"
            refuse("input_forget", "be 0 with peepholes", 1, way_out)
        arrays.notes.append(f"{arrays.argument}: f = 1 - i there; its weights of f are not used")
    if attributes.get("layout"):
        note = f"{arrays.argument}: layout=1 has the batch first; here time is first"
        arrays.notes.append(note)
    if ("P" in taken or attributes.get("input_forget")) and "B" not in taken:
        arrays.notes.append(f"{arrays.argument}: b is zero, there is no B")


def activations(
    arrays: Arrays, op_type: str, attributes: dict[str, Any], num_ways: int
) -> list[Activation]:
    """The activations of one direction; refuses those that we lack."""
    refuse = lambda name, wanted, got, way_out: _checks.refuse(
        arrays.function, f"{arrays.argument}.{name}", wanted, got, way_out
    )
    usual = USUAL[op_type]
    given = attributes.get("activations") or list(usual * num_ways)
    lacking = sorted({name for name in given if by_name(name) is None})
    if lacking:
        way_out = "no cell of ours has that function"
        refuse("activations", f"be some of {KNOWN}", lacking, way_out)
    every = [one for one in map(by_name, given) if one is not None]
    if len(every) != len(usual) * num_ways:
        wanted = f"be {len(usual) * num_ways} names"
        refuse("activations", wanted, len(every), "see ONNX's operator")
    first = every[: len(usual)]
    if num_ways == 2 and every[len(usual) :] != first:
        way_out = "both directions are one cell here"
        refuse("activations", "be the same for both directions", given, way_out)
    if op_type == "LSTM" and first[1] != first[2]:
        way_out = "our lstm has one activation for both"
        refuse("activations", "be the same for g and h", given, way_out)
    for place, name in enumerate(("alpha", "beta")):
        with_one = [one for one in every if getattr(one, name) is not None]
        ours = [getattr(one, name) for one in with_one]
        left_out = [DEFAULTS[one.name][place] for one in with_one]
        got: list[Any] = attributes.get(f"activation_{name}") or left_out
        if len(got) != len(ours) or not np.allclose(got, ours, rtol=1e-6):
            refuse(f"activation_{name}", f"be {ours}", got, "our functions have no other")
    return first

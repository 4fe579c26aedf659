"""Keras models as plain data: what layers there are, what they are told, and their arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax.interop import keras_fields
from rnnjax.interop.arrays import as_floats
from rnnjax.interop.keras_fields import FUNCTION
from rnnjax.sequence import merge

KINDS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}
FACTORIES = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "elman"}
NUM_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
CELLS = {f"{name}Cell": name for name in NUM_GATES}
NOISE = {
    "Dropout": "rate",
    "SpatialDropout1D": "rate",
    "AlphaDropout": "rate",
    "GaussianDropout": "rate",
    "GaussianNoise": "stddev",
}
MERGES: dict[str | None, Callable[..., Any]] = {
    "concat": merge.concatenate,
    "sum": merge.add,
    "mul": merge.multiply,
    "ave": merge.average,
    None: merge.pair,
}


def linear(x: Any) -> Any:
    """What Keras calls linear: nothing."""
    return x


# Keras's names of functions that are the very same in JAX, with these defaults.
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "linear": linear,
    "softmax": jax.nn.softmax,
    "relu6": jax.nn.relu6,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "exponential": jnp.exp,
    "log_sigmoid": jax.nn.log_sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_tanh": jax.nn.hard_tanh,
}
USUAL = {"activation": "tanh", "recurrent_activation": "sigmoid"}  # of recurrent layers


class Spec(NamedTuple):
    """One layer, or one cell, of Keras.

    Attributes:
        name: its own name, or where it stands; empty for a single layer.
        class_name: its class.
        config: what its constructor is told; what is left out has Keras 3's default.
    """

    name: str
    class_name: str
    config: Mapping[str, Any]

    def inner(self, option: str) -> "Spec":
        """The layer or cell that is an option of this one."""
        given = self.config.get(option)
        if isinstance(given, list | tuple):  # cells, as RNN takes them
            return Spec(self.name, "StackedRNNCells", {"cells": list(given)})
        return spec_of(given or {}, self.name)

    @property
    def start(self) -> str:
        """How names of its arrays begin."""
        return f"{self.name}." if self.name else ""


class Source:
    """A source of any form, as layers in order and all arrays in order."""

    def __init__(self, source: Any, kind: str | None, options: Any):
        self.arrays: list[np.ndarray] = []
        self.whole = False  # a model, not a single layer
        self.version = ""  # of which Keras this is, where it tells
        if is_layer(source):
            self.no_kind(kind, options)
            self.specs = list(self.read(source, ""))
        elif isinstance(source, list | tuple) and any(map(is_layer, source)):
            self.no_kind(kind, options)
            self.whole = True
            self.specs = [s for i, one in enumerate(source) for s in self.read(one, layer_name(i))]
        else:
            self.specs = [self.by_kind(source, kind, options)]
        if any(keras_fields.is_of_keras_2(spec.config) for spec in self.specs):
            self.version = "2"
        names = [spec.name for spec in self.specs]
        if len(set(names)) < len(names):  # of layers that have not met before
            self.specs = [s._replace(name=layer_name(i)) for i, s in enumerate(self.specs)]

    def read(self, thing: Any, name: str) -> Iterator[Spec]:
        """The layers of a layer or model, with its weights put behind the others."""
        if not is_layer(thing):
            way_out = "give built layers, or mappings with class_name, config and weights"
            got = _checks.kind(thing)
            self.refuse("source", "hold layers of Keras", got, way_out, error=TypeError)
        if isinstance(thing, Mapping):
            spec, weights = spec_of(thing, name), thing.get("weights", ())
        else:
            named = name and getattr(thing, "name", name)
            keras_fields.check_home(place(name), type(thing).__name__, type(thing).__module__)
            keras_fields.check_functions(place(name), thing)
            spec = Spec(named, type(thing).__name__, thing.get_config())
            weights, self.version = thing.get_weights(), "3"
        if not isinstance(weights, list | tuple):
            wanted, way_out = (
                "have a list of arrays as its weights",
                "give what get_weights() returns",
            )
            self.refuse(place(name), wanted, _checks.kind(weights), way_out, error=TypeError)
        for array in weights:
            argument = f"{name or 'source'}.weights[{len(self.arrays)}]"
            self.arrays.append(as_floats(FUNCTION, argument, array))
        yield from self.flat(spec)

    def flat(self, spec: Spec) -> Iterator[Spec]:
        """The layers of a model, and those of models in it; a layer as it is."""
        if spec.class_name != "Sequential":
            yield spec
            return
        self.whole = True
        for i, one in enumerate(spec.config.get("layers", ())):
            yield from self.flat(spec_of(one, layer_name(i)))

    def by_kind(self, source: Any, kind: str | None, options: Any) -> Spec:
        """One layer, of which only the arrays are there."""
        if not isinstance(source, list | tuple):
            way_out = "give a layer, a list of layers, or what get_weights() returns"
            got = _checks.kind(source)
            self.refuse("source", "be a layer or a list", got, way_out, error=TypeError)
        if kind is None:
            way_out = "the arrays do not tell"
            self.refuse("kind", f"be one of {list(KINDS)} for arrays", None, way_out)
        _checks.choice(FUNCTION, "kind", kind, tuple(KINDS))
        if not isinstance(options, Mapping | None):
            way_out = "such as {'activation': 'relu'}"
            got = _checks.kind(options)
            self.refuse("options", "be names and values", got, way_out, error=TypeError)
        config = dict(options or {})
        self.arrays = [as_floats(FUNCTION, f"source[{i}]", array) for i, array in enumerate(source)]
        count = len(self.arrays)
        if count not in (2, 3, 4, 6):
            way_out = "give those of one layer: 2 or 3 arrays a direction"
            self.refuse("source", "be what get_weights() returns", f"{count} arrays", way_out)
        keras_fields.check_options(KINDS[kind], config, 1 if count < 4 else 2)
        config.setdefault("use_bias", count % 3 == 0)
        config.setdefault("return_sequences", True)
        if kind == "gru" and "reset_after" not in config:
            if not config["use_bias"]:
                way_out = "without a bias the arrays do not tell"
                self.refuse("options['reset_after']", "be True or False", None, way_out)
            config["reset_after"] = self.arrays[2].ndim == 2
        if count in (2, 3):
            return Spec("", KINDS[kind], config)
        if "merge_mode" not in config:
            way_out = "these are the arrays of two directions, which do not tell"
            self.refuse("options['merge_mode']", f"be one of {list(MERGES)}", None, way_out)
        mode = config.pop("merge_mode")
        layer = {"class_name": KINDS[kind], "config": config}
        return Spec("", "Bidirectional", {"merge_mode": mode, "layer": layer})

    def no_kind(self, kind: Any, options: Any) -> None:
        """Refuse to be told what a layer says."""
        for name, value in (("kind", kind), ("options", options)):
            if value is not None:
                self.refuse(name, "be None where layers say theirs", repr(value), "leave it out")

    def named(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The arrays by name; refuses more or fewer of them."""
        if len(names) != len(self.arrays):
            wanted = f"have {len(names)} arrays for {', '.join(s.class_name for s in self.specs)}"
            way_out = "build the layers first, and give all of their weights"
            self.refuse("source", wanted, len(self.arrays), way_out)
        return dict(zip(names, self.arrays, strict=True))

    def refuse(
        self,
        argument: str,
        wanted: str,
        got: Any,
        way_out: str,
        *,
        error: type[Exception] = ValueError,
    ) -> NoReturn:
        """Say what is wrong."""
        _checks.refuse(FUNCTION, argument, wanted, got, way_out, error=error)

    def refuse_layer(self, spec: Spec, wanted: str, got: Any, way_out: str) -> NoReturn:
        """Say what is wrong with a layer."""
        self.refuse(place(spec.name), wanted, got, way_out)

    def activation(self, spec: Spec, option: str = "activation") -> Callable[..., Any]:
        """The function of JAX that a layer names; refuses what has none that is equal."""
        usual = USUAL.get(option) if spec.class_name in NUM_GATES else "linear"
        name = spec.config.get(option, usual)
        name = "linear" if name is None else name
        if name == "hard_sigmoid" and self.version == "2":
            wanted = f"have another {option} in a model of Keras 2"
            got = "hard_sigmoid, which has slope 0.2 there and 1/6 here and in Keras 3"
            self.refuse_layer(spec, wanted, got, "train with sigmoid")
        if isinstance(name, str) and name in ACTIVATIONS:
            return ACTIVATIONS[name]
        got = repr(name)
        if isinstance(name, Mapping):
            inner = name.get("class_name")
            got = repr(name.get("config") if inner == "function" else inner or dict(name))
        way_out = "no function of JAX is known to equal it"
        self.refuse_layer(spec, f"have another {option}", got, way_out)


def is_layer(thing: Any) -> bool:
    """Whether this is a layer, a cell or a model of Keras, or the data of one."""
    if isinstance(thing, Mapping):
        return "class_name" in thing
    return hasattr(thing, "get_config") and hasattr(thing, "get_weights")


def spec_of(data: Mapping[str, Any], name: str) -> Spec:
    """A layer from its data; within a model its own name counts more than its place."""
    argument = place(name)
    wanted, way_out = "have names and values as its config", "give what get_config() returns"
    config = data.get("config", {}) if isinstance(data, Mapping) else data
    if not isinstance(config, Mapping):
        got = _checks.kind(config)
        _checks.refuse(FUNCTION, argument, wanted, got, way_out, error=TypeError)
    keras_fields.check_fields(f"{argument}.config", config)
    class_name = str(data.get("class_name", ""))
    keras_fields.check_home(argument, class_name, data.get("module"), data.get("registered_name"))
    return Spec(name and config.get("name", name), class_name, config)


def place(name: str) -> str:
    """How messages call the layer of this name."""
    return f"source[{name!r}]" if name else "source"


def layer_name(index: int) -> str:
    """The name of a layer that has none."""
    return f"layers_{index}"


def data_of(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """What Keras's own files hold for a layer."""
    module = "keras" if class_name == "Sequential" else "keras.layers"
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def activation_name(function: Callable[..., Any] | None) -> str | None:
    """Keras's name of a function; None for one that it lacks."""
    if function is None:
        return "linear"
    return next((name for name, known in ACTIVATIONS.items() if known is function), None)

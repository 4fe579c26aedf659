"""What Keras tells of a layer, field by field: of the kinds that Keras writes, or refused."""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax import _checks

FUNCTION = "keras_to_rnnjax"
HOMES = ("keras", "tf_keras")
KERAS_2 = ("time_major", "implementation")  # of its recurrent layers, and of no later ones
KINDS: dict[str, tuple[str, Any]] = {  # of fields that are read here
    "be True or False": (
        "use_bias reset_after return_sequences go_backwards stateful mask_zero "
        "zero_output_for_mask",
        bool | np.bool_ | int,
    ),
    "be a whole number": ("units input_dim output_dim", numbers.Integral | None),
    "be a number": (
        "dropout recurrent_dropout rate stddev max_value negative_slope threshold",
        numbers.Real | None,
    ),
    "be a list": ("layers cells", list | tuple),
    "be a word": ("name", str),
    "be a word or None": ("merge_mode", str | None),
}
WISHES = {name: (wish, kind) for wish, (names, kind) in KINDS.items() for name in names.split()}
OPTIONS = frozenset(
    "units activation use_bias return_sequences return_state go_backwards stateful unroll "
    "zero_output_for_mask dropout recurrent_dropout seed name trainable dtype use_cudnn "
    "kernel_initializer recurrent_initializer bias_initializer kernel_regularizer "
    "recurrent_regularizer bias_regularizer activity_regularizer kernel_constraint "
    "recurrent_constraint bias_constraint merge_mode".split()
)
OWN_OPTIONS = {
    "LSTM": {"recurrent_activation", "unit_forget_bias", *KERAS_2},
    "GRU": {"recurrent_activation", "reset_after", *KERAS_2},
    "SimpleRNN": set(KERAS_2),
}


def check_fields(start: str, config: Mapping[str, Any]) -> None:
    """Refuse a field that is of another kind than Keras writes."""
    for name, value in config.items():
        wish, kind = WISHES.get(name, ("", object))
        if not isinstance(value, kind):
            way_out = "give what get_config() returns"
            got = _checks.kind(value)
            _checks.refuse(FUNCTION, f"{start}[{name!r}]", wish, got, way_out, error=TypeError)


def check_options(class_name: str, options: Mapping[str, Any], ways: int) -> None:
    """Refuse names that a layer of this kind has not, and `merge_mode` for one direction."""
    unknown = [name for name in options if name not in OPTIONS | OWN_OPTIONS[class_name]]
    if unknown:
        names = sorted({"activation", "go_backwards", "units"} | OWN_OPTIONS[class_name])
        way_out = f"such as {[name for name in names if name not in KERAS_2]}"
        wanted = f"have names that keras.layers.{class_name} takes"
        _checks.refuse(FUNCTION, "options", wanted, unknown, way_out)
    check_fields("options", options)
    if ways == 1 and "merge_mode" in options:
        wanted, way_out = "be left out for one direction", "give the arrays of both directions"
        got = repr(options["merge_mode"])
        _checks.refuse(FUNCTION, "options['merge_mode']", wanted, got, way_out)


def check_home(argument: str, name: str, module: str | None, registered: Any = None) -> None:
    """Refuse a class of one's own, which may compute something else under the same name."""
    if registered is None and str(module or "keras").partition(".")[0] in HOMES:
        return
    got = f"{name} of {module}" if module else f"{name}, registered as {registered!r}"
    way_out = "if it computes as one of them, give data with that class_name, config and weights"
    _checks.refuse(FUNCTION, argument, "be of a class of Keras's own", got, way_out)


def check_functions(argument: str, layer: Any) -> None:
    """Refuse activations of one's own, which a config may tell by their bare names."""
    inner = getattr(layer, "_flatten_layers", None)  # those of models, wrappers and cells, too
    for one in [layer] if inner is None else inner():
        for option in ("activation", "recurrent_activation"):
            function = getattr(one, option, None)
            module = getattr(function, "__module__", None) or type(function).__module__
            if callable(function) and module.partition(".")[0] not in HOMES:
                got = f"{getattr(function, '__name__', type(function).__name__)} of {module}"
                way_out = "no function of JAX is known to equal it"
                _checks.refuse(FUNCTION, argument, f"have Keras's own {option}", got, way_out)


def is_of_keras_2(value: Any) -> bool:
    """Whether something in this config tells that Keras 2 wrote it."""
    if isinstance(value, Mapping):
        return any(name in value for name in KERAS_2) or any(map(is_of_keras_2, value.values()))
    return isinstance(value, list | tuple) and any(map(is_of_keras_2, value))


def policy_name(argument: str, policy: Any) -> str:
    """The name of a dtype policy, which may be given as data."""
    if not isinstance(policy, Mapping):
        return str(policy)
    config = policy.get("config", {})
    if not isinstance(config, Mapping):
        way_out = "give what get_config() returns"
        got, argument = _checks.kind(config), f"{argument}['dtype']['config']"
        _checks.refuse(FUNCTION, argument, "be names and values", got, way_out, error=TypeError)
    return str(config.get("name"))

"""Functions inside ONNX's recurrent operators, known by identity here and by name there."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Activation(NamedTuple):
    """A function of ours, ONNX's name of it, and the numbers that make it that function there."""

    function: Callable[[Any], Any]
    name: str
    alpha: float | None = None
    beta: float | None = None


ACTIVATIONS = (
    Activation(jax.nn.sigmoid, "Sigmoid"),
    Activation(jnp.tanh, "Tanh"),
    Activation(jax.nn.relu, "Relu"),
    Activation(jax.nn.elu, "Elu", 1.0),
    Activation(jax.nn.leaky_relu, "LeakyRelu", 0.01),
    Activation(jax.nn.hard_sigmoid, "HardSigmoid", 1 / 6, 0.5),
    Activation(jax.nn.softplus, "Softplus"),
    Activation(jax.nn.soft_sign, "Softsign"),
    Activation(jax.lax.logistic, "Sigmoid"),
    Activation(jax.lax.tanh, "Tanh"),
)
# What ONNX takes where the attributes name no number.
DEFAULTS = {"Elu": (1.0, None), "LeakyRelu": (0.01, None), "HardSigmoid": (0.2, 0.5)}
USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def by_function(function: Any) -> Activation | None:
    """What ONNX calls a function of ours; None where it has no such function."""
    return next((one for one in ACTIVATIONS if one.function is function), None)


def by_name(name: str) -> Activation | None:
    """Our function of ONNX's name, in capitals or not; None where we have no such function."""
    return next((one for one in ACTIVATIONS if one.name.lower() == name.lower()), None)


def attributes_of(operator: str, found: Sequence[Activation], num_ways: int) -> dict[str, Any]:
    """The attributes that name the functions of one direction; none where they are the usual."""
    if tuple(one.name for one in found) == USUAL[operator]:
        return {}
    every = list(found) * num_ways
    numbers = {
        "activation_alpha": [one.alpha for one in every if one.alpha is not None],
        "activation_beta": [one.beta for one in every if one.beta is not None],
    }
    given = {name: values for name, values in numbers.items() if values}
    return {"activations": [one.name for one in every], **given}

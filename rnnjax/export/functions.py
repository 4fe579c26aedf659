"""Functions of JAX that ONNX has as well, known by identity."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.export.graph import Graph

Writer = Callable[[Graph, str], str]
"""Adds a function of a tensor to a graph, and returns the name of the result."""


def writer_of(function: Any) -> Writer | None:
    """How to write a function of the features; None for one that is not known."""
    options: dict[str, Any] = {}
    if isinstance(function, functools.partial) and not function.args:
        function, options = function.func, dict(function.keywords)
    try:
        if function in PLAIN and not options:
            return PLAIN[function]
        if function in WITH_OPTIONS:
            names, make = WITH_OPTIONS[function]
            return make(**options) if options.keys() <= names else None
    except TypeError:  # what cannot be hashed is none of them
        pass
    return None


def _operator(name: str, attributes: dict[str, Any] | None = None) -> Writer:
    return lambda graph, x: graph.add(name, x, attributes=attributes)


def _clip(low: float, high: float) -> Writer:
    return lambda graph, x: graph.add("Clip", x, graph.scalar(low), graph.scalar(high))


def _times(gate: Writer) -> Writer:
    """The input times a gate of it, as in SiLU."""
    return lambda graph, x: graph.add("Mul", x, gate(graph, x))


def _log_sigmoid(graph: Graph, x: str) -> str:
    return graph.add("Neg", graph.add("Softplus", graph.add("Neg", x)))


def _gelu(approximate: bool = True) -> Writer:
    """x/2 (1 + erf(x/√2)), or tanh in the place of erf, as is the default of JAX."""

    def write(graph: Graph, x: str) -> str:
        if approximate:
            cube = graph.add("Mul", x, graph.add("Mul", x, x))
            inner = graph.add("Add", x, graph.add("Mul", cube, graph.scalar(0.044715)))
            inner = graph.add("Mul", inner, graph.scalar(math.sqrt(2 / math.pi)))
            bent = graph.add("Tanh", inner)
        else:
            bent = graph.add("Erf", graph.add("Mul", x, graph.scalar(math.sqrt(0.5))))
        half = graph.add("Mul", x, graph.scalar(0.5))
        return graph.add("Mul", half, graph.add("Add", bent, graph.scalar(1.0)))

    return write


def _elu(alpha: float = 1.0) -> Writer:
    return _operator("Elu", {"alpha": float(alpha)})


def _leaky_relu(negative_slope: float = 0.01) -> Writer:
    return _operator("LeakyRelu", {"alpha": float(negative_slope)})


_hard_sigmoid = _operator("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5})

PLAIN: dict[Any, Writer] = {
    jax.nn.relu: _operator("Relu"),
    jax.nn.relu6: _clip(0.0, 6.0),
    jax.nn.sigmoid: _operator("Sigmoid"),
    jax.lax.logistic: _operator("Sigmoid"),
    jnp.tanh: _operator("Tanh"),
    jax.lax.tanh: _operator("Tanh"),
    jax.nn.softmax: _operator("Softmax", {"axis": -1}),
    jax.nn.log_softmax: _operator("LogSoftmax", {"axis": -1}),
    jax.nn.softplus: _operator("Softplus"),
    jax.nn.soft_sign: _operator("Softsign"),
    jax.nn.selu: _operator("Selu"),
    jax.nn.silu: _times(_operator("Sigmoid")),
    jax.nn.log_sigmoid: _log_sigmoid,
    jax.nn.hard_tanh: _clip(-1.0, 1.0),
    jax.nn.hard_sigmoid: _hard_sigmoid,
    jax.nn.hard_silu: _times(_hard_sigmoid),
    jnp.abs: _operator("Abs"),
    jnp.exp: _operator("Exp"),
    jnp.negative: _operator("Neg"),
}
WITH_OPTIONS: dict[Any, tuple[set[str], Callable[..., Writer]]] = {
    jax.nn.gelu: ({"approximate"}, _gelu),
    jax.nn.elu: ({"alpha"}, _elu),
    jax.nn.leaky_relu: ({"negative_slope"}, _leaky_relu),
}

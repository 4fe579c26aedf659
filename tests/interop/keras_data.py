"""Layers and models of Keras as plain data, for tests without Keras."""

import numpy as np
from registry import random_params

from rnnjax.interop import keras_to_rnnjax, rnnjax_to_keras


def zeros(*shape):
    return np.zeros(shape, "float32")


def data(class_name, weights=(), **config):
    """A layer as Keras's files hold it, and its weights."""
    return {"class_name": class_name, "config": config, "weights": list(weights)}


def arrays(gates=4, below=3, width=4):
    return [zeros(below, gates * width), zeros(width, gates * width), zeros(gates * width)]


def lstm(below=3, **config):
    return data("LSTM", arrays(below=below), **({"return_sequences": True} | config))


def told(**options):
    return keras_to_rnnjax(arrays(), kind="lstm", options=options)


def model(*layers, weights=()):
    return data("Sequential", weights, layers=list(layers))


def both_ways(layer, **config):
    return data("Bidirectional", 2 * layer["weights"], layer=layer, **config)


def there(layer):
    return rnnjax_to_keras(layer, random_params(layer, 3))


class LSTM:
    """A layer of one's own by the same name."""

    get_config = get_weights = None


class Dense:
    """As Keras's own, which calls its function by the bare name."""

    __module__ = "keras.src.layers.core.dense"
    get_config = get_weights = None

    def __init__(self, activation):
        self.activation = activation


def relu(x):
    return 2 * x


FLATTEN = (
    "source['layers_1']` must be a layer that has an equal here, got Flatten; here each step is "
    "answered by itself: pool with rnnjax.train.both_ends or others."
)

"""State dicts and modules of PyTorch as plain data, for tests without PyTorch."""

import numpy as np
from registry import random_params

import rnnjax
from rnnjax.interop import rnnjax_to_torch


def zeros(*shape):
    return np.zeros(shape, "float32")


def state(gates=4, width=4, below=3, start="", end="_l0"):
    """One direction of one layer."""
    return {
        f"{start}weight_ih{end}": zeros(gates * width, below),
        f"{start}weight_hh{end}": zeros(gates * width, width),
        f"{start}bias_ih{end}": zeros(gates * width),
        f"{start}bias_hh{end}": zeros(gates * width),
    }


def model(**more):
    """Of an embedding, an LSTM and a head."""
    return {
        "embed.weight": zeros(9, 3),
        **state(start="lstm."),
        "head.weight": zeros(2, 4),
        "head.bias": zeros(2),
        **more,
    }


class Scaled(dict):
    """A module whose forward is its own; every part of it is such a one."""

    def state_dict(self):
        return dict(self)

    def get_submodule(self, name):
        return self


def model_there(order):
    layers = rnnjax.embedding(9, 3), rnnjax.lstm(4), rnnjax.lstm(4), rnnjax.dense(2)
    layer = rnnjax.stack(*layers)
    return rnnjax_to_torch(layer, random_params(layer, None), order=order)


def there(layer):
    return rnnjax_to_torch(layer, random_params(layer, 3))


KINDS = ["lstm", "projected_lstm", "gru", "elman"]
ORDER = ("embed", "lstm", "head")

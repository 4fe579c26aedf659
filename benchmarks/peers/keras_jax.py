"""Keras on JAX: its layers through `stateless_call`, batch first as it wants its inputs."""

import os
from typing import Any

import jax.numpy as jnp
import numpy as np

from cases import Case, Data, Weights
from peers import Program
from peers.in_jax import JaxProgram, Network, join
from peers.in_jax import device as device

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported

import keras


def why_not(case: Case) -> str | None:
    return None


def build(case: Case, data: Data) -> Program:
    both = case.num_directions == 2
    layers = [_layer(case, k) for k in range(case.num_layers)]
    seeds = [[v.value for v in layer.non_trainable_variables] for layer in layers]  # of no dropout

    def forward(params, xs, lengths):
        mask = None if lengths is None else jnp.arange(case.T) < lengths[:, None]
        carries = []
        for layer, trainable, seed in zip(layers, params, seeds, strict=True):
            (xs, *carry), _ = layer.stateless_call(trainable, seed, xs, mask=mask)
            carries.append(carry)
        return carries, xs

    def states(carries):
        each = len(carries[0]) // case.num_directions  # h and c, or h
        return [h for carry in carries for h in carry[::each]]

    def weights(gradients):
        arrays = [array for trainable in gradients for array in trainable]
        return [_weights(case, arrays[k : k + 3]) for k in range(0, len(arrays), 3)]

    sides = [_arrays(given) for given in data.weights]
    params = [sides[0] + sides[1]] if both else sides
    return JaxProgram(case, data, Network(params, forward, states, weights, time_major=False))


def _layer(case: Case, k: int) -> Any:
    kind = keras.layers.LSTM if case.cell == "lstm" else keras.layers.GRU
    layer = kind(case.H, return_sequences=True, return_state=True)
    if case.num_directions == 2:
        layer = keras.layers.Bidirectional(layer)
    layer.build((case.B, case.T, case.in_features(k)))
    return layer


def _arrays(given: Weights) -> list[np.ndarray]:
    """Gates i, f, c, o as ours; or z, r, h, with a row of recurrent biases."""
    if given.b_hn is None:
        return list(given[:3])
    recurrent = np.concatenate([np.zeros(2 * given.b_hn.size, np.float32), given.b_hn])
    return [_swapped(a) for a in (given.w_ih, given.w_hh, np.stack([given.b, recurrent]))]


def _weights(case: Case, arrays: list[Any]) -> Weights:
    if case.cell == "lstm":
        return Weights(*map(np.asarray, arrays))
    w_ih, w_hh, biases = (_swapped(np.asarray(a)) for a in arrays)
    return Weights(w_ih, w_hh, biases[0], biases[1, 2 * case.H :])


def _swapped(a: np.ndarray) -> np.ndarray:
    """From r, z, n to z, r, n and back."""
    r, z, n = np.split(a, 3, axis=-1)
    return join([z, r, n])

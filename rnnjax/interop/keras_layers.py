"""Weights of Keras's recurrent layers, and of models made of them."""

from collections.abc import Mapping
from typing import Any, Literal

from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.interop import keras_config
from rnnjax.interop.arrays import Arrays
from rnnjax.interop.assemble import Reading, as_params, stacked
from rnnjax.interop.keras_config import FUNCTION, Source, data_of
from rnnjax.interop.keras_network import Network
from rnnjax.interop.keras_plan import plan
from rnnjax.interop.keras_write import Written
from rnnjax.interop.report import Converted, Foreign, Report
from rnnjax.sequence.layer import Layer


def keras_to_rnnjax(
    source: Any,
    *,
    kind: Literal["lstm", "gru", "simple_rnn"] | None = None,
    options: Mapping[str, Any] | None = None,
    dtype: Any = None,
) -> Converted:
    """Bring recurrent layers of Keras 3, or a model made of them, here; the outputs are equal.

    `LSTM`, `GRU` (either `reset_after`) and `SimpleRNN`, `Bidirectional` in every merge mode, `RNN`
    of one cell or several, and in a `Sequential` or a list also `Embedding`, `Dense`,
    `TimeDistributed`, `Activation`, `ReLU`, `Softmax`. Noise is left out with a note, and so is
    `Masking`: give `lengths=` or `mask=` where they are run. Ours are time-major, and answer at
    every step: without `return_sequences` Keras goes on with one of them, and a note says which.

    Args:
        source: a built layer, cell or `Sequential`; a list of layers; or their data, such as
            `{"class_name": "GRU", "config": layer.get_config(), "weights": layer.get_weights()}`,
            for which Keras need not be installed. Or the arrays of `get_weights()` alone, with
            `kind`.
        kind: of the layer, for arrays alone.
        options: for arrays alone: what its constructor was told, by Keras's names; what is left
            out has Keras 3's default, and a note says so. `merge_mode` belongs to the arrays of a
            `Bidirectional`.
        dtype: of the params; None keeps that of the weights.

    Returns:
        A layer for a layer, a cell for a cell, a `stack` for a model; its params, and the report
        on every array.

    Raises:
        TypeError: for what is no layer, and arrays and options of other kinds.
        ValueError: for layers and activations that have no equal here, classes and functions of
            one's own, `hard_sigmoid` of Keras 2, a layer in the middle that hands on its last
            output only, names that the layer does not take, and arrays that do not fit.

    Example:
        >>> import numpy as np
        >>> from rnnjax.interop import keras_to_rnnjax
        >>> weights = [np.ones((3, 12)), np.ones((4, 12)), np.zeros((2, 12))]  # of keras.layers.GRU
        >>> layer, params, report = keras_to_rnnjax(weights, kind="gru", dtype="float32")
        >>> print(report)
        array there       shape    here     how
        kernel            (3, 12)  w_ih     z, r, h to r, z, n
        recurrent_kernel  (4, 12)  w_hh     z, r, h to r, z, n
        bias              (2, 12)  b, b_hn  rows summed, but for the last block; z, r, h to r, z, n
        note: arrays alone: with activation 'tanh' and recurrent_activation 'sigmoid'
    """
    read = Source(source, kind, options)
    things = [thing for spec in read.specs for thing in plan(read, spec)]
    named = read.named([name for thing in things for name in thing.names])
    arrays = Arrays(FUNCTION, "source", named, dtype=dtype)
    network = Network(read, arrays)
    for thing in things:
        network.add(thing)
    if kind is not None:
        given = {**keras_config.USUAL, **(options or {})}
        wanted = ["activation"] + ["recurrent_activation"] * (kind != "simple_rnn")
        said = " and ".join(f"{name} {given[name]!r}" for name in wanted)
        arrays.notes.append(f"arrays alone: with {said}")
    if not network.layers:
        read.refuse("source", "have a layer with something to do", "none", "give more of the model")
    if read.whole:
        layer, params = stacked(FUNCTION, network.places, network.layers, network.trees)
    else:
        [layer], [params] = network.layers, network.trees
    return Converted(layer, as_params(FUNCTION, params), arrays.finish())


def rnnjax_to_keras(layer: Cell | Layer, params: PyTree) -> Foreign:
    """Write a network as layers of Keras 3.

    An `lstm`, `gru` of either reset or `elman` becomes the layer of that kind, `bidirectional` a
    `Bidirectional`, and around a stack of cells an `RNN` of several; `embedding`, `dense` and
    functions of the features come along. All return sequences. A GRU's bias goes to the first row,
    with zeros in the second but for `b_hn`.

    Args:
        layer: a cell, a layer, or a stack of them.
        params: of `layer`.

    Returns:
        The arrays in the order of `get_weights()`, and as options the data of the layer, or of a
        `Sequential` for a stack:

            made = keras.saving.deserialize_keras_object(options)
            made.build((None, None, in_features))  # or (None, None) for tokens
            made.set_weights(weights)

    Raises:
        TypeError: if `layer` is none, or the params are of another.
        ValueError: for cells, activations and merges that Keras lacks, and a direction that is
            only backward, whose outputs Keras leaves in another order.

    Example:
        >>> import jax, rnnjax
        >>> layer = rnnjax.bidirectional(rnnjax.gru(5), merge=rnnjax.merge.add)
        >>> there = rnnjax.interop.rnnjax_to_keras(layer, layer.init(jax.random.key(0), 3))
        >>> config = there.options["config"]
        >>> there.options["class_name"], config["merge_mode"], there.weights[0].shape
        ('Bidirectional', 'sum', (3, 15))
    """
    reading = Reading("rnnjax_to_keras", layer, params)
    written = Written(reading)
    for part in reading.parts:
        written.add(part)
    report = Report(tuple(written.rows), tuple(reading.notes))
    if not reading.parts[0].name:  # no stack, which is a model there even of a single layer
        return Foreign(written.weights, written.layers[0], report)
    config = {"name": "sequential", "layers": written.layers}
    return Foreign(written.weights, data_of("Sequential", config), report)

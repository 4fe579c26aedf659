"""What cannot come from Keras or go there, and what the user is told; without Keras."""

import jax.numpy as jnp
import numpy as np
import pytest
from interop.keras_data import (
    FLATTEN,
    LSTM,
    Dense,
    arrays,
    both_ways,
    data,
    lstm,
    model,
    relu,
    there,
    told,
    zeros,
)
from messages import TYPE, VALUE, check_refused_by_name, table

import rnnjax
from rnnjax.interop import keras_to_rnnjax

OWN = LSTM.__module__
FROM = {
    "no layer": (
        lambda: keras_to_rnnjax(3),
        TYPE,
        "source` must be a layer or a list, got int 3; give a layer, a list of layers, or what "
        "get_weights() returns.",
    ),
    "arrays without a kind": (
        lambda: keras_to_rnnjax(arrays()),
        VALUE,
        "kind` must be one of ['lstm', 'gru', 'simple_rnn'] for arrays, got None; the arrays do "
        "not tell.",
    ),
    "another kind": (
        lambda: keras_to_rnnjax(arrays(), kind="LSTM"),
        VALUE,
        "kind` must be one of ['lstm', 'gru', 'simple_rnn'], got 'LSTM'; choose one of these.",
    ),
    "a layer with a kind": (
        lambda: keras_to_rnnjax(lstm(), kind="lstm"),
        VALUE,
        "kind` must be None where layers say theirs, got 'lstm'; leave it out.",
    ),
    "five arrays": (
        lambda: keras_to_rnnjax(arrays() + arrays()[:2], kind="lstm"),
        VALUE,
        "source` must be what get_weights() returns, got 5 arrays; give those of one layer: 2 or "
        "3 arrays a direction.",
    ),
    "two directions without a merge": (
        lambda: keras_to_rnnjax(2 * arrays(), kind="lstm"),
        VALUE,
        "options['merge_mode']` must be one of ['concat', 'sum', 'mul', 'ave', None], got None; "
        "these are the arrays of two directions, which do not tell.",
    ),
    "a gru without bias": (
        lambda: keras_to_rnnjax(arrays(3)[:2], kind="gru"),
        VALUE,
        "options['reset_after']` must be True or False, got None; without a bias the arrays do "
        "not tell.",
    ),
    "a reset that contradicts the bias": (
        lambda: keras_to_rnnjax(arrays(3), kind="gru", options={"reset_after": True}),
        VALUE,
        "source['bias']` must have shape (2, 12), got (12,); give the arrays of one network as "
        "they are.",
    ),
    "arrays of another kind": (
        lambda: keras_to_rnnjax(arrays(3), kind="lstm"),
        VALUE,
        "source['recurrent_kernel']` must have 4 times 4 columns for LSTM, got 12; give the "
        "arrays of one layer in the order of get_weights().",
    ),
    "whole numbers": (
        lambda: keras_to_rnnjax([np.zeros((3, 16), int), *arrays()[1:]], kind="lstm"),
        TYPE,
        "source[0]` must be an array of floats, got int64 of shape (3, 16); give the array of "
        "weights itself.",
    ),
    "not built": (
        lambda: keras_to_rnnjax(data("LSTM", units=4)),
        VALUE,
        "source` must have 3 arrays for LSTM, got 0; build the layers first, and give all of "
        "their weights.",
    ),
    "other units": (
        lambda: keras_to_rnnjax(lstm(units=5)),
        VALUE,
        "source['recurrent_kernel']` must have shape (5, any), got (4, 16); give the arrays of "
        "one network as they are.",
    ),
    "another activation": (
        lambda: keras_to_rnnjax(lstm(activation="gelu")),
        VALUE,
        "source` must have another activation, got 'gelu'; no function of JAX is known to equal "
        "it.",
    ),
    "gates of one's own": (
        lambda: keras_to_rnnjax(
            [lstm(recurrent_activation={"class_name": "function", "config": "steps"})]
        ),
        VALUE,
        "source['layers_0']` must have another recurrent_activation, got 'steps'; no function of "
        "JAX is known to equal it.",
    ),
    "an activation that is a layer": (
        lambda: keras_to_rnnjax(lstm(activation={"class_name": "LeakyReLU", "config": {}})),
        VALUE,
        "source` must have another activation, got 'LeakyReLU'; no function of JAX is known to "
        "equal it.",
    ),
    "outputs in the order of reading": (
        lambda: keras_to_rnnjax(lstm(go_backwards=True)),
        VALUE,
        "source` must go forwards, or return its last output alone, got go_backwards, which "
        "leaves its outputs in the order of reading; turn the sequences around yourself.",
    ),
    "the last output in the middle": (
        lambda: keras_to_rnnjax([lstm(return_sequences=False), lstm(below=4, name="top")]),
        VALUE,
        "source['top']` must have a sequence to read, got only the last output of 'layers_0'; "
        "give return_sequences=True below.",
    ),
    "both last outputs below a head": (
        lambda: keras_to_rnnjax(
            [both_ways(lstm(return_sequences=False)), data("Dense", [zeros(8, 2), zeros(2)])]
        ),
        VALUE,
        "source['layers_1']` must have nothing below that ends, got Bidirectional 'layers_0' "
        "without return_sequences; convert the layers up to there, and those above it by "
        "themselves.",
    ),
    "two outputs below a head": (
        lambda: keras_to_rnnjax([both_ways(lstm(), merge_mode=None), data("ReLU")]),
        VALUE,
        "source['layers_1']` must have nothing below that ends, got Bidirectional 'layers_0' with "
        "two outputs; convert the layers up to there, and those above it by themselves.",
    ),
    "another merge": (
        lambda: keras_to_rnnjax(both_ways(lstm(), merge_mode="max")),
        VALUE,
        "source` must merge by one of ['concat', 'sum', 'mul', 'ave', None], got 'max'; see "
        "Keras's manual.",
    ),
    "directions that differ": (
        lambda: keras_to_rnnjax(both_ways(lstm(), backward_layer=lstm(activation="relu"))),
        VALUE,
        "source` must have the same options both ways, got a backward_layer of another kind; both "
        "directions are one cell here.",
    ),
    "a first direction that goes backwards": (
        lambda: keras_to_rnnjax(both_ways(lstm(go_backwards=True))),
        VALUE,
        "source` must have a first layer that goes forwards, got go_backwards; exchange the two "
        "layers.",
    ),
    "a flattening": (lambda: keras_to_rnnjax([lstm(), data("Flatten")]), VALUE, FLATTEN),
    "a model that branches": (
        lambda: keras_to_rnnjax(data("Functional")),
        VALUE,
        "source` must be a layer that has an equal here, got Functional; give its layers in order "
        "as a list.",
    ),
    "normalisation": (
        lambda: keras_to_rnnjax([lstm(), data("LayerNormalization", name="norm")]),
        VALUE,
        "source['norm']` must be a layer that has an equal here, got LayerNormalization; convert "
        "the layers below and above it by themselves.",
    ),
    "a cell of one's own": (
        lambda: keras_to_rnnjax(data("RNN", cell={"class_name": "MyCell", "config": {}})),
        VALUE,
        "source` must have cells among ['LSTMCell', 'GRUCell', 'SimpleRNNCell'], got MyCell; "
        "write that cell in rnnjax.",
    ),
    "something else at every step": (
        lambda: keras_to_rnnjax([data("TimeDistributed", layer=data("Conv1D"))]),
        VALUE,
        "source['layers_0']` must have a Dense, an activation or noise inside, got Conv1D; "
        "convert the layers below and above it by themselves.",
    ),
    "a leaky relu": (
        lambda: keras_to_rnnjax([lstm(), data("ReLU", negative_slope=0.1)]),
        VALUE,
        "source['layers_1']` must be ReLU with its usual options, got {'negative_slope': 0.1}; "
        "write that function as a layer of its own.",
    ),
    "noise alone": (
        lambda: keras_to_rnnjax([data("Dropout", rate=0.5)]),
        VALUE,
        "source` must have a layer with something to do, got none; give more of the model.",
    ),
    "no cells": (
        lambda: keras_to_rnnjax(data("RNN", cell=[])),
        VALUE,
        "source` must have cells, got none; give what get_config() returns.",
    ),
    "a config of another kind": (
        lambda: keras_to_rnnjax(data("Bidirectional", layer={"class_name": "GRU", "config": 3})),
        TYPE,
        "source` must have names and values as its config, got int 3; give what get_config() "
        "returns.",
    ),
    "a layer of another kind": (
        lambda: keras_to_rnnjax(data("Sequential", layers=["gru"])),
        TYPE,
        "source['layers_0']` must have names and values as its config, got str 'gru'; give what "
        "get_config() returns.",
    ),
    "options of another kind": (
        lambda: keras_to_rnnjax(arrays(), kind="lstm", options=["relu"]),
        TYPE,
        "options` must be names and values, got list ['relu']; such as {'activation': 'relu'}.",
    ),
    "hard_sigmoid of Keras 2": (
        lambda: keras_to_rnnjax(lstm(recurrent_activation="hard_sigmoid", time_major=False)),
        VALUE,
        "source` must have another recurrent_activation in a model of Keras 2, got hard_sigmoid, "
        "which has slope 0.2 there and 1/6 here and in Keras 3; train with sigmoid.",
    ),
    "hard_sigmoid above a layer of Keras 2": (
        lambda: keras_to_rnnjax(
            model(
                data("LSTM", return_sequences=True, implementation=2),
                data("Dense", name="head", activation="hard_sigmoid"),
                weights=[*arrays(), zeros(4, 2), zeros(2)],
            )
        ),
        VALUE,
        "source['head']` must have another activation in a model of Keras 2, got hard_sigmoid, "
        "which has slope 0.2 there and 1/6 here and in Keras 3; train with sigmoid.",
    ),
    "a mistyped option": (
        lambda: told(recurent_activation="hard_sigmoid"),
        VALUE,
        "options` must have names that keras.layers.LSTM takes, got ['recurent_activation']; such "
        "as ['activation', 'go_backwards', 'recurrent_activation', 'unit_forget_bias', 'units'].",
    ),
    "a merge of one direction": (
        lambda: told(merge_mode="sum"),
        VALUE,
        "options['merge_mode']` must be left out for one direction, got 'sum'; give the arrays of "
        "both directions.",
    ),
    "an option of another kind": (
        lambda: told(return_sequences="yes"),
        TYPE,
        "options['return_sequences']` must be True or False, got str 'yes'; give what "
        "get_config() returns.",
    ),
    "a class of one's own": (
        lambda: keras_to_rnnjax(LSTM()),
        VALUE,
        f"source` must be of a class of Keras's own, got LSTM of {OWN}; if it computes as "
        "one of them, give data with that class_name, config and weights.",
    ),
    "a function of one's own": (
        lambda: keras_to_rnnjax(Dense(relu)),
        VALUE,
        f"source` must have Keras's own activation, got relu of {OWN}; no function of JAX is "
        "known to equal it.",
    ),
    "data of a class of one's own": (
        lambda: keras_to_rnnjax(
            model({"module": None, "registered_name": "my>GRU", "class_name": "GRU", "config": {}})
        ),
        VALUE,
        "source['layers_0']` must be of a class of Keras's own, got GRU, registered as 'my>GRU'; "
        "if it computes as one of them, give data with that class_name, config and weights.",
    ),
    "a backward layer that goes forwards": (
        lambda: keras_to_rnnjax(both_ways(lstm(), backward_layer=lstm(return_sequences=False))),
        VALUE,
        "source` must have a backward_layer that goes backwards and returns what the other "
        "returns, got go_backwards=False, return_sequences=False; give what get_config() of a "
        "Bidirectional returns.",
    ),
    "an activation that is something else": (
        lambda: told(activation={"foo": 1}),
        VALUE,
        "source` must have another activation, got {'foo': 1}; no function of JAX is known to "
        "equal it.",
    ),
    "a merge of another kind": (
        lambda: keras_to_rnnjax(2 * arrays(), kind="lstm", options={"merge_mode": ["concat"]}),
        TYPE,
        "options['merge_mode']` must be a word or None, got list ['concat']; give what "
        "get_config() returns.",
    ),
    "layers of another kind": (
        lambda: keras_to_rnnjax(data("Sequential", layers=5)),
        TYPE,
        "source.config['layers']` must be a list, got int 5; give what get_config() returns.",
    ),
    "cells of another kind": (
        lambda: keras_to_rnnjax([data("StackedRNNCells", cells=5)]),
        TYPE,
        "source['layers_0'].config['cells']` must be a list, got int 5; give what get_config() "
        "returns.",
    ),
    "an inner layer of another kind": (
        lambda: keras_to_rnnjax(data("TimeDistributed", layer=5)),
        TYPE,
        "source` must have names and values as its config, got int 5; give what get_config() "
        "returns.",
    ),
    "weights of another kind": (
        lambda: keras_to_rnnjax({"class_name": "LSTM", "config": {}, "weights": None}),
        TYPE,
        "source` must have a list of arrays as its weights, got NoneType None; give what "
        "get_weights() returns.",
    ),
    "a dtype of another kind": (
        lambda: keras_to_rnnjax(lstm(dtype={"config": None})),
        TYPE,
        "source.config['dtype']['config']` must be names and values, got NoneType None; give what "
        "get_config() returns.",
    ),
    "directions of two widths": (
        lambda: keras_to_rnnjax(
            [*arrays(), *arrays(width=5)], kind="lstm", options={"merge_mode": "concat"}
        ),
        VALUE,
        "source` must hold two directions that are alike, got w_ih float32 of shape (3, 16) and "
        "float32 of shape (3, 20); here both directions are one cell; build the two layers by "
        "hand.",
    ),
    "layers that do not fit": (
        lambda: keras_to_rnnjax([lstm(), data("Dense", [zeros(9, 2), zeros(2)], name="head")]),
        VALUE,
        "source['head']` must read the 4 features of `source['layers_0']`, got 9; give the parts "
        "from bottom to top.",
    ),
    "cells that do not fit": (
        lambda: keras_to_rnnjax(
            data("RNN", arrays() + arrays(below=5), cell=[data("LSTMCell"), data("LSTMCell")])
        ),
        VALUE,
        "source.cells[1]` must read the 4 features of `source.cells[0]`, got 5; give the parts "
        "from bottom to top.",
    ),
    "other units of a head": (
        lambda: keras_to_rnnjax([data("Dense", [zeros(4, 7), zeros(7)], units=2)]),
        VALUE,
        "source['layers_0.kernel']` must have shape (any, 2), got (4, 7); give the arrays of one "
        "network as they are.",
    ),
    "a stranger among layers": (
        lambda: keras_to_rnnjax([lstm(), 3]),
        TYPE,
        "source` must hold layers of Keras, got int 3; give built layers, or mappings with "
        "class_name, config and weights.",
    ),
}
TO = {
    "another cell": (
        lambda: there(rnnjax.mgu(4)),
        VALUE,
        "layer` must be one of ['lstm', 'gru', 'elman', 'embedding', 'dense', 'pointwise', "
        "'bidirectional'], got mgu; convert the other layers without it.",
    ),
    "another activation": (
        lambda: there(rnnjax.stack(rnnjax.lstm(4), rnnjax.elman(4, activation=jnp.sin))),
        VALUE,
        "layer.layers_1` must have as activation one of Keras's, got sin; Keras has tanh, sigmoid, "
        "relu, linear, softmax, relu6, elu, selu, silu, swish, mish, softplus, softsign, "
        "exponential, log_sigmoid, hard_sigmoid, hard_silu, hard_tanh.",
    ),
    "backwards": (
        lambda: there(rnnjax.recurrent(rnnjax.lstm(4), reverse=True)),
        VALUE,
        "layer` must read forwards, got reverse=True; make it bidirectional, or turn the sequence "
        "around yourself.",
    ),
    "another merge": (
        lambda: there(rnnjax.bidirectional(rnnjax.lstm(4), merge=jnp.maximum)),
        VALUE,
        "layer` must merge by concatenate, add, multiply, average or pair, got maximum; merge "
        "after it.",
    ),
    "both ways inside both ways": (
        lambda: there(rnnjax.bidirectional(rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(4))))),
        VALUE,
        "layer.layers_0` must read one way inside a bidirectional layer, got bidirectional; stack "
        "bidirectional layers.",
    ),
}
CASES = table(keras_to_rnnjax=FROM, rnnjax_to_keras=TO)


@pytest.mark.parametrize("name", CASES)
def test_refused(name):
    check_refused_by_name(name, CASES)

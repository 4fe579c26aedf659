"""Layers above each other, and what arrays alone leave open."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from flax import nnx as flax_nnx

from rnnjax.interop import (
    course_to_rnnjax,
    cudnn_to_rnnjax,
    equinox_to_rnnjax,
    linen_to_rnnjax,
    nnx_to_rnnjax,
)


def ones(*shape):
    return np.ones(shape, "float32")


def equinox(below):
    return {"weight_ih": ones(16, below), "weight_hh": ones(16, 4), "bias": ones(16)}


def simple(below):
    return {"i": {"kernel": ones(below, 4), "bias": ones(4)}, "h": {"kernel": ones(4, 4)}}


def course(below):
    return {f"W{g}": ones(4, 4 + below) for g in "fioc"} | {f"b{g}": ones(4, 1) for g in "fioc"}


def pair(make, below):
    return {"forward_rnn": {"cell": make(below)}, "backward_rnn": {"cell": make(below)}}


WIDTHS = {
    "equinox": lambda: equinox_to_rnnjax([equinox(3), equinox(9)]),
    "linen": lambda: linen_to_rnnjax([simple(3), simple(9)]),
    "course": lambda: course_to_rnnjax([course(3), course(9)]),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_a_layer_reads_what_the_one_below_hands_on(name):
    with pytest.raises(ValueError) as caught:
        WIDTHS[name]()
    argument = "parameters" if name == "course" else "source"
    assert str(caught.value) == (
        f"{name}_to_rnnjax: `{argument}[1]` must read the 4 features of `{argument}[0]`, got 9; "
        "give the parts from bottom to top."
    )


def test_both_directions_are_read():
    layer, _, _ = equinox_to_rnnjax([(equinox(3), equinox(3)), equinox(8)])
    assert layer.out_features(3) == 4
    layer, _, _ = linen_to_rnnjax([pair(simple, 3), simple(8)])
    assert layer.out_features(3) == 4
    with pytest.raises(ValueError, match=r"`source\[1\]` must read the 8 features of `source\[0\]"):
        equinox_to_rnnjax([(equinox(3), equinox(3)), equinox(4)])


def test_a_vector_too_short_is_refused_before_it_is_cut():
    sizes = {"input_size": 3, "hidden_size": 4, "num_layers": 10**9, "bidirectional": True}
    with pytest.raises(ValueError) as caught:
        cudnn_to_rnnjax(ones(5), **sizes)
    assert str(caught.value) == (
        "cudnn_to_rnnjax: `weights` must have shape (447999999840,) for these sizes, got (5,); "
        "see jax.experimental.rnn.get_num_params_in_lstm."
    )


def alone(options):
    return f"arrays alone: with Flax's own {options}, which they do not tell"


def test_what_a_tree_of_flax_does_not_tell_is_noted():
    tree = pair(simple, 3)
    assert linen_to_rnnjax(simple(3)).report.notes == (alone("activation_fn"),)
    assert linen_to_rnnjax(simple(3), activation=jnp.tanh).report.notes == ()
    assert linen_to_rnnjax({"cell": simple(3)}, activation=jnp.tanh).report.notes == (
        alone("reverse"),
    )
    assert linen_to_rnnjax(tree).report.notes == (alone("activation_fn, merge_fn"),)
    rnn = linen.RNN(linen.SimpleCell(4))
    module = linen.Bidirectional(rnn, rnn.clone())
    assert linen_to_rnnjax(tree, module=module).report.notes == ()
    dense = {
        "dense_i": {"kernel": ones(3, 16)},
        "dense_h": {"kernel": ones(4, 16), "bias": ones(16)},
    }
    assert nnx_to_rnnjax(dense).report.notes == (alone("gate_fn, activation_fn"),)
    made = flax_nnx.SimpleCell(3, 4, rngs=flax_nnx.Rngs(0))
    assert nnx_to_rnnjax(made).report.notes == ()
    assert nnx_to_rnnjax(flax_nnx.state(made)).report.notes == (alone("activation_fn"),)

"""What cells with convolutions refuse, and what a stack refuses to hand them."""

import functools

import jax
import jax.numpy as jnp
import pytest
import registry
from messages import TYPE, VALUE, check_five_parts, no_type_checker

import rnnjax

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

T, B, C, H = 4, 2, 3, 2


def cell_of(*kernel, **options):
    return rnnjax.conv_lstm(H, kernel_size=kernel, **options)


@functools.cache
def problem(cell, space):
    """Random params, inputs and carry."""
    params = registry.random_params(cell, C, 0)
    xs = registry.inputs(T, B, *space, C)
    return params, xs, registry.random_carry(cell, params, xs[0], 2)


MADE = {
    "an int": (
        {"kernel_size": 3},
        TYPE,
        "conv_lstm: `kernel_size` must be a tuple with one size an axis of space, got int 3; "
        "give (3, 3) for images.",
    ),
    "no axis": (
        {"kernel_size": ()},
        VALUE,
        "conv_lstm: `kernel_size` must name one to three axes of space, got (); give one size "
        "an axis.",
    ),
    "four axes": (
        {"kernel_size": (3, 3, 3, 3)},
        VALUE,
        "conv_lstm: `kernel_size` must name one to three axes of space, got (3, 3, 3, 3); give "
        "one size an axis.",
    ),
    "a size of 0": (
        {"kernel_size": (3, 0)},
        VALUE,
        "conv_lstm: `kernel_size` must be at least 1, got 0; give the width or count that is "
        "meant.",
    ),
    "a float": (
        {"kernel_size": (3, 1.5)},
        TYPE,
        "conv_lstm: `kernel_size` must be a whole number, got float 1.5; give an int.",
    ),
    "strides": (
        {"kernel_size": (3, 3), "strides": (1, 1, 2)},
        VALUE,
        "conv_lstm: `strides` must name 2 axes, got (1, 1, 2); give one for all axes, or one an "
        "axis of kernel_size.",
    ),
    "strides of 0": (
        {"kernel_size": (3, 3), "strides": 0},
        VALUE,
        "conv_lstm: `strides` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "dilation": (
        {"kernel_size": (3,), "dilation": (1, 1)},
        VALUE,
        "conv_lstm: `dilation` must name 1 axes, got (1, 1); give one for all axes, or one an "
        "axis of kernel_size.",
    ),
    "padding": (
        {"kernel_size": (3,), "padding": "SAME"},
        VALUE,
        "conv_lstm: `padding` must be one of ['same', 'valid'], got 'SAME'; choose one of these.",
    ),
    "peepholes": (
        {"kernel_size": (3,), "peepholes": 1},
        TYPE,
        "conv_lstm: `peepholes` must be True or False, got int 1; give a bool.",
    ),
    "forget_bias": (
        {"kernel_size": (3,), "forget_bias": 2.0, "bias": False},
        VALUE,
        "conv_lstm: `forget_bias` must be left out where bias=False, got 2.0; leave one of the "
        "two out.",
    ),
}


def test_gru_refuses_in_one_sentence():
    make = functools.partial(rnnjax.conv_gru, H, kernel_size=(3,))
    for options, message in [
        (
            {"reset": "never"},
            "conv_gru: `reset` must be one of ['after', 'before'], got 'never'; choose one of "
            "these.",
        ),
        (
            {"update_bias": 1.0, "bias": False},
            "conv_gru: `update_bias` must be left out where bias=False, got 1.0; leave one of "
            "the two out.",
        ),
        (
            {"strides": (1, 2)},
            "conv_gru: `strides` must name 1 axes, got (1, 2); give one for all axes, or one an "
            "axis of kernel_size.",
        ),
    ]:
        check_message(lambda told=options: make(**told), VALUE, message)


@pytest.mark.parametrize("name", MADE)
def test_factory_refuses_in_one_sentence(name):
    options, error, message = MADE[name]
    check_message(lambda: rnnjax.conv_lstm(H, **options), error, message)


def check_message(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    check_five_parts(message)


def run(cell, space, like=None):
    params = problem(cell, like or space)[0]
    return rnnjax.unroll(cell, params, jnp.ones((T, *space)))


RUN = {
    "no axis of space": (
        lambda: run(cell_of(3, 3), (C,), (4, 4)),
        "unroll: `xs` must have shape (T, *batch, S, S, 3), got (4, 3); the features come last, "
        "and params fix their number.",
    ),
    "one axis too few": (
        lambda: run(cell_of(3, 3), (4, C), (4, 4)),
        "unroll: `xs` must have shape (T, *batch, S, S, 3), got (4, 4, 3); the features come "
        "last, and params fix their number.",
    ),
    "channels first": (
        lambda: run(cell_of(3, 3), (B, C, 5, 4), (4, 4)),
        "unroll: `xs` must have shape (T, *batch, S, S, 3), got (4, 2, 3, 5, 4); the features "
        "come last, and params fix their number.",
    ),
    "valid, and too small": (
        lambda: run(cell_of(3, 2, padding="valid"), (B, 2, 2, C), (4, 4)),
        "conv_lstm: `xs` must reach over 3 x 2 places at least, got 2 x 2; give larger inputs, "
        'or use padding="same".',
    ),
    "a carry of another space": (
        lambda: rnnjax.unroll(
            cell_of(3, strides=2),
            problem(cell_of(3, strides=2), (4,))[0],
            jnp.ones((T, B, 6, C)),
            problem(cell_of(3, strides=2), (4,))[2],
        ),
        "unroll: `carry.h` must have shape (2, 3, 2), got (2, 2, 2); start from init_carry, or "
        "hand on the carry of an earlier segment.",
    ),
    "params of another kernel": (
        lambda: rnnjax.unroll(cell_of(3), problem(cell_of(5), (4,))[0], jnp.ones((T, B, 4, C))),
        "unroll: `params.w_ih` must have shape (3, 3, 8), got (5, 3, 8); give what init made for "
        "this very cell or layer.",
    ),
    "mask of every place": (
        lambda: rnnjax.unroll(
            cell_of(3),
            problem(cell_of(3), (4,))[0],
            jnp.ones((T, B, 4, C)),
            mask=jnp.ones((T, B, 4), bool),
        ),
        "unroll: `mask` must have shape (T, *batch) = (4, 2), got (4, 2, 4); give one per step "
        "of each batch row.",
    ),
    "vectors below": (
        lambda: stacked(rnnjax.lstm(C), cell_of(3), (B, C)),
        "stack: `layers` must hand 1 axes of space to layer 1, got 0; put it further down.",
    ),
    "lines below images": (
        lambda: stacked(cell_of(3), cell_of(3, 3), (B, 4, C)),
        "stack: `layers` must hand 2 axes of space to layer 1, got 1; put it further down.",
    ),
}


def stacked(lower, upper, shape):
    layer = rnnjax.stack(lower, upper)
    return layer.apply(layer.init(jax.random.key(0), C), jnp.ones((T, *shape)))


@pytest.mark.parametrize("name", RUN)
def test_run_refuses_in_one_sentence(name):
    call, message = RUN[name]
    check_message(call, VALUE, message)

"""The structure that the speed of the fused method stands on; no clock is needed to see it."""

import re

import jax
import jax.numpy as jnp
import pytest
import registry
from programs import walk

import rnnjax

T, B, D, H = 40, 8, 12, 16
NAMES = ["lstm", "gru", "gru, reset before", "elman"]
PRODUCTS_A_STEP = {"gru, reset before": 2}


def loss(cell, params, xs):
    _, ys = rnnjax.unroll(cell, params, xs, method=rnnjax.Fused())
    return (ys**2).sum()


def arguments(name):
    cell, params = registry.make(name, features=D, hidden=H)
    return cell, params, jnp.ones((T, B, D))


def program(name, argnums):
    """The jaxpr of a gradient."""
    cell, params, xs = arguments(name)
    return jax.make_jaxpr(jax.grad(lambda p, x: loss(cell, p, x), argnums))(params, xs).jaxpr


def compiled(name, argnums=0):
    cell, params, xs = arguments(name)
    gradient = jax.jit(jax.grad(lambda p, x: loss(cell, p, x), argnums))
    return gradient.lower(params, xs).compile()


def products(jaxpr):
    """Every product of a program, and whether it stands in a loop."""
    for equation, in_loop in walk(jaxpr):
        if equation.primitive.name == "dot_general":
            yield in_loop, equation.outvars[0].aval.shape


@pytest.mark.parametrize("name", NAMES)
def test_one_product_a_step_and_weight_gradients_outside(name):
    """Forward and backward loop; outside, the projection and the gradients of the weights."""
    found = list(products(program(name, 0)))
    in_loops = [shape for inside, shape in found if inside]
    assert len(in_loops) == 2 * PRODUCTS_A_STEP.get(name, 1)
    assert all(shape[0] == B for shape in in_loops)
    gates = arguments(name)[1].w_hh.shape[1]
    outside = [shape for inside, shape in found if not inside]
    assert (D, gates) in outside  # of w_ih, in one product over all steps
    assert any(shape[0] == H for shape in outside)  # of w_hh
    assert (T, B, gates) in outside  # the projection


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_asks_for_is_not_computed(name):
    """The gradient of the inputs is one product, and only there where it is wanted."""
    count = lambda argnums: len(re.findall(r" dot\(", compiled(name, argnums).as_text()))
    assert count((0, 1)) == count(0) + 1


@pytest.mark.parametrize("name", NAMES)
def test_no_step_copies_a_buffer(name):
    """Buffers change in place: within loops nothing of T steps is copied."""
    text = compiled(name).as_text()
    bodies = re.findall(r"^%[\w.]*(?:region|body|while)[\w.]* .*?^}", text, re.M | re.S)
    assert bodies
    for body in bodies:
        assert not re.findall(rf"= f32\[{T},{B},\d+\]\S* copy\(", body)


@pytest.mark.parametrize("name", NAMES)
def test_memory_stays_within_its_bound(name):
    """Kept gates, where steps begin, outputs and their cotangents, and a copy of those gates."""
    cell, params, xs = arguments(name)
    gates = params.w_hh.shape[1]
    carries = len(jax.tree.leaves(cell.init_carry(params, xs[0])))
    extra = H if "gru" in name else 0  # what stands inside the candidate
    widths = gates + extra + carries * H + 2 * H
    weights = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    temporary = compiled(name).memory_analysis().temp_size_in_bytes
    assert temporary <= 4 * T * B * (widths + gates) + 4 * weights


def test_segments_bound_the_memory_of_long_sequences():
    """T = 20,000 in the memory of a few hundred steps."""
    cell, params, _ = arguments("lstm")
    xs = jax.ShapeDtypeStruct((20_000, B, D), jnp.float32)

    def bytes_of(method):
        last = lambda p, x: rnnjax.unroll(cell, p, x, method=method)[0].h.sum()
        memory = jax.jit(jax.grad(last)).lower(params, xs).compile().memory_analysis()
        return memory.temp_size_in_bytes

    assert bytes_of(rnnjax.Fused(segment=200)) < bytes_of(rnnjax.Fused()) / 20

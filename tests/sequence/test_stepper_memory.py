"""What a stepper holds, and what other threads and odd arrays do to it."""

import copy
import sys

import jax
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.methods.native.library import why_not_loaded
from rnnjax.methods.native.steps import Plan
from rnnjax.sequence.direct import Direct
from rnnjax.sequence.served import served

D, H = registry.D, registry.H
needs_library = pytest.mark.skipif(why_not_loaded() is not None, reason="it was not built")


def stepper_of_floats():
    cell, params = registry.make("lstm")
    return rnnjax.stepper(cell, params)


@needs_library
def test_a_dtype_that_only_equals_numpys_is_as_good():
    step, x = stepper_of_floats(), np.ones(D, np.float32)
    other = x.astype(np.dtype("f4").newbyteorder().newbyteorder())
    assert other.dtype is not x.dtype and other.dtype == x.dtype
    carry = jax.tree.map(lambda a: a.astype(other.dtype), step.init_carry())
    step(step.init_carry(), x)
    assert step._direct.step(carry, other) is not None


@needs_library
def test_large_float64_is_infinity_without_a_warning():
    step, x = stepper_of_floats(), np.full(D, 1e300)
    _, wanted = step(step.init_carry(), np.full(D, np.inf, np.float32))
    step._direct.steps.clear()
    for _ in range(2):  # of an unknown shape, and a known one
        _, y = step(step.init_carry(), x)
        assert np.array_equal(y, wanted, equal_nan=True)


@needs_library
@pytest.mark.parametrize("known", [False, True])
def test_another_thread_changes_no_token_after_the_check(known, monkeypatch):
    layer = rnnjax.embedding(9, 3)
    step = rnnjax.stepper(layer, registry.random_params(layer, None))
    tokens = np.array([1, 2, 3])
    _, wanted = step.chunk((), tokens)
    if not known:
        step._direct.chunks.clear()
    call = Plan.call

    def late(plan, x, leaves):
        tokens[:] = 2**50
        return call(plan, x, leaves)

    monkeypatch.setattr(Plan, "call", late)
    np.testing.assert_array_equal(step.chunk((), tokens)[1], wanted)


@needs_library
def test_who_keeps_outputs_keeps_no_carry():
    for layer in (rnnjax.lstm(H), rnnjax.stack(rnnjax.lstm(H), rnnjax.dense(2))):
        step = rnnjax.stepper(layer, registry.random_params(layer))
        carry, y = step(step.init_carry(), np.ones(D, np.float32))
        _, ys = step.chunk(carry, np.ones((2, D), np.float32))
        assert y.base is None and ys.base is None


@needs_library
def test_room_to_work_in_is_kept_for_the_largest_call_alone():
    step = stepper_of_floats()
    step.chunk(step.init_carry((3,)), np.ones((17, 3, D), np.float32))
    [largest] = step._direct.network.rooms
    for rows in (1, 2):
        for steps in (1, 5, 20):
            step.chunk(step.init_carry((rows,)), np.ones((steps, rows, D), np.float32))
        step(step.init_carry((rows,)), np.ones((rows, D), np.float32))
    assert step._direct.network.rooms == [largest]
    step(step.init_carry((400,)), np.ones((400, D), np.float32))
    [larger] = step._direct.network.rooms
    assert larger.numbers > largest.numbers


@needs_library
def test_params_of_a_dense_layer_that_do_not_fit_reach_no_memory():
    layers = rnnjax.stack(rnnjax.dense(4), rnnjax.dense(3))
    w = lambda *shape: np.ones(shape, np.float32)
    for above in (rnnjax.DenseParams(w(5, 3), w(3)), rnnjax.DenseParams(w(4, 3), w(2))):
        params = (rnnjax.DenseParams(w(2, 4), None), above)
        assert served(layers, params) == "of layers_1, its params do not fit together"


@needs_library
def test_shapes_are_remembered_up_to_a_number(monkeypatch):
    for part in (rnnjax.Stepper, Direct):
        monkeypatch.setattr(sys.modules[part.__module__], "KEPT", 2)
    step = stepper_of_floats()
    for rows in range(1, 5):
        carry, _ = step(step.init_carry((rows,)), np.ones((rows, D), np.float32))
        step.chunk(carry, np.ones((2, rows, D), np.float32))
        assert all(len(kept) <= 2 for kept in (step._carries, *kept_calls(step)))
    assert all(map(len, kept_calls(step)))


def kept_calls(step):
    return step._direct.steps, step._direct.chunks


@needs_library
@pytest.mark.parametrize("token", [-1, 9])
def test_tokens_without_a_vector_are_refused_in_a_shape_that_was_met(token):
    layer = rnnjax.embedding(9, 3)
    step = rnnjax.stepper(layer, registry.random_params(layer, None))
    wanted = f"must lie in 0..8, got {token}"
    for right, wrong in (([4], [token]), ([0, 8], [0, token]), ([0, 8], [token, 8])):
        step.chunk((), np.array(right))
        with pytest.raises(ValueError, match=wanted):
            step.chunk((), np.array(wrong))
    step((), np.array(4))
    with pytest.raises(ValueError, match=wanted):
        step((), np.array(token))


@needs_library
def test_float64_is_not_cut_where_jax_has_it(x64):
    step, x = stepper_of_floats(), np.ones(D, np.float32)
    carry = step.init_carry()
    step(carry, x)  # the shape is known
    with pytest.raises(TypeError, match="`carry.h` must be float64, got float32"):
        step(carry, x.astype("float64"))


def test_a_copy_is_the_stepper_itself():
    step = stepper_of_floats()
    assert copy.copy(step) is step and copy.deepcopy([step]) == [step]


@needs_library
def test_many_steps_of_no_rows_take_no_time():
    step, xs = stepper_of_floats(), np.ones((10**11, 0, D), np.float32)
    plan = step._direct.network.plan(len(xs), (0,))
    ys, _ = plan.call(xs, [np.ones((0, H), np.float32)] * 2)  # hours, if they were walked
    assert ys.shape == (len(xs), 0, H)


def test_a_carry_is_had_when_another_thread_forgets_it():
    class Forgetful(dict):
        def __contains__(self, key):
            return True

    step = stepper_of_floats()
    step._carries = Forgetful()
    assert step.init_carry((2,)).h.shape == step._carry_like(np.ones((2, D), np.float32)).h.shape

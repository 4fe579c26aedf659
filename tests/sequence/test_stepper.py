"""A step or a chunk at a time equals the whole run, on arrays of every kind."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax import testing

T, B, D, H = registry.T, registry.B, registry.D, registry.H
needs_library = pytest.mark.skipif(not registry.LOADED, reason="the library was not built")
PLAIN = [name for name in registry.CELLS if name.startswith(("lstm", "gru", "elman"))]
OTHERS = ["projected lstm", "lru", "qrnn", "slstm", "mlstm, 2 heads", "conv lstm, lines"]
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def assert_close(got, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), got, wanted)


def all_of(kind, *trees):
    return all(isinstance(leaf, kind) for leaf in jax.tree.leaves(trees))


def numpy(tree):
    return jax.tree.map(np.array, tree)


def tree_of_shapes(tree):
    return jax.tree.map(lambda a: (a.shape, a.dtype), tree)


@functools.cache
def network():
    """All that the library knows, one above the other; with a whole run."""
    layer = rnnjax.stack(
        rnnjax.embedding(9, 3),
        rnnjax.zoneout(rnnjax.lstm(5), 0.3),
        rnnjax.stack(jax.nn.relu, rnnjax.gru(6), dropout=0.5),
        rnnjax.input_dropout(rnnjax.gru(4, reset="before", learned_carry=True), 0.2),
        rnnjax.dense(17, activation=jax.nn.silu),
        rnnjax.elman(18),
        rnnjax.dense(2),
    )
    params = jax.tree.map(lambda a: a / 2, registry.random_params(layer, None))
    tokens = np.random.default_rng(0).integers(0, 9, size=(T, B))
    carry, ys = numpy(layer.apply(params, tokens, method=rnnjax.Scan()))
    return layer, params, tokens, carry, ys


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_steps_of_plain_cells_equal_the_oracle(name, batch):
    cell, params = registry.make(name)
    xs = np.array(registry.inputs(20, *batch, D))
    step = rnnjax.stepper(cell, params)
    begin = step.init_carry(batch)
    wanted = testing.reference_unroll(registry.CELLS[name].oracle, params, xs)
    carry, ys = begin, []
    if registry.LOADED:  # else each step is one of XLA
        for x in xs:
            carry, y = step(carry, x)
            ys.append(y)
        assert_close((carry, np.stack(ys)), wanted)
    carry, ys = step.chunk(begin, xs)
    assert_close((carry, ys), wanted)
    assert all_of(np.ndarray, carry, ys)
    assert tree_of_shapes(carry) == tree_of_shapes(begin)


@pytest.mark.parametrize("name", OTHERS)
def test_steps_of_other_cells_equal_the_oracle(name):
    cell, params = registry.make(name)
    xs = np.array(registry.inputs_of(name, 4, B, D))
    step = rnnjax.stepper(cell, params)
    assert step.method is None and step.reason.startswith("JAX runs it, since ")
    wanted = testing.reference_unroll(registry.CELLS[name].oracle, params, xs)
    carry, ys = step.init_carry(like=xs[0]), []
    for x in xs:
        carry, y = step(carry, x)
        ys.append(y)
    assert_close(ys, list(wanted[1]))
    assert_close(jax.tree.leaves(carry), jax.tree.leaves(wanted[0]))
    assert all_of(np.ndarray, carry, ys)
    assert all(leaf.flags.writeable for leaf in jax.tree.leaves((carry, ys)))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, T), max_size=4), st.lists(st.booleans(), min_size=T, max_size=T))
def test_any_chunking_is_the_whole_run(cuts, single):
    if not registry.LOADED:
        pytest.skip("each shape would be compiled")
    _, _, tokens, wanted_carry, wanted = network()
    step = stepper_of_network()
    bounds = sorted({0, T, *cuts})
    carry, ys = step.init_carry((B,)), []
    for first, last, alone in zip(bounds, bounds[1:], single, strict=False):
        if alone:
            for t in range(first, last):
                carry, y = step(carry, tokens[t])
                ys.append(y[None])
        else:
            carry, y = step.chunk(carry, tokens[first:last])
            ys.append(y)
    assert_close((carry, np.concatenate(ys)), (wanted_carry, wanted))


@functools.cache
def stepper_of_network():
    layer, params, *_ = network()
    return rnnjax.stepper(layer, params)


def test_jax_and_numpy_make_the_same_network():
    _, _, tokens, wanted_carry, wanted = network()
    step = stepper_of_network()
    got = step.chunk(step.init_carry(like=jnp.asarray(tokens[0])), jnp.asarray(tokens))
    assert all_of(jax.Array, got)
    assert_close(got, (wanted_carry, wanted))
    got = step.chunk(step.init_carry((B,)), tokens)
    assert all_of(np.ndarray, got)
    assert_close(got, (wanted_carry, wanted))


def test_what_is_said_of_the_path():
    step = stepper_of_network()
    if registry.LOADED:
        assert step.method == rnnjax.Native()
        assert step.reason == "the compiled library runs all of it, on arrays of NumPy"
    cell, p = registry.make("gru")
    step = rnnjax.stepper(cell, p, method=rnnjax.Scan())
    assert step.method == rnnjax.Scan() and step.reason == "asked for by name"
    assert repr(step) == "Stepper(recurrent, method=Scan(unroll=1): asked for by name)"


@needs_library
@pytest.mark.parametrize(
    ("layer", "features", "why"),
    [
        (rnnjax.stack(rnnjax.lstm(3), rnnjax.mgu(3)), D, "of layers_1, the library knows"),
        (rnnjax.dense(3, activation=jax.nn.softmax), D, "the activation is none"),
        (rnnjax.stack(jax.nn.relu, rnnjax.gru(3)), D, "of layers_0, params do not say"),
        (rnnjax.lstm(3, dtype=jnp.bfloat16), D, "it computes in float32, and here is bfloat16"),
        (rnnjax.dense(3, dtype=jnp.bfloat16), D, "it computes in float32, and here is bfloat16"),
        (rnnjax.embedding(9, 3, dtype=jnp.bfloat16), None, "in float32, and here is bfloat16"),
        (rnnjax.gru(3, param_dtype=jnp.float16), D, "weights are in float16"),
        (rnnjax.elman(3, activation=jax.nn.softplus), D, "not elman with activation=softplus"),
        (rnnjax.zoneout(rnnjax.lstm(3), 0.1, expectation=True), D, "not zoneout"),
        (rnnjax.stack(rnnjax.lstm(3), skip=rnnjax.merge.concatenate), D, "not stack"),
        (rnnjax.lstm(3)._replace(form=None), D, "not this cell"),
    ],
)
def test_what_the_library_does_not_run(layer, features, why):
    step = rnnjax.stepper(layer, registry.random_params(layer, features))
    assert step.method is None and why in step.reason


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_small_weights_are_read_as_they_are(dtype):
    layer, params, tokens, *_ = network()
    small = rnnjax.quantize(layer, params, dtype)
    step = rnnjax.stepper(small.layer, small.params)
    assert not registry.LOADED or step.method == rnnjax.Native()
    whole = rnnjax.stepper(layer, rnnjax.dequantize(small.params))
    got = step.chunk(step.init_carry((B,)), tokens)
    assert_close(got, whole.chunk(whole.init_carry((B,)), tokens))
    both = rnnjax.bidirectional(rnnjax.gru(H))
    small = rnnjax.quantize(both, registry.random_params(both), dtype)
    with pytest.raises(ValueError, match="read forwards alone, got a bidirectional layer"):
        rnnjax.stepper(small.layer, small.params)


@needs_library
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_small_weights_of_one_layer_among_others(dtype):
    below, above = rnnjax.gru(5), rnnjax.dense(2)
    small = rnnjax.quantize(below, registry.random_params(below), dtype)
    params = (small.params, registry.random_params(above, 5))
    step = rnnjax.stepper(rnnjax.stack(small.layer, above), params, method=rnnjax.Native())
    whole = rnnjax.stepper(rnnjax.stack(below, above), (rnnjax.dequantize(params[0]), params[1]))
    xs = np.array(registry.inputs(T, B, D))
    begin = step.init_carry((B,))
    assert_close(step.chunk(begin, xs), whole.chunk(begin, xs))


@needs_library
@pytest.mark.parametrize("name", ["w_hh", "b", "w_ih"])
def test_params_that_do_not_fit_reach_no_memory(name):
    cell = rnnjax.lstm(H)._replace(in_spec=lambda params: rnnjax.InputSpec())
    params = registry.random_params(cell)
    cut = params._replace(**{name: getattr(params, name)[..., :-4]})
    assert "do not fit" in rnnjax.stepper(cell, cut).reason


@needs_library
def test_params_that_are_traced_are_jaxs():
    cell, params = registry.make("lstm")
    x = np.ones((B, D), np.float32)

    def loss(params):
        step = rnnjax.stepper(cell, params)
        assert "traced" in step.reason
        carry = step.init_carry((B,))
        assert all_of(jax.Array, carry)
        for _ in range(2):
            carry, y = step(carry, x)
        return y.sum()

    whole = lambda params: rnnjax.unroll(cell, params, np.stack([x, x]))[1][-1].sum()
    assert_close(jax.grad(loss)(params), jax.grad(whole)(params))


def test_inside_programs():
    cell, params = registry.make("gru")
    xs = registry.inputs(T, B, D)
    step = rnnjax.stepper(cell, params)

    @jax.jit
    def run(xs):
        return jax.lax.scan(step, step.init_carry((B,)), xs)

    wanted = rnnjax.unroll(cell, params, xs)
    assert_close(run(xs), wanted)
    start = step.init_carry(like=xs[0])
    rows = jax.vmap(step)(start, xs[0])
    assert_close(rows, step(numpy(start), np.array(xs[0])))


def test_one_array_of_jax_makes_all_of_them_jaxs():
    cell, params = registry.make("elman")
    step = rnnjax.stepper(cell, params)
    x = np.ones((B, D), np.float32)
    carry = step.init_carry((B,))
    assert all_of(np.ndarray, carry, step(carry, x))
    assert all_of(jax.Array, step(carry, jnp.asarray(x)))
    assert all_of(jax.Array, step(jax.tree.map(jnp.asarray, carry), x))


def test_a_step_is_pure():
    cell, params = registry.make("lstm")
    step = rnnjax.stepper(cell, params)
    x = np.ones((B, D), np.float32)
    carry, _ = step(step.init_carry((B,)), x)
    before = numpy(carry)
    first, second = step(carry, x), step(carry, x)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, carry, before)
    mine = [*jax.tree.leaves(first)]
    for i, a in enumerate(mine):
        for b in [*mine[i + 1 :], *jax.tree.leaves(carry), *jax.tree.leaves(second)]:
            assert not np.shares_memory(a, b)
    first[1][...] = 7  # what comes back is the caller's own
    jax.tree.map(np.testing.assert_array_equal, step(carry, x), second)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.astype(np.float64),
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a, a.shape),  # read only
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    ],
    ids=["float64", "columns", "read only", "strides"],
)
def test_arrays_that_are_not_as_the_library_takes_them(spoil):
    cell, params = registry.make("lstm")
    step = rnnjax.stepper(cell, params)
    x = np.array(registry.inputs(B, D))
    carry = numpy(registry.random_carry(cell, params, x, 3))
    wanted, h = step(carry, x)
    assert np.abs(h).max() > 0.01
    for old, new in ((carry, spoil(x)), (jax.tree.map(spoil, carry), spoil(x))):
        got, y = step(old, new)
        assert np.array_equal(y, h) and np.array_equal(got.c, wanted.c)
        got, ys = step.chunk(old, new[None])
        assert np.array_equal(ys[0], h) and np.array_equal(got.c, wanted.c)


@needs_library
def test_tokens_of_every_kind_of_integer():
    layer = rnnjax.stack(rnnjax.embedding(9, 3), rnnjax.gru(4))
    params = registry.random_params(layer, None)
    step = rnnjax.stepper(layer, params, method=rnnjax.Native())
    carry = step.init_carry()
    wanted = step(carry, np.asarray(7))
    for token in (np.int64(7), np.uint8(7), np.asarray(7, np.int32)):
        jax.tree.map(np.testing.assert_array_equal, step(carry, token), wanted)
    np.testing.assert_array_equal(step(carry, np.int64(7))[0][1].h, step(carry, np.int16(7))[1])


@pytest.mark.parametrize("options", list(registry.sequence_options()))
def test_chunks_with_padding(options):
    chosen = registry.sequence_options()[options]
    cell, params = registry.make("gru, reset before")
    xs = np.array(registry.inputs(T, B, D))
    step = rnnjax.stepper(cell, params)
    carry = numpy(registry.random_carry(cell, params, xs[0], 3))
    got = step.chunk(carry, xs, **chosen)
    assert all_of(np.ndarray, got)
    assert_close(got, rnnjax.unroll(cell, params, xs, carry, **chosen))


def test_a_chunk_of_no_steps_and_rows_that_are_none():
    cell, params = registry.make("lstm")
    step = rnnjax.stepper(cell, params)
    carry = numpy(registry.random_carry(cell, params, np.zeros((B, D), np.float32), 3))
    got, ys = step.chunk(carry, np.zeros((0, B, D), np.float32))
    assert ys.shape == (0, B, H)
    assert_close(got, carry)
    carry, y = step(step.init_carry((0,)), np.zeros((0, D), np.float32))
    assert y.shape == (0, H) and carry.c.shape == (0, H)


def test_a_learned_carry_is_where_streams_begin():
    cell, params = registry.make("lstm, learned carry")
    carry = rnnjax.stepper(cell, params).init_carry((2,))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, [b, b]), carry, params.initial)


def test_float64_is_computed_in_float64(x64):
    cell, params = registry.make("gru", dtype=jnp.float64)
    xs = np.array(registry.inputs(3, D, dtype=jnp.float64))
    step = rnnjax.stepper(cell, params)
    carry, ys = step.chunk(step.init_carry(), xs)
    wanted = testing.reference_unroll(registry.CELLS["gru"].oracle, params, xs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), (carry, ys), wanted)


@needs_library
def test_threads_do_not_meet():
    cell, params = registry.make("lstm", hidden=64)
    step = rnnjax.stepper(cell, params)
    streams = [np.array(registry.inputs(40, 1, D, seed=seed)) for seed in range(4)]
    wanted = [step.chunk(step.init_carry((1,)), xs)[1] for xs in streams]
    got = [[] for _ in streams]

    def run(number):
        carry = step.init_carry((1,))
        for x in streams[number]:
            carry, y = step(carry, x)
            got[number].append(y)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(streams))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert_close([np.stack(ys) for ys in got], wanted)

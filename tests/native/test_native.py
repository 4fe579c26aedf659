"""The compiled loops: drawn sizes against float64, every instruction set, several devices."""

import functools
import re

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding

import rnnjax
from rnnjax.methods import manual
from rnnjax.methods.native import call as call_module
from rnnjax.methods.native import kinds, library, scratch

reason = library.why_not_loaded()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"Native: {reason}")

FEATURES = 3
CELLS = [name for name in registry.COMPILED if "bias" not in name and "learned" not in name]


def problem(name, steps, rows, hidden, seed=0, features=FEATURES):
    """A cell, random params of a size that keeps the recurrence tame, inputs and a carry."""
    cell = registry.CELLS[name](hidden)
    like = jax.eval_shape(lambda: cell.init(jax.random.key(0), features))
    params = registry.randomise(like, seed, scale=1 / np.sqrt(hidden))
    scale = (FEATURES / features) ** 0.5
    xs = np.random.default_rng(seed).normal(size=(steps, rows, features), scale=scale)
    xs = jnp.asarray(xs, jnp.float32)
    like = jax.eval_shape(cell.init_carry, params, jax.ShapeDtypeStruct((rows, features), xs.dtype))
    return cell, params, xs, registry.randomise(like, seed + 1)


def everything(cell, method, reverse, options, point):
    """Outputs, final carry and all gradients."""
    run = functools.partial(rnnjax.unroll, cell, method=method, reverse=reverse, **options)
    return compare.graded(lambda params, xs, carry: run(params, xs, carry))(*point)


@functools.cache
def reversed_program(cell, method, option, steps, rows):
    """The same, compiled once to be run with every instruction set."""
    options = registry.sequence_options(steps, rows)[option]
    run = functools.partial(rnnjax.unroll, cell, method=method, reverse=True, **options)
    return compare.graded(lambda params, xs, carry: run(params, xs, carry))


def errors(got, wanted):
    """The largest difference of each leaf, over its largest value."""
    leaves = [[np.asarray(a, np.float64) for a in jax.tree.leaves(tree)] for tree in (got, wanted)]
    pairs = zip(*leaves, strict=True)
    return [np.abs(a - b).max(initial=0) / np.abs(b).max(initial=1) for a, b in pairs]


def at_most_twice(ours, scans, wanted):
    """Whether errors are so; of few numbers the last bit decides: 1e-6 is eight of them."""
    pairs = zip(errors(ours, wanted), errors(scans, wanted), strict=True)
    return all(error <= max(2 * allowed, 1e-6) for error, allowed in pairs)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(CELLS),
    steps=st.integers(0, 60),
    rows=st.integers(1, 40),
    hidden=st.integers(1, 300),
    option=st.sampled_from(["plain", "lengths", "mask", "resets", "all"]),
    reverse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_error_is_at_most_twice_that_of_scan(name, steps, rows, hidden, option, reverse, seed):
    cell, *point = problem(name, steps, rows, hidden, seed)
    options = registry.sequence_options(steps, rows)[option]
    ours, scans = (
        everything(cell, method, reverse, options, point)
        for method in (rnnjax.Native(), rnnjax.Scan())
    )
    with jax.enable_x64(True):
        double = registry.cast(point, jnp.float64)
        wide = registry.CELLS[name](hidden, param_dtype=jnp.float64)
        wanted = everything(wide, rnnjax.Scan(), reverse, options, double)
    assert at_most_twice(ours[0], scans[0], wanted[0])
    # A slope that jumps, as that of relu, is one or the other where rounding decides the sign.
    assume(np.array_equal(*(np.asarray(both[0][1]) > 0 for both in (ours, wanted))))
    assert at_most_twice(ours[1], scans[1], wanted[1])


@pytest.fixture(params=["avx512", "avx2", "portable"])
def instructions(request):
    before = library.instruction_set()
    if not library.select(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield
    assert library.select(before)


@pytest.mark.parametrize("name", CELLS)
def test_instruction_sets(instructions, name):
    cell, *point = problem(name, 5, 9, 70)
    got, wanted = (
        reversed_program(cell, method, "all", 5, 9)(*point)
        for method in (rnnjax.Native(), rnnjax.Scan())
    )
    compare.assert_close(got, wanted)


@pytest.mark.parametrize("name", CELLS)
def test_weights_that_stay_where_they_are(instructions, name):
    """In a stack too, as both directions have it; a single row reads them from either end."""
    for steps, rows, hidden in ((2, 1, 256), (5, 1, 128), (3, 14, 64)):
        cell, params, xs, carry = problem(name, steps, rows, hidden)
        assert not scratch.packs(steps, rows, hidden, params.w_hh.shape[1])
        for option in ("plain", "all"):  # with all of them a single row may not count
            got, wanted = (
                reversed_program(cell, method, option, steps, rows)(params, xs, carry)
                for method in (rnnjax.Native(), rnnjax.Scan())
            )
            compare.assert_close(got, wanted)
        both, begin = (jax.tree.map(lambda a: jnp.stack([a, -a]), x) for x in (params, carry))
        got, wanted = (
            rnnjax.bidirectional(cell).apply(both, xs, begin, method=method)
            for method in (rnnjax.Native(), rnnjax.Scan())
        )
        compare.assert_close(got, wanted)


@pytest.mark.parametrize("name", CELLS)
def test_weights_of_many_inputs_are_packed_in_passing(instructions, name, monkeypatch):
    monkeypatch.setattr(scratch, "PASSING_ROWS", 10)  # several chunks of a few steps
    steps, rows, hidden, features = 5, 4, 70, 17000
    cell, *point = problem(name, steps, rows, hidden, features=features)
    kind, sizes = kinds.known(cell.form), dict(t=steps, b=rows, d=features, h=hidden)
    assert scratch.forward_scratch(kind, sizes) < features * hidden
    for option in ("plain", "all"):
        options = registry.sequence_options(steps, rows)[option]
        got, wanted = (
            everything(cell, method, True, options, point)
            for method in (rnnjax.Native(), rnnjax.Scan())
        )
        compare.assert_close(got, wanted)


@pytest.fixture
def one_device(monkeypatch):
    """Tests have eight; there rows go through the rule that cuts the batch."""
    monkeypatch.setattr(manual, "rows_are_here", lambda: True)


@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("name", CELLS)
def test_on_a_single_device(one_device, name, rows, option):
    """There the library makes the gradients of the weights as well; padding may hold anything."""
    steps = 70  # with four rows more terms than are taken at once
    cell, params, xs, carry = problem(name, steps, rows, 20)
    options = registry.sequence_options(steps, rows)[option]
    if option == "all":
        lengths = options["lengths"]
        xs = jnp.where((np.arange(steps)[:, None] < lengths)[..., None], xs, jnp.nan)
    got, wanted = (
        everything(cell, method, False, options, (params, xs, carry))
        for method in (rnnjax.Native(), rnnjax.Scan())
    )
    compare.assert_close(got, wanted)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_gradients_of_each_sequence(one_device, name):
    """A `vmap` of gradients keeps those of the weights apart."""
    cell, params, xs, _ = problem(name, 6, 3, 7)

    def each(method):
        loss = lambda params, xs: (rnnjax.unroll(cell, params, xs, method=method)[1] ** 2).sum()
        return jax.vmap(jax.grad(loss), in_axes=(None, 1))(params, xs)

    compare.assert_close(each(rnnjax.Native()), each(rnnjax.Scan()))


def test_training_has_no_loop_and_no_copy_of_what_is_wide(one_device):
    """XLA copies what changes in place, if it was reshaped before."""
    steps, rows, hidden = 12, 4, 20
    cell, params, xs, _ = problem("lstm", steps, rows, hidden)
    loss = lambda params: (rnnjax.unroll(cell, params, xs, method=rnnjax.Native())[1] ** 2).sum()
    text = jax.jit(jax.grad(loss)).lower(params).compile().as_text()
    assert text.count('custom_call_target="rnnjax_') == 3 and " while(" not in text
    copies = re.findall(r"f32\[([\d,]+)\]\S* copy\(", text)
    sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in copies]
    assert steps * rows * 4 * hidden not in sizes


@pytest.mark.parametrize("axes", [(0, None), (None, 1), (0, 1)], ids=["weights", "rows", "both"])
@pytest.mark.parametrize("rows", [1, 3])
def test_vmap(axes, rows):
    """Networks go to the library together, sequences as more rows."""
    cell, params, _, _ = problem("lstm", 4, rows, 17)
    several = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, rows, FEATURES)), jnp.float32)
    point = (several if axes[0] == 0 else params, xs if axes[1] == 1 else xs[:, 0])

    def both(method):
        run = lambda params, xs: rnnjax.unroll(cell, params, xs, method=method)
        loss = lambda params, xs: jax.tree.map(jnp.sum, jax.vmap(run, axes, (0, 1))(params, xs))[1]
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*point)

    compare.assert_close(both(rnnjax.Native()), both(rnnjax.Scan()))


def test_vmap_over_both_directions(one_device):
    """Copies of a stack of two networks: each copy reads its own matrices, each its own way."""
    layer = rnnjax.bidirectional(registry.CELLS["gru"](5))
    params = layer.init(jax.random.key(0), FEATURES)
    several = jax.tree.map(lambda a: jnp.stack([a, 2 * a, 3 * a]), params)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, FEATURES)), jnp.float32)

    def losses(several, method):
        run = lambda params: layer.apply(params, xs, lengths=[4, 3], method=method)[1]
        return (jax.vmap(run)(several) ** 2).sum()

    got, wanted = (
        jax.value_and_grad(losses)(several, method) for method in (rnnjax.Native(), rnnjax.Scan())
    )
    compare.assert_close(got, wanted)


def test_noise_over_time_is_the_same_with_every_method():
    """It is drawn in the order of reading, for each direction with a key of its own."""

    def prepare(key, params, xs):
        return params, xs * jax.random.normal(key, xs.shape)

    layer = rnnjax.bidirectional(registry.CELLS["lstm"](5)._replace(prepare=prepare))
    params, xs = layer.init(jax.random.key(0), FEATURES), jnp.ones((6, 2, FEATURES))
    run = functools.partial(layer.apply, params, xs, key=jax.random.key(1))
    wanted = run(method=rnnjax.Scan())
    for method in (rnnjax.Native(), rnnjax.Fused()):
        compare.assert_close(run(method=method), wanted)


def test_many_networks():
    cell, params, xs, _ = problem("elman", 4, 2, 5)
    several = jax.tree.map(lambda a: jnp.stack([a * k for k in range(1, 7)]), params)
    run = lambda method: jax.vmap(lambda p: rnnjax.unroll(cell, p, xs, method=method))(several)
    compare.assert_close(run(rnnjax.Native()), run(rnnjax.Scan()))


@pytest.mark.parametrize("gradient", [None, "xs", "params"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("method", [rnnjax.Native(), rnnjax.Fused()], ids=["native", "fused"])
def test_a_batch_that_is_sharded_is_not_gathered(method, name, gradient):
    cell, params, _, _ = problem(name, 5, 16, 8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    place = lambda array, spec: jax.device_put(array, NamedSharding(mesh, spec))
    xs = place(jnp.ones((5, 16, FEATURES)), jax.P(None, "data"))
    lengths = place(jnp.arange(16, dtype=jnp.int32) % 6, jax.P("data"))

    def run(xs, params, method):
        return rnnjax.unroll(cell, params, xs, lengths=lengths, method=method)[1]

    def loss(*arguments):
        return (run(*arguments) ** 2).sum()

    argument = {None: None, "xs": 0, "params": 1}[gradient]
    function = run if gradient is None else jax.grad(loss, argument)
    compiled = jax.jit(function, static_argnums=2)
    text = compiled.lower(xs, params, method).compile().as_text()
    assert "all-gather" not in text
    assert ("rnnjax_forward" in text) == (method == rnnjax.Native())
    compare.assert_close(compiled(xs, params, method), compiled(xs, params, rnnjax.Scan()))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("rows", [1, 12, 10_000])
def test_inputs_are_projected_some_steps_at_a_time(monkeypatch, name, rows):
    monkeypatch.setattr(scratch, "LEAST_ROWS", rows)
    cell, params, xs, carry = problem(name, 11, 3, 5)
    for reverse in (False, True):
        run = functools.partial(rnnjax.unroll, cell, params, xs, carry, reverse=reverse)
        compare.assert_close(run(method=rnnjax.Native()), run(method=rnnjax.Scan()))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_both_directions_are_one_call_without_turning_anything_around(one_device, name):
    layer = rnnjax.bidirectional(registry.CELLS[name](8))
    params = layer.init(jax.random.key(0), FEATURES)
    run = jax.jit(functools.partial(layer.apply, method=rnnjax.Native()))
    text = run.lower(params, jnp.ones((6, 2, FEATURES))).compile().as_text()
    assert text.count('custom_call_target="rnnjax_') == 1 and " reverse(" not in text
    width = params.w_ih.shape[-1]
    assert f"f32[2,{FEATURES},{width}]" in text and f"f32[{FEATURES},{width}]" not in text
    assert "f32[6,2,16]" in text and "f32[6,2,8]" not in text  # nor are outputs put together


def origins_of(signature):
    """Their place among the arrays."""
    return signature.axes.index("f b h") - 2


def by_hand(signature):
    """Arrays and results of a call for one LSTM, and its attributes."""
    sizes = {"t": 3, "b": 2, "d": 4, "g": 20, "h": 5, "w": 5, "f": 2}

    def shape(axes):
        whole = tuple(sizes[axis] for axis in axes.split())
        return (whole[0] * whole[1], whole[2]) if axes == call_module.WIDE else whole

    arrays = [np.zeros(shape(a), bool if a == "t b" else np.float32) for a in signature.axes]
    if signature is not call_module.FORWARD:
        arrays[origins_of(signature)] = np.full((3, 2), -2, np.int32)
    results = [
        jax.ShapeDtypeStruct(shape(a), jnp.int32 if a == "t b" else jnp.float32)
        for a in signature.results
    ]
    attributes = {"cell": np.int32(kinds.LSTM.number)}
    if signature.scratch is not None:
        attributes["scratch"] = np.int64(signature.scratch(kinds.LSTM, sizes | {"t": 1}))
    if signature is not call_module.GRADIENTS:
        attributes |= {"reverse": np.zeros(1, np.int32), "number": np.zeros(1, np.int32)}
    if signature is call_module.FORWARD:
        attributes["keep"] = True
    # What a GRU has.
    array, result = {"rnnjax_forward": (4, 4), "rnnjax_backward": (1, 1)}.get(
        signature.name, (5, 3)
    )
    arrays[array], results[result] = call_module.ABSENT, jax.ShapeDtypeStruct((0,), jnp.float32)
    return arrays, results, attributes


SIGNATURES = [call_module.FORWARD, call_module.BACKWARD, call_module.GRADIENTS]


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.name)
def test_wrong_sizes_are_refused_by_the_library(signature):
    """Calls made by hand, each with an array or a result that is smaller than the others say."""
    arrays, results, attributes = by_hand(signature)

    def call(arrays, results, **changed):
        function = jax.ffi.ffi_call(signature.name, results)
        return jax.block_until_ready(function(*arrays, **(attributes | changed)))

    def less(values, i):
        short = (values[i].shape[0] - 1, *values[i].shape[1:])
        short = jax.ShapeDtypeStruct(short, values[i].dtype)
        short = values[i][:-1] if isinstance(values[i], np.ndarray) else short
        return [*values[:i], short, *values[i + 1 :]]

    call(arrays, results)
    for i in range(len(arrays)):
        if arrays[i].size:
            with pytest.raises(Exception, match="rnnjax native"):
                call(less(arrays, i), results)
    for i in range(len(results)):
        if results[i].size:
            with pytest.raises(Exception, match="rnnjax native"):
                call(arrays, less(results, i))
    with pytest.raises(Exception, match="number of arrays"):
        call(arrays[:-1], results)
    two = {name: np.zeros(2, np.int32) for name in ("reverse", "number") if name in attributes}
    with pytest.raises(Exception, match="rnnjax native"):  # outputs of all stand with the first
        call(arrays * 2, results * 2, **two)
    if signature is not call_module.FORWARD:
        where = origins_of(signature)
        for origin in (3, -3):
            wrong = [*arrays[:where], np.full((3, 2), origin, np.int32), *arrays[where + 1 :]]
            with pytest.raises(Exception, match="name what is not there"):
                call(wrong, results)
    if "scratch" in attributes:
        for much, reason in ((attributes["scratch"] - 1, "too small"), (2**62, "no memory")):
            with pytest.raises(Exception, match=f"rnnjax native: .*{reason}"):
                call(arrays, results, scratch=np.int64(much))
    if "number" in attributes:
        with pytest.raises(Exception, match="number of arrays"):
            call(arrays, results, number=np.zeros(2, np.int32))
        where = signature.axes.index("h g")
        stack = [*arrays[:where], arrays[where][None], *arrays[where + 1 :]]
        call(stack, results)
        with pytest.raises(Exception, match="not so many matrices"):
            call(stack, results, number=np.ones(1, np.int32))


def test_nan_and_infinity_pass():
    cell, params, xs, carry = problem("gru", 4, 3, 6)
    xs = xs.at[1, 0, 0].set(jnp.nan).at[2, 1, 0].set(jnp.inf)
    got, wanted = (
        rnnjax.unroll(cell, params, xs, carry, method=method)
        for method in (rnnjax.Native(), rnnjax.Scan())
    )
    compare.assert_close(got, wanted)

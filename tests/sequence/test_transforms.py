"""Transformations, compiled structure, precision and memory of `unroll`."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax.test_util import check_jvp, check_vjp
from programs import equations

import rnnjax
from rnnjax import testing

cells = pytest.mark.parametrize("name", registry.CELLS)

# Of cells that share equations, the one with all their parameters.
SHARED = {
    "lstm",
    "lstm, no bias",
    "gru, learned carry",
    "conv lstm, lines",
    "conv lstm, volumes",
    "mlstm",
}
EQUATIONS = [name for name in registry.CELLS if name not in SHARED]
SHAPE = 5, 3, 2  # T, B, D
LENGTHS = np.array([5, 0, 2])

# Where a step takes another number of products than one, and where the input takes part in them.
PRODUCTS_A_STEP = {
    "gru, reset before": 2,
    "projected lstm": 2,
    "mgu, reset before": 2,
    "indrnn": 0,
    "mlstm, 2 heads": 0,
    "para gru": 0,
    "para lstm": 0,
    "sru, gates read the carry": 0,
    "mogrifier lstm": 7,
    "mogrifier lstm, low rank": 6,
}
NO_PRODUCT_OUTSIDE = {"mogrifier lstm", "mogrifier lstm, low rank"}


def problem(name="lstm, learned carry", dtype=jnp.float32, *, shape=SHAPE, hidden=3):
    cell, params = registry.make(name, dtype=dtype, features=shape[-1], hidden=hidden)
    xs = registry.inputs_of(name, *shape, dtype=dtype)
    return cell, params, xs, registry.possible_carry(name, cell, params, xs[0], seed=2)


# Derivatives


def check_gradients(function, args, order, small=1e-6):
    """`jax.test_util.check_grads` in both modes, and the gradient's gradient, but compiled."""
    compiled, tolerance = jax.jit(function), {"atol": small, "rtol": small}

    def pull(bars, *args):
        return jax.vjp(function, *args)[1](bars)

    def vjp(*args):
        return compiled(*args), lambda bars: jax.jit(pull)(bars, *args)

    check_jvp(compiled, jax.jit(functools.partial(jax.jvp, function)), args, **tolerance)
    check_vjp(compiled, vjp, args, **tolerance)
    if order > 1:
        check_gradients(lambda *args: pull(function(*args), *args), args, order - 1, small)


@pytest.mark.parametrize(
    "name, method",
    [(name, rnnjax.Scan()) for name in EQUATIONS]
    + [(name, rnnjax.Chunked(2)) for name in ("lstm, learned carry", "gru")],
)
def test_first_and_second_derivatives(x64, name, method):
    cell, *point = problem(name, jnp.float64, shape=(3, 2, 2), hidden=2)

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry, lengths=np.array([3, 1]), method=method)

    # With more numbers to move at once, finite differences reach further.
    small = 1e-5 if registry.CELLS[name].space else 1e-6
    check_gradients(run, tuple(point), order=2, small=small)


def test_jacobian_and_hessian(x64):
    cell, params, xs, carry = problem(dtype=jnp.float64, shape=(3, 2, 2), hidden=2)

    def run(carry):
        lengths = np.array([3, 1])
        return rnnjax.unroll(cell, params, xs, carry, lengths=lengths, method=rnnjax.Scan())

    def loss(carry):
        return sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(run(carry)))

    close = functools.partial(compare.assert_close, rtol=1e-10, atol=1e-12)
    close(jax.jit(jax.jacfwd(run))(carry), jax.jit(jax.jacrev(run))(carry))
    hessian = jax.jit(jax.hessian(loss))(carry)
    close(hessian, jax.jit(jax.jacfwd(jax.jacfwd(loss)))(carry))
    close(hessian, jax.jit(jax.jacrev(jax.jacrev(loss)))(carry))
    assert np.abs(hessian.h.c).max() > 0.01


# jit and vmap


@pytest.mark.parametrize("name", registry.VARIED)
def test_jit_is_eager(name):
    """Compiled, called plainly, and with every loop run by Python."""
    cell, *point = problem(name)

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry, lengths=LENGTHS, reverse=True)

    compiled = jax.jit(run)(*point)
    compare.assert_close(run(*point), compiled)
    with jax.disable_jit():
        compare.assert_close(run(*point), compiled)


@pytest.mark.parametrize("method", registry.methods_for("lstm"))
def test_vmap_over_the_batch_is_the_batch(method):
    cell, params, xs, carry = problem()

    def run(params, xs, carry, lengths):
        return rnnjax.unroll(
            cell, params, xs, carry, lengths=lengths, method=registry.METHODS[method]
        )

    mapped = jax.vmap(run, in_axes=(None, 1, 0, 0), out_axes=(0, 1))
    arguments = params, xs, carry, LENGTHS
    compare.assert_close(compare.graded(mapped)(*arguments), compare.graded(run)(*arguments))


@pytest.mark.parametrize("name", registry.VARIED)
def test_vmap_over_params_is_a_loop_over_them(name):
    cell, params, xs, carry = problem(name)
    several = [registry.randomise(params, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)

    def run(params):
        return rnnjax.unroll(cell, params, xs, carry, lengths=LENGTHS)

    wanted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(jax.jit(run), several))
    compare.assert_close(jax.jit(jax.vmap(run))(stacked), wanted)


def test_gradients_of_single_rows_sum_to_that_of_the_batch():
    cell, params, xs, carry = problem()

    def loss(params, xs, carry, lengths):
        final, ys = rnnjax.unroll(cell, params, xs, carry, lengths=lengths)
        return (ys**2).sum() + (final.c**3).sum()

    rows = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 1, 0, 0)))(params, xs, carry, LENGTHS)
    whole = jax.jit(jax.grad(loss))(params, xs, carry, LENGTHS)
    compare.assert_close(jax.tree.map(lambda a: a.sum(0), rows), whole)
    for index, length in enumerate(LENGTHS):
        own, row = jax.tree.map(lambda a, n=index: a[n], (carry, rows))
        alone = jax.jit(jax.grad(loss))(params, xs[:length, index], own, LENGTHS[index])
        compare.assert_close(row, alone)


# Traces


@pytest.mark.parametrize("outer", [lambda function: function, jax.jit], ids=["eager", "jit"])
def test_one_trace_for_two_calls(outer):
    """Also where every call builds its cell, and only shapes, cells and methods start another."""
    traces = []

    def squash(x):
        traces.append(x.shape)
        return jnp.tanh(x)

    def run(params, xs, hidden=5, method=None):
        cell = rnnjax.lstm(hidden, activation=squash)
        return outer(functools.partial(rnnjax.unroll, cell, method=method))(params, xs)

    cell = rnnjax.lstm(5, activation=squash)
    assert cell == rnnjax.lstm(5, activation=squash) != rnnjax.lstm(5)
    params = cell.init(jax.random.key(0), 2)
    xs = registry.inputs(4, 3, 2)
    first = run(params, xs)
    count = len(traces)
    assert count == 2  # of g, and of c in the output
    again = run(params, xs + 1)
    assert len(traces) == count
    assert np.abs(np.asarray(first[1] - again[1])).max() > 0.01
    run(params, xs[:3])
    assert len(traces) == 2 * count
    run(params, xs, method=rnnjax.Chunked(4))
    assert len(traces) > 2 * count


def test_no_tracer_leaks():
    jax.clear_caches()  # it looks at everything that lives
    cell, params, xs, carry = problem(shape=(6, 2, 2))
    layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.gru(3)), cell, dropout=0.5)
    with jax.checking_leaks():
        weights = layer.init(jax.random.key(0), 2)

        def run(xs, key):
            final, ys = rnnjax.unroll(cell, params, xs, carry, lengths=np.array([6, 1]))
            upper, zs = layer.apply(weights, xs, key=key)
            leaves = jax.tree.leaves((final, ys, upper, zs))
            return sum(leaf.sum() for leaf in leaves)

        gradient = jax.jit(jax.grad(run))(xs, jax.random.key(1))
    assert np.abs(gradient).max() > 0


# The structure of the program


def found(jaxpr, name):
    return [e for e in equations(jaxpr) if e.primitive.name == name]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in EQUATIONS
        if not (registry.CELLS[name].space or registry.serves("associative", name))
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "bidirectional"])
def test_one_scan_with_one_matmul_in_its_body(name, bidirectional):
    """The products with the inputs stand outside; both directions share one batched product."""
    cell = registry.sized(name, 2, 3)
    layer = rnnjax.bidirectional(cell) if bidirectional else rnnjax.recurrent(cell)
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), 2))
    run = functools.partial(layer.apply, lengths=LENGTHS, method=rnnjax.Scan())
    program = jax.make_jaxpr(run)(params, jnp.ones(SHAPE)).jaxpr
    (scan,) = found(program, "scan")
    products = found(scan.params["jaxpr"].jaxpr, "dot_general")
    assert len(products) == PRODUCTS_A_STEP.get(name, 1)
    assert len(found(program, "dot_general")) == len(products) + (name not in NO_PRODUCT_OUTSIDE)
    batched = params.w_hh.ndim - 2 if products else 0  # over directions and heads
    for product in products:
        axes = product.params["dimension_numbers"][1]
        assert tuple(map(len, axes)) == (batched, batched)
    assert not found(program, "while")


def test_scan_unrolls_as_it_is_told():
    cell, params, xs, _ = problem()
    for method, unroll in [(rnnjax.Scan(), 1), (rnnjax.Scan(unroll=3), 3)]:
        run = functools.partial(rnnjax.unroll, cell, method=method)
        (scan,) = found(jax.make_jaxpr(run)(params, xs).jaxpr, "scan")
        assert scan.params["unroll"] == unroll


def test_noise_is_drawn_outside_the_loop():
    cell = rnnjax.input_dropout(rnnjax.lstm(3), 0.5)
    params = cell.init(jax.random.key(0), 2)
    options = {"key": jax.random.key(1), "method": rnnjax.Scan()}
    run = functools.partial(rnnjax.unroll, cell, params, **options)
    program = jax.make_jaxpr(run)(jnp.ones(SHAPE)).jaxpr
    (scan,) = found(program, "scan")
    random = {e.primitive.name for e in equations(program) if "random" in e.primitive.name}
    inside = {e.primitive.name for e in equations(scan.params["jaxpr"].jaxpr)}
    assert random and not random & inside
    silent = jax.make_jaxpr(functools.partial(rnnjax.unroll, cell, params))(jnp.ones(SHAPE)).jaxpr
    assert not any("random" in e.primitive.name for e in equations(silent))


# Precision


CLOSE = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 2e-2, "float16": 2e-3}


@pytest.mark.parametrize(
    "name, kind",
    [
        (name, kind)
        for name in registry.CELLS
        for kind in CLOSE
        if kind == "bfloat16" or name in registry.VARIED
    ],
)
def test_dtypes(x64, name, kind):
    """Default weights and inputs of one dtype: that of the outputs, and a carry no narrower."""
    cell = registry.sized(name, 4, 5, param_dtype=kind)
    params = cell.init(jax.random.key(0), 4)
    xs = registry.inputs_of(name, 4, 2, 4, dtype=kind)
    carry, ys = jax.jit(functools.partial(rnnjax.unroll, cell))(params, xs)
    wide = "float64" if kind == "float64" else "float32"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(carry)} == {wide}
    assert ys.dtype.name == kind

    wanted = testing.reference_unroll(registry.CELLS[name].oracle, params, xs)
    got = jax.tree.map(lambda a: np.asarray(a, np.float64), (carry, ys))
    compare.assert_close(got, wanted, rtol=CLOSE[kind], atol=CLOSE[kind])


@cells
def test_dtype_options(name):
    """Weights in float32, products in bfloat16, and a carry of its own dtype."""
    cell = registry.sized(name, 4, 5, dtype=jnp.bfloat16, carry_dtype=jnp.float16)
    params, xs = cell.init(jax.random.key(0), 4), registry.inputs_of(name, 4, 2, 4)
    run = compare.graded(functools.partial(rnnjax.unroll, cell))
    (carry, ys), gradients = run(params, xs, None)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(carry)} == {"float16"}
    assert ys.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(gradients)} == {"float32"}
    _, wanted = rnnjax.unroll(registry.sized(name, 4, 5), params, xs)
    compare.assert_close(ys.astype(jnp.float32), wanted, rtol=2e-2, atol=2e-2)


def test_a_float32_carry_keeps_bfloat16_from_drifting(x64):
    """2000 steps of long memory: errors of c below 0.03 where c goes up to about 10.

    Recurrent weights are small, so that rounding is summed up and not amplified.
    """
    small = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -0.1, 0.1)
    lstm = functools.partial(rnnjax.lstm, 8, forget_bias=4.0, w_hh_init=small)
    half = lstm(param_dtype=jnp.bfloat16).init(jax.random.key(0), 4)
    xs = registry.inputs(2000, 4, 4, dtype=jnp.bfloat16)

    def cells_of(params, xs, **dtypes):
        _, (_, carries) = rnnjax.unroll(rnnjax.with_carries(lstm(**dtypes)), params, xs)
        return np.asarray(carries.c, np.float64)

    exact = cells_of(*jax.tree.map(lambda a: a.astype(jnp.float64), (half, xs)))
    assert 5 < np.abs(exact).max() < 15
    errors = np.abs(cells_of(half, xs) - exact)
    rounded = np.abs(cells_of(half, xs, carry_dtype=jnp.bfloat16) - exact)
    assert errors.max() < 0.03
    assert rounded.max() > 10 * errors.max()
    assert rounded.mean() > 10 * errors.mean()


# Memory


def test_memory_of_long_sequences_is_bounded_by_the_chunk():
    """The gradient of an LSTM over 100,000 steps: megabytes, where the plain scan takes gigabytes.

    Compiled as users compile it, and never run.
    """
    cell = rnnjax.lstm(64)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 16))
    xs = jax.ShapeDtypeStruct((100_000, 8, 16), jnp.float32)

    def mebibytes(method):
        def loss(params, xs):
            return rnnjax.unroll(cell, params, xs, method=method)[0].h.sum()

        compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes / 2**20

    assert mebibytes(rnnjax.Chunked(100)) <= 16
    assert mebibytes(rnnjax.Scan()) > 1024

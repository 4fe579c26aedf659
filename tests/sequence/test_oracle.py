"""Every cell, direction, option and method against the oracle: outputs, carry, all gradients."""

import functools
import itertools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax import testing

OPTIONS = registry.sequence_options()
# Loops that know nothing of the cell; they meet some of them, of every kind of carry.
GENERAL = ("scan, unroll 3", "chunks of 4")
MET = ("lstm, learned carry", "gru", "slstm", "mlstm", "qrnn, ifo, of 3", "lru", "conv lstm")
CELLS_AND_METHODS = [
    (name, method)
    for name in registry.CELLS
    for method in registry.methods_for(name)
    if method not in GENERAL or name in MET
]


def has_loops_of_its_own(name, method):
    """Where every option is read anew; without what only changes the parameters."""
    whole = "no bias" not in name and "learned" not in name
    return whole and name in registry.COMPILED and method in ("scan", "fused", "native")


def worth(option, name, method, reverse):
    """All options one by one where loops are a cell's own, and of all cells by the definition.

    What else there is meets them all together, reversed.
    """
    if has_loops_of_its_own(name, method):
        return True
    if method == "scan" and option == "plain":
        return not reverse
    return option == "all" and (reverse or method == "newton")


CASES = [
    (option, name, method, reverse)
    for option, (name, method) in itertools.product(OPTIONS, CELLS_AND_METHODS)
    for reverse in (False, True)
    if worth(option, name, method, reverse)
]
# Both ways at once are a `vmap` of one way, but where a method has its own idea.
BOTH_WAYS = [
    (name, method)
    for name, method in CELLS_AND_METHODS
    if has_loops_of_its_own(name, method)
    or (method == "newton" and name in ("para lstm", "gru"))
    or (method not in GENERAL and name in MET)
]

pytestmark = pytest.mark.usefixtures("x64")
cells = pytest.mark.parametrize("name", registry.CELLS)
options = pytest.mark.parametrize("option", OPTIONS)
directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def value_and_gradients(run, *point):
    """What `run` returns, and the gradients of it times random cotangents."""
    out, gradients = compare.graded(run, cotangents)(*point)
    return out, testing.Gradients(*gradients)


def cotangents(out):
    return registry.randomise(out, seed=3)


@functools.cache
def problem(name, *, carry=True):
    """A cell, its random params, inputs, and a carry to begin from."""
    cell, params = registry.make(name, dtype=jnp.float64)
    xs = registry.inputs_of(name, registry.T, registry.B, registry.D, dtype=jnp.float64)
    begin = registry.possible_carry(name, cell, params, xs[0], seed=2) if carry else None
    return cell, params, xs, begin


@functools.cache
def oracle(name, option, reverse, carry=True):
    _, params, xs, begin = problem(name, carry=carry)
    arguments = {**OPTIONS[option], "reverse": reverse}
    return by_oracle(registry.CELLS[name].oracle, params, xs, begin, **arguments)


def by_oracle(oracle, *point, **arguments):
    """Values and gradients."""
    out = testing.reference_unroll(oracle, *point, **arguments)
    bars = cotangents(out)
    return out, testing.reference_gradients(oracle, *point, cotangents=bars, **arguments)


def assert_same(got, wanted, method=None):
    loose = method == "native"  # computes in float32
    rtol, atol = (1e-4, 1e-5) if loose else (1e-11, 1e-13)
    compare.assert_close(got, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("option, name, method, reverse", CASES)
def test_unroll(name, reverse, option, method):
    cell, *arguments = problem(name)

    def run(params, xs, carry):
        return rnnjax.unroll(
            cell,
            params,
            xs,
            carry,
            **OPTIONS[option],
            reverse=reverse,
            method=registry.METHODS[method],
        )

    wanted = oracle(name, option, reverse)
    assert_same(value_and_gradients(run, *arguments), wanted, method)


@pytest.mark.parametrize("name", registry.VARIED)
def test_without_a_carry_it_begins_with_the_initial_one(name):
    cell, params, xs, _ = problem(name)

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry, **OPTIONS["all"])

    wanted = oracle(name, "all", False, carry=False)
    assert_same(value_and_gradients(run, params, xs, None), wanted)


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru, reset before"])
def test_other_activations(kind):
    """Functions that are no sigmoid and tanh, each in its place."""
    _, params, xs, carry = problem(kind)
    of = testing.lstm if kind == "lstm" else testing.gru
    told = {"reset": "before"} if "before" in kind else {}
    cell = registry.CELLS[kind](registry.H, gate_activation=jnp.sin, activation=jnp.arctan)
    wanted = by_oracle(of(gate_activation=np.sin, activation=np.arctan, **told), params, xs, carry)

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry)

    assert_same(value_and_gradients(run, params, xs, carry), wanted)


@pytest.mark.parametrize("name, method", BOTH_WAYS)
def test_bidirectional(name, method):
    """Each direction is the oracle with the parameters and the carry of its own half."""
    cell, _, xs, _ = problem(name)
    layer = rnnjax.bidirectional(cell)
    params = registry.random_params(layer, registry.D, 4)
    carry = registry.possible_carry(name, layer, params, xs[0], seed=5)

    def run(params, xs, carry):
        chosen = registry.METHODS[method]
        return layer.apply(params, xs, carry, **OPTIONS["all"], method=chosen)

    (final, ys), grads = value_and_gradients(run, params, xs, carry)
    bars, ys_bar = cotangents((final, ys))
    dxs = np.zeros(xs.shape)
    for index, reverse in enumerate([False, True]):
        p, c, end, bar, dp, dc = jax.tree.map(
            lambda a, n=index: a[n], (params, carry, final, bars, grads.params, grads.carry)
        )
        y, y_bar = (np.split(a, 2, axis=-1)[index] for a in (ys, ys_bar))
        point = registry.CELLS[name].oracle, p, xs, c
        told = {**OPTIONS["all"], "reverse": reverse}
        assert_same((end, y), testing.reference_unroll(*point, **told), method)
        wanted = testing.reference_gradients(*point, cotangents=(bar, y_bar), **told)
        assert_same((dp, dc), (wanted.params, wanted.carry), method)
        dxs += wanted.xs
    assert_same(grads.xs, dxs, method)


@options
def test_stack(option):
    """Two layers are the oracle twice, the gradient of the upper inputs handed down."""
    _, _, xs, _ = problem("lstm")
    layer = rnnjax.stack(
        rnnjax.lstm(3, learned_carry=True, param_dtype=jnp.float64),
        rnnjax.gru(registry.H, param_dtype=jnp.float64),
    )
    params = registry.random_params(layer, registry.D, 4)
    carry = registry.random_carry(layer, params, xs[0], 5)

    def run(params, xs, carry):
        return layer.apply(params, xs, carry, **OPTIONS[option])

    got = value_and_gradients(run, params, xs, carry)
    first, told = (testing.lstm(), params[0], xs, carry[0]), OPTIONS[option]
    lower, middle = testing.reference_unroll(*first, **told)
    second = testing.gru(), params[1], middle, carry[1]
    upper, ys = testing.reference_unroll(*second, **told)
    bars, ys_bar = cotangents(((lower, upper), ys))
    above = testing.reference_gradients(*second, cotangents=(bars[1], ys_bar), **told)
    below = testing.reference_gradients(*first, cotangents=(bars[0], above.xs), **told)
    gradients = testing.Gradients(
        (below.params, above.params), below.xs, (below.carry, above.carry)
    )
    assert_same(got, (((lower, upper), ys), gradients))


@cells
def test_oracle_gradients_are_finite_differences(name):
    """The complex step against central differences, which share no line with it."""
    _, *point = problem(name)
    arguments = {**OPTIONS["resets"], "reverse": True}
    oracle = registry.CELLS[name].oracle
    bars = cotangents(testing.reference_unroll(oracle, *point, **arguments))

    def loss(point):
        terms = jax.tree.map(
            lambda a, b: (a * b).sum(),
            testing.reference_unroll(oracle, *point, **arguments),
            bars,
        )
        return sum(jax.tree.leaves(terms))

    wanted = testing.reference_gradients(oracle, *point, cotangents=bars, **arguments)
    gradients = tuple(wanted)
    direction = registry.randomise(point, seed=6)
    for leaf in range(len(jax.tree.leaves(point))):
        moved = [loss(along(point, direction, leaf, step)) for step in (1e-6, -1e-6)]
        slope = np.vdot(jax.tree.leaves(gradients)[leaf], jax.tree.leaves(direction)[leaf])
        np.testing.assert_allclose((moved[0] - moved[1]) / 2e-6, slope, rtol=1e-6, atol=1e-8)


def along(point, direction, leaf, step):
    """One leaf of `point` a step further in a random direction."""
    leaves, structure = jax.tree.flatten(point)
    leaves[leaf] = np.asarray(leaves[leaf]) + step * np.asarray(jax.tree.leaves(direction)[leaf])
    return jax.tree.unflatten(structure, leaves)


LN2, LN3, LN9 = np.log([2.0, 3.0, 9.0])  # sigmoid: 2/3, 3/4, 9/10; tanh: 3/5, 4/5, 40/41


def test_oracle_lstm_by_hand():
    """Gates i = 3/4, f = 1/4, g = 3/5, o = 9/10, made of input, bias and h in equal parts."""
    s = np.array([[LN3, -LN3, LN2, LN9]])
    params = rnnjax.LSTMParams(w_ih=s / 3, w_hh=s / 6, b=s[0] / 3)
    carry, ys = testing.reference_unroll(
        testing.lstm(), params, np.ones((1, 1)), rnnjax.LSTMCarry(np.array([2.0]), np.array([2.0]))
    )
    np.testing.assert_allclose(carry.c, [0.75 * 0.6 + 0.25 * 2], rtol=1e-15)
    np.testing.assert_allclose(ys, [[0.9 * np.tanh(0.95)]], rtol=1e-15)
    np.testing.assert_array_equal(ys[0], carry.h)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_oracle_gru_by_hand(reset):
    """Two units that read each other: r = (1/4, 3/4), z = (3/4, 1/4), n = (3/5, 4/5)."""
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    b_hn = np.array([1.0, -1.0]) if reset == "after" else None
    # r * (h W + b_hn) = (1/4, 3/4) * ((1, 2) + (1, -1)), and (r * h) W of r * h = (1/2, 3/4).
    inner = np.array([0.5, 0.75]) if reset == "after" else np.array([0.75, 0.5])
    b = np.concatenate([[-LN3, LN3], [LN3, -LN3], np.array([LN2, LN3]) - inner])
    w_hh = np.concatenate([np.zeros((2, 4)), swap], axis=1)
    params = rnnjax.GRUParams(np.zeros((1, 6)), w_hh, b, b_hn)
    oracle, begin = testing.gru(reset=reset), rnnjax.GRUCarry(np.array([2.0, 1.0]))
    carry, ys = testing.reference_unroll(oracle, params, np.ones((1, 1)), begin)
    wanted = [0.25 * 0.6 + 0.75 * 2, 0.75 * 0.8 + 0.25 * 1]
    np.testing.assert_allclose(carry.h, wanted, rtol=1e-15)
    np.testing.assert_allclose(ys[0], wanted, rtol=1e-15)


def test_oracle_elman_by_hand():
    """Three steps of x + h, with a hole and a restart, forwards and backwards."""
    initial = rnnjax.ElmanCarry(np.array([10.0]))
    params = rnnjax.ElmanParams(np.ones((1, 1)), np.ones((1, 1)), None, initial)
    xs = np.array([[1.0], [np.nan], [4.0]])
    oracle, mask = testing.elman(activation=testing.relu), [True, False, True]
    begin = rnnjax.ElmanCarry(np.array([-3.0]))
    for reverse, resets, wanted in [
        (False, [False, False, False], [0, 0, 4]),  # relu(1 - 3), hole, 4 + 0
        (False, [False, False, True], [0, 0, 14]),
        (False, [False, True, False], [0, 0, 4]),  # a restart in the hole is none
        (True, [False, False, False], [2, 0, 1]),  # 4 - 3 first, then 1 + 1
        (True, [True, False, False], [11, 0, 1]),
    ]:
        carry, ys = testing.reference_unroll(
            oracle, params, xs, begin, mask=mask, resets=resets, reverse=reverse
        )
        np.testing.assert_array_equal(ys[:, 0], wanted)
        np.testing.assert_array_equal(carry.h, [wanted[0] if reverse else wanted[2]])
    empty, _ = testing.reference_unroll(oracle, params, xs, begin, lengths=0)
    np.testing.assert_array_equal(empty.h, begin.h)
    fresh, _ = testing.reference_unroll(oracle, params, xs, lengths=0)
    np.testing.assert_array_equal(fresh.h, [10.0])


def test_oracle_refuses_what_it_does_not_know():
    xs = np.ones((2, 1))
    params = rnnjax.ElmanParams(np.ones((1, 1)), np.ones((1, 1)))
    with pytest.raises(TypeError, match="`oracle` must be an Oracle, got the function elman"):
        testing.reference_unroll(testing.elman, params, xs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2,\), got \(3,\)"):
        testing.reference_unroll(testing.elman(), params, xs, mask=[True] * 3)

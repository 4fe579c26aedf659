"""Cells of Flax Linen and NNX here and back: equal outputs, and the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.cells.recipe import recipe_of
from rnnjax.interop import (
    linen_to_rnnjax,
    nnx_to_rnnjax,
    rnnjax_to_linen,
    rnnjax_to_nnx,
)

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
LINEN = ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "MGUCell", "SimpleCell"]
NNX = ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"]
FUNCTIONS = {"gate_fn": jax.nn.hard_sigmoid, "activation_fn": jax.nn.soft_sign}
B, T = 2, 3


def cases(names):
    """A cell, its width, and how the levels read: forwards, backwards, both ways."""
    return st.tuples(
        st.sampled_from(names),
        st.integers(1, 4),
        st.integers(1, 5),
        st.lists(st.sampled_from(["forward", "reverse", "both"]), min_size=1, max_size=2),
        st.sampled_from(["float32", "float64"]),
        st.booleans(),
    )


def functions_of(name, unusual):
    if not unusual or name == "MGUCell":
        return {}
    return {k: f for k, f in FUNCTIONS.items() if name != "SimpleCell" or k == "activation_fn"}


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) / 2, a.dtype), tree)


def assert_same_run(layer, params, xs, run, dtype):
    """`run(lengths)` gives the outputs and the carries of every level, batch-major."""
    lengths = np.array([T, 1])
    for some in (None, lengths):
        ys, carries = run(some)
        carry, ours = layer.apply(params, np.swapaxes(xs, 0, 1), lengths=some)
        ours = np.swapaxes(ours, 0, 1)
        assert ours.dtype == dtype
        valid = np.arange(T) < (np.full(B, T) if some is None else some)[:, None]
        close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
        np.testing.assert_allclose(ours[valid], np.asarray(ys)[valid], **close)
        for mine, theirs in zip(carry, carries, strict=True):
            pairs = [(pick(mine, i), one) for i, one in enumerate(theirs)]
            pairs = pairs if len(theirs) == 2 else [(mine, theirs[0])]
            for a, b in pairs:
                b = {"c": b[0], "h": b[1]} if isinstance(b, tuple) else {"h": b}
                for name, array in b.items():
                    np.testing.assert_allclose(getattr(a, name), array, **close)


def pick(carry, way):
    return jax.tree.map(lambda a: a[way], carry)


def same_bits(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: np.array_equal(x, y) and x.dtype == y.dtype, a, b)
    )


@pytest.mark.usefixtures("x64")
@settings(max_examples=6, deadline=None)
@given(cases(LINEN))
def test_linen(case):
    name, rows, width, ways, dtype, unusual = case
    options = {"param_dtype": dtype, **functions_of(name, unusual)}
    cell = lambda: getattr(linen, name)(width, **options)
    make = {
        "forward": lambda: linen.RNN(cell()),
        "reverse": lambda: linen.RNN(cell(), reverse=True, keep_order=True),
        "both": lambda: linen.Bidirectional(linen.RNN(cell()), linen.RNN(cell())),
    }
    modules = [make[way]() for way in ways]
    xs = np.random.default_rng(1).normal(size=(B, T, rows)).astype(dtype)
    variables, below = [], rows
    for k, module in enumerate(modules):
        like = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((B, T, below), dtype))
        variables.append(random_like(like, k))
        below = width * (2 if ways[k] == "both" else 1)
    layer, params, _ = linen_to_rnnjax(variables, module=modules)

    def run(lengths):
        ys, carries = xs, []
        for module, own in zip(modules, variables, strict=True):
            carry, ys = module.apply(own, ys, seq_lengths=lengths, return_carry=True)
            carries.append(carry if isinstance(module, linen.Bidirectional) else [carry])
        return ys, carries

    with jax.disable_jit():
        assert_same_run(layer, params, xs, run, dtype)
    weights, told, _ = rnnjax_to_linen(layer, params)
    assert same_bits(weights, jax.tree.map(np.asarray, variables))
    assert same_bits(linen_to_rnnjax(weights, **told_activations(told)).params, params)


def told_activations(options):
    """What the trees do not tell, from the options that came with them."""
    inner = options["layers"][0]
    cell = (inner.get("forward_rnn") or inner)["cell"]
    names = {"gate_fn": "gate_activation", "activation_fn": "activation"}
    return {names[k]: f for k, f in cell.items() if k in names}


@pytest.mark.usefixtures("x64")
@settings(max_examples=6, deadline=None)
@given(cases(NNX))
def test_nnx(case):
    name, rows, width, ways, dtype, unusual = case
    options = {"param_dtype": dtype, "dtype": dtype, **functions_of(name, unusual)}

    def rnn(rows, **reading):
        cell = getattr(nnx, name)(rows, width, rngs=nnx.Rngs(0), **options)
        return nnx.RNN(cell, rngs=nnx.Rngs(0), **reading)

    make = {
        "forward": rnn,
        "reverse": lambda rows: rnn(rows, reverse=True, keep_order=True),
        "both": lambda rows: nnx.Bidirectional(rnn(rows), rnn(rows), rngs=nnx.Rngs(0)),
    }
    modules, below = [], rows
    for k, way in enumerate(ways):
        modules.append(make[way](below))
        below = width * (2 if way == "both" else 1)
        nnx.update(modules[-1], random_like(nnx.state(modules[-1], nnx.Param), k))
    xs = np.random.default_rng(1).normal(size=(B, T, rows)).astype(dtype)
    layer, params, _ = nnx_to_rnnjax(modules)

    def run(lengths):
        ys, carries = jnp.asarray(xs), []
        lengths = None if lengths is None else jnp.asarray(lengths)
        for module in modules:
            carry, ys = module(ys, seq_lengths=lengths, return_carry=True)
            carries.append(carry if isinstance(module, nnx.Bidirectional) else [carry])
        return ys, carries

    with jax.disable_jit():
        assert_same_run(layer, params, xs, run, dtype)
    # States and pure dicts are the same weights; what comes back goes into the modules again.
    states = [nnx.state(module) for module in modules]
    pure = [nnx.to_pure_dict(state) for state in states]
    weights, told, _ = rnnjax_to_nnx(layer, params, optimized=name == "OptimizedLSTMCell")
    for source in (states, pure, weights):
        again = nnx_to_rnnjax(source, **told_activations(told))
        assert same_bits(again.params, params)
    for module, tree in zip(modules, weights, strict=True):
        state = nnx.state(module, nnx.Param)
        before = jax.tree.map(np.asarray, nnx.to_pure_dict(state))
        nnx.replace_by_pure_dict(state, tree)
        nnx.update(module, state)
        after = nnx.to_pure_dict(nnx.state(module, nnx.Param))
        assert same_bits(jax.tree.map(np.asarray, after), before)


def test_a_linen_network_is_taken_apart_by_its_names(any_promotion):
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.RNN(linen.LSTMCell(4))(x)
            return linen.Bidirectional(linen.RNN(linen.GRUCell(5)), linen.RNN(linen.GRUCell(5)))(x)

    xs = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, 3)), jnp.float32)
    tree = random_like(Network().init(jax.random.key(0), xs), 0)["params"]
    both = {"forward_rnn": tree["GRUCell_0"], "backward_rnn": tree["GRUCell_1"]}
    layer, params, _ = linen_to_rnnjax([tree["LSTMCell_0"], both])
    ys = layer.apply(params, jnp.swapaxes(xs, 0, 1))[1]
    wanted = Network().apply({"params": tree}, xs)
    np.testing.assert_allclose(jnp.swapaxes(ys, 0, 1), wanted, atol=1e-6)


def test_a_bound_module_has_weights_and_options():
    cell = linen.SimpleCell(4, activation_fn=jax.nn.relu)
    x = jnp.ones((2, 3))
    variables = cell.init(jax.random.key(0), jnp.zeros((2, 4)), x)
    ours, params, _ = linen_to_rnnjax(cell.bind(variables))
    assert recipe_of(ours).options["activation"] is jax.nn.relu
    wanted, _ = cell.apply(variables, jnp.zeros((2, 4)), x)
    np.testing.assert_allclose(rnnjax.unroll(ours, params, x[None])[0].h, wanted, atol=1e-6)

"""Modules of Haiku here and back: equal outputs, and the same bits but for the bias that rounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.interop import haiku_to_rnnjax, rnnjax_to_haiku

hk = pytest.importorskip("haiku", reason='Haiku is missing: pip install -e ".[parity]"')

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
T, B = 3, 2


@st.composite
def networks(draw):
    """Kinds of the modules from bottom to top, one width, and a precision."""
    kinds = st.sampled_from(["LSTM", "GRU", "VanillaRNN", "VanillaRNN, one bias"])
    return (
        draw(st.lists(kinds, min_size=1, max_size=3)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.sampled_from(["float32", "float64"])),
    )


def names_of(kinds):
    """As Haiku names modules that are made in this order inside a module called `net`."""
    out = []
    for kind in kinds:
        base = {"LSTM": "lstm", "GRU": "gru"}.get(kind, "vanilla_rnn")
        count = sum(name.startswith(f"net/~run/{base}") for name in out)
        out.append(f"net/~run/{base}" + (f"_{count}" if count else ""))
    return out


@pytest.mark.usefixtures("x64")
@settings(max_examples=8, deadline=None)
@given(networks())
def test_outputs_are_equal_and_weights_come_back(case):
    kinds, width, rows, dtype = case

    class Network(hk.Module):
        def run(self, xs):
            options = lambda kind: {"double_bias": False} if "one bias" in kind else {}
            make = lambda kind: getattr(hk, kind.split(",")[0])(width, **options(kind))
            core = hk.DeepRNN([make(kind) for kind in kinds])
            state = jax.tree.map(lambda a: a.astype(xs.dtype), core.initial_state(B))
            return hk.static_unroll(core, xs, state)

    network = hk.without_apply_rng(hk.transform(lambda xs: Network(name="net").run(xs)))
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(T, B, rows)).astype(dtype)
    like = jax.eval_shape(network.init, jax.random.key(0), xs)
    source = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(dtype) / 2, like)
    with jax.disable_jit():
        wanted, states = network.apply(source, xs)
        layer, params, _ = haiku_to_rnnjax(source, names=names_of(kinds))
        carry, ys = layer.apply(params, xs)
    assert ys.dtype == dtype
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(ys, wanted, **close)
    for mine, theirs in zip(carry, states, strict=True):
        np.testing.assert_allclose(mine.h, getattr(theirs, "hidden", theirs), **close)
        if hasattr(theirs, "cell"):
            np.testing.assert_allclose(mine.c, theirs.cell, **close)
    there, options, _ = rnnjax_to_haiku(layer, params)
    again = haiku_to_rnnjax(there, names=options["names"])
    for own, back, kind in zip(params, again.params, kinds, strict=True):
        for a, b in zip(own[:3], back[:3], strict=True):
            if kind == "LSTM":
                np.testing.assert_allclose(a, b, **close)  # b - 1 + 1 rounds
            else:
                np.testing.assert_array_equal(a, b)
    for key, leaves in there.items():
        for leaf in leaves:
            if leaf != "b":
                np.testing.assert_array_equal(leaves[leaf], source[f"net/~run/{key}"][leaf])


def test_both_directions(any_promotion):
    def run(xs):
        core = hk.LSTM(4)
        forward, _ = hk.dynamic_unroll(core, xs, core.initial_state(B))
        core = hk.LSTM(4)
        backward, _ = hk.dynamic_unroll(core, xs, core.initial_state(B), reverse=True)
        return jnp.concatenate([forward, backward], axis=-1)

    network = hk.without_apply_rng(hk.transform(run))
    xs = np.random.default_rng(0).normal(size=(T, B, 3)).astype("float32")
    source = network.init(jax.random.key(0), xs)
    layer, params, _ = haiku_to_rnnjax(source, names=[("lstm", "lstm_1")])
    np.testing.assert_allclose(layer.apply(params, xs)[1], network.apply(source, xs), atol=1e-6)

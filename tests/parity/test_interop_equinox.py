"""Cells of Equinox here and back: equal outputs, and the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.interop import equinox_to_rnnjax, rnnjax_to_equinox

eqx = pytest.importorskip("equinox", reason='Equinox is missing: pip install -e ".[parity]"')

TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
T = 3


@st.composite
def networks(draw):
    """A kind, D, H, whether each level reads both ways, biases, and a precision."""
    return (
        draw(st.sampled_from(["LSTMCell", "GRUCell"])),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.lists(st.booleans(), min_size=1, max_size=2)),
        draw(st.booleans()),
        draw(st.sampled_from(["float32", "float64"])),
    )


@pytest.mark.usefixtures("x64")
@settings(max_examples=8, deadline=None)
@given(networks())
def test_outputs_are_equal_and_weights_come_back(case):
    kind, rows, width, levels, bias, dtype = case
    rng = np.random.default_rng(0)

    def cell(rows):
        made = getattr(eqx.nn, kind)(rows, width, bias, jnp.dtype(dtype), key=jax.random.key(0))
        return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) / 2, dtype), made)

    source, below = [], rows
    for both in levels:
        source.append((cell(below), cell(below)) if both else cell(below))
        below = width * (1 + both)

    def run(cell, xs):
        h, ys = jnp.zeros(width, dtype), []
        state = (h, h) if kind == "LSTMCell" else h
        for x in xs:
            state = cell(x, state)
            ys.append(state[0] if kind == "LSTMCell" else state)
        return jnp.stack(ys)

    xs = jnp.asarray(rng.normal(size=(T, rows)), dtype)
    with jax.disable_jit():
        wanted = xs
        for level in source:
            if isinstance(level, tuple):
                ways = [run(level[0], wanted), run(level[1], wanted[::-1])[::-1]]
                wanted = jnp.concatenate(ways, axis=-1)
            else:
                wanted = run(level, wanted)
        layer, params, _ = equinox_to_rnnjax(source)
        ys = layer.apply(params, xs)[1]
    assert ys.dtype == dtype
    np.testing.assert_allclose(ys, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    there = rnnjax_to_equinox(layer, params).weights
    again = equinox_to_rnnjax(there).params
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, again))
    fields = lambda cell: {name: getattr(cell, name) for name in there_fields(cell)}
    back = jax.tree.map(fields, source, is_leaf=lambda x: hasattr(x, "weight_ih"))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), there, back))


def there_fields(cell):
    return [name for name in ("weight_ih", "weight_hh", "bias", "bias_n") if hasattr(cell, name)]


def test_one_cell_gives_a_cell():
    made = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
    ours, params, _ = equinox_to_rnnjax(made)
    x, h = jnp.ones(3), jnp.full(4, 0.5)
    carry = ours.init_carry(params, x)._replace(h=h)
    got, _ = ours.step(params, carry, ours.project(params, x))
    np.testing.assert_allclose(got.h, made(x, h), atol=1e-6)

"""Wrappers around every cell: quiet without a key, an explicit loop with one, in any order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from compare import assert_close, assert_equal, graded, slopes
from wrapped import (
    FEW,
    KEY,
    NOISY,
    OPTIONS,
    SILENT,
    VALID,
    B,
    D,
    T,
    by_hand,
    cells,
    few_cells,
    has_h,
    has_matrix,
    one_way,
    padded,
    padded_tail,
    problem,
    serving,
    unroll,
)

import rnnjax
from rnnjax.cells import LayerNormOutputsParams

# --- Every cell.


@cells
def test_without_a_key_it_is_the_bare_cell(name):
    """Values and gradients, in every bit."""
    cell, point = problem(name)
    wrappers = serving(name).values()

    @jax.jit
    def run(params, xs, carry):
        runs = [unroll(wrap(cell), lengths=[5, 0, 3]) for wrap in (lambda cell: cell, *wrappers)]
        pulled = [jax.vjp(run, params, xs, carry) for run in runs]
        return [(out, vjp(slopes(out))) for out, vjp in pulled]

    bare, *wrapped = run(*point)
    for got in wrapped:
        assert_equal(got, bare)


@cells
def test_with_a_key_all_serve_around_every_cell(name):
    """Something else comes out, of the same dtypes, finite, zero at padding; gradients too."""
    cell, point = problem(name)
    wrappers = serving(name) | {"clip_carry": lambda cell: rnnjax.clip_carry(cell, 0.1)}
    width = cell.out_features
    if isinstance(width, int):
        wrappers["layer_norm_outputs"] = rnnjax.layer_norm_outputs
        wrappers |= {"residual": rnnjax.residual} if width == D else {}

    def run(params, xs, carry):
        out = {"bare": unroll(cell, lengths=[5, 0, 3])(params, xs, carry)}
        for wrapper, wrap in wrappers.items():
            own = params
            if wrapper == "layer_norm_outputs":
                own = LayerNormOutputsParams(params, jnp.ones(width), jnp.zeros(width))
            noisy = unroll(wrap(cell), lengths=[5, 0, 3], key=KEY)
            out[wrapper] = noisy(own, xs, carry)
        return out

    out, gradients = graded(run)(*point)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((out, gradients)))
    bare_carry, bare = out.pop("bare")
    for wrapper, (carry, ys) in out.items():
        assert jax.tree.map(jnp.result_type, (carry, ys)) == jax.tree.map(
            jnp.result_type, (bare_carry, bare)
        )
        assert ys.shape == bare.shape and not ys[:, 1].any() and not ys[3:, 2].any()
        assert np.abs(ys - bare).max() > 1e-3, wrapper
        assert_equal(jax.tree.map(lambda a: a[1], carry), jax.tree.map(lambda a: a[1], point.carry))


@cells
def test_the_output_is_h_where_a_cell_says_so(name):
    cell, point = problem(name)
    carry, ys = jax.jit(unroll(cell))(*point)
    if cell.output_is_h and has_h(name):
        np.testing.assert_array_equal(ys[-1], carry.h)


# --- The same masks in a loop by hand.


def counting(cell):
    """A cell with the same carry, whose leaves count steps: those that zoneout keeps do not."""

    def step(params, carry, z):
        carry = jax.tree.map(lambda a: a + 1, carry)
        return carry, carry.h

    return cell._replace(project=lambda params, xs: xs, step=step, form=None)


def kept_units(cell, wrap, params, xs, key):
    """Where zoneout keeps the old value: a tree like the carry, with arrays `(T, *batch, H)`."""
    probe = rnnjax.with_carries(wrap(counting(cell)))
    zero = jax.tree.map(jnp.zeros_like, cell.init_carry(params, xs[0]))
    _, (_, counts) = rnnjax.unroll(probe, params, xs, zero, key=key)
    return jax.tree.map(lambda a: np.diff(np.asarray(a), axis=0, prepend=0) == 0, counts)


def drawn_noise(cell, scale, params, xs, key):
    """What `state_noise` adds."""
    hold = cell._replace(step=lambda params, carry, z: (carry, 0 * carry.h), form=None)
    _, noise = rnnjax.unroll(rnnjax.state_noise(hold, scale), params, xs, key=key)
    return np.asarray(noise)


@few_cells
@one_way
def test_zoneout_is_a_loop_with_its_masks(name, reverse):
    cell, point = problem(name)
    wrap = NOISY["zoneout"]
    kept = kept_units(cell, wrap, point.params, point.xs, KEY)

    def after(t, old, new, y):
        mixed = jax.tree.map(lambda k, old, new: jnp.where(k[t], old, new), kept, old, new)
        return mixed, mixed.h

    run = unroll(wrap(cell), **OPTIONS, reverse=reverse, key=KEY)
    wanted = graded(by_hand(cell, after, VALID, OPTIONS["resets"], reverse))(*point)
    assert_close(graded(run)(*point._replace(xs=padded(point.xs))), wanted)


@few_cells
@one_way
def test_state_noise_is_a_loop_with_its_noise(name, reverse):
    cell, point = problem(name)
    noise = drawn_noise(cell, 0.3, point.params, point.xs, KEY)

    def after(t, old, new, y):
        h = new.h + noise[t]
        return new._replace(h=h), h

    run = unroll(NOISY["state_noise"](cell), **OPTIONS, reverse=reverse, key=KEY)
    wanted = graded(by_hand(cell, after, VALID, OPTIONS["resets"], reverse))(*point)
    assert_close(graded(run)(*point._replace(xs=padded(point.xs))), wanted)


def linear(hidden):
    """An Elman cell that repeats its state, with params that do nothing but that."""
    cell = rnnjax.elman(hidden, bias=False, activation=lambda x: x)
    return cell, rnnjax.ElmanParams(jnp.zeros((D, hidden)), jnp.eye(hidden))


def kept_rows(rate, rows, hidden, key):
    """The mask of `recurrent_dropout`, scaled, `(rows, hidden)`."""
    cell, params = linear(hidden)
    start = rnnjax.ElmanCarry(jnp.ones((rows, hidden)))
    wrapped = rnnjax.recurrent_dropout(cell, rate)
    return rnnjax.unroll(wrapped, params, jnp.zeros((1, rows, D)), start, key=key)[1][0]


@pytest.mark.parametrize("name", list(filter(has_matrix, registry.VARIED)))
def test_recurrent_dropout_is_other_weights_for_every_row(name):
    """h m W = h (m W), so that a path around the product, as in a GRU, must stay whole."""
    cell, point = problem(name)
    mask = kept_rows(0.4, B, point[0].w_hh.shape[0], KEY)
    assert 0 < (np.asarray(mask) == 0).mean() < 1

    def row_by_row(params, xs, carry):
        def one(mask, x, carry, length, resets):
            own = params._replace(w_hh=mask[:, None] * params.w_hh)
            return unroll(cell, lengths=length, resets=resets)(own, x, carry)

        axes = dict(in_axes=(0, 1, 0, 0, 1), out_axes=(0, 1))
        lengths, resets = np.array([5, 0, 3]), OPTIONS["resets"]
        return jax.vmap(one, **axes)(mask, xs, carry, lengths, resets)

    run = unroll(
        NOISY["recurrent_dropout"](cell), lengths=[5, 0, 3], resets=OPTIONS["resets"], key=KEY
    )
    assert_close(graded(run)(*point), graded(row_by_row)(*point))


def kept_weights(cell, rate, params, key):
    """The mask of `drop_connect`, scaled."""
    ones = params._replace(w_hh=jnp.ones_like(params.w_hh))
    return rnnjax.drop_connect(cell, rate).prepare(key, ones, jnp.ones((T, B, D)))[0].w_hh


@pytest.mark.parametrize(
    "name, method",
    [
        (name, method)
        for name in FEW
        for method in registry.methods_for(name)
        if method in ("scan", "chunks of 4", "fused", "native")
    ],
)
def test_drop_connect_is_other_weights(name, method):
    """With the fast methods too, and dropped weights have no gradient."""
    cell, point = problem(name)
    mask = kept_weights(cell, 0.4, point.params, KEY)
    masked = lambda params: params._replace(w_hh=params.w_hh * mask)
    told = {"lengths": [5, 0, 3], "method": registry.METHODS[method]}
    got = graded(unroll(rnnjax.drop_connect(cell, 0.4), **told, key=KEY))(*point)
    on_masked = lambda params, xs, carry: unroll(cell, **told)(masked(params), xs, carry)
    assert_close(got, graded(on_masked)(*point))
    slope = got[1].params.w_hh
    assert not slope[mask == 0].any() and slope[mask != 0].all()


def test_which_wrappers_leave_the_fast_methods():
    cell, point = problem("lstm, learned carry")
    explain = lambda cell: rnnjax.explain(cell, *point[:2]).method
    fast = explain(cell)
    assert fast != rnnjax.Scan()
    for name, wrap in NOISY.items():
        keeps = name in ("input_dropout", "drop_connect")
        assert explain(wrap(cell)) == (fast if keeps else rnnjax.Scan())
    for wrap in (rnnjax.residual, lambda cell: rnnjax.clip_carry(cell, 1.0)):
        assert explain(wrap(cell)) == rnnjax.Scan()


# --- Nesting.


@pytest.mark.parametrize("outer", NOISY)
def test_wrappers_nest_in_any_order(outer):
    """One of two with nothing to draw: what is left is the other, with the key that it gets."""
    cell, point = problem("elman")
    _, key_within = jax.random.split(KEY)

    @jax.jit
    def run(params, xs, carry):
        go = lambda cell, key: unroll(cell, key=key)(params, xs, carry)
        pairs = {
            inner: (
                go(SILENT[outer](NOISY[inner](cell)), KEY),
                go(NOISY[inner](cell), key_within),
                go(NOISY[outer](SILENT[inner](cell)), KEY),
                go(NOISY[outer](NOISY[inner](cell)), KEY),
            )
            for inner in NOISY
        }
        return go(NOISY[outer](cell), KEY), pairs

    alone, pairs = run(*point)
    for inner, (of_inner, wanted, of_outer, both) in pairs.items():
        assert_close(of_inner, wanted)
        assert_close(of_outer, alone)
        for one in (of_inner, of_outer):
            assert np.abs(both[1] - one[1]).max() > 1e-3, inner


def test_deep_nests_by_method_and_layer():
    """Everything at once: the same with every general method, and in every place for a cell."""
    cell, point = problem("lstm, learned carry")
    for wrap in NOISY.values():
        cell = wrap(cell)
    deep = rnnjax.clip_carry(NOISY["zoneout"](NOISY["input_dropout"](cell)), 3.0)
    told = OPTIONS | {"key": KEY}
    wanted = graded(unroll(deep, **told))(*point)
    for method in (rnnjax.Chunked(2), rnnjax.Scan(unroll=3)):
        assert_close(graded(unroll(deep, **told, method=method))(*point), wanted)
    normed = rnnjax.layer_norm_outputs(rnnjax.residual(deep))
    layer = rnnjax.stack(rnnjax.bidirectional(normed, merge=rnnjax.merge.add), normed)
    params = layer.init(KEY, D)
    run = jax.jit(functools.partial(layer.apply, lengths=[5, 0, 3]))
    quiet, loud = (run(params, padded_tail(point.xs), key=key)[1] for key in (None, KEY))
    assert np.isfinite(loud).all() and not loud[:, 1].any() and not loud[3:, 2].any()
    assert np.abs(loud - quiet).max() > 1e-3

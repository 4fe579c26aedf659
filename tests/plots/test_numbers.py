"""The numbers behind pictures, against loops in float64 and the Jacobian itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from registry import random_params

import rnnjax
from rnnjax import plots
from rnnjax.plots import gating, lags
from rnnjax.testing.oracle import sigmoid

T, B, D, H = 7, 3, 4, 5
LENGTHS = np.array([7, 0, 3], np.int32)
CELLS = {
    "lstm": rnnjax.lstm(H),
    "gru": rnnjax.gru(H),
    "gru, reset before": rnnjax.gru(H, reset="before"),
    "lstm, learned carry": rnnjax.lstm(H, learned_carry=True),
    "gru, no bias": rnnjax.gru(H, bias=False),
}


def world(name):
    cell = CELLS[name]
    xs = np.random.default_rng(1).normal(size=(T, B, D)).astype(np.float32)
    return cell, random_params(cell, D, 0), xs


def start_of(params, kind):
    """The carry to begin with in float64: the learned one, or zeros."""
    if params.initial is not None:
        return [np.asarray(a, np.float64) for a in params.initial]
    return [np.zeros(H)] * len(kind._fields)


def lstm_loop(params, xs):
    """i, f, g, o, c and h of one row, step by step."""
    w_ih, w_hh, b = (np.asarray(a, np.float64) for a in (params.w_ih, params.w_hh, params.b))
    h, c = start_of(params, rnnjax.LSTMCarry)
    out = []
    for x in xs:
        s = x @ w_ih + b + h @ w_hh
        i, f, o = sigmoid(s[:H]), sigmoid(s[H : 2 * H]), sigmoid(s[3 * H :])
        g = np.tanh(s[2 * H : 3 * H])
        c = f * c + i * g
        h = o * np.tanh(c)
        out.append((i, f, g, o, c, h))
    return np.array(out).swapaxes(0, 1)  # (6, T, H)


def gru_loop(params, xs, *, after=True):
    """r, z, n and h of one row, step by step."""
    w_ih, w_hh = np.asarray(params.w_ih, np.float64), np.asarray(params.w_hh, np.float64)
    b = np.zeros(3 * H) if params.b is None else np.asarray(params.b, np.float64)
    b_hn = np.zeros(H) if params.b_hn is None else np.asarray(params.b_hn, np.float64)
    (h,) = start_of(params, rnnjax.GRUCarry)
    out = []
    for x in xs:
        a = x @ w_ih + b
        r = sigmoid(a[:H] + h @ w_hh[:, :H])
        z = sigmoid(a[H : 2 * H] + h @ w_hh[:, H : 2 * H])
        w_n = w_hh[:, 2 * H :]
        n = np.tanh(a[2 * H :] + (r * (h @ w_n + b_hn) if after else (r * h) @ w_n))
        h = (1 - z) * n + z * h
        out.append((r, z, n, h))
    return np.array(out).swapaxes(0, 1)  # (4, T, H)


LOOPS = {
    "lstm": lstm_loop,
    "gru": gru_loop,
    "gru, reset before": functools.partial(gru_loop, after=False),
    "lstm, learned carry": lstm_loop,
    "gru, no bias": gru_loop,
}


@pytest.mark.parametrize("name", CELLS)
def test_gate_values_equal_a_loop_in_float64(name):
    """With lengths, and NaN behind them; what is not valid is 0."""
    cell, params, xs = world(name)
    valid = np.arange(T)[:, None] < LENGTHS
    dirty = np.where(valid[..., None], xs, np.nan)
    values = plots.gate_values(cell, params, dirty, lengths=LENGTHS)
    assert values._fields == (tuple("ifgoch") if "lstm" in name else tuple("rznh"))
    for row in range(B):
        steps = LENGTHS[row]
        wanted = LOOPS[name](params, xs[:, row])
        for got, want in zip(values, wanted, strict=True):
            np.testing.assert_allclose(got[:steps, row], want[:steps], rtol=1e-5, atol=1e-6)
            assert not np.any(got[steps:, row])


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_gate_values_put_into_the_equations_are_the_outputs(name):
    cell, params, xs = world(name)
    carry = cell.init_carry(params, jnp.asarray(xs[0]))
    carry = jax.tree.map(lambda a: a + 0.3, carry)
    values = jax.tree.map(np.asarray, plots.gate_values(cell, params, xs, carry))
    final, ys = rnnjax.unroll(cell, params, xs, carry)
    h, c = np.asarray(carry.h), np.asarray(getattr(carry, "c", carry.h))
    for t in range(T):
        if name == "lstm":
            c = values.f[t] * c + values.i[t] * values.g[t]
            h = values.o[t] * np.tanh(c)
        else:
            h = (1 - values.z[t]) * values.n[t] + values.z[t] * h
        np.testing.assert_allclose(h, ys[t], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(values.h[t], ys[t], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values.h[-1], final.h, rtol=1e-5, atol=1e-6)


def test_gate_values_of_one_sequence_under_jit_and_in_low_precision():
    cell, params, xs = world("lstm")
    plain = plots.gate_values(cell, params, xs)
    jitted = jax.jit(lambda p, x: plots.gate_values(cell, p, x))(params, xs[:, 1])
    np.testing.assert_allclose(jitted.f, plain.f[:, 1], rtol=1e-5)
    half = rnnjax.lstm(H, dtype=jnp.bfloat16)
    rounded = plots.gate_values(half, params, xs)
    assert {a.dtype.name for a in rounded} == {"float32"}
    np.testing.assert_allclose(rounded.f, plain.f, atol=0.03)


def test_a_cell_is_recorded_by_one_program():
    cell = rnnjax.gru(2)
    recorded = gating.recording(cell)
    assert recorded is gating.recording(cell)
    assert recorded.form is None and not recorded.output_is_h  # no fast method knows its outputs


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_forgetting_times_and_shares_count_valid_steps(name):
    cell, params, xs = world(name)
    params = jax.tree.map(lambda a: 3 * a, params)  # so that gates are shut and open
    valid = np.arange(T)[:, None] < LENGTHS
    dirty = np.where(valid[..., None], xs, np.nan)
    rows = [LOOPS[name](params, xs[:n, row]) for row, n in enumerate(LENGTHS) if n]
    by_gate = np.concatenate(rows, axis=1)  # (gates, valid steps, H)

    times = plots.forgetting_times(cell, params, dirty, lengths=LENGTHS)
    np.testing.assert_allclose(times, -1 / np.log(by_gate[1]).mean(0), rtol=1e-4)

    shares = plots.saturated_shares(cell, params, dirty, lengths=LENGTHS)
    places = {"i": 0, "f": 1, "o": 3} if name == "lstm" else {"r": 0, "z": 1}
    assert list(shares) == list(places)
    for gate, place in places.items():
        np.testing.assert_allclose(shares[gate].low, (by_gate[place] < 0.1).mean(0), rtol=1e-6)
        np.testing.assert_allclose(shares[gate].high, (by_gate[place] > 0.9).mean(0), rtol=1e-6)
    assert sum(float(s.low.sum() + s.high.sum()) for s in shares.values()) > 1


def test_forgetting_times_at_the_edges():
    """A gate that rounds to 1 never forgets, one that rounds to 0 at once."""
    cell = rnnjax.gru(2)
    params = jax.tree.map(jnp.zeros_like, random_params(cell, D, 0))
    params = params._replace(b=jnp.array([0.0, 0.0, 200.0, -200.0, 0.0, 0.0]))
    xs = jnp.ones((T, B, D))
    assert plots.forgetting_times(cell, params, xs).tolist() == [np.inf, 0.0]
    none = plots.forgetting_times(cell, params, xs, lengths=[0] * B)
    assert np.isnan(none).all()


def jacobian_norms(cell, params, xs, length):
    """By lag, from the whole Jacobian of the last output of one row `(T, ...)`."""

    def last(xs):
        return rnnjax.unroll(cell, params, xs, method=rnnjax.Scan())[1][length - 1]

    jacobian = np.asarray(jax.jacobian(last)(xs), np.float64)
    features = len(cell.in_spec(params).shape)
    by_step = np.moveaxis(jacobian, -1 - features, 0).reshape(len(xs), -1)
    return np.linalg.norm(by_step, axis=1)[:length][::-1]


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_lag_norms_are_those_of_the_jacobian(name):
    cell, params, xs = world(name)
    valid = np.arange(T)[:, None] < LENGTHS
    got = plots.lag_norms(cell, params, np.where(valid[..., None], xs, np.nan), lengths=LENGTHS)
    assert got.shape == (T, B)
    assert np.array_equal(np.isnan(got), ~valid)
    for row in np.flatnonzero(LENGTHS):
        length = LENGTHS[row]
        wanted = jacobian_norms(cell, params, xs[:, row], length)
        np.testing.assert_allclose(got[:length, row], wanted, rtol=1e-4)


def test_lag_norms_of_planes_and_without_batch():
    """A step's input has axes of space, and so has the output."""
    cell = rnnjax.conv_gru(2, kernel_size=(3,))
    params = random_params(cell, 1, 0)
    xs = np.random.default_rng(2).normal(size=(3, 4, 1)).astype(np.float32)
    got = plots.lag_norms(cell, params, xs)
    np.testing.assert_allclose(got, jacobian_norms(cell, params, xs, 3), rtol=1e-4)


def test_lag_norms_whose_squares_vanish():
    """0.1 a step: the norm at lag 30 is 1e-30, and its square no float32."""
    cell = rnnjax.elman(2, bias=False, activation=lambda s: s)
    params = rnnjax.ElmanParams(w_ih=jnp.ones((1, 2)), w_hh=0.1 * jnp.eye(2))
    got = plots.lag_norms(cell, params, jnp.ones((2, 31, 1)).swapaxes(0, 1))
    wanted = np.sqrt(2) * 0.1 ** np.arange(31.0)
    np.testing.assert_allclose(got, np.stack([wanted, wanted], 1), rtol=1e-4)


def test_lag_norms_without_steps():
    cell, params, xs = world("lstm")
    assert plots.lag_norms(cell, params, xs[:0]).shape == (0, B)


def test_means_by_lag_take_the_rows_that_have_it():
    norms = np.array([[1.0, 100.0, np.nan], [4.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    middle, low, high = lags.by_lag(norms)
    np.testing.assert_allclose(middle, [10.0, 4.0, np.nan])
    np.testing.assert_allclose(low, [10.9, 4.0, np.nan])
    np.testing.assert_allclose(high, [90.1, 4.0, np.nan])

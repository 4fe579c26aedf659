"""What the noise of wrappers is: its rate, scale and independence; and where it is drawn.

Bounds are five standard deviations, and keys are fixed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from compare import assert_close, assert_equal
from programs import equations

import rnnjax

T, B, H, D = 6, 80, 40, 3
KEY = jax.random.key(5)

WRAPPERS = {
    "input_dropout": lambda cell: rnnjax.input_dropout(cell, 0.3),
    "recurrent_dropout": lambda cell: rnnjax.recurrent_dropout(cell, 0.3),
    "drop_connect": lambda cell: rnnjax.drop_connect(cell, 0.3),
    "zoneout": lambda cell: rnnjax.zoneout(cell, {"h": 0.3}),
    "state_noise": lambda cell: rnnjax.state_noise(cell, 0.3),
}
wrappers = pytest.mark.parametrize("name", WRAPPERS)


def counting():
    """Both leaves of the carry count steps; those that zoneout keeps do not. The output is h."""

    def init_carry(params, like):
        zeros = jnp.zeros((*like.shape[:-1], H))
        return rnnjax.LSTMCarry(zeros, zeros)

    def step(params, carry, z):
        carry = rnnjax.LSTMCarry(carry.h + 1, carry.c + 1)
        return carry, carry.h

    return rnnjax.Cell(
        init=lambda key, in_features: (),
        init_carry=init_carry,
        project=lambda params, xs: xs,
        step=step,
        out_features=H,
    )


def still():
    """Nothing moves."""
    return counting()._replace(step=lambda params, carry, z: (carry, carry.h))


def linear(width):
    """h' = h W, and nothing else."""
    return rnnjax.elman(width, bias=False, activation=lambda x: x)


def zone_masks(rates, key=KEY):
    """Where h and c keep their value, `(T, B, H)` each."""
    cell = rnnjax.with_carries(rnnjax.zoneout(counting(), rates))
    _, (_, counts) = rnnjax.unroll(cell, (), jnp.ones((T, B, D)), key=key)
    return [np.diff(np.asarray(a), axis=0, prepend=0) == 0 for a in counts]


def check_rate(dropped, rate):
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)


def check_independent(a, b):
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def check_along(draws, *axes):
    """Neighbours along each axis know nothing of each other."""
    for axis in axes:
        moved = np.moveaxis(draws, axis, 0)
        check_independent(moved[1:], moved[:-1])


# --- Draws.


@pytest.mark.parametrize("key", [KEY, jax.random.PRNGKey(0)], ids=["typed", "raw"])
def test_zoneout_is_fresh_for_every_step_row_unit_leaf_and_call(key):
    h, c = zone_masks({"h": 0.1, "c": 0.6}, key)
    for mask, rate in [(h, 0.1), (c, 0.6)]:
        check_rate(mask, rate)
        check_along(mask, 0, 1, 2)
    check_independent(h, c)
    check_independent(h, zone_masks({"h": 0.1, "c": 0.6}, jax.random.key(6))[0])
    assert_equal(zone_masks({"h": 0.1, "c": 0.6}, key)[0], h)


def test_zoneout_rates():
    """One for all, by mapping or NamedTuple; what has no name moves freely."""
    one, named = zone_masks(0.3), zone_masks(rnnjax.LSTMCarry(0.3, 0.3))
    assert_equal(one, named)
    for mask in one:
        check_rate(mask, 0.3)
    h, c = zone_masks({"c": 0.3})
    assert not h.any()
    check_rate(c, 0.3)
    cells = [rnnjax.zoneout(rnnjax.lstm(5), {"h": 0.1, "c": 0.2}) for _ in range(2)]
    assert cells[0] is cells[1]  # a jit cache meets it again


def test_zoneout_expectation():
    """Without a key, the mean of what happens with one."""
    cell = rnnjax.zoneout(counting(), {"h": 0.25}, expectation=True)
    xs = jnp.ones((T, B, D))
    carry, ys = rnnjax.unroll(cell, (), xs, lengths=[T] * (B - 1) + [2])
    steps = np.arange(1, T + 1, dtype=np.float32)
    assert_close(ys[:, 0, 0], 0.75 * steps)
    assert_close(ys[:, -1, 0], 0.75 * steps * (steps <= 2))
    assert_close((carry.h[0, 0], carry.c[0, 0]), (jnp.float32(4.5), jnp.float32(6.0)))
    loud = rnnjax.zoneout(counting(), {"h": 0.25})
    assert_equal(*(rnnjax.unroll(c, (), xs, key=KEY) for c in (cell, loud)))


def test_state_noise_is_gaussian_and_fresh_for_every_step_row_and_unit():
    def drawn(key):
        hold = still()._replace(step=lambda params, carry, z: (carry, 0 * carry.h))
        return np.asarray(
            rnnjax.unroll(rnnjax.state_noise(hold, 0.2), (), jnp.ones((T, B, D)), key=key)[1]
        )

    noise = drawn(KEY)
    assert abs(noise.mean()) < 5 * 0.2 / np.sqrt(noise.size)
    assert abs(noise.std() - 0.2) < 5 * 0.2 / np.sqrt(2 * noise.size)
    kurtosis = ((noise / 0.2) ** 4).mean()
    assert abs(kurtosis - 3) < 5 * np.sqrt(96 / noise.size)
    check_along(noise, 0, 1, 2)
    check_independent(noise, drawn(jax.random.key(6)))


def test_state_noise_stays_in_the_carry():
    """A walk: the output is the sum of all steps, and h is the output."""
    walk, xs = rnnjax.state_noise(still(), 0.2), jnp.ones((T, B, D))
    carry, ys = rnnjax.unroll(walk, (), xs, key=KEY)
    assert_equal(ys[-1], carry.h)
    steps = np.diff(np.asarray(ys), axis=0, prepend=0)
    assert abs(steps.std() - 0.2) < 5 * 0.2 / np.sqrt(2 * steps.size)
    assert not np.asarray(carry.c).any()


def test_recurrent_dropout_is_fixed_over_time_and_fresh_for_every_row_and_unit():
    cell, rate, masks = rnnjax.recurrent_dropout(linear(H), 0.3), 0.3, []
    params = rnnjax.ElmanParams(jnp.zeros((D, H)), jnp.eye(H))
    start = rnnjax.ElmanCarry(jnp.ones((B, H)))
    for key in (KEY, jax.random.key(6)):
        _, ys = rnnjax.unroll(cell, params, jnp.zeros((T, B, D)), start, key=key)
        assert_close(ys, ys[:1] ** jnp.arange(1, T + 1.0)[:, None, None])
        np.testing.assert_allclose(np.unique(ys[0]), [0, 1 / (1 - rate)], rtol=1e-6)
        masks.append(np.asarray(ys[0]) == 0)
        check_rate(masks[-1], rate)
        check_along(masks[-1], 0, 1)
    check_independent(*masks)


def test_drop_connect_is_fixed_over_time_and_rows_and_fresh_for_every_weight():
    cell, rate, masks = rnnjax.drop_connect(linear(H), 0.3), 0.3, []
    params = rnnjax.ElmanParams(jnp.zeros((D, H)), jnp.ones((H, H)))
    start = rnnjax.ElmanCarry(jnp.eye(H))  # row i shows row i of the weights
    for key in (KEY, jax.random.key(6)):
        _, ys = rnnjax.unroll(cell, params, jnp.zeros((2, H, D)), start, key=key)
        assert_close(ys[1], ys[0] @ ys[0])
        np.testing.assert_allclose(np.unique(ys[0]), [0, 1 / (1 - rate)], rtol=1e-6)
        masks.append(np.asarray(ys[0]) == 0)
        check_rate(masks[-1], rate)
        check_along(masks[-1], 0, 1)
    check_independent(*masks)


# --- Both directions, vmap, structure, dtypes.


def test_the_two_directions_draw_their_own():
    cell = rnnjax.with_carries(rnnjax.zoneout(counting(), 0.4))
    layer = rnnjax.bidirectional(cell, merge=rnnjax.merge.pair)
    _, ((_, a), (_, b)) = layer.apply((), jnp.ones((T, B, D)), key=KEY)
    forward = np.diff(np.asarray(a.h), axis=0, prepend=0) == 0
    backward = np.diff(np.asarray(b.h)[::-1], axis=0, prepend=0) == 0
    check_rate(forward, 0.4)
    check_rate(backward, 0.4)
    check_independent(forward, backward)
    check_independent(forward, backward[::-1])


def everything(cell):
    """All noise at once."""
    for wrap in WRAPPERS.values():
        cell = wrap(cell)
    return cell


def test_vmap_with_a_key_for_each_row_is_a_loop():
    cell, params = everything(rnnjax.gru(5)), registry.make("gru", features=D, hidden=5)[1]
    xs, keys = registry.inputs(T, 4, D), jax.random.split(KEY, 4)
    run = jax.jit(lambda xs, key: rnnjax.unroll(cell, params, xs, key=key))
    mapped = jax.vmap(run, in_axes=(1, 0), out_axes=(0, 1))(xs, keys)
    for row in range(4):
        alone = run(xs[:, row], keys[row])
        assert_close(jax.tree.map(lambda a, n=row: a[n], mapped[0]), alone[0])
        assert_close(mapped[1][:, row], alone[1])


@pytest.mark.parametrize("method", [rnnjax.Scan(), rnnjax.Chunked(2)], ids=["scan", "chunked"])
@wrappers
def test_noise_is_drawn_outside_the_loop(name, method):
    cell, xs = WRAPPERS[name](rnnjax.lstm(3)), jnp.ones((T, 2, D))
    params = cell.init(KEY, D)
    run = functools.partial(rnnjax.unroll, cell, params, method=method)
    program = jax.make_jaxpr(functools.partial(run, key=KEY))(xs).jaxpr
    drawn = [e for e in equations(program) if "random" in e.primitive.name]
    loops = [e for e in equations(program) if e.primitive.name == "scan"]
    inside = [e for loop in loops for e in equations(loop.params["jaxpr"].jaxpr)]
    assert drawn and loops and not any("random" in e.primitive.name for e in inside)
    silent = jax.make_jaxpr(run)(xs).jaxpr
    assert not any("random" in e.primitive.name for e in equations(silent))


@pytest.mark.parametrize("carry_dtype", [None, jnp.float16], ids=["wide", "narrow"])
@wrappers
def test_dtypes_are_kept(name, carry_dtype):
    bare = rnnjax.lstm(5, dtype=jnp.bfloat16, carry_dtype=carry_dtype)
    wide = carry_dtype or jnp.float32
    for cell in (WRAPPERS[name](bare), rnnjax.clip_carry(WRAPPERS[name](bare), 1.0)):
        params = cell.init(KEY, D)
        carry, ys = rnnjax.unroll(cell, params, registry.inputs(T, 2, D), key=KEY)
        assert (carry.h.dtype, carry.c.dtype, ys.dtype) == (wide, wide, jnp.bfloat16)
    cell = rnnjax.layer_norm_outputs(bare, param_dtype=jnp.float16)
    params = cell.init(KEY, D)
    assert params.scale.dtype == params.shift.dtype == jnp.float16
    assert rnnjax.unroll(cell, params, registry.inputs(T, 2, D))[1].dtype == jnp.bfloat16


@pytest.mark.parametrize("steps", [0, 1, 4096])
def test_no_steps_one_and_many(steps):
    cell = everything(rnnjax.lstm(3))
    params = cell.init(KEY, D)
    run = jax.jit(lambda xs: rnnjax.unroll(cell, params, xs, key=KEY))
    carry, ys = run(registry.inputs(steps, 2, D))
    assert ys.shape == (steps, 2, 3) and np.isfinite(ys).all() and np.isfinite(carry.c).all()


def test_flax_modules_hold_what_a_wrapper_adds():
    from flax import nnx

    cell = rnnjax.layer_norm_outputs(WRAPPERS["zoneout"](rnnjax.gru(5)))
    rnn = rnnjax.nnx.RNN(cell, D, rngs=nnx.Rngs(params=0, dropout=1))
    _, ys = rnn(registry.inputs(2, T, D))
    names = {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(rnn, nnx.Param))}
    assert any(name.endswith("cell/w_hh") for name in names)
    assert any(name.endswith("scale") for name in names)
    assert abs(ys.mean(-1)).max() < 1e-5

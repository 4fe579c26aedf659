"""The batch-norm LSTM: training with the moments of a batch, and what inference makes of them."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax.sharding import AxisType, NamedSharding
from messages import TYPE, VALUE, check_refused, no_type_checker

import rnnjax
from rnnjax import testing
from rnnjax.cells import BatchNormLSTMCarry
from rnnjax.cells.batch_norm import by_batch

__all__ = ["no_type_checker"]

T, B, D, H, S = 5, 4, 2, 3, 4  # S steps have statistics of their own
LENGTHS = np.array([T, 0, T, 3], np.int32)
EPSILON = 0.01
TINY = 1e-30
VALID = np.arange(T)[:, None] < LENGTHS

cell_of = functools.partial(rnnjax.batch_norm_lstm, H, epsilon=EPSILON)
x64 = pytest.mark.usefixtures("x64")


def problem(dtype=jnp.float32, *, max_steps=S):
    """A cell, random params, inputs, and a carry whose rows have taken one step."""
    cell = cell_of(max_steps=max_steps, learned_carry=True, param_dtype=dtype)
    params = registry.random_params(cell, D, 0)
    xs = registry.inputs(T, B, D, dtype=dtype)
    carry = registry.random_carry(cell, params, xs[0], 2)
    return cell, params, xs, carry._replace(count=jnp.ones((B, 1), dtype))


def trained(cell, **options):
    """`unroll_batch_norm` as a function of a point."""
    return lambda params, xs, carry: rnnjax.unroll_batch_norm(cell, params, xs, carry, **options)


def finite(tree):
    return all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in jax.tree.leaves(tree))


# Against the oracle


def complex_step(run, point):
    """The gradient of a real function of a tree of NumPy arrays."""
    leaves, structure = jax.tree.flatten(point)
    slopes = [np.zeros(leaf.shape) for leaf in leaves]
    for number, leaf in enumerate(leaves):
        for place in np.ndindex(leaf.shape):
            moved = leaf.astype(complex)
            moved[place] += TINY * 1j
            others = [*leaves[:number], moved, *leaves[number + 1 :]]
            slopes[number][place] = run(jax.tree.unflatten(structure, others)).imag / TINY
    return jax.tree.unflatten(structure, slopes)


@x64
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_training_is_the_oracle(reverse):
    """Forward from a fresh carry, and reversed from one that is given."""
    cell, params, xs, carry = problem(jnp.float64)
    carry = carry if reverse else None
    options = {"lengths": LENGTHS, "reverse": reverse, "momentum": 0.7}
    run = compare.graded(trained(cell, **options), lambda out: registry.randomise(out, 3))
    out, slopes = run(params, xs, carry)
    point = jax.tree.map(np.asarray, (params, xs, carry))

    def oracle(point):
        params, xs, carry = point
        fixed = {**options, "carry": carry, "epsilon": EPSILON}
        carry, ys, statistics = testing.batch_norm_training(params, xs, **fixed)
        return carry, (ys, statistics)

    wanted = oracle(point)
    close = functools.partial(compare.assert_close, rtol=1e-10, atol=1e-12)
    close(out, wanted)

    def loss(point):
        carry, (ys, _) = oracle(point)
        bars, (ys_bar, _) = registry.randomise(wanted, 3)
        pairs = zip(jax.tree.leaves((carry, ys)), jax.tree.leaves((bars, ys_bar)), strict=True)
        return sum((a * np.asarray(b)).sum() for a, b in pairs)

    slopes_wanted = complex_step(loss, point)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes_wanted[0].statistics))
    close(tuple(slopes), slopes_wanted)


# Statistics


def test_statistics_are_those_of_the_batch():
    cell, params, xs, _ = problem(max_steps=T)
    run = jax.jit(trained(cell, lengths=LENGTHS, momentum=0.0))
    _, (_, statistics) = run(params, xs, None)
    for t in range(T):
        v = np.asarray(xs[t])[VALID[t]] @ np.asarray(params.w_ih)
        np.testing.assert_allclose(statistics.x.mean[t], v.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(statistics.x.variance[t], v.var(0), rtol=1e-4, atol=1e-6)


def test_statistics_are_running_averages():
    """A part of the old ones and a part of those of the batch; all that was not seen stays."""
    cell, params, xs, _ = problem()
    run = lambda momentum: rnnjax.unroll_batch_norm(cell, params, xs[:2], momentum=momentum)
    fresh, mixed, same = (run(momentum)[1][1] for momentum in (0.0, 0.75, 1.0))
    old = params.statistics
    first, later = (
        functools.partial(jax.tree.map, lambda a, n=part: a[n])
        for part in (slice(2), slice(2, None))
    )
    wanted = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, old, fresh)
    compare.assert_close(first(mixed), first(wanted), rtol=1e-6, atol=1e-6)
    for statistics in (fresh, mixed):
        compare.assert_equal(later(statistics), later(old))
    compare.assert_equal(same, old)


def test_late_steps_share_the_last_place():
    """Each counts as much as it has rows."""
    cell, params, xs, _ = problem(max_steps=T)
    options = {"lengths": LENGTHS, "momentum": 0.0}
    _, (ys, own) = jax.jit(trained(cell, **options))(params, xs, None)
    few = params._replace(statistics=jax.tree.map(lambda a: a[:2], params.statistics))
    run = jax.jit(trained(cell_of(max_steps=2, learned_carry=True), **options))
    _, (same, shared) = run(few, xs, None)
    compare.assert_close(same, ys)
    weights = VALID.sum(1)[1:]
    wanted = jax.tree.map(lambda a: np.average(a[1:], axis=0, weights=weights), own)
    compare.assert_close(jax.tree.map(lambda a: a[1].astype(float), shared), wanted)


def test_inference_with_the_statistics_of_a_batch_is_training_on_it():
    """Reversed, where rows begin at different times and yet share their first step."""
    cell, params, xs, carry = problem(max_steps=T + 1)
    options = {"lengths": LENGTHS, "reverse": True}
    final, (ys, statistics) = jax.jit(trained(cell, **options, momentum=0.0))(params, xs, carry)
    taught = params._replace(statistics=statistics)
    inferred = rnnjax.unroll(cell, taught, xs, carry, **options)
    compare.assert_close(inferred, (final, ys))
    np.testing.assert_array_equal(final.count[:, 0], 1 + LENGTHS)


def test_segments_are_the_whole():
    """Steps go on counting where the carry left off."""
    cell, params, xs, _ = problem(max_steps=T)
    run = jax.jit(lambda *point, lengths: trained(cell, lengths=lengths)(*point))
    lengths = np.array([4, 0, 4, 3])
    final, (ys, statistics) = run(params, xs[:4], None, lengths=lengths)
    carry, (early, kept) = run(params, xs[:2], None, lengths=np.minimum(lengths, 2))
    taught = params._replace(statistics=kept)
    carry, (late, kept) = run(taught, xs[2:4], carry, lengths=np.maximum(lengths - 2, 0))
    compare.assert_close((carry, jnp.concatenate([early, late]), kept), (final, ys, statistics))


# How it is run


def test_padding_changes_nothing():
    cell, params, xs, carry = problem()
    run = compare.graded(trained(cell, lengths=LENGTHS, reverse=True))
    clean = run(params, xs, carry)
    for filler in (jnp.nan, 3e38):
        dirty = jnp.where(VALID[..., None], xs, filler)
        compare.assert_equal(run(params, dirty, carry), clean)
    (final, (ys, _)), slopes = clean
    assert finite(clean)
    assert not np.asarray(ys)[~VALID].any() and not np.asarray(slopes.xs)[~VALID].any()
    compare.assert_equal(*(jax.tree.map(lambda a: a[1], c) for c in (final, carry)))  # length 0


def test_batch_axes_and_chunks():
    cell, params, xs, _ = problem()
    wanted = jax.jit(trained(cell, lengths=LENGTHS))(params, xs, None)
    square = {"lengths": LENGTHS.reshape(2, 2), "method": rnnjax.Chunked(2)}
    got = jax.jit(trained(cell, **square))(params, xs.reshape(T, 2, 2, D), None)
    carry, (ys, statistics) = got
    flat = jax.tree.map(lambda a: a.reshape(B, -1), carry), ys.reshape(T, B, H)
    compare.assert_close((flat[0], (flat[1], statistics)), wanted)


def test_empty_batches_and_sequences():
    cell, params, xs, _ = problem()
    for part in (xs[:0], xs[:2, :0]):
        carry, (ys, statistics) = jax.jit(trained(cell))(params, part, None)
        assert ys.shape == (*part.shape[:2], H) and carry.h.shape == (part.shape[1], H)
        compare.assert_equal(statistics, params.statistics)


@pytest.mark.parametrize("name", ["input_dropout", "drop_connect"])
def test_noise_in_training(name):
    """A key switches it on, as in `unroll`."""
    cell, params, xs, carry = problem()
    noisy = getattr(rnnjax, name)(cell, 0.5)
    quiet = trained(noisy)(params, xs, carry)
    compare.assert_equal(quiet, trained(cell)(params, xs, carry))
    first, same, other = (
        trained(noisy, key=jax.random.key(n))(params, xs, carry) for n in (0, 0, 1)
    )
    compare.assert_equal(first, same)
    assert np.abs(first[1][0] - other[1][0]).max() > 0.001
    assert np.abs(first[1][0] - quiet[1][0]).max() > 0.001


@pytest.mark.parametrize("wrap", [rnnjax.clip_carry, rnnjax.zoneout], ids=["clip", "zoneout"])
def test_wrappers_leave_the_count_alone(wrap):
    cell, params, xs, _ = problem()
    key = jax.random.key(0)
    carry, _ = rnnjax.unroll(wrap(cell, 0.5), params, xs, lengths=LENGTHS, key=key)
    np.testing.assert_array_equal(carry.count[:, 0], LENGTHS)


def test_explicit_meshes():
    """The statistics are of the whole batch, wherever its rows are."""
    cell, params, _, _ = problem()
    xs, lengths = registry.inputs(3, 8, D), np.arange(8, dtype=np.int32) % 4

    def run(params, xs, lengths):
        def loss(params, xs):
            carry, (ys, statistics) = trained(cell, lengths=lengths)(params, xs, None)
            _, inferred = rnnjax.unroll(cell, params, xs)
            return jnp.sin(ys + inferred).sum(), (carry, ys, statistics, inferred)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, xs)

    wanted = jax.jit(run)(params, xs, lengths)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    put = lambda tree, *axes: jax.device_put(tree, NamedSharding(mesh, jax.P(*axes)))
    with jax.set_mesh(mesh):
        got = jax.jit(run)(put(params), put(xs, None, "data"), put(lengths, "data"))
    compare.assert_close(got, wanted)


# Extremes and precision


def test_a_row_alone_teaches_no_statistics():
    """It has no variance, and inference would divide by that."""
    cell, params, xs, _ = problem(max_steps=T)
    _, (_, new) = jax.jit(trained(cell, lengths=np.array([T, 2, 1, 0])))(params, xs, None)
    late = lambda tree: jax.tree.map(lambda a: a[2:], tree)
    compare.assert_equal(late(new), late(params.statistics))
    assert np.abs(new.c.mean[:2] - params.statistics.c.mean[:2]).min() > 0


def test_a_row_alone_becomes_the_shift():
    """And so do equal rows, of any size; what is normalised has no gradient then."""
    scale, shift = jnp.arange(1.0, 4.0), jnp.linspace(-2.0, 2.0, 3)

    @jax.jit
    def run(v, rows):
        valid = jnp.arange(5)[:, None] < rows
        out, pull = jax.vjp(lambda v: by_batch(v, valid, scale, shift, epsilon=1e-5)[0], v)
        return out, pull(jnp.ones((5, 3)))[0]

    for number, rows in [(7.0, 1), (1e30, 3), (-1e30, 3)]:
        out, slope = run(jnp.full((5, 3), number), rows)
        compare.assert_equal(out, jnp.broadcast_to(shift, (5, 3)))
        np.testing.assert_allclose(slope, np.zeros((5, 3)), atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_huge_inputs_are_finite(dtype):
    """Training and inference, values and gradients, and statistics that can be averaged on."""
    cell, params, _, _ = problem(dtype)
    xs = np.array(registry.inputs(8, 3, D))
    xs[::3, 0] *= 1e30
    xs[:, 1] = 1e30

    def run(params, xs, _):
        _, (ys, statistics) = rnnjax.unroll_batch_norm(cell, params, xs, lengths=[8, 5, 1])
        taught = params._replace(statistics=statistics)
        return ys, statistics, rnnjax.unroll(cell, taught, xs)[1]

    ones = lambda out: jax.tree.map(jnp.ones_like, out)
    assert finite(compare.graded(run, ones)(params, jnp.asarray(xs, dtype), None))


def test_half_precision():
    """Outputs in bfloat16; carry and statistics in float32, and near those of float32 weights."""
    cell, params, xs, _ = problem(jnp.bfloat16)
    carry, (ys, statistics) = jax.jit(trained(cell))(params, xs, None)
    assert ys.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves((carry, statistics))} == {"float32"}
    single = jax.tree.map(lambda a: a.astype(jnp.float32), (params, xs))
    wanted = jax.jit(trained(problem()[0]))(*single, None)
    got = jax.tree.map(lambda a: a.astype(jnp.float32), (carry, (ys, statistics)))
    compare.assert_close(got, wanted, rtol=3e-2, atol=3e-2)


def test_half_precision_infers_as_it_trained_far_from_zero():
    """Products are rounded once their mean is off."""
    cell, params, xs, _ = problem(max_steps=T)
    half = cell_of(max_steps=T, learned_carry=True, dtype=jnp.bfloat16)
    xs = (xs + 100).astype(jnp.bfloat16)
    _, (ys, statistics) = jax.jit(trained(half, momentum=0.0))(params, xs, None)
    _, inferred = rnnjax.unroll(half, params._replace(statistics=statistics), xs)
    got, wanted = (a.astype(jnp.float32) for a in (inferred, ys))
    compare.assert_close(got, wanted, rtol=3e-2, atol=3e-2)


# What is refused


def refused(call, error, message):
    return lambda w: call(*problem()[:3]), error, message


REFUSED = {
    "no steps": refused(
        lambda *_: cell_of(max_steps=0),
        VALUE,
        "batch_norm_lstm: `max_steps` must be at least 1, got 0; "
        "give the width or count that is meant.",
    ),
    "no epsilon": refused(
        lambda *_: rnnjax.batch_norm_lstm(H, max_steps=S, epsilon=0.0),
        VALUE,
        "batch_norm_lstm: `epsilon` must be at least 1e-30, got 0.0; 1e-5 is usual.",
    ),
    "a carry that cannot count": refused(
        lambda *_: cell_of(max_steps=784, carry_dtype=jnp.bfloat16),
        VALUE,
        "batch_norm_lstm: `carry_dtype` must count to max_steps - 1 = 783, got bfloat16, which "
        "counts to 256; float32 counts to 16777216.",
    ),
    "another cell": refused(
        lambda cell, params, xs: rnnjax.unroll_batch_norm(
            rnnjax.lstm(H), rnnjax.lstm(H).init(jax.random.key(0), D), xs
        ),
        VALUE,
        "unroll_batch_norm: `cell` must be a batch_norm_lstm, got a cell that is none, or has "
        "been changed; run others, and wrappers around one, with rnnjax.unroll.",
    ),
    "no cell": refused(
        lambda cell, params, xs: rnnjax.unroll_batch_norm("lstm", params, xs),  # type: ignore
        TYPE,
        "unroll_batch_norm: `cell` must be a Cell, got a str; "
        "make one with rnnjax.lstm(...), rnnjax.gru(...) or rnnjax.Cell(...).",
    ),
    "one row": refused(
        lambda cell, params, xs: rnnjax.unroll_batch_norm(cell, params, xs[:, 0]),
        VALUE,
        "unroll_batch_norm: `xs` must have at least one batch axis, (T, *batch, D), got (5, 2); "
        "give all rows at once, without vmap: statistics are taken over them.",
    ),
    "momentum": refused(
        lambda cell, params, xs: rnnjax.unroll_batch_norm(cell, params, xs, momentum=1.5),
        VALUE,
        "unroll_batch_norm: `momentum` must lie in 0 <= momentum <= 1, got 1.5; "
        "0.0 takes the statistics of the batch as they are.",
    ),
    "lengths": refused(
        lambda cell, params, xs: rnnjax.unroll_batch_norm(cell, params, xs, lengths=[T]),
        VALUE,
        "unroll_batch_norm: `lengths` must have shape (4,), got (1,); "
        "give one length per batch row.",
    ),
    "key": refused(
        lambda cell, params, xs: rnnjax.unroll_batch_norm(cell, params, xs, key=0),
        TYPE,
        "unroll_batch_norm: `key` must be one random key, got int 0; "
        "make one with jax.random.key(seed).",
    ),
}


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])


def test_a_carry_that_just_counts_is_accepted():
    cell = cell_of(max_steps=257, carry_dtype=jnp.bfloat16)
    params = cell.init(jax.random.key(0), D)
    last = params.statistics.x.mean.at[-1].set(1.0)
    moments = params.statistics.x._replace(mean=last)
    params = params._replace(statistics=params.statistics._replace(x=moments))
    zeros = jnp.zeros((1, H), jnp.bfloat16)
    carry = BatchNormLSTMCarry(zeros, zeros, jnp.full((1, 1), 255, jnp.bfloat16))
    _, ys = rnnjax.unroll(cell, params, jnp.zeros((3, 1, D)), carry)
    plain = params._replace(statistics=cell.init(jax.random.key(0), D).statistics)
    _, zs = rnnjax.unroll(cell, plain, jnp.zeros((3, 1, D)), carry)
    differs = np.abs(np.asarray(ys - zs, np.float32)).max(axis=(1, 2)) > 0
    assert differs.tolist() == [False, True, True]

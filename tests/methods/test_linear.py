"""The linear recurrence, and the methods that stand on it."""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.methods.linear.scan import solve
from rnnjax.methods.linear.solvers import by_doubling, in_chunks, one_by_one

LINEAR = [name for name in registry.CELLS if registry.serves("associative", name)]
SOLVERS = {
    "one by one": one_by_one,
    "by doubling": by_doubling,
    **{f"chunks of {n}": functools.partial(in_chunks, size=n) for n in (1, 3, 12)},
}


def coefficients(num_steps, *, kind="float32"):
    rng = np.random.default_rng(num_steps)
    draw = lambda *shape: rng.normal(size=shape)
    shape = (num_steps, 3, 2)
    a, b, h = 0.6 * draw(*shape), draw(*shape), draw(*shape[1:])
    if kind == "complex64":
        a, b, h = (x + 1j * draw(*x.shape) * 0.6 for x in (a, b, h))
    return tuple(jnp.asarray(x, kind) for x in (a, b, h))


def by_hand(a, b, h, reverse):
    hs = [None] * len(a)
    for t in range(len(a))[:: -1 if reverse else 1]:
        h = hs[t] = a[t] * h + b[t]
    return jnp.stack(hs)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["float32", "complex64"])
@pytest.mark.parametrize("num_steps, reverse", [(1, False), (7, False), (7, True)])
def test_every_solver_is_the_recurrence(solver, kind, num_steps, reverse):
    point = coefficients(num_steps, kind=kind)

    def graded(run):
        hs, pull = jax.vjp(lambda *point: run(*point, reverse), *point)
        return hs, pull(jnp.cos(hs.real).astype(kind))

    got = graded(functools.partial(solve, solver=SOLVERS[solver]))
    compare.assert_close(got, graded(by_hand))


def test_linear_scan_of_no_steps_and_from_zero():
    a, b, h = coefficients(7)
    wanted = by_hand(a, b, jnp.zeros_like(h), False)
    compare.assert_close(rnnjax.linear_scan(a, b), wanted)
    assert rnnjax.linear_scan(a[:0], b[:0], h).shape == (0, 3, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"b": jnp.ones((7, 3))},
            r"`b` must be float32 of shape \(7, 3, 2\), got float32 of shape",
        ),
        ({"b": jnp.ones((7, 3, 2), jnp.int32)}, "`b` must be float32 of shape .*, got int32"),
        ({"h": jnp.ones(2)}, r"`h` must be float32 of shape \(3, 2\), got float32 of shape \(2,\)"),
        ({"a": jnp.float32(1)}, "`a` must have an axis of time"),
    ],
)
def test_linear_scan_refuses(change, message):
    a, b, h = coefficients(7)
    with pytest.raises(ValueError, match=f"linear_scan: {message}"):
        rnnjax.linear_scan(**{"a": a, "b": b, "h": h} | change)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", LINEAR)
def test_nothing_crosses_a_reset(name, reverse):
    """Not even what is no number: packed sequences do not spoil each other, nor their gradients."""
    cell, params = registry.make(name)
    spoilt, last = (slice(5, 7), 4) if reverse else (slice(0, 2), 2)  # it is read first
    xs = registry.inputs_of(name, 7, 2, registry.D).at[spoilt, 0].set(jnp.nan)
    resets = np.zeros((7, 2), bool)
    resets[last, 0] = True
    good = np.setdiff1d(np.arange(7), np.arange(7)[spoilt])

    def both(method):
        def loss(xs):
            options = {"resets": resets, "reverse": reverse, "method": method}
            carry, ys = rnnjax.unroll(cell, params, xs, **options)
            return (ys[good] ** 2).sum(), (carry, ys[good])

        slopes, out = jax.jit(jax.grad(loss, has_aux=True))(xs)
        return out, slopes[good]

    wanted = both(rnnjax.Scan())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(wanted))
    for method in (rnnjax.Linear(3), rnnjax.Associative(), rnnjax.Associative(3)):
        compare.assert_close(both(method), wanted)


@pytest.mark.parametrize("method", [rnnjax.Linear(4), rnnjax.Associative()], ids=str)
def test_other_cells_and_other_derivatives_are_refused(method):
    cell, params = registry.make("gru")
    xs = registry.inputs(7, 3, 4)
    with pytest.raises(ValueError, match="linear in their carry, and this cell is none of them"):
        rnnjax.unroll(cell, params, xs, method=method)
    cell, params = registry.make("min gru")
    run = lambda xs: rnnjax.unroll(cell, params, xs, method=method)[1].sum()
    with pytest.raises(TypeError, match=r"reverse mode only; give method=rnnjax.Scan\(\)"):
        jax.jvp(run, (xs,), (xs,))
    with pytest.raises(TypeError, match="reverse mode only"):
        jax.grad(lambda xs: jax.grad(run)(xs).sum())(xs)
    jax.jvp(functools.partial(rnnjax.unroll, cell, params, method=rnnjax.Scan()), (xs,), (xs,))


@pytest.mark.parametrize("name", LINEAR)
def test_picked_by_default(name):
    cell, params = registry.make(name)
    explanation = rnnjax.explain(cell, params, registry.inputs(7, 3, 4))
    assert explanation.method == rnnjax.Linear()
    assert ("Associative", "it is parallel in time; ask for it where there are many cores") in (
        explanation.passed_over
    )


@pytest.mark.parametrize("method", ["linear", "associative", "associative in chunks"])
@pytest.mark.parametrize("name", ["min gru", "lru", "qrnn"])
def test_long_sequences_equal_the_scan(name, method):
    cell, params = registry.make(name)
    xs = registry.inputs(4096, 2, 4)
    methods = [rnnjax.Linear(), rnnjax.Associative(), rnnjax.Associative(64)]
    chosen = dict(zip(["linear", "associative", "associative in chunks"], methods, strict=True))
    lengths = np.array([4096, 1000])

    def run(method):
        run = lambda *point: rnnjax.unroll(cell, *point, lengths=lengths, method=method)
        return compare.graded(run)(params, xs, None)

    got, wanted = run(chosen[method]), run(rnnjax.Scan())
    scale = max(float(jnp.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(wanted))
    compare.assert_close(got, wanted, rtol=1e-4, atol=2e-6 * scale)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LINEAR)
def test_extremes(name, kind):
    """Enormous inputs and saturated gates: finite values, and gradients without NaN."""
    cell = registry.sized(name, 4, 6)
    params = registry.random_params(cell, 4, 1)
    xs = jnp.asarray(np.where(np.arange(56).reshape(7, 2, 4) % 3, -1e30, 1e30), kind)
    run = lambda *point: rnnjax.unroll(cell, *point, method=rnnjax.Linear(3))
    out, gradients = compare.graded(run, lambda out: jax.tree.map(jnp.ones_like, out))(
        params, xs, None
    )
    assert all(np.isfinite(leaf.astype(np.float32)).all() for leaf in jax.tree.leaves(out))
    assert not any(np.isnan(leaf.astype(np.float32)).any() for leaf in jax.tree.leaves(gradients))


def test_segments_keep_little_beside_the_outputs_and_their_cotangents():
    cell, params = registry.make("min gru", hidden=32)
    xs = registry.inputs(4096, 2, 4)

    def loss(params, method):
        return jnp.square(rnnjax.unroll(cell, params, xs, method=method)[1]).sum()

    def memory(method):
        gradient = jax.jit(jax.grad(functools.partial(loss, method=method)))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    outputs = 4096 * 2 * 32 * 4
    assert memory(rnnjax.Linear()) < 2.1 * outputs < memory(rnnjax.Scan())

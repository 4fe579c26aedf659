"""Newton: long sequences, what does not converge, Jacobians, and what it refuses.

Values and gradients in every direction and with every option are compared with the oracle in
`tests/sequence/test_oracle.py`, where a run that does not converge is NaN.
"""

import functools

import compare
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry

import rnnjax
from rnnjax.cells import DiagonalForm
from rnnjax.methods.newton import linear, steps

T, B, D, H = 4096, 2, 3, 8
STRICT = rnnjax.Newton(fallback="nan")
LONG = {"para_gru": rnnjax.para_gru, "para_lstm": rnnjax.para_lstm, "gru": rnnjax.gru}


def problem(factory, *, num_steps=T, scale=None, dtype=jnp.float32):
    """A cell, params as they start or small random ones, and inputs."""
    cell = factory(H, param_dtype=dtype)
    params = cell.init(jax.random.key(0), D)
    if scale is not None:
        params = registry.randomise(params, 1, scale)
    return cell, params, registry.inputs(num_steps, B, D, dtype=dtype)


def graded(cell, method, **options):
    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry, **options, method=method)

    return compare.graded(run)


def as_chaotic(num_steps=256):
    """An Elman cell whose recurrent matrix has five times the norm of a rotation."""
    cell = rnnjax.elman(H)
    params = cell.init(jax.random.key(0), D)
    params = params._replace(w_hh=5 * params.w_hh)
    return cell, params, registry.inputs(num_steps, B, D)


def logistic(rate):
    r"""A cell of a user, $h' = r h (1 - h)$ plus its input: chaotic where r is near 4."""

    def init_carry(params, like):
        return jnp.zeros_like(like) + 0.3

    def step(params, h, z):
        h = params * h * (1 - h) + z
        return h, h

    cell = rnnjax.Cell(
        init=lambda key, in_features: jnp.asarray(rate, jnp.float32),
        init_carry=init_carry,
        project=lambda params, xs: xs,
        step=step,
        out_features=1,
        form=DiagonalForm(1),
    )
    return cell, jnp.asarray(rate, jnp.float32), jnp.zeros((256, 1))


# Long sequences


@pytest.mark.parametrize("name", LONG)
def test_4096_steps_are_those_of_scan(name):
    """Values to 1e-5; gradients, which are sums over all steps, to 1e-4 of their largest."""
    cell, params, xs = problem(LONG[name], scale=0.2 if name == "gru" else None)
    lengths = np.array([T, 1000], np.int32)
    report = rnnjax.newton_report(cell, params, xs, lengths=lengths)
    assert report.converged and report.residual < 1e-6
    assert report.iterations <= (30 if name == "gru" else 8)
    got, slope = graded(cell, STRICT, lengths=lengths)(params, xs, None)
    wanted, wanted_slope = graded(cell, rnnjax.Scan(), lengths=lengths)(params, xs, None)
    compare.assert_close(got, wanted, rtol=0, atol=1e-5)
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(wanted_slope), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())


def test_both_directions_stop_by_themselves():
    cell, _, xs = problem(rnnjax.para_gru, num_steps=100)
    layer = rnnjax.bidirectional(cell)
    params = layer.init(jax.random.key(0), D)
    got = layer.apply(params, xs, lengths=[100, 60], method=STRICT)
    wanted = layer.apply(params, xs, lengths=[100, 60], method=rnnjax.Scan())
    compare.assert_close(got, wanted)


def test_a_cell_of_a_user():
    cell, rate, xs = logistic(2.8)
    report = rnnjax.newton_report(cell, rate, xs)
    assert report.converged
    xs = xs.at[100].set(0.1)
    got, slope = graded(cell, STRICT)(rate, xs, jnp.full(1, 0.4))
    wanted, wanted_slope = graded(cell, rnnjax.Scan())(rate, xs, jnp.full(1, 0.4))
    compare.assert_close(got, wanted)
    compare.assert_close(slope, wanted_slope)


@pytest.mark.parametrize("shape", [(3, 0, D), (1, 2, D), (6, D), (5, 2, 1, D)], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_shapes(shape, reverse):
    cell, params, _ = problem(rnnjax.lstm, num_steps=1, scale=0.3)
    xs = registry.inputs(*shape)
    begin = registry.random_carry(cell, params, xs[0], 2)
    mask = np.random.default_rng(0).random(shape[:-1]) < 0.7
    options = {"mask": mask, "reverse": reverse}
    got = graded(cell, STRICT, **options)(params, xs, begin)
    compare.assert_close(got, graded(cell, rnnjax.Scan(), **options)(params, xs, begin))
    assert rnnjax.newton_report(cell, params, xs, begin, **options).converged


# Convergence


def test_iterations_square_the_error(x64):
    """What steps miss by, after one, two, ... iterations of a cell with a diagonal Jacobian."""
    cell, params, xs = problem(rnnjax.para_lstm, num_steps=60, scale=1.0, dtype=jnp.float64)
    residuals = []
    for count in range(1, 12):
        method = rnnjax.Newton(max_iterations=count, tolerance=1e-13)
        report = rnnjax.newton_report(cell, params, xs, method=method)
        residuals.append(float(report.residual))
        if report.converged:
            break
    assert report.converged and report.iterations == len(residuals)
    small = [r for r in residuals if 1e-15 < r < 0.1]
    assert len(small) >= 3
    assert all(later < max(10 * r**2, 1e-14) for r, later in zip(small, small[1:], strict=False))


def test_slow_convergence_is_not_taken_for_its_end():
    """A ring of units hands small numbers round: updates are within the tolerance at once."""
    cell = rnnjax.elman(H)
    params = cell.init(jax.random.key(0), D)
    ring = 0.97 * jnp.roll(jnp.eye(H), 1, axis=1)
    params = params._replace(w_ih=jnp.full((D, H), 1e-6), w_hh=ring)
    xs = jnp.ones((1000, B, D))
    report = rnnjax.newton_report(cell, params, xs)
    assert not report.converged and report.residual < 1e-6
    patient = rnnjax.Newton(max_iterations=1000, tolerance=1e-6, fallback="nan")
    assert rnnjax.newton_report(cell, params, xs, method=patient).converged
    wanted = rnnjax.unroll(cell, params, xs, method=rnnjax.Scan())
    assert wanted[1].max() > 5e-5
    got = rnnjax.unroll(cell, params, xs, method=patient)
    compare.assert_close(got, wanted, rtol=0, atol=1e-6)


def test_the_report_is_of_the_call():
    """Directions, carries and noise count, and numbers may be traced."""
    cell, params, xs = problem(rnnjax.para_gru, num_steps=50, scale=0.5)
    report = functools.partial(rnnjax.newton_report, cell, params)
    loose = rnnjax.Newton(tolerance=1e-2)
    assert report(xs, method=loose).iterations < report(xs).iterations
    compare.assert_close(jax.jit(report)(xs), report(xs))
    far = registry.random_carry(cell, params, xs[0], 2, scale=100.0)
    assert report(xs, far).residual != report(xs).residual
    assert report(xs, reverse=True).residual != report(xs).residual
    nothing = report(xs[:0])
    assert nothing.converged and nothing.iterations == 0 and nothing.residual == 0


# What does not converge


CHAOS = {"elman": as_chaotic, "logistic map": lambda: logistic(3.9)}


@pytest.mark.parametrize("name", CHAOS)
def test_chaos_is_reported_and_scanned(name):
    cell, params, xs = CHAOS[name]()
    report = rnnjax.newton_report(cell, params, xs)
    assert not report.converged and report.iterations == rnnjax.Newton().max_iterations
    wanted = rnnjax.unroll(cell, params, xs, method=rnnjax.Scan())
    compare.assert_equal(rnnjax.unroll(cell, params, xs, method=rnnjax.Newton()), wanted)
    carry, ys = rnnjax.unroll(cell, params, xs, method=STRICT)
    assert np.isnan(jax.tree.leaves(carry)[0]).all() and np.isnan(ys).all()


@pytest.mark.parametrize("name", CHAOS)
def test_gradients_of_what_did_not_converge(name):
    cell, params, xs = CHAOS[name]()
    xs = xs[:12]
    begin = rnnjax.unroll(cell, params, xs)[0]
    point = params, xs, begin
    few = rnnjax.Newton(max_iterations=2)
    assert not rnnjax.newton_report(cell, params, xs, begin, method=few).converged
    wanted = graded(cell, rnnjax.Scan())(*point)
    compare.assert_close(graded(cell, few)(*point), wanted, rtol=1e-3)
    poison = rnnjax.Newton(max_iterations=2, fallback="nan")
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(graded(cell, poison)(*point)))


def test_infinite_numbers_do_not_converge():
    cell, params, xs = problem(rnnjax.para_gru, num_steps=20)
    xs = xs.at[7, 0, 0].set(np.nan)
    assert not rnnjax.newton_report(cell, params, xs).converged
    got = rnnjax.unroll(cell, params, xs, method=rnnjax.Newton())
    wanted = rnnjax.unroll(cell, params, xs, method=rnnjax.Scan())
    compare.assert_close(got, wanted)
    assert np.isfinite(got[1][:7]).all() and np.isnan(got[1][7:, 0]).all()


def test_members_of_a_vmap_answer_for_themselves():
    cell, rate, xs = logistic(2.5)
    rates = jnp.array([2.5, 3.9, 2.8])
    run = lambda method: jax.vmap(lambda rate: rnnjax.unroll(cell, rate, xs[:100], method=method))(
        rates
    )
    wanted = run(rnnjax.Scan())
    compare.assert_close(run(rnnjax.Newton()), wanted, rtol=1e-3)
    _, ys = run(STRICT)
    np.testing.assert_array_equal(np.isnan(ys).all((1, 2)), [False, True, False])
    compare.assert_close(ys[::2], wanted[1][::2])


# Jacobians


@pytest.mark.parametrize("name", [n for n in registry.CELLS if registry.serves("newton", n)])
def test_blocks_are_the_diagonal_of_the_jacobian(x64, name):
    cell, params = registry.make(name, dtype=jnp.float64)
    x = registry.inputs(registry.D, dtype=jnp.float64)
    carry = registry.random_carry(cell, params, x, 2, scale=1.0)
    z = cell.project(params, x)
    _, blocks = steps.linearise(cell, params, carry, None, (z, (None, None)))
    whole = jax.jacfwd(lambda carry: cell.step(params, carry, z)[0])(carry)
    for got, row in zip(blocks, whole, strict=True):
        for block, jacobian in zip(got, row, strict=True):
            np.testing.assert_allclose(block, np.diagonal(jacobian), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_solve_is_a_loop(x64, size, begins, reverse):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape)
    blocks, sources, begin = draw(size, size, 9, 2), draw(size, 9, 2), draw(size, 2)
    state = begin if begins else np.zeros_like(begin)
    wanted = np.zeros_like(sources)
    for t in reversed(range(9)) if reverse else range(9):
        state = np.einsum("ijh,jh->ih", blocks[:, :, t], state) + sources[:, t]
        wanted[:, t] = state
    as_tuple = lambda tree: tuple(jnp.asarray(a) for a in tree)
    got = linear.solve(
        tuple(as_tuple(row) for row in blocks),
        as_tuple(sources),
        as_tuple(begin) if begins else None,
        reverse=reverse,
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


# Transformations


def test_inside_shard_map():
    cell, params, xs = problem(rnnjax.para_lstm, num_steps=9)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    lengths = np.array([9, 4], np.int32)

    def run(params, xs, lengths):
        out, vjp = jax.vjp(
            lambda p, x: rnnjax.unroll(cell, p, x, lengths=lengths, method=STRICT)[1], params, xs
        )
        return out, vjp(jnp.cos(out))

    rows = jax.P(None, "data")
    specs = {"in_specs": (jax.P(), rows, jax.P("data")), "out_specs": (rows, (jax.P(), rows))}
    got = jax.jit(jax.shard_map(run, mesh=mesh, **specs))(params, xs, lengths)
    compare.assert_close(got, run(params, xs, lengths))


def test_forward_mode_says_what_to_do():
    cell, params, xs = problem(rnnjax.para_gru, num_steps=5)
    loss = lambda xs: rnnjax.unroll(cell, params, xs, method=STRICT)[1].sum()
    with pytest.raises(TypeError, match=r"give method=rnnjax.Scan\(\)"):
        jax.jvp(loss, (xs,), (xs,))
    with pytest.raises(TypeError, match=r"give method=rnnjax.Scan\(\)"):
        jax.hessian(loss)(xs)


# What it refuses


def serve(cell, **options):
    params = cell.init(jax.random.key(0), D)
    return rnnjax.unroll(cell, params, jnp.ones((4, B, D)), method=rnnjax.Newton(), **options)


def test_cells_that_it_does_not_know():
    for cell in (rnnjax.with_carries(rnnjax.lstm(H)), rnnjax.peephole_lstm(H)):
        with pytest.raises(ValueError, match="Newton.* cannot: it knows cells whose form is a"):
            serve(cell)
    with pytest.raises(ValueError, match="it iterates on carries in float32 or float64, and here"):
        serve(rnnjax.para_gru(H, carry_dtype=jnp.bfloat16))
    cell, rate, xs = logistic(2.5)
    pair = lambda params, like: (jnp.zeros(3), jnp.zeros(4))
    with pytest.raises(ValueError, match="it knows carries whose arrays are alike, and here are"):
        rnnjax.unroll(cell._replace(init_carry=pair), rate, xs, method=rnnjax.Newton())


def test_it_is_passed_over_where_nobody_asks():
    cell, params, xs = problem(rnnjax.para_gru, num_steps=5)
    explanation = rnnjax.explain(cell, params, xs)
    assert explanation.method == rnnjax.Scan()
    assert "contracting" in dict(explanation.passed_over)["Newton"]
    named = rnnjax.explain(cell, params, xs, method=rnnjax.Newton())
    assert named.method == rnnjax.Newton() and "Newton" not in dict(named.passed_over)


REFUSED = {
    "iterations": (
        lambda: rnnjax.Newton(max_iterations=0),
        "Newton: `max_iterations` must be at least 1, got 0; give the width or count that is "
        "meant.",
    ),
    "iterations, a float": (
        lambda: rnnjax.Newton(max_iterations=2.0),
        "Newton: `max_iterations` must be a whole number, got float 2.0; give an int.",
    ),
    "tolerance": (
        lambda: rnnjax.Newton(tolerance=0.0),
        "Newton: `tolerance` must be above 0, got 0.0; None is 64 roundings.",
    ),
    "tolerance, a word": (
        lambda: rnnjax.Newton(tolerance="tight"),
        "Newton: `tolerance` must be a float, got str 'tight'; give a number.",
    ),
    "fallback": (
        lambda: rnnjax.Newton(fallback="raise"),
        "Newton: `fallback` must be one of ['scan', 'nan'], got 'raise'; choose one of these.",
    ),
    "report of another method": (
        lambda: rnnjax.newton_report(rnnjax.gru(H), None, None, method=rnnjax.Scan()),
        "newton_report: `method` must be a Newton, got Scan(unroll=1); only Newton iterates.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_options_are_refused_in_one_sentence(name):
    call, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value) == message

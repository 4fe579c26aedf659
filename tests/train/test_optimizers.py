"""The recipe equals Optax where it should, and survives what Optax does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from registry import CELLS, abstract, random_params, randomise

import rnnjax
from rnnjax import train

TREE = {"cell": {"w_ih": (3, 4), "b": (4,)}, "head": {"kernel": (4, 2), "bias": (2,)}}
is_shape = lambda node: isinstance(node, tuple)


def tree_of(seed, scale=1.0):
    """Random numbers in the shapes of TREE."""
    rng = np.random.default_rng(seed)
    make = lambda shape: (rng.normal(size=shape) * scale).astype(np.float32)
    return jax.tree.map(make, TREE, is_leaf=is_shape)


def norm(tree):
    return np.sqrt(sum((np.asarray(a, np.float64) ** 2).sum() for a in jax.tree.leaves(tree)))


def assert_same(found, wanted, rtol=1e-6):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


# --- Clipping.

OURS, THEIRS = train.clip_by_global_norm(0.7), optax.clip_by_global_norm(0.7)
clipped = jax.jit(lambda clip, gradients, state: clip.update(gradients, state), static_argnums=0)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 1e4])
def test_clipping_is_that_of_optax(scale):
    gradients = tree_of(0, scale)
    state = OURS.init(gradients)
    found, after = clipped(OURS, gradients, state)
    assert state == after == THEIRS.init(gradients)
    assert_same(found, clipped(THEIRS, gradients, state)[0])
    np.testing.assert_allclose(norm(found), min(0.7, norm(gradients)), rtol=1e-6)
    if norm(gradients) < 0.7:  # to the bit
        jax.tree.map(np.testing.assert_array_equal, found, gradients)


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_one_number_that_is_not_finite_makes_the_update_zero(wrong):
    gradients = tree_of(0)
    gradients["head"]["bias"][1] = wrong
    found, _ = clipped(OURS, gradients, OURS.init(gradients))
    assert all((a == 0).all() for a in jax.tree.leaves(found))


def test_gradients_whose_squares_overflow_are_clipped():
    gradients = tree_of(0, 1e30)
    state, size = OURS.init(gradients), norm(gradients) / 0.7
    found, _ = clipped(OURS, gradients, state)
    assert_same(found, jax.tree.map(lambda a: np.asarray(a, float) / size, gradients), 1e-5)
    nothing = jax.tree.map(np.zeros_like, gradients)
    assert_same(clipped(OURS, nothing, state)[0], nothing)
    assert clipped(OURS, {}, state)[0] == {}


def test_clipping_keeps_dtypes(x64):
    """Also where they differ, and where a norm is too large for half precision."""
    gradients = {
        "half": np.full(4, 6e4, jnp.float16),
        "brain": np.ones((2, 2), jnp.bfloat16),
        "single": np.ones(3, np.float32),
        "double": np.ones(3, np.float64),
        "none": np.ones((0, 2)),
    }
    clip = train.clip_by_global_norm(3.0)
    found, _ = clipped(clip, gradients, clip.init(gradients))
    assert {k: a.dtype for k, a in found.items()} == {k: a.dtype for k, a in gradients.items()}
    np.testing.assert_allclose(found["half"], 1.5, rtol=1e-3)


# --- Which params decay. The names of matrices, told apart from the code that finds them.

MATRICES = {"w_ih", "w_hh", "w_hr", "w_ho", "w_io", "w", "q", "r", "left", "right", "kernel"}
NO_MATRICES = {
    *("b", "b_hn", "bias", "scale", "scale_x", "scale_h", "scale_c", "shift", "shift_c"),
    *("p", "u", "v", "a", "decay", "phase"),
}
INSIDE = {"initial", "statistics"}


def named(tree, found):
    """The names on the way to every leaf, and what was found there."""
    paths = jax.tree_util.tree_leaves_with_path(found)
    assert len(paths) == len(jax.tree.leaves(tree))
    word = lambda key: str(getattr(key, "name", getattr(key, "key", "")))
    for path, value in paths:
        yield [name for name in map(word, path) if name not in ("", "value")], value


def check_decays(params):
    found = train.decays(params)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for names, value in named(params, found):
        assert names[-1] in MATRICES | NO_MATRICES or INSIDE & set(names), names
        assert value is (names[-1] in MATRICES and not INSIDE & set(names)), names


@pytest.mark.parametrize("name", CELLS)
def test_matrices_of_every_cell_decay_and_nothing_else(name):
    """Whatever axes stand in front, and whatever holds the arrays."""
    _, params, _ = abstract(name)
    stacked = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2, *a.shape), a.dtype), params)
    deep = ((params, stacked), rnnjax.DenseParams(params.w_ih, params.w_ih))
    for tree in (params, stacked, deep, rnnjax.params_to_dict(stacked)):
        check_decays(tree)


def test_modules_and_wrappers():
    cell = rnnjax.layer_norm_outputs(rnnjax.lstm(3, learned_carry=True))
    wrapped = rnnjax.stack(rnnjax.bidirectional(cell), rnnjax.dense(2))
    check_decays(jax.eval_shape(lambda key: wrapped.init(key, 4), jax.random.key(0)))
    for make in (
        lambda: rnnjax.nnx.LSTM(4, 3, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0)),
        lambda: nnx.LSTMCell(4, 3, rngs=nnx.Rngs(0)),
        lambda: nnx.LayerNorm(3, rngs=nnx.Rngs(0)),
    ):
        check_decays(nnx.state(nnx.eval_shape(make), nnx.Param))
    noise = nnx.state(nnx.Dropout(0.1, rngs=nnx.Rngs(0)))  # keys and counts are no weights
    assert jax.tree.leaves(noise) and not any(jax.tree.leaves(train.decays(noise)))
    boxed = linen.with_partitioning(linen.initializers.lecun_normal(), (None, "model"))
    dense = linen.Dense(3, kernel_init=boxed)
    check_decays(jax.eval_shape(dense.init, jax.random.key(0), jnp.ones((2, 4))))


def test_other_names_go_by_their_axes():
    other = {"embedding": jnp.ones((5, 2)), "gain": jnp.ones(2), "layers": [jnp.ones((2, 2))]}
    assert train.decays(other) == {"embedding": True, "gain": False, "layers": [True]}
    assert train.decays(jnp.ones((2, 2))) is True
    assert train.decays({"steps": jnp.ones((2, 2), jnp.int32)}) == {"steps": False}


# --- The optimizer.

EXACT = {"rate": 0.01, "clip": 0.5, "weight_decay": 0.1, "b1": 0.8, "b2": 0.95, "eps": 1e-3}


def by_numpy(params, gradients, *, rate, clip, weight_decay, b1, b2, eps):
    """The equations in float64; `gradients` has a tree for each step."""
    wide = lambda tree: [np.asarray(a, np.float64) for a in jax.tree.leaves(tree)]
    decayed = jax.tree.leaves(train.decays(params))
    theta = wide(params)
    m, v = ([np.zeros_like(a) for a in theta] for _ in "mv")
    for step, tree in enumerate(gradients, 1):
        shrink = min(1.0, clip / norm(tree))
        for i, g in enumerate(wide(tree)):
            m[i] = b1 * m[i] + (1 - b1) * g * shrink
            v[i] = b2 * v[i] + (1 - b2) * (g * shrink) ** 2
            moved = m[i] / (1 - b1**step) / (np.sqrt(v[i] / (1 - b2**step)) + eps)
            theta[i] = theta[i] - rate * (moved + weight_decay * decayed[i] * theta[i])
    return jax.tree.unflatten(jax.tree.structure(params), theta)


def run(optimizer, params, gradients):
    state = optimizer.init(params)

    @jax.jit
    def step(gradients, state, params):
        updates, state = optimizer.update(gradients, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    for tree in gradients:
        params, state = step(tree, state, params)
    return params, state


def test_adamw_is_its_equations():
    params, gradients = tree_of(0), [tree_of(seed, 0.2) for seed in (1, 2, 3)]
    found, _ = run(train.adamw(**EXACT), params, gradients)
    assert_same(found, by_numpy(params, gradients, **EXACT), 1e-5)


def test_adamw_is_that_of_optax(any_promotion):
    params, gradients = tree_of(0), [tree_of(seed) for seed in (1, 2, 3)]
    schedule = train.warmup_cosine(0.1, 10, warmup_steps=2)
    pairs = (
        (train.adamw(0.1, clip=None), optax.adam(0.1)),
        (train.adamw(schedule, clip=None), optax.adam(schedule)),
        (
            train.adamw(0.1, weight_decay=0.3),
            optax.chain(
                optax.clip_by_global_norm(1.0),
                optax.adamw(0.1, weight_decay=0.3, mask=train.decays),
            ),
        ),
    )
    for ours, theirs in pairs:
        assert_same(run(ours, params, gradients)[0], run(theirs, params, gradients)[0])


def test_params_never_become_nan():
    params, good = tree_of(0), tree_of(1)
    bad = [jax.tree.map(lambda a, x=x: np.full_like(a, x), good) for x in (np.inf, np.nan)]
    gradients = [good, *bad, bad[0], bad[0], bad[0], good]
    found, state = run(train.adamw(0.1, weight_decay=0.1), params, gradients)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((found, state)))
    assert norm(jax.tree.map(jnp.subtract, found, params)) > 0


def test_adamw_takes_states_of_modules():
    make = lambda: rnnjax.nnx.LSTM(3, 4, rngs=nnx.Rngs(0))
    params = randomise(nnx.state(nnx.eval_shape(make), nnx.Param), 0)
    nothing = jax.tree.map(np.zeros_like, params)
    found, _ = run(train.adamw(0.5, weight_decay=1.0), params, [nothing])
    for (names, before), (_, after) in zip(
        named(params, params), named(params, found), strict=True
    ):
        np.testing.assert_allclose(after, before * (0.5 if names[-1] in MATRICES else 1))


def test_warmup_cosine_is_that_of_optax(any_promotion):
    for warmup, total, final in ((0, 1, 0.0), (0, 20, 0.01), (7, 20, 0.02), (19, 20, 0.0)):
        ours = jax.jit(train.warmup_cosine(0.3, total, warmup_steps=warmup, final=final))
        theirs = optax.warmup_cosine_decay_schedule(0.0, 0.3, warmup, total, final)
        for count in (0, 1, 6, 7, 13, 19, 20, 21, 500):
            found = ours(jnp.int32(count))
            assert found.dtype == jnp.float32
            np.testing.assert_allclose(found, theirs(count), rtol=1e-5, atol=1e-8)


# --- Penalties.


def test_penalties_are_sums_over_matrices(x64):
    layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.gru(3, learned_carry=True)), rnnjax.dense(2))
    params = random_params(layer, 4)
    both, dense = params
    matrices = [np.asarray(a, np.float64) for a in (both.w_ih, both.w_hh, dense.w)]
    typed = lambda tree, dtype: jax.eval_shape(
        lambda: jax.tree.map(lambda a: a.astype(dtype), tree)
    )
    halves, mixed = typed(params, jnp.bfloat16), (both, typed(dense, jnp.float64))
    for make, of in ((train.l1, np.abs), (train.l2, np.square)):
        penalty = make(0.3)
        wanted = 0.3 * sum(of(a).sum() for a in matrices)
        np.testing.assert_allclose(jax.jit(penalty)(params), wanted, rtol=1e-6)
        assert penalty({"b": both.b}) == 0
        for tree, dtype in ((params, "float32"), (halves, "float32"), (mixed, "float64")):
            assert jax.eval_shape(penalty, tree).dtype == dtype
    slope = jax.jit(jax.grad(train.l2(0.3)))(params)
    np.testing.assert_allclose(slope[0].w_hh, 0.6 * both.w_hh, rtol=1e-6)
    assert not any(a.any() for a in jax.tree.leaves((slope[0].b, slope[0].initial)))


# --- Averages.


def averages(averaging, sequence):
    """The average after each of `sequence`, as a train step makes it."""
    rate, average, out = jax.jit(averaging.rate), jnp.float32(100.0), []
    for count, params in enumerate(sequence):
        average = average + rate(jnp.int32(count)) * (params - average)
        out.append(float(average))
    return out


def test_averages():
    sequence = np.random.default_rng(0).normal(size=30).astype(np.float32)
    means = np.cumsum(sequence) / np.arange(1, 31)
    np.testing.assert_allclose(averages(train.nt_asgd(), sequence), means, rtol=1e-4, atol=1e-6)
    wanted, average = [], 100.0
    for n, params in enumerate(sequence):
        decay = min(0.6, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * params
        wanted.append(average)
    np.testing.assert_allclose(averages(train.ema(0.6), sequence), wanted, rtol=1e-4, atol=1e-6)
    assert train.ema().patience is None and train.nt_asgd(3).patience == 3
    assert train.ema(0.6).rate(0).dtype == jnp.float32


def by_the_paper(losses, patience):
    """Algorithm 1 with its own variables: v, t and logs."""
    logs = []
    for t, v in enumerate(losses):
        if t > patience and v > min(logs[: t - patience]):
            return True
        logs.append(v)
    return False


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_averaging_is_triggered_as_in_the_paper(patience):
    rng = np.random.default_rng(patience)
    found = set()
    for _ in range(300):
        trend = np.linspace(rng.normal(), 0, 9) * rng.choice([0, 2, 6])
        losses = list(np.round(trend + rng.normal(size=9), 1))[: rng.integers(0, 10)]
        wanted = by_the_paper(losses, patience)
        assert train.triggered(losses, patience) is wanted
        found.add(wanted)
    assert found == {True, False}


def test_what_triggers():
    falling = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert not train.triggered([], 1) and not train.triggered(falling, 1)
    assert not train.triggered([3.0, 3.0, 3.0], 1)  # as good is no worse
    assert not train.triggered([1.0, 2.0], 1)  # too early
    assert train.triggered([1.0, 2.0, 2.0], 1)
    assert train.triggered([1.0, 2.0, 2.0, 0.5, 0.1], 1)  # once is for good
    assert not train.triggered([1.0, np.nan, np.nan, 0.5], 1)
    assert train.triggered([np.nan, 1.0, 1.0, 2.0], 1)
    assert train.triggered([None, 1.0, None, 2.0, 2.0], 1)
    assert not train.triggered([1.0, None, None, 2.0], 1)

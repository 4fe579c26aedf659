"""What holds for every cell, size, length, mask and direction, over drawn examples."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from compare import Point, assert_close, assert_equal, graded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import rnnjax

# No shrinking: what is drawn is small as it is.
few = settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.generate])
ways = pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
one_way = pytest.mark.parametrize("way", ["forward", "reverse"])
seeds = st.integers(0, 2**16)


class Spec(NamedTuple):
    """What is run: every cell, method and size is in one of them, and each is compiled once."""

    name: str
    method: str
    num_steps: int = 5
    rows: int = 3
    features: int = 2
    hidden: int = 3


SPECS = [
    Spec("lstm, learned carry", "chunks of 4"),
    Spec("gru", "scan, unroll 3"),
    Spec("gru, reset before", "scan", num_steps=1),
    Spec("elman, relu", "chunks of 4", num_steps=4, rows=1, features=1, hidden=1),
    Spec("lstm", "scan"),
    Spec("gru, learned carry", "scan", num_steps=0),
    Spec("lstm, no bias", "scan, unroll 3", num_steps=4, features=1),
    Spec("elman", "scan", rows=0),
    Spec("para lstm", "newton"),
]
specs, main_specs = st.sampled_from(SPECS), st.sampled_from(SPECS[:4])


@functools.cache
def thing(way, spec):
    """The cell, or the layer of both directions."""
    cell = registry.CELLS[spec.name](spec.hidden)
    return rnnjax.bidirectional(cell) if way == "bidirectional" else cell


@functools.cache
def point(way, spec):
    """Random params, inputs and carry."""
    cell = thing(way, spec)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), spec.features))
    like = jax.ShapeDtypeStruct((spec.rows, spec.features), jnp.float32)
    carry = jax.eval_shape(cell.init_carry, params, like)
    xs = registry.inputs(spec.num_steps, spec.rows, spec.features)
    return Point(registry.randomise(params, 1), xs, registry.randomise(carry, 2))


def runner(way, cell, method=None):
    """A cell or layer as a function of params, inputs, carry and options."""

    def run(params, xs, carry, options):
        if way == "bidirectional":
            return cell.apply(params, xs, carry, **options, method=method)
        return rnnjax.unroll(
            cell, params, xs, carry, **options, reverse=way == "reverse", method=method
        )

    return run


@functools.cache
def compiled(way, spec):
    return graded(runner(way, thing(way, spec), registry.METHODS[spec.method]))


def draw_options(spec, seed):
    """Lengths with 0 and T among them, holes and restarts; and the steps that are valid."""
    rng = np.random.default_rng(seed)
    shape = spec.num_steps, spec.rows
    lengths = rng.integers(0, spec.num_steps, spec.rows, endpoint=True, dtype=np.int32)
    lengths = np.where(rng.random(spec.rows) < 0.2, np.int32(0), lengths)
    lengths = np.where(rng.random(spec.rows) < 0.2, np.int32(spec.num_steps), lengths)
    mask, resets = rng.random(shape) < 0.8, rng.random(shape) < 0.3
    valid = mask & (np.arange(spec.num_steps)[:, None] < lengths)
    return {"lengths": lengths, "mask": mask, "resets": resets}, valid


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@ways
@settings(few, max_examples=6)
@given(seed=seeds, filler=st.sampled_from([np.nan, np.inf, -np.inf, 3e38]))
def test_what_stands_in_the_padding_does_not_matter(way, spec, seed, filler):
    options, valid = draw_options(spec, seed)
    params, xs, carry = point(way, spec)
    dirty = np.where(valid[..., None], xs, np.float32(filler))
    got = compiled(way, spec)(params, dirty, carry, options)
    assert_equal(got, compiled(way, spec)(params, xs, carry, options))
    (_, ys), gradients = got
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
    assert not np.asarray(ys)[~valid].any() and not np.asarray(gradients.xs)[~valid].any()


@ways
@few
@given(spec=main_specs, seed=seeds)
def test_how_much_padding_there_is_does_not_matter(way, spec, seed):
    options, _ = draw_options(spec, seed)
    params, xs, carry = point(way, spec)

    def longer(a, filler):
        return np.concatenate([a, np.full((3, *a.shape[1:]), filler, a.dtype)])

    more = {name: longer(options[name], True) for name in ("mask", "resets")}
    run, num_steps = compiled(way, spec), spec.num_steps
    (final, ys), gradients = run(params, longer(xs, np.nan), carry, options | more)
    assert not ys[num_steps:].any() and not gradients.xs[num_steps:].any()
    got = (final, ys[:num_steps]), gradients._replace(xs=gradients.xs[:num_steps])
    assert_close(got, run(params, xs, carry, options))


@one_way
@settings(few, max_examples=8)
@given(spec=st.sampled_from([SPECS[0], SPECS[4]]), seed=seeds, data=st.data())
def test_two_pieces_with_the_carry_handed_over_are_the_whole(way, spec, seed, data):
    options, _ = draw_options(spec, seed)
    cut = data.draw(st.integers(0, spec.num_steps))
    run = runner(way, thing(way, spec), registry.METHODS[spec.method])

    def in_two(params, xs, carry, options):
        lengths = options["lengths"]
        early = {name: options[name][:cut] for name in ("mask", "resets")}
        late = {name: options[name][cut:] for name in ("mask", "resets")}
        early["lengths"], late["lengths"] = lengths.clip(0, cut), (lengths - cut).clip(0)
        pieces = [(xs[:cut], early), (xs[cut:], late)]
        ys = [None, None]
        for index in [1, 0] if way == "reverse" else [0, 1]:
            piece, piece_options = pieces[index]
            carry, ys[index] = run(params, piece, carry, piece_options)
        return carry, jnp.concatenate(ys)

    arguments = *point(way, spec), options
    assert_close(graded(in_two)(*arguments), compiled(way, spec)(*arguments))


@ways
@few
@given(spec=specs, seed=seeds)
def test_rows_know_nothing_of_each_other(way, spec, seed):
    options, _ = draw_options(spec, seed)
    order = np.random.default_rng(seed).permutation(spec.rows)

    def shuffled(tree):  # from the back, so that it suits both directions of a carry
        return jax.tree.map(lambda a: np.asarray(a)[..., order, :], tree)

    params, xs, carry = point(way, spec)
    others = {name: value[..., order] for name, value in options.items()}
    got = compiled(way, spec)(params, shuffled(xs), shuffled(carry), others)
    out, grads = compiled(way, spec)(params, xs, carry, options)
    wanted = Point(grads.params, shuffled(grads.xs), shuffled(grads.carry))
    assert_close(got, (shuffled(out), wanted))


@ways
@pytest.mark.parametrize("begin", ["given", "initial"])
@few
@given(spec=main_specs, seed=seeds, row=st.integers(0, 2))
def test_a_row_of_length_zero_keeps_its_carry(way, begin, spec, seed, row):
    options, _ = draw_options(spec, seed)
    options["lengths"][row % spec.rows] = 0
    empty = options["lengths"] == 0
    kept = lambda tree: jax.tree.map(lambda a: np.asarray(a)[..., empty, :], tree)

    params, xs, carry = point(way, spec)
    start = carry if begin == "given" else None
    (final, ys), gradients = compiled(way, spec)(params, xs, start, options)
    if begin == "initial":
        learned = getattr(params, "initial", None)
        carry = jax.tree.map(np.zeros_like, carry)
        if learned is not None:
            carry = jax.tree.map(lambda a, b: a + b[..., None, :], carry, learned)
    assert_equal(kept(final), kept(carry))
    assert not kept(ys).any() and not kept(gradients.xs).any()
    if begin == "given":
        assert_close(kept(gradients.carry), jax.tree.map(np.cos, kept(carry)))


@few
@given(spec=specs, seed=seeds)
def test_reverse_is_forward_on_turned_sequences(spec, seed):
    options, _ = draw_options(spec, seed)
    arguments = *point("reverse", spec), options
    assert_close(turned(spec)(*arguments), compiled("reverse", spec)(*arguments))


@functools.cache
def turned(spec):
    """A forward run between two turns of every row's valid part."""
    run = runner("forward", thing("forward", spec))

    def between(params, xs, carry, options):
        lengths = options["lengths"]
        flags = {"mask": options["mask"], "resets": options["resets"]}
        xs, flags = rnnjax.reverse_sequences((xs, flags), lengths)
        carry, ys = run(params, xs, carry, flags | {"lengths": lengths})
        return carry, rnnjax.reverse_sequences(ys, lengths)

    return graded(between)


@ways
@pytest.mark.parametrize("batch", [(), (2, 3), (2, 1, 3)], ids=str)
def test_any_number_of_batch_axes(way, batch):
    """One axis of rows is the reference; the others are reshapes of it."""
    spec = Spec("lstm, learned carry", "chunks of 4", rows=int(np.prod(batch)))
    options, _ = draw_options(spec, seed=1)
    params, xs, carry = point(way, spec)
    front = 1 if way == "bidirectional" else 0

    def folded(tree, axis):
        shape = lambda a: (*a.shape[:axis], *batch, *a.shape[axis + 1 :])
        return jax.tree.map(lambda a: jnp.reshape(a, shape(a)), tree)

    axes = {"lengths": 0, "mask": 1, "resets": 1}
    others = {name: folded(options[name], axis) for name, axis in axes.items()}
    run = compiled(way, spec)
    got = run(params, folded(xs, 1), folded(carry, front), others)
    (final, ys), grads = run(params, xs, carry, options)
    wanted = Point(grads.params, folded(grads.xs, 1), folded(grads.carry, front))
    assert_close(got, ((folded(final, front), folded(ys, 1)), wanted))


@pytest.mark.parametrize("method", registry.methods_for("gru"))
@ways
def test_no_steps_at_all(way, method):
    spec = Spec("gru", method, num_steps=0)
    (final, ys), gradients = compiled(way, spec)(*point(way, spec), {})
    assert_equal(final, point(way, spec).carry)
    assert_close(gradients.carry.h, np.cos(final.h))
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradients.params))
    assert ys.shape == (0, 3, 6 if way == "bidirectional" else 3)


@one_way
@few
@given(spec=st.sampled_from(SPECS[:3]), seed=seeds)
def test_with_carries_is_stepping_by_hand(way, spec, seed):
    options, valid = draw_options(spec, seed)
    got = recorded(way, spec)(*point(way, spec), options)
    assert_close(got, stepped(way, spec)(*point(way, spec), options["resets"], valid))


@functools.cache
def recorded(way, spec):
    cell = rnnjax.with_carries(thing(way, spec))
    return graded(runner(way, cell, registry.METHODS[spec.method]))


@functools.cache
def stepped(way, spec):
    """The contract as a Python loop over the functions of the cell."""
    cell, order = thing(way, spec), range(spec.num_steps)

    def choose(flag, a, b):
        return jax.tree.map(lambda a, b: jnp.where(flag[:, None], a, b), a, b)

    def by_hand(params, xs, carry, resets, valid):
        fresh, ys = cell.init_carry(params, xs[0]), [None] * spec.num_steps
        for t in reversed(order) if way == "reverse" else order:
            begin = choose(resets[t], fresh, carry)
            after, y = cell.step(params, begin, cell.project(params, xs[t]))
            zeros = jax.tree.map(jnp.zeros_like, (y, after))
            ys[t] = choose(valid[t], (y, after), zeros)
            carry = choose(valid[t], after, carry)
        return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ys)

    return graded(by_hand)


def tagged(hidden):
    """A cell of a user, which reads a dict of vectors `(..., D)` and whole numbers `(...)`."""

    def init(key, in_features):
        shapes = {"table": (3, hidden), "w": (in_features, hidden), "u": (hidden, hidden)}
        return {name: jax.random.normal(key, shape) for name, shape in shapes.items()}

    def init_carry(params, like):
        return jnp.zeros_like(like["vector"] @ params["w"])

    def project(params, xs):
        return params["table"][xs["tag"]] + xs["vector"] @ params["w"]

    def step(params, carry, z):
        h = jnp.tanh(z + carry @ params["u"])
        return h, h

    def in_spec(params):
        vector = rnnjax.InputSpec((params["w"].shape[0],))
        return {"tag": rnnjax.InputSpec((), jnp.integer), "vector": vector}

    return rnnjax.Cell(init, init_carry, project, step, hidden, in_spec=in_spec)


@functools.cache
def compiled_on_tree(way, method):
    cell = tagged(3)
    cell = rnnjax.bidirectional(cell) if way == "bidirectional" else cell
    run = runner(way, cell, registry.METHODS[method])

    def on_vector(params, vector, carry, tags, options):
        return run(params, {"tag": tags, "vector": vector}, carry, options)

    return graded(on_vector)


@ways
@few
@given(seed=seeds, method=st.sampled_from(registry.GENERAL_METHODS))
def test_inputs_may_be_a_tree_with_whole_numbers(way, seed, method):
    """A tag beside a vector is the Elman cell on the vector with the one-hot tag in front."""
    spec = Spec("elman", "scan", features=5)
    options, valid = draw_options(spec, seed)
    params, _, carry = point(way, spec)
    tags = np.random.default_rng(seed).integers(0, 3, valid.shape)
    vector = registry.inputs(*valid.shape, 2, seed=seed)
    both = np.concatenate([np.eye(3, dtype=np.float32)[tags], vector], axis=-1)
    params = params._replace(b=jnp.zeros_like(params.b))
    out, grads = compiled(way, spec)(params, both, carry, options)

    as_dict = lambda p: {"table": p.w_ih[..., :3, :], "w": p.w_ih[..., 3:, :], "u": p.w_hh}
    tags = np.where(valid, tags, -(2**30)).astype(np.int32)  # in the padding it is no tag
    vector = np.where(valid[..., None], vector, np.float32(np.nan))
    got = compiled_on_tree(way, method)(as_dict(params), vector, carry.h, tags, options)
    wanted = Point(as_dict(grads.params), grads.xs[..., 3:], grads.carry.h)
    assert_close(got, ((out[0].h, out[1]), wanted))


def echo():
    """A cell that repeats its input, which shows what was dropped of it."""
    return rnnjax.Cell(
        init=lambda key, in_features: (),
        init_carry=lambda params, like: jnp.zeros_like(like),
        project=lambda params, xs: xs,
        step=lambda params, carry, z: (z, z),
        out_features=None,
    )


def test_input_dropout_drops_the_same_features_at_every_step():
    cell, rate, masks = rnnjax.input_dropout(echo(), 0.3), 0.3, []
    for seed in (0, 1):
        _, ys = rnnjax.unroll(cell, (), jnp.ones((6, 500, 40)), key=jax.random.key(seed))
        assert_equal(ys, jnp.broadcast_to(ys[:1], ys.shape))
        np.testing.assert_allclose(np.unique(ys), [0.0, 1 / (1 - rate)], rtol=1e-6)
        masks.append(np.asarray(ys[0]) == 0)
    first, second = masks
    assert abs(first.mean() - rate) < 0.016  # 20,000 draws: five standard deviations
    assert abs(second.mean() - rate) < 0.016
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.036
    assert abs(np.corrcoef(first[1:].ravel(), first[:-1].ravel())[0, 1]) < 0.036
    assert abs(np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1]) < 0.036


def test_input_dropout_differs_between_directions():
    layer = rnnjax.bidirectional(rnnjax.input_dropout(echo(), 0.5), merge=rnnjax.merge.pair)
    _, (forward, backward) = layer.apply((), jnp.ones((2, 50, 40)), key=jax.random.key(0))
    assert_equal(backward, jnp.broadcast_to(backward[:1], backward.shape))
    assert abs(np.corrcoef(forward[0].ravel(), backward[0].ravel())[0, 1]) < 0.11


@functools.cache
def compiled_noisy(way, spec):
    cell = rnnjax.input_dropout(thing(way, spec), 0.5)
    return graded(runner(way, cell, registry.METHODS[spec.method]))


@one_way
@settings(few, max_examples=6)
@given(spec=st.sampled_from(SPECS[:2]), seed=seeds)
def test_input_dropout_is_the_bare_cell_on_dropped_inputs(way, spec, seed):
    options, valid = draw_options(spec, seed)
    params, xs, carry = point(way, spec)
    bare = compiled(way, spec)
    without_key = compiled_noisy(way, spec)(params, xs, carry, options)
    assert_equal(without_key, bare(params, xs, carry, options))

    key = jax.random.key(seed)
    _, mask = rnnjax.unroll(rnnjax.input_dropout(echo(), 0.5), (), jnp.ones_like(xs), key=key)
    padded = np.where(valid[..., None], xs, np.float32(np.nan))
    got = compiled_noisy(way, spec)(params, padded, carry, options | {"key": key})
    out, grads = bare(params, xs * mask, carry, options)
    assert_close(got, (out, grads._replace(xs=grads.xs * mask)))

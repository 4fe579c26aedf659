"""On meshes of every kind the numbers are those of one device, and the batch stays sharded."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from registry import inputs, random_params, randomise

import rnnjax

DEVICES = 8
ROWS = 2  # of each device
T, B, D, H = 4, ROWS * DEVICES, 3, 4
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

LAYERS = {
    "lstm": lambda reverse: rnnjax.recurrent(rnnjax.lstm(H), reverse=reverse),
    "gru": lambda reverse: rnnjax.recurrent(rnnjax.gru(H), reverse=reverse),
    "learned": lambda reverse: rnnjax.recurrent(
        rnnjax.lstm(H, learned_carry=True), reverse=reverse
    ),
    "both ways": lambda reverse: rnnjax.bidirectional(
        rnnjax.recurrent(rnnjax.gru(H, learned_carry=True), reverse=reverse)
    ),
    "stack": lambda reverse: rnnjax.stack(
        rnnjax.bidirectional(rnnjax.lstm(H)),
        rnnjax.recurrent(rnnjax.gru(H), reverse=reverse),
    ),
}


class Scenario(NamedTuple):
    flags: str = ""  # names of what is given: lengths, mask, resets
    carry: str = "default"
    method: Any = rnnjax.Scan()
    reverse: bool = False
    shared: bool = False  # the flags are the same on every device, and replicated


SCENARIOS = {
    "plain": Scenario(),
    "lengths": Scenario("lengths", "replicated", rnnjax.Chunked(2), reverse=True),
    "mask, shared": Scenario("mask", "sharded", shared=True),
    "resets": Scenario("resets", "default", rnnjax.Chunked(2), reverse=True),
    "all": Scenario("lengths mask resets", "sharded"),
    "all, shared": Scenario("lengths mask resets", "replicated", reverse=True, shared=True),
}

# Every layer and every scenario in some pair; what differs between meshes is the placing.
FEW = [("lstm", "mask, shared"), ("learned", "resets"), ("stack", "all")]
CASES = [
    *FEW,
    ("lstm", "plain"),
    ("lstm", "lengths"),
    ("gru", "all"),
    ("gru", "all, shared"),
    ("both ways", "all, shared"),
]
PLACED = [(AxisType.Explicit, *case) for case in CASES] + [(AxisType.Auto, *case) for case in FEW]


def mesh_of(kind, shape=(DEVICES,), names=("data",)):
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def put(mesh, array, spec):
    return jax.device_put(array, NamedSharding(mesh, spec))


def rows(array, axis):
    """What one device sees of an array that is the same on all of them."""
    return jax.lax.slice_in_dim(array, 0, ROWS, axis=axis)


def batch_spec(leaf):
    """Of carries: the batch axis stands before the features, behind the axis of two directions."""
    return jax.P(*[None] * (leaf.ndim - 2), "data")


def flag_spec(name):
    return jax.P("data") if name == "lengths" else jax.P(None, "data")


class Problem(NamedTuple):
    layer: Any
    params: Any
    xs: Any
    carry: Any
    flags: dict
    scenario: Scenario

    def run(self, params, xs, carry, flags):
        return self.layer.apply(params, xs, carry, method=self.scenario.method, **flags)


def objective(carry, ys):
    """One number that weighs every output and carry differently."""
    terms = [jnp.sin(leaf + 0.1) for leaf in (ys, *jax.tree.leaves(carry))]
    weights = [np.linspace(0.5, 1.5, t.size, dtype=np.float32).reshape(t.shape) for t in terms]
    return sum((t * w).sum() for t, w in zip(terms, weights, strict=True))


def with_gradients(run):
    def loss(params, xs, carry, flags):
        carry, ys = run(params, xs, carry, flags)
        return objective(carry, ys), (carry, ys)

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


@functools.cache
def problem(layer_name, scenario_name):
    scenario = SCENARIOS[scenario_name]
    layer = LAYERS[layer_name](scenario.reverse)
    params = random_params(layer, D, 0)
    xs = inputs(T, B, D)
    rng = np.random.default_rng(7)
    everything = {
        "lengths": np.linspace(T, 0, B).round().astype(np.int32),
        "mask": rng.random((T, B)) < 0.6,
        "resets": rng.random((T, B)) < 0.3,
    }
    flags = {name: everything[name] for name in scenario.flags.split()}
    if scenario.shared:
        flags = {name: np.tile(rows(flag, flag.ndim - 1), DEVICES) for name, flag in flags.items()}
    carry = None
    if scenario.carry != "default":
        carry = randomise(jax.eval_shape(layer.init_carry, params, xs[0]), 3)
    if scenario.carry == "replicated":
        repeat = lambda a: jnp.concatenate([rows(a, a.ndim - 2)] * DEVICES, axis=-2)
        carry = jax.tree.map(repeat, carry)
    return Problem(layer, params, xs, carry, flags, scenario)


@functools.cache
def on_one_device(layer_name, scenario_name):
    case = problem(layer_name, scenario_name)
    return with_gradients(case.run)(case.params, case.xs, case.carry, case.flags)


def check_same(got, want):
    close = lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), **TOLERANCE)
    jax.tree.map(close, got, want)


def check_sharded(mesh, carry, ys):
    """The batch axis of every result is still spread over the devices."""
    for leaf, spec in [(ys, jax.P(None, "data"))] + [
        (leaf, batch_spec(leaf)) for leaf in jax.tree.leaves(carry)
    ]:
        assert leaf.sharding.is_equivalent_to(NamedSharding(mesh, spec), leaf.ndim), leaf.sharding


def arguments_on(mesh, case):
    """The arguments of a case, each placed as the scenario says."""
    everywhere = functools.partial(put, mesh, spec=jax.P())
    params = jax.tree.map(everywhere, case.params)
    sharded = case.scenario.carry == "sharded"
    place = (lambda a: put(mesh, a, batch_spec(a))) if sharded else everywhere
    carry = jax.tree.map(place, case.carry)
    flags = {
        name: everywhere(flag) if case.scenario.shared else put(mesh, flag, flag_spec(name))
        for name, flag in case.flags.items()
    }
    return params, put(mesh, case.xs, jax.P(None, "data")), carry, flags


@pytest.mark.parametrize(("kind", "layer", "scenario"), PLACED)
def test_mesh_equals_one_device(kind, layer, scenario):
    case, mesh = problem(layer, scenario), mesh_of(kind)
    with jax.set_mesh(mesh):
        gradients, (carry, ys) = with_gradients(case.run)(*arguments_on(mesh, case))
    check_same((gradients, (carry, ys)), on_one_device(layer, scenario))
    check_sharded(mesh, carry, ys)


@pytest.mark.parametrize(("layer", "scenario"), CASES)
def test_shard_map_equals_one_device(layer, scenario):
    case, mesh = problem(layer, scenario), mesh_of(AxisType.Auto)
    carry, flags = case.carry, case.flags
    carry_specs = jax.tree.map(batch_spec, carry)
    flag_specs = {name: flag_spec(name) for name in flags}
    if case.scenario.carry == "replicated":
        carry = jax.tree.map(lambda a: rows(a, a.ndim - 2), carry)
        carry_specs = jax.tree.map(lambda a: jax.P(), carry)
    if case.scenario.shared:
        flags = {name: rows(flag, flag.ndim - 1) for name, flag in flags.items()}
        flag_specs = {name: jax.P() for name in flags}
    want_gradients, (want_carry, want_ys) = on_one_device(layer, scenario)
    run = jax.shard_map(
        case.run,
        mesh=mesh,
        in_specs=(jax.P(), jax.P(None, "data"), carry_specs, flag_specs),
        out_specs=(jax.tree.map(batch_spec, want_carry), jax.P(None, "data")),
    )
    gradients, (new_carry, ys) = with_gradients(run)(case.params, case.xs, carry, flags)
    check_same((new_carry, ys), (want_carry, want_ys))
    if case.scenario.carry == "replicated":  # one carry serves all devices and hears from all
        heard = lambda g: g.reshape(*g.shape[:-2], DEVICES, ROWS, g.shape[-1]).sum(-3)
        want_gradients = (*want_gradients[:2], jax.tree.map(heard, want_gradients[2]))
    check_same(gradients, want_gradients)
    check_sharded(mesh, new_carry, ys)


@pytest.mark.parametrize("layer", ["learned", "both ways"])
def test_shard_map_with_params_that_vary_and_inputs_that_do_not(layer):
    case, mesh = problem(layer, "all, shared"), mesh_of(AxisType.Auto)
    scales = np.linspace(0.5, 1.5, DEVICES, dtype=np.float32)
    many = jax.tree.map(lambda a: jnp.stack([a * s for s in scales]), case.params)
    run = lambda params: case.run(params, case.xs, None, case.flags)

    def of_one(params):
        out = run(jax.tree.map(lambda a: a[0], params))
        return jax.tree.map(lambda a: a[None], out)

    got = jax.jit(jax.shard_map(of_one, mesh=mesh, in_specs=jax.P("data"), out_specs=jax.P("data")))
    check_same(got(many), jax.jit(jax.vmap(run))(many))


@pytest.mark.parametrize("what", ["lengths", "mask", "resets", "carry"])
def test_shard_map_with_one_argument_that_varies(what):
    case, mesh = problem("lstm", "all"), mesh_of(AxisType.Auto)
    given = case.carry if what == "carry" else case.flags[what]
    specs = jax.tree.map(batch_spec, given) if what == "carry" else flag_spec(what)

    def run(xs, given):
        if what == "carry":
            return rnnjax.unroll(rnnjax.lstm(H), case.params, xs, given)[1]
        return rnnjax.unroll(rnnjax.lstm(H), case.params, xs, **{what: given})[1]

    mapped = jax.shard_map(run, mesh=mesh, in_specs=(jax.P(), specs), out_specs=jax.P(None, "data"))
    few = case.xs[:, :ROWS]
    check_same(jax.jit(mapped)(few, given), run(jnp.tile(few, (1, DEVICES, 1)), given))


@pytest.mark.parametrize("width", [1, H])
@pytest.mark.parametrize("flag", ["lengths", "mask", "resets"])
@pytest.mark.parametrize("xs_sharded", [True, False])
def test_explicit_mesh_with_inputs_and_flags_placed_differently(xs_sharded, flag, width):
    """The inputs decide; a width of 1 is the case in which nothing is broadcast."""
    mesh, cell = mesh_of(AxisType.Explicit), rnnjax.gru(width)
    params = random_params(cell, 1, 0)
    xs, given = inputs(T, B, 1), problem("lstm", "all").flags[flag]
    with jax.set_mesh(mesh):
        placed = put(mesh, xs, jax.P(None, "data") if xs_sharded else jax.P())
        flags = {flag: given if xs_sharded else put(mesh, given, flag_spec(flag))}
        carry, ys = rnnjax.unroll(cell, params, placed, **flags)
    assert jax.typeof(ys).sharding.spec == jax.P(None, "data" if xs_sharded else None, None)
    check_same((carry, ys), rnnjax.unroll(cell, params, xs, **{flag: given}))


def test_explicit_mesh_without_jit():
    case, mesh = problem("stack", "all, shared"), mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        carry, ys = case.run(*arguments_on(mesh, case))
    check_same((carry, ys), on_one_device("stack", "all, shared")[1])
    check_sharded(mesh, carry, ys)


def test_explicit_mesh_with_no_steps():
    case, mesh = problem("lstm", "all"), mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        xs = put(mesh, case.xs[:0], jax.P(None, "data"))
        carry, ys = rnnjax.unroll(rnnjax.lstm(H), case.params, xs, case.carry)
    assert ys.shape == (0, B, H)
    check_same(carry, case.carry)
    check_sharded(mesh, carry, ys)


def test_explicit_mesh_under_vmap():
    case, mesh = problem("lstm", "all"), mesh_of(AxisType.Explicit)
    xs = inputs(DEVICES, T, B, D)
    run = lambda x: case.run(case.params, x, case.carry, case.flags)
    want = jax.vmap(run)(xs)
    with jax.set_mesh(mesh):
        carry, ys = jax.vmap(run)(put(mesh, xs, jax.P("data")))
    assert jax.typeof(ys).sharding.spec[0] == "data"
    check_same((carry, ys), want)


NOISY = {
    "dropout": rnnjax.stack(rnnjax.input_dropout(rnnjax.lstm(H), 0.5), rnnjax.gru(H), dropout=0.5),
    "in the recurrence": rnnjax.recurrent(
        rnnjax.zoneout(
            rnnjax.recurrent_dropout(
                rnnjax.drop_connect(rnnjax.state_noise(rnnjax.lstm(H), 0.5), 0.5), 0.5
            ),
            0.5,
        )
    ),
}


@pytest.mark.parametrize("noise", NOISY)
def test_explicit_mesh_with_noise(noise):
    """The noise is drawn as on one device and sharded as what it falls on, also where T is 1."""
    mesh, layer = mesh_of(AxisType.Explicit), NOISY[noise]
    key = jax.random.key(1)
    params = random_params(layer, D, 0)
    run = jax.jit(lambda xs: layer.apply(params, xs, key=key))
    for xs in (inputs(T, B, D), inputs(1, B, D)):
        with jax.set_mesh(mesh):
            carry, ys = run(put(mesh, xs, jax.P(None, "data")))
        check_sharded(mesh, carry, ys)
        check_same((carry, ys), run(xs))


def test_helpers_keep_the_sharding_of_the_batch():
    mesh, lengths = mesh_of(AxisType.Explicit), problem("lstm", "lengths").flags["lengths"]
    ys = inputs(T, B, 1)
    with jax.set_mesh(mesh):
        sharded = put(mesh, ys, jax.P(None, "data"))
        last = rnnjax.last_output(sharded, lengths)
        turned = rnnjax.reverse_sequences(sharded, lengths)
        first = rnnjax.lstm(H).init_carry(problem("lstm", "plain").params, sharded[0])
    assert jax.typeof(last).sharding.spec == jax.P("data", None)
    assert jax.typeof(turned).sharding.spec == jax.P(None, "data", None)
    assert jax.typeof(first.c).sharding.spec == jax.P("data", None)
    check_same(last, rnnjax.last_output(ys, lengths))
    check_same(turned, rnnjax.reverse_sequences(ys, lengths))


COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")


def collectives(run, *arguments):
    text = jax.jit(run).lower(*arguments).compile().as_text()
    return [name for name in COLLECTIVES if name in text]


@pytest.mark.parametrize(
    ("kind", "layer", "scenario"),
    [
        (AxisType.Auto, "stack", "all"),
        (AxisType.Auto, "learned", "resets"),
        (AxisType.Auto, "both ways", "all, shared"),
        (AxisType.Explicit, "stack", "all, shared"),
    ],
)
def test_devices_do_not_talk_in_the_forward_pass(kind, layer, scenario):
    case, mesh = problem(layer, scenario), mesh_of(kind)
    with jax.set_mesh(mesh):
        assert collectives(case.run, *arguments_on(mesh, case)) == []


def test_collectives_are_seen_where_there_are_some():
    mesh = mesh_of(AxisType.Auto)
    with jax.set_mesh(mesh):
        xs = put(mesh, inputs(B, D), jax.P("data"))
        assert collectives(lambda x: x.sum(0), xs) == ["all-reduce"]
        whole = lambda x: jax.lax.with_sharding_constraint(x, NamedSharding(mesh, jax.P()))
        assert collectives(whole, xs) == ["all-gather"]


@pytest.mark.parametrize(
    "kinds",
    [
        (AxisType.Auto, AxisType.Auto),
        (AxisType.Explicit, AxisType.Auto),
        (AxisType.Explicit, AxisType.Explicit),
    ],
    ids=lambda kinds: " ".join(kind.name for kind in kinds),
)
@pytest.mark.parametrize(("layer", "scenario"), [("lstm", "mask, shared"), ("both ways", "plain")])
def test_weights_sharded_over_a_model_axis(kinds, layer, scenario):
    """Rows of inputs over 2 devices, gates over 4: the last axis of every weight."""
    case = problem(layer, scenario)
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=kinds)
    with jax.set_mesh(mesh):
        params, xs, carry, flags = arguments_on(mesh, case)
        by_gate = lambda a: put(mesh, a, jax.P(*[None] * (a.ndim - 1), "model"))
        out = with_gradients(case.run)(jax.tree.map(by_gate, params), xs, carry, flags)
    gradients, (_, ys) = out
    check_same(out, on_one_device(layer, scenario))
    assert "data" in ys.sharding.spec
    assert {"model"} == {leaf.sharding.spec[-1] for leaf in jax.tree.leaves(gradients[0])}

"""Checkpoints give back the same bits, in the same places, and refuse what is of another model."""

import logging
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from messages import TYPE, VALUE, check_refused

import rnnjax
from rnnjax import train


class State(NamedTuple):
    params: Any
    opt_state: Any
    key: Any


def make_state(features=3):
    params = rnnjax.lstm(5).init(jax.random.key(1), in_features=features)
    params = jax.tree.map(lambda a: a + 0.25, params)
    return State(params, optax.adam(0.1).init(params), jax.random.key(7))


@pytest.fixture(scope="module")
def state():
    return make_state()


@pytest.fixture(scope="module")
def saved(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    train.save(folder, 120, state, {"epoch": 2})
    return folder


def same(a, b):
    """Equal to the bit: NaN, -0.0 and keys too."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(x, jax.Array) == isinstance(y, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        x, y = (jax.random.key_data(a) if a.dtype.name[:3] == "key" else a for a in (x, y))
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    return True


ANYTHING = {
    "bfloat16": jnp.arange(7, dtype=jnp.bfloat16) / 3,
    "float8": jnp.arange(3, dtype=jnp.float8_e4m3fn),
    "odd": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
    "int": [jnp.arange(-3, 3, dtype=jnp.int8), jnp.array(2**31 - 1)],
    "int4": jnp.arange(-3, 3, dtype=jnp.int4),
    "bool": jnp.array([[True], [False]]),
    "complex": jnp.array(1 - 2j),
    "keys": (jax.random.key(3), jax.random.split(jax.random.key(4, impl="rbg"), 3)),
    "raw": jax.random.PRNGKey(5),
    "no keys": jax.random.split(jax.random.key(6), 0),
    "nothing": [None, (), {}, optax.EmptyState()],
    "empty": [jnp.zeros((0,)), jnp.zeros((3, 0, 2), jnp.int32), np.zeros((0, 4))],
    "numpy": [np.arange(3), np.float64(1 / 3), np.array(2**40, np.uint64)],
    "a/b": jnp.ones(1),
    "a": {"b": jnp.ones(2), "é \n..": jnp.ones(3), "long" * 90: jnp.ones(4)},
}


def test_round_trip_to_the_bit(tmp_path):
    record = {"loss": float("inf"), "seen": [1, 2.5, "ü", None, True], "at": (1, 2), "x": {}}
    path = train.save(tmp_path, 3, ANYTHING, record)
    restored = train.restore(tmp_path, ANYTHING)
    assert same(restored.tree, ANYTHING)
    assert type(restored.tree["numpy"][1]) is np.float64
    assert restored == (3, restored.tree, record | {"at": [1, 2]}, path)
    assert path == tmp_path / "step_00000003"


@pytest.mark.parametrize("tree", [{}, (None, ()), jnp.array(3.0), np.arange(3)], ids=repr)
def test_trees_of_one_array_or_none(tree, tmp_path):
    train.save(tmp_path, np.int64(0), tree, {})
    assert same(train.restore(tmp_path, tree).tree, tree)


def test_training_state(state, saved):
    restored = train.restore(str(saved), jax.eval_shape(lambda: state))
    assert same(restored.tree, state)
    assert type(restored.tree) is State


def test_state_of_nnx(tmp_path):
    module = rnnjax.nnx.LSTM(3, 5, rngs=nnx.Rngs(0))
    wanted = nnx.state(module)
    train.save(tmp_path, 1, wanted, {})
    assert same(train.restore(tmp_path, jax.tree.map(jnp.zeros_like, wanted)).tree, wanted)


def test_names_count_and_not_their_order(tmp_path):
    train.save(tmp_path, 1, {"a": jnp.ones(1), "b": jnp.zeros(1)}, {})
    like = OrderedDict(b=jnp.ones(1), a=jnp.ones(1))
    assert same(train.restore(tmp_path, like).tree, OrderedDict(b=jnp.zeros(1), a=jnp.ones(1)))


def test_record_tells_what_is_inside(saved):
    from rnnjax.train.snapshot import read_record

    step, record, entries = read_record(saved / "step_00000120")
    assert (step, record) == (120, {"epoch": 2})
    described = {entry.leaf.name: entry for entry in entries}
    assert described["params.w_ih"].leaf == ("params.w_ih", (3, 20), "float32")
    assert described["opt_state.0.mu.b"].leaf.shape == (20,)
    assert described["key"] == (("key", (), "key<fry>"), "00010.key", "threefry2x32")


# --- Where arrays lie.


def test_sharded_over_devices_and_restored_otherwise(tmp_path):
    mesh, other = jax.make_mesh((8,), ("a",)), jax.make_mesh((2, 4), ("a", "b"))
    put = lambda a, mesh, *axes: jax.device_put(a, NamedSharding(mesh, PartitionSpec(*axes)))
    x, keys = jnp.arange(64.0).reshape(8, 8), jax.random.split(jax.random.key(0), 8)
    train.save(tmp_path, 1, {"x": put(x, mesh, "a"), "keys": put(keys, mesh, "a")}, {})
    like = {"x": put(x * 0, other, "b", "a"), "keys": put(keys[::-1], other, "a")}
    tree = train.restore(tmp_path, like).tree
    assert same(tree, {"x": x, "keys": keys})
    for name, leaf in tree.items():
        assert leaf.sharding == like[name].sharding and leaf.committed
    on_one = jax.ShapeDtypeStruct((8, 8), x.dtype, sharding=SingleDeviceSharding(jax.devices()[3]))
    tree = train.restore(tmp_path, {"x": on_one, "keys": keys}).tree
    assert same(tree["x"], x) and tree["x"].devices() == {jax.devices()[3]}


def test_abstract_tree_of_an_explicit_mesh(tmp_path):
    mesh = jax.make_mesh((8,), ("a",))
    x = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("a")))
    train.save(tmp_path, 1, {"x": x}, {})
    like = {"x": jax.eval_shape(lambda: x)}
    with jax.set_mesh(mesh):
        assert train.restore(tmp_path, like).tree["x"].sharding == x.sharding
    with pytest.raises(VALUE, match="call restore under jax.set_mesh"):
        train.restore(tmp_path, like)


def test_what_was_free_to_move_stays_free(state, saved):
    """Else jit refuses to mix it with arrays on a mesh, or compiles once more."""
    tree = train.restore(saved, state).tree
    assert not any(leaf.committed for leaf in jax.tree.leaves(tree))
    assert all(leaf.committed is False for leaf in jax.tree.leaves(state))


def test_restored_arrays_can_be_donated(state, saved):
    params = train.restore(saved, state).tree.params
    again = jax.jit(lambda p: jax.tree.map(lambda a: a + 1, p), donate_argnums=0)(params)
    assert params.w_ih.is_deleted()
    assert same(again, jax.tree.map(lambda a: a + 1, state.params))


# --- Which are kept.


def steps_in(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.name != ".lock")


def test_newest_are_kept_and_read(tmp_path):
    assert train.latest_step(tmp_path / "runs") is None
    for step in (1, 2, 10, 100_000_000):
        train.save(tmp_path / "runs", step, np.array(step), {}, keep=2)
        assert train.latest_step(tmp_path / "runs") == step
    assert steps_in(tmp_path / "runs") == ["step_00000010", "step_100000000"]
    restored = train.restore(tmp_path / "runs", np.array(0))
    assert (restored.step, int(restored.tree)) == (100_000_000, 100_000_000)
    assert int(train.restore(tmp_path / "runs", np.array(0), step=10).tree) == 10


def test_going_back_keeps_what_was_just_written_and_what_is_later(tmp_path):
    for step in (10, 20, 30):
        train.save(tmp_path, step, np.array(step), {})
    train.save(tmp_path, 15, np.array(-15), {}, keep=1)
    assert steps_in(tmp_path) == ["step_00000015", "step_00000020", "step_00000030"]


def test_a_step_is_replaced(tmp_path):
    for value in (1, 2, 3):
        train.save(tmp_path, 7, np.array(value), {"value": value})
    restored = train.restore(tmp_path, np.array(0))
    assert (int(restored.tree), restored.record) == (3, {"value": 3})
    assert steps_in(tmp_path) == ["step_00000007"]


def test_strangers_in_the_folder_are_let_be(tmp_path):
    for name in ("step_7", "step_x", "best", "step_000000120", "step_00000005.bak"):
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-model").write_text("of another")
    assert train.latest_step(tmp_path) is None
    train.save(tmp_path, 1, np.array(1), {}, keep=1)
    assert len(steps_in(tmp_path)) == 7
    assert train.restore(tmp_path, np.array(0)).step == 1


# --- Refusals.


def test_other_models_are_refused(saved, state):
    def check(like, error, message):
        with pytest.raises(error) as caught:
            train.restore(saved, like)
        end = "this checkpoint is of another model: give another folder."
        assert str(caught.value) == f"{message} in {saved}/step_00000120; {end}"

    wider, params = make_state(4), state.params
    check(wider, VALUE, "restore: `params.w_ih` must have shape (4, 20), got (3, 20)")
    check(
        state._replace(params=params._replace(w_hh=params.w_hh.astype(jnp.bfloat16))),
        TYPE,
        "restore: `params.w_hh` must have dtype bfloat16, got float32",
    )
    check(
        state._replace(key=jax.random.PRNGKey(0)),
        TYPE,
        "restore: `key` must have dtype uint32, got key<fry>",
    )
    check(
        state._replace(key=jax.random.key(0, impl="rbg")),
        TYPE,
        "restore: `key` must have dtype key<rbg>, got key<fry>",
    )
    check(
        state._replace(key={"a": state.key}),
        VALUE,
        "restore: `key.a` must be there, got no leaf of this name",
    )
    check(
        state._replace(params=params._replace(b=None)),
        VALUE,
        "restore: `params.b` must be a leaf of `like`, which has no such name, "
        "got float32 of shape (20,)",
    )


WRAP = "wrap numbers in jnp.asarray, and keep what is no number out of the tree."
FLOAT = "use float(x) or x.tolist() for numbers of JAX and NumPy."
KINDS = "must be of dict, list, str, bool, int, float and None, got"
X = np.zeros(2)

MESSAGES = {
    "folder": (
        lambda w: train.save(3, 1, X, {}),
        TYPE,
        'save: `folder` must be a path, got int 3; give one such as "runs/first".',
    ),
    "bucket": (
        lambda w: train.restore("gs://runs/a", X),
        VALUE,
        "restore: `folder` must be a path on this machine, got 'gs://runs/a'; "
        "mount a bucket to use it.",
    ),
    "step": (
        lambda w: train.save("runs", -1, X, {}),
        VALUE,
        "save: `step` must be at least 0, got -1; give the width or count that is meant.",
    ),
    "float step": (
        lambda w: train.save("runs", 1.0, X, {}),
        TYPE,
        "save: `step` must be a whole number, got float 1.0; give an int.",
    ),
    "keep": (
        lambda w: train.save("runs", 1, X, {}, keep=0),
        VALUE,
        "save: `keep` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "negative step": (
        lambda w: train.restore("runs", X, step=-1),
        VALUE,
        "restore: `step` must be at least 0, got -1; give the width or count that is meant.",
    ),
    "python number": (
        lambda w: train.save("runs", 1, {"a": [X, 3]}, {}),
        TYPE,
        f"save: `a.1` must be an array of numbers, got int 3; {WRAP}",
    ),
    "text": (
        lambda w: train.save("runs", 1, np.array(["a"]), {}),
        TYPE,
        f"save: `array` must be an array of numbers, got <U1 of shape (1,); {WRAP}",
    ),
    "objects": (
        lambda w: train.save("runs", 1, np.array([None]), {}),
        TYPE,
        f"save: `array` must be an array of numbers, got object of shape (1,); {WRAP}",
    ),
    "abstract": (
        lambda w: train.save("runs", 1, {"a": jax.ShapeDtypeStruct((2,), jnp.float32)}, {}),
        TYPE,
        f"save: `a` must be an array of numbers, got float32 of shape (2,); {WRAP}",
    ),
    "tracer": (
        lambda w: jax.jit(lambda x: train.save("runs", 1, {"a": x}, {}))(X),
        TYPE,
        "save: `a` must be concrete, got a tracer; call save outside of jit.",
    ),
    "two of a name": (
        lambda w: train.save("runs", 1, {"a.b": X, "a": {"b": X}}, {}),
        VALUE,
        "save: `tree` must name its leaves apart, got two `a.b`; "
        "rename a key that has a dot in it.",
    ),
    "record": (
        lambda w: train.save("runs", 1, X, {"a": [{"loss": np.float32(1)}]}),
        TYPE,
        f"save: `record.a.0.loss` {KINDS} float32 of shape (); {FLOAT}",
    ),
    "keys of the record": (
        lambda w: train.save("runs", 1, X, {"a": {1: 2}}),
        TYPE,
        "save: `record.a` must have str keys, got int 1; use str(key).",
    ),
    "no record": (
        lambda w: train.save("runs", 1, X, [1]),
        TYPE,
        "save: `record` must be a dict, got list [1]; {} says nothing.",
    ),
    "like": (
        lambda w: train.restore("runs", {"a": 3}),
        TYPE,
        "restore: `a` must be an array, got int 3; "
        "give the tree itself, or what jax.eval_shape makes of its function.",
    ),
    "wide like": (
        lambda w: train.restore("runs", jax.ShapeDtypeStruct((), np.int64)),
        VALUE,
        "restore: `array` must be of a dtype that JAX has switched on, got int64; "
        'call jax.config.update("jax_enable_x64", True) first.',
    ),
    "never": (
        lambda w: train.Checkpoints("runs", every_seconds=None),
        VALUE,
        "Checkpoints: `every_seconds` must say when to write, got None for all; "
        "give every_steps, every_epochs or every_seconds.",
    ),
    "seconds": (
        lambda w: train.Checkpoints("runs", every_seconds=0),
        VALUE,
        "Checkpoints: `every_seconds` must be more than 0, got 0.0; None writes none by time.",
    ),
    "steps": (
        lambda w: train.Checkpoints("runs", every_steps=0),
        VALUE,
        "Checkpoints: `every_steps` must be at least 1, got 0; "
        "give the width or count that is meant.",
    ),
    "kept": (
        lambda w: train.Checkpoints("runs", keep=0),
        VALUE,
        "Checkpoints: `keep` must be at least 1, got 0; give the width or count that is meant.",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_bad_arguments_are_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(MESSAGES[case])
    assert list(tmp_path.iterdir()) == []


def test_options_that_are_right():
    assert train.Checkpoints("runs") == train.Checkpoints("runs", 3, every_seconds=60)
    assert train.Checkpoints("runs", every_seconds=None, every_epochs=1).every_steps is None


# --- Manners.


def test_nothing_is_logged_or_printed(tmp_path, caplog, capfd):
    with caplog.at_level(logging.INFO):
        train.save(tmp_path, 1, {"a": jnp.ones(3)}, {})
        train.restore(tmp_path, {"a": jnp.ones(3)})
    assert caplog.record_tuples == []
    assert capfd.readouterr() == ("", "")


def test_without_orbax(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax", None)
    with pytest.raises(ImportError, match=r"save: orbax-checkpoint is not .* rnnjax\[train\]\."):
        train.save(tmp_path, 1, X, {})
    assert steps_in(tmp_path) == []

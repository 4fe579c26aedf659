"""Weights in safetensors: the same bits come back, and damage and other models are refused."""

import errno
import json
import os
import random
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import linen, nnx
from jax.sharding import NamedSharding, PartitionSpec
from messages import TYPE, VALUE, check_refused

import rnnjax
from rnnjax import load_weights, save_weights
from rnnjax.storage import files
from rnnjax.storage.tensors import CHECKSUM


def make_params(features=3, seed=0):
    layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(5)), rnnjax.dense(2))
    params = layer.init(jax.random.key(seed), in_features=features)
    return jax.tree.map(lambda a: a + 0.25, params)


@pytest.fixture(scope="module")
def params():
    return make_params()


@pytest.fixture
def path(params, tmp_path):
    save_weights(tmp_path / "w.safetensors", params)
    return tmp_path / "w.safetensors"


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(x, jax.Array) == isinstance(y, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    return True


def test_round_trip_and_names(params, path):
    names = ["layers_0.b", "layers_0.w_hh", "layers_0.w_ih", "layers_1.b", "layers_1.w"]
    assert sorted(safetensors.numpy.load_file(path)) == names
    assert same(load_weights(path, params), params)
    like = jax.eval_shape(make_params)
    assert same(load_weights(str(path), like), params)
    assert os.listdir(path.parent) == [path.name]


ODD = {
    "bf16": jnp.arange(7, dtype=jnp.bfloat16) / 3,
    "f8": jnp.arange(3, dtype=jnp.float8_e5m2),
    "half": jnp.array([jnp.nan, -0.0, jnp.inf], jnp.float16),
    "scalar": jnp.array(-3, jnp.int8),
    "bool": jnp.array([[True], [False]]),
    "empty": [jnp.zeros((0,)), jnp.zeros((3, 0, 2), jnp.int32)],
    "numpy": {"f64": np.linspace(0, 1, 3), "order": np.arange(6.0).reshape(2, 3).T},
    "complex": jnp.array([1 - 2j]),
    "nothing": (None, {}),
    "é/.:": jnp.ones(1),
}


@pytest.mark.parametrize("tree", [ODD, jnp.arange(3.0)], ids=["odd", "bare"])
def test_any_tree(tree, tmp_path):
    save_weights(tmp_path / "w", tree)
    assert same(load_weights(tmp_path / "w", tree), tree)


def test_modules_of_flax(tmp_path):
    module = rnnjax.nnx.LSTM(3, 5, rngs=nnx.Rngs(0))
    wanted = nnx.state(module, nnx.Param)
    save_weights(tmp_path / "nnx", wanted)
    assert "params.layers_0.w_ih" in safetensors.numpy.load_file(tmp_path / "nnx")
    loaded = load_weights(tmp_path / "nnx", jax.tree.map(jnp.zeros_like, wanted))
    assert same(loaded, wanted)
    wanted = linen.Dense(2).init(jax.random.key(0), jnp.ones(3))
    save_weights(tmp_path / "linen", wanted)
    assert sorted(safetensors.numpy.load_file(tmp_path / "linen")) == [
        "params.bias",
        "params.kernel",
    ]
    assert same(load_weights(tmp_path / "linen", wanted), wanted)


def test_arrays_lie_where_they_shall(tmp_path):
    mesh = jax.make_mesh((8,), ("a",))
    x = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("a")))
    save_weights(tmp_path / "w", {"x": x})
    assert load_weights(tmp_path / "w", {"x": x}).get("x").sharding == x.sharding
    assert not load_weights(tmp_path / "w", {"x": jnp.zeros(16)})["x"].committed


def test_order_of_bytes(tmp_path):
    save_weights(tmp_path / "w", {"x": np.arange(3, dtype=">f4")})
    loaded = load_weights(tmp_path / "w", {"x": np.zeros(3, ">f4")})
    assert loaded["x"].tolist() == [0, 1, 2] and loaded["x"].dtype == np.float32


def test_a_file_from_elsewhere_is_loaded(tmp_path):
    arrays = {"w": np.arange(6, dtype=np.float32), "b": np.float32(2)[None]}
    safetensors.numpy.save_file(arrays, tmp_path / "w", metadata={"format": "pt"})
    loaded = load_weights(tmp_path / "w", jax.tree.map(jnp.zeros_like, arrays))
    assert same(loaded, jax.tree.map(jnp.asarray, arrays))
    safetensors.numpy.save_file(arrays, tmp_path / "w")
    assert load_weights(tmp_path / "w", arrays)["w"][5] == 5


# --- What is refused.


def test_other_models_are_refused(params, path):
    def check(like, error, message):
        with pytest.raises(error) as caught:
            load_weights(path, like)
        end = "these weights are of another model: give another file."
        assert str(caught.value) == f"load_weights: {message} in {path}; {end}"

    lstm, dense = params
    check(make_params(4), VALUE, "`layers_0.w_ih` must have shape (2, 4, 20), got (2, 3, 20)")
    check(
        (lstm, jax.tree.map(lambda a: a.astype(jnp.bfloat16), dense)),
        TYPE,
        "`layers_1.w` must have dtype bfloat16, got float32",
    )
    check((lstm, dense, dense), VALUE, "`layers_2.w` must be there, got no leaf of this name")
    extra = "must be a leaf of `like`, which has no such name, got float32 of shape"
    check((lstm, dense._replace(b=None)), VALUE, f"`layers_1.b` {extra} (2,)")


HOLD = "must have a name and dtype that safetensors can hold, got"
KEEPS = "rnnjax.train.save keeps any tree."

SUCH = 'give one such as "model.safetensors".'
NOTHING = "give what init made."

MESSAGES = {
    "swapped": (
        lambda w: save_weights(w.p, "w"),
        TYPE,
        f"save_weights: `path` must be a path, got LSTMParams(w_ih, w_hh, b); {SUCH}",
    ),
    "no path": (
        lambda w: load_weights(None, w.p),
        TYPE,
        f"load_weights: `path` must be a path, got NoneType None; {SUCH}",
    ),
    "bytes": (
        lambda w: rnnjax.load_arrays(b"w"),
        TYPE,
        f"load_arrays: `path` must be a path, got bytes b'w'; {SUCH}",
    ),
    "a number": (
        lambda w: rnnjax.load(3),
        TYPE,
        f"load: `path` must be a path, got int 3; {SUCH}",
    ),
    "an array": (
        lambda w: rnnjax.save(w.h, w.lstm, w.p),
        TYPE,
        f"save: `path` must be a path, got an array of shape (3, 5); {SUCH}",
    ),
    "None": (
        lambda w: save_weights("w", None),
        VALUE,
        f"save_weights: `params` must hold an array, got NoneType None; {NOTHING}",
    ),
    "nothing": (
        lambda w: save_weights("w", {"a": {}}),
        VALUE,
        f"save_weights: `params` must hold an array, got a dict with ['a']; {NOTHING}",
    ),
    "key": (
        lambda w: save_weights("w", {"a": jax.random.key(0)}),
        TYPE,
        f"save_weights: `a` {HOLD} key<fry> of shape (); {KEEPS}",
    ),
    "int4": (
        lambda w: save_weights("w", {"a": jnp.zeros(2, jnp.int4)}),
        TYPE,
        f"save_weights: `a` {HOLD} int4 of shape (2,); {KEEPS}",
    ),
    "name": (
        lambda w: save_weights("w", {"__metadata__": jnp.zeros(2)}),
        TYPE,
        f"save_weights: `__metadata__` {HOLD} float32 of shape (2,); {KEEPS}",
    ),
    "path": (
        lambda w: save_weights("w", {"../w": jnp.ones(1)}),
        TYPE,
        f"save_weights: `../w` {HOLD} a name that leads out of a folder; {KEEPS}",
    ),
    "new line": (
        lambda w: save_weights("w", {"a\nb": jnp.ones(1)}),
        TYPE,
        f"save_weights: `a\\nb` {HOLD} a name with letters that do not print; {KEEPS}",
    ),
    "number": (
        lambda w: save_weights("w", {"a": 3}),
        TYPE,
        "save_weights: `a` must be an array of numbers, got int 3; "
        "wrap numbers in jnp.asarray, and keep what is no number out of the tree.",
    ),
    "mask": (
        lambda w: save_weights("w", {"a": np.ma.masked_array([1.0, 2.0], [0, 1])}),
        TYPE,
        "save_weights: `a` must be an array without a mask, "
        "got a masked array, float64 of shape (2,); "
        "fill it, and keep its mask as an array of its own.",
    ),
    "two of a name": (
        lambda w: save_weights("w", {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}),
        VALUE,
        "save_weights: `params` must name its leaves apart, got two `a.b`; "
        "rename a key that has a dot in it.",
    ),
    "like": (
        lambda w: load_weights("w", {"a": 3}),
        TYPE,
        "load_weights: `a` must be an array, got int 3; "
        "give the tree itself, or what jax.eval_shape makes of its function.",
    ),
    "wide": (
        lambda w: load_weights("w", {"a": jax.ShapeDtypeStruct((), np.float64)}),
        VALUE,
        "load_weights: `a` must be of a dtype that JAX has switched on, got float64; "
        'call jax.config.update("jax_enable_x64", True) first.',
    ),
}


def test_what_could_not_be_read_is_not_written(tmp_path, monkeypatch, params):
    monkeypatch.setattr("rnnjax.storage.tensors.MOST", 100)
    with pytest.raises(VALUE) as caught:
        save_weights(tmp_path / "w", params)
    assert str(caught.value) == (
        "save_weights: `params` must have names of 100 bytes at most, with their shapes, "
        "got 5 arrays; use more files."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", MESSAGES)
def test_bad_arguments_are_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(MESSAGES[case])
    assert list(tmp_path.iterdir()) == []


def test_any_flipped_bit_is_found(tmp_path):
    """Every bit of the file: it is refused, or it is one that says nothing."""
    path, tree = tmp_path / "w", {"a": np.arange(2.0), "b": {"c": np.ones(1, np.int32)}}
    save_weights(path, tree)
    whole, passed = path.read_bytes(), 0
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            loaded = load_weights(path, tree)
        except VALUE:
            continue
        passed += 1
        assert same(loaded, tree)
    # Without the name of its checksum a file is one from elsewhere.
    assert 0 < passed <= 8 * len(CHECKSUM)


def test_damage_is_named(path, params):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(VALUE) as caught:
        load_weights(path, params)
    assert str(caught.value) == (
        "load_weights: `path` must hold what was written, got something else, by its checksum, "
        f"in {path}; give a sound copy of it."
    )


def test_what_is_no_such_file(path, params, tmp_path):
    whole, rng = path.read_bytes(), random.Random(1)
    header = lambda text: len(text).to_bytes(8, "little") + text
    one = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    spoilt = lambda **changes: header(json.dumps({"a": one["a"] | changes}).encode()) + b"x" * 8
    junk = [whole[:n] for n in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1)]
    junk += [rng.randbytes(n) for n in (8, 9, 50, 1000) for _ in range(10)]
    junk += [header(rng.randbytes(50)), header(b"{}")[:-1], header(b"[]"), header(b"3")]
    junk += [header(b"[" * 100_000), header(b'{"__metadata__": {"rnnjax.sha256": 3}}')]
    junk += [whole + b"x", b"\x80\x04N.", b"PK\x03\x04" * 9, b"\xff" * 8]
    junk += [spoilt(dtype="I64"), spoilt(dtype="os.system"), spoilt(shape=[2**62, 4])]
    junk += [spoilt(shape=[-2]), spoilt(shape="2"), spoilt(data_offsets=[8, 0]), spoilt(x=[])]
    for data in junk:
        path.write_bytes(data)
        with pytest.raises(VALUE, match=f"^load_weights: `.*` must .*, got .* in {path}; "):
            load_weights(path, params)
    path.write_bytes(spoilt(dtype="F4", shape=[16]))
    with pytest.raises(TYPE, match="`a` must have dtype float32, got F4 in"):
        load_weights(path, {"a": jnp.ones(16)})
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "nowhere", params)
    with pytest.raises(IsADirectoryError):
        load_weights(tmp_path, params)


# --- Writing.


@pytest.mark.parametrize("stage", [(os, "fsync"), (os, "replace"), (files, "write_file")])
def test_a_failed_write_costs_nothing(stage, path, params, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*stage, full)
        with pytest.raises(OSError, match=rf"No space left on device: '{path}'$"):
            save_weights(path, make_params(seed=1))
    assert os.listdir(path.parent) == [path.name]
    assert same(load_weights(path, params), params)
    save_weights(path, make_params(seed=1))
    assert same(load_weights(path, params), make_params(seed=1))


def test_no_folder(tmp_path, params):
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{tmp_path}/none/w'")):
        save_weights(tmp_path / "none" / "w", params)


def test_without_safetensors(tmp_path, monkeypatch, params):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError) as caught:
        save_weights(tmp_path / "w", params)
    message = "save_weights: safetensors is not installed; pip install rnnjax[train]."
    assert str(caught.value) == message

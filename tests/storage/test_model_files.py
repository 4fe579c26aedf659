"""A layer and its params in one file: both come back bit by bit, or nothing does."""

import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from flax import nnx
from messages import TYPE, VALUE, check_refused, no_type_checker, table  # noqa: F401
from registry import CELLS, D, H, inputs, random_params, sized

import rnnjax

both = rnnjax.bidirectional(rnnjax.lstm(5))
head = rnnjax.stack(both, rnnjax.gru(4, bias=False), rnnjax.dense(2, activation=jax.nn.relu))
LAYERS = {name: (sized(name, D, H), D) for name in CELLS} | {
    "stack": (head, 3),
    "tokens": (rnnjax.stack(rnnjax.embedding(7, 3), rnnjax.elman(4)), None),
    "wrapped": (rnnjax.layer_norm_outputs(rnnjax.zoneout(rnnjax.lstm(3), 0.1)), 2),
    "int8": (rnnjax.quantized(head), 3),
    "half": (rnnjax.recurrent(rnnjax.gru(3, param_dtype=jnp.bfloat16), reverse=True), 2),
}


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(y, jax.Array) and (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    return True


@pytest.mark.parametrize("name", LAYERS)
def test_round_trip(name, tmp_path):
    layer, features = LAYERS[name]
    params = random_params(layer, features)
    rnnjax.save(tmp_path / "m", layer, params)
    loaded = rnnjax.load(str(tmp_path / "m"))
    assert rnnjax.describe(loaded.layer) == rnnjax.describe(layer)
    assert same(params, loaded.params)
    assert os.listdir(tmp_path) == ["m"]


def test_what_is_loaded_does_the_same(tmp_path):
    """Of another value, as initialisers are not kept."""
    ones = jax.nn.initializers.ones
    cell = rnnjax.gru(4, reset="before", activation=jax.nn.gelu, w_ih_init=ones)
    layer = rnnjax.stack(rnnjax.bidirectional(cell, merge=rnnjax.merge.average), rnnjax.dense(2))
    params = random_params(layer, 3)
    rnnjax.save(tmp_path / "m", layer, params)
    loaded = rnnjax.load(tmp_path / "m")
    assert loaded.layer is not layer
    xs = inputs(4, 2, 3)
    run = lambda layer, params: layer.apply(params, xs, lengths=[4, 2])
    assert same(run(layer, params), run(*loaded))


def test_a_plain_function_at_the_bottom(tmp_path):
    layer = rnnjax.stack(jnp.tanh, rnnjax.elman(2))
    params = random_params(layer, 3)
    rnnjax.save(tmp_path / "m", layer, params, in_features=3)
    assert same(params, rnnjax.load(tmp_path / "m").params)


def test_the_widest_input(tmp_path):
    layer = rnnjax.pointwise(jnp.tanh)
    rnnjax.save(tmp_path / "m", layer, (), in_features=10**9 - 1)
    assert rnnjax.load(tmp_path / "m") == (layer, ())


def test_a_module_of_nnx(tmp_path):
    rnn = rnnjax.nnx.LSTM(3, 2, bidirectional=True, rngs=nnx.Rngs(0))
    rnnjax.save(tmp_path / "m", rnn.layer, rnn.functional_params())
    loaded = rnnjax.load(tmp_path / "m")
    assert rnnjax.describe(loaded.layer) == rnnjax.describe(rnn.layer)
    assert same(rnn.functional_params(), loaded.params)


def test_float64_needs_float64(tmp_path, x64):
    cell = rnnjax.elman(2, param_dtype=jnp.float64)
    params = random_params(cell, 3)
    assert params.w_ih.dtype == jnp.float64
    rnnjax.save(tmp_path / "m", cell, params)
    assert same(params, rnnjax.load(tmp_path / "m").params)
    with jax.enable_x64(False), pytest.raises(VALUE) as caught:
        rnnjax.load(tmp_path / "m")
    assert str(caught.value) == (
        "load: `b` must be of a dtype that JAX has switched on, got float64; "
        'call jax.config.update("jax_enable_x64", True) first.'
    )


@pytest.fixture(scope="module")
def params():
    return random_params(head, 3)


@pytest.fixture
def path(params, tmp_path):
    rnnjax.save(tmp_path / "model.safetensors", head, params)
    return tmp_path / "model.safetensors"


def test_other_readers(path, params):
    assert same(params, rnnjax.load_weights(path, params))
    arrays = rnnjax.load_arrays(path)
    assert arrays["layers_1.w_hh"].tolist() == params[1].w_hh.tolist()
    with safetensors.safe_open(path, "np") as file:
        assert sorted(file.keys()) == sorted(arrays)
        metadata = file.metadata()
        assert all((file.get_tensor(name) == arrays[name]).all() for name in arrays)
    assert sorted(metadata) == ["rnnjax.in_features", "rnnjax.layer", "rnnjax.sha256"]
    assert rnnjax.build(json.loads(metadata["rnnjax.layer"])) is head
    assert metadata["rnnjax.in_features"] == "3"


def test_arrays_of_any_kind(tmp_path):
    tree = {
        "a": jnp.arange(3, dtype=jnp.bfloat16),
        "b": np.array([[True], [False]]),
        "c": np.zeros((3, 0), np.int8),
        "d": np.float64(2.5),
    }
    rnnjax.save_weights(tmp_path / "w", tree)
    arrays = rnnjax.load_arrays(tmp_path / "w")
    assert {n: (a.dtype.name, a.tolist()) for n, a in sorted(arrays.items())} == {
        "a": ("bfloat16", [0.0, 1.0, 2.0]),
        "b": ("bool", [[True], [False]]),
        "c": ("int8", [[], [], []]),
        "d": ("float64", 2.5),
    }
    arrays["a"][0] = 3  # no view of what was read
    assert all(type(a) is np.ndarray for a in arrays.values())


def test_reading_needs_no_safetensors(path, params, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert same(params, rnnjax.load(path).params)
    with pytest.raises(ImportError) as caught:
        rnnjax.save(path, head, params)
    message = "save: safetensors is not installed; pip install rnnjax[train]."
    assert str(caught.value) == message


def test_a_failed_write_costs_nothing(path, params, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=f"No space left on device: '{path}'$"):
            rnnjax.save(path, head, jax.tree.map(jnp.zeros_like, params))
    assert os.listdir(path.parent) == [path.name]
    assert same(params, rnnjax.load(path).params)


# --- What is refused.

CODE = "keep it in code, and its params by rnnjax.save_weights."
INIT = "give what init made for this very"

SAVING = table(
    save={
        "no layer": (
            lambda w: rnnjax.save("m", w.p, w.p),
            TYPE,
            "save: `layer` must be a cell or layer, got a LSTMParams; "
            "build it with rnnjax.lstm(...), rnnjax.stack(...) and the like.",
        ),
        "lambda": (
            lambda w: rnnjax.save("m", rnnjax.pointwise(lambda x: x), ()),
            VALUE,
            "save: `layer.function` must be a function that files can name, "
            f"such as jax.nn.relu, got the function <lambda>; {CODE}",
        ),
        "params of another": (
            lambda w: rnnjax.save("m", w.lstm, w.p_gru),
            TYPE,
            "save: `params` must be LSTMParams(w_ih, w_hh, b), "
            f"got GRUParams(w_ih, w_hh, b, b_hn); {INIT} cell or layer.",
        ),
        "dict": (
            lambda w: rnnjax.save("m", w.lstm, rnnjax.params_to_dict(w.p)),
            TYPE,
            "save: `params` must be from init, got a dict with ['b', 'w_hh', 'w_ih']; "
            f"{INIT} cell or layer.",
        ),
        "width": (
            lambda w: rnnjax.save("m", w.lstm, w.p, in_features=3),
            VALUE,
            "save: `params.w_ih` must have shape (3, 20), got (4, 20); "
            f"{INIT} layer; params_from_dict makes it of dicts.",
        ),
        "no width": (
            lambda w: rnnjax.save("m", rnnjax.pointwise(jnp.tanh), ()),
            VALUE,
            "save: `in_features` must be given where params do not tell it, got None; "
            "give the width of the inputs.",
        ),
        "large width": (
            lambda w: rnnjax.save("m", rnnjax.pointwise(jnp.tanh), (), in_features=10**9),
            VALUE,
            "save: `in_features` must be below 1000000000, got 1000000000; "
            "give the width of the inputs.",
        ),
        "dtype": (
            lambda w: rnnjax.save("m", w.lstm, w.p._replace(b=w.p.b.astype(jnp.bfloat16))),
            TYPE,
            "save: `b` must be float32, got bfloat16; "
            "make the layer with this param_dtype, or keep params by rnnjax.save_weights.",
        ),
        "tracer": (
            lambda w: jax.eval_shape(lambda p: rnnjax.save("m", w.lstm, p), w.p),
            TYPE,
            "save: `w_ih` must be concrete, got a tracer; call save outside of jit.",
        ),
    },
)


@pytest.mark.parametrize("case", SAVING)
def test_what_cannot_be_saved(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(SAVING[case])
    assert os.listdir(tmp_path) == []


def rewritten(path, arrays=None, **texts):
    """The same file with other arrays or texts, and a right checksum."""
    from rnnjax.storage import tensors

    with tensors.opened("test", path) as file:
        found = dict(file.header.metadata)
        arrays = file.arrays() if arrays is None else arrays
    found |= {f"rnnjax.{name}": text for name, text in texts.items()}
    del found[tensors.CHECKSUM]
    kept = {name: text for name, text in found.items() if text is not None}
    tensors.write("test", path, arrays, kept)


def described(**options):
    description = rnnjax.describe(head)
    description["options"]["layers"][1]["options"] |= options
    return json.dumps(description)


cell = {"factory": "lstm", "options": {"hidden_features": 1}}
many = json.dumps({"format": 1, "factory": "stack", "options": {"layers": [cell] * 999}})
SOUND = "give a sound copy of it."
DAMAGED = {
    "no description": (
        {"layer": None},
        "`path` must be written by rnnjax.save, got no description of a layer in {path}; read its "
        "arrays by rnnjax.load_arrays, or params by rnnjax.load_weights; those of PyTorch become "
        "ours by rnnjax.interop.torch_to_rnnjax.",
    ),
    "no width": (
        {"in_features": None},
        "`path` must be written by rnnjax.save, got no width or no checksum in {path}; " + SOUND,
    ),
    "odd width": (
        {"in_features": "-3"},
        "`path` must tell the width of the inputs, got '-3' in {path}; " + SOUND,
    ),
    "other width": (
        {"in_features": "4"},
        "`layers_0.w_ih` must have shape (2, 4, 20), got (2, 3, 20) in {path}; " + SOUND,
    ),
    "width of zeros": (
        {"in_features": "00"},
        '`params` must be those of the layer described, got "lstm.init: `in_features` must be at '
        'least 1, got 0; give the width or count that is meant." in {path}; ' + SOUND,
    ),
    "huge width": (
        {"in_features": "1" + "0" * 9},
        "`path` must tell the width of the inputs, got '1000000000' in {path}; " + SOUND,
    ),
    "no JSON": (
        {"layer": '{"format": 1'},
        "`path` must describe its layer, got no JSON (Expecting ',' delimiter: "
        "line 1 column 13 (char 12)) in {path}; " + SOUND,
    ),
    "nested JSON": (
        {"layer": "[" * 100_000},
        "`path` must describe its layer, got JSON that is nested too deep in {path}; " + SOUND,
    ),
    "a list": (
        {"layer": "[1, 2]"},
        "`path` must describe its layer, got a list for an object of JSON in {path}; " + SOUND,
    ),
    "NaN": (
        {"layer": '{"format": NaN}'},
        "`path` must describe its layer, got NaN, which is no JSON, in {path}; " + SOUND,
    ),
    "twice": (
        {"layer": '{"format": 1, "format": 1}'},
        "`path` must describe its layer, got the name 'format' twice in {path}; " + SOUND,
    ),
    "long": (
        {"layer": " " * 1_000_001},
        "`path` must describe its layer in 1000000 letters at most, got 1000001 letters "
        "in {path}; " + SOUND,
    ),
    "format": (
        {"layer": '{"format": 2}'},
        "`format` must be 1, which this version of rnnjax reads, got 2 in {path}; " + SOUND,
    ),
    "factory": (
        {"layer": '{"format": 1, "factory": "eval", "options": {}}'},
        "`factory` must be one of the names that rnnjax.describe writes, got 'eval' in {path}; "
        + SOUND,
    ),
    "huge layer": (
        {"layer": described(hidden_features=10**9)},
        "`layers_1.w_ih` must have shape (10, 3000000000), got (10, 12) in {path}; " + SOUND,
    ),
    "larger than a number": (
        {"layer": described(hidden_features=10**12)},
        "`options.layers[1].options.hidden_features` must be below 2147483648, "
        "got 1000000000000 in {path}; " + SOUND,
    ),
    "parts that do not fit": (
        {"layer": described(reset="never")},
        '`options.layers[1].options` must be what gru takes, got "gru: `reset` must be one of '
        "['after', 'before'], got 'never'; choose one of these.\" in {path}; " + SOUND,
    ),
    "no width for it": (
        {"in_features": "null"},
        '`params` must be those of the layer described, got "lstm.init: `in_features` must be a '
        'whole number, got NoneType None; give an int." in {path}; ' + SOUND,
    ),
    "more": (
        {"layer": described(bias=True)},
        "`layers_1.b` must be there, got no leaf of this name in {path}; " + SOUND,
    ),
    "few arrays for its layers": (
        {"layer": many},
        "`path` must hold the arrays of the layer described, 999 at least, got 7 arrays in {path}; "
        + SOUND,
    ),
    "an array missing": (
        {"arrays": {name: np.zeros((2, 20), np.float32) for name in ("layers_0.b", "x", "y")}},
        "`layers_0.w_ih` must be there, got no leaf of this name in {path}; " + SOUND,
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.usefixtures("no_type_checker")
def test_what_is_no_model(case, path):
    changes, message = DAMAGED[case]
    rewritten(path, **changes)
    with pytest.raises(VALUE) as caught:
        rnnjax.load(path)
    assert str(caught.value) == "load: " + message.replace("{path}", str(path))


def test_one_array_more_or_of_another_dtype(path, params):
    arrays = rnnjax.load_arrays(path)
    rewritten(path, arrays | {"z": np.zeros(1, np.float32)})
    with pytest.raises(VALUE) as caught:
        rnnjax.load(path)
    assert str(caught.value) == (
        "load: `z` must be a leaf of the layer described, which has no such name, "
        f"got float32 of shape (1,) in {path}; {SOUND}"
    )
    rewritten(path, arrays | {"layers_2.b": np.zeros(2, np.int32)})
    with pytest.raises(TYPE) as caught:
        rnnjax.load(path)
    assert str(caught.value) == (
        f"load: `layers_2.b` must have dtype float32, got int32 in {path}; {SOUND}"
    )


def test_any_flipped_bit_is_found(tmp_path):
    """In every byte of the file, of the description too."""
    path, layer = tmp_path / "m", rnnjax.embedding(2, 1)
    rnnjax.save(path, layer, layer.init(jax.random.key(0)))
    whole = path.read_bytes()
    for bit in range(0, len(whole) * 8, 3):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises((VALUE, TYPE), match="^load: `.*` must .*, got "):
            rnnjax.load(path)
    path.write_bytes(whole)
    assert rnnjax.load(path).layer is layer

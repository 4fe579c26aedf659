"""Files that mean harm: a clear error, no large array, nothing left behind."""

import json
import os
import re
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import TYPE, VALUE, check_five_parts
from registry import random_params

import rnnjax
from rnnjax.storage import header

MOST = header.MOST
LAYER = rnnjax.stack(rnnjax.elman(2), rnnjax.dense(1))
PARAMS = random_params(LAYER, 3)
READERS = {
    "load": rnnjax.load,
    "load_weights": lambda path: rnnjax.load_weights(path, PARAMS),
    "load_arrays": rnnjax.load_arrays,
}


def framed(text, data=b""):
    """A file with this header, be it JSON or a text."""
    text = json.dumps(text) if not isinstance(text, (str, bytes)) else text
    text = text.encode() if isinstance(text, str) else text
    return len(text).to_bytes(8, "little") + text + data


def array(dtype="F32", shape=(2,), data_offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets, **more}


def one(name="a", data=b"12345678", **fields):
    """A file with one array of two numbers, all right but for what is given."""
    return framed({name: array(**fields)}, data)


def length(number):
    return number.to_bytes(8, "little")


ZEROS = bytes(8)
PICKLE = b"\x80\x04N." * 9
HOSTILE = {
    "nothing": (b"", "no header"),
    "seven bytes": (b"1234567", "no header"),
    "length 2**63": (length(2**63) + b"{}", f"a header of {2**63} bytes in a file of 10"),
    "length beyond": (length(3) + b"{}", "a header of 3 bytes in a file of 10"),
    "length above the limit": (
        length(MOST + 1) + b" " * (MOST + 1),
        f"a header of {MOST + 1} bytes, above {MOST},",
    ),
    "no object": (framed("[]"), "a header that is no JSON object"),
    "empty header": (framed(""), "a header that is no JSON object"),
    "a pickle": (PICKLE, f"a header of {int.from_bytes(PICKLE[:8], 'little')} bytes in a file"),
    "no JSON": (
        framed("{x"),
        "no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
    ),
    "no UTF-8": (framed(b'{"\xff": 1}'), "no JSON ('utf-8' codec can't decode byte 0xff in "),
    "nested": (framed('{"a":' + "[" * 100_000), "JSON that is nested too deep"),
    "nested less": (framed('{"a":' + "[" * 500 + "]" * 500 + "}"), "something else than dtype, "),
    "wide": (framed('{"a":[' + "[]," * 100_000 + "0]}"), "something else than dtype, shape and "),
    "digits": (framed('{"a":' + "9" * 5000 + "}"), "no JSON (Exceeds the limit"),
    "infinity": (one(shape=(float("inf"),)), "Infinity, which is no JSON,"),
    "name twice": (
        framed('{"a": 1, "b": 2, "b": 3}'),
        "the name 'b' twice",
    ),
    "field twice": (framed('{"a": {"dtype": "F32", "dtype": "F64"}}'), "the name 'dtype' twice"),
    "many names twice": (
        framed("{" + ",".join(f'"{n % 9_999}":0' for n in range(10_000)) + "}"),
        "the name '0' twice",
    ),
    "metadata no dict": (framed({"__metadata__": "x"}), "metadata that are no texts by name"),
    "metadata null": (framed({"__metadata__": None}), "metadata that are no texts by name"),
    "metadata numbers": (framed({"__metadata__": {"a": 3}}), "metadata that are no texts by name"),
    "no array": (framed({"a": 3}), "something else than dtype, shape and data_offsets of 'a'"),
    "field missing": (
        framed({"a": {"dtype": "F32", "shape": [2]}}),
        "something else than dtype, shape and data_offsets of 'a'",
    ),
    "field more": (one(x=1), "something else than dtype, shape and data_offsets of 'a'"),
    "dtype": (one(dtype="os.system"), "dtype 'os.system' of 'a'"),
    "dtype no word": (one(dtype=["F32"]), "dtype a list of 1 of 'a'"),
    "other size": (one(dtype="F64"), "8 bytes for F64 of shape [2], 'a',"),
    "half a byte": (one(dtype="F4", shape=(3,)), "8 bytes for F4 of shape [3], 'a',"),
    "shape no list": (one(shape="2"), "shape '2' of 'a'"),
    "shape negative": (one(shape=(-2,)), "shape [-2] of 'a'"),
    "shape true": (one(shape=(True, 2)), "shape a list of 2 of 'a'"),
    "shape float": (one(shape=(2.0,)), "shape a list of 1 of 'a'"),
    "shape overflows": (one(shape=(2**32, 2**32)), "shape [4294967296, 4294967296] of 'a'"),
    "shape overflows to 2": (one(shape=(2**62, 4, 2)), "shape [4611686018427387904, 4, 2] of 'a'"),
    "shape large and empty": (
        one(shape=(2**40, 2**40, 0), data_offsets=(0, 0), data=b""),
        "shape [1099511627776, 1099511627776, 0] of 'a'",
    ),
    "shape declares much": (
        one(shape=(2**40,), data_offsets=(0, 2**42)),
        "8 bytes for the 4398046511104 of its arrays",
    ),
    "axes": (one(shape=(1,) * 65, data_offsets=(0, 4)), "shape [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, "),
    "offsets backwards": (one(data_offsets=(8, 0)), "-8 bytes for F32 of shape [2], 'a',"),
    "offsets negative": (one(data_offsets=(-8, 0)), "data_offsets [-8, 0] of 'a'"),
    "offsets beyond": (one(data_offsets=(8, 16)), "data_offsets [8, 16] of 'a' after 0"),
    "offsets huge": (one(data_offsets=(2**64, 2**64 + 8)), f"data_offsets [{2**64}, {2**64 + 8}"),
    "offsets of three": (one(data_offsets=(0, 4, 8)), "data_offsets [0, 4, 8] of 'a'"),
    "overlap": (
        framed({"a": array(), "b": array(data_offsets=(4, 12))}, bytes(12)),
        "data_offsets [4, 12] of 'b' after 8",
    ),
    "the same place": (
        framed({"a": array(), "b": array()}, ZEROS),
        "data_offsets [0, 8] of 'b' after 8",
    ),
    "a hole": (
        framed({"a": array(), "b": array(data_offsets=(12, 20))}, bytes(20)),
        "data_offsets [12, 20] of 'b' after 8",
    ),
    "bytes behind": (one(data=bytes(9)), "9 bytes for the 8 of its arrays"),
    "bytes missing": (one(data=bytes(7)), "7 bytes for the 8 of its arrays"),
    "path up": (one("../../x"), "a name that leads out of a folder, '../../x',"),
    "path up with backslashes": (
        one("a\\..\\x"),
        r"a name that leads out of a folder, 'a\\..\\x',",
    ),
    "path from the root": (one("/etc/x"), "a name that leads out of a folder, '/etc/x',"),
    "NUL": (one("a\0b"), r"a name with letters that do not print, 'a\x00b',"),
    "surrogate": (
        framed('{"\\ud800": 0}'),
        r"a name with letters that do not print, '\ud800',",
    ),
    "no name": (one(""), "a name of 0 letters, '',"),
    "long name": (one("a" * 9_000_000), "a name of 9000000 letters, 'aaaaaa"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, tmp_path):
    data, reason = HOSTILE[name]
    path = tmp_path / "m"
    path.write_bytes(data)
    for function, read in READERS.items():
        error, peak = refused(read, path)
        message = str(error)
        assert type(error) is VALUE and len(message) < 1000
        start = f"{function}: `path` must be a file of safetensors, got {reason}"
        assert message.startswith(start)
        assert message.endswith(f" in {path}; give a sound copy of it.")
        check_five_parts(message)
        assert peak < 1e6 + 30 * min(len(data), MOST)
    assert os.listdir(tmp_path) == ["m"]


def refused(read, path):
    """The error, and the memory that it took."""
    tracemalloc.start()
    try:
        with pytest.raises((VALUE, TYPE)) as caught:
            read(path)
        return caught.value, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_not_boolean(tmp_path):
    (tmp_path / "m").write_bytes(one(dtype="BOOL", shape=(8,), data=b"\0\1" * 3 + b"\2\0"))
    error, _ = refused(rnnjax.load_arrays, tmp_path / "m")
    assert str(error) == (
        "load_arrays: `path` must be a file of safetensors, got booleans beyond 0 and 1, 'a', "
        f"in {tmp_path}/m; give a sound copy of it."
    )


def test_a_dtype_that_is_not_read(tmp_path):
    (tmp_path / "m").write_bytes(one(dtype="F8_E8M0", shape=(8,)))
    error, _ = refused(rnnjax.load_arrays, tmp_path / "m")
    assert str(error) == (
        "load_arrays: `a` must have one of the dtypes BOOL, U8, U16, U32, U64, I8, I16, I32, I64, "
        f"F8_E4M3, F8_E5M2, BF16, F16, F32, F64, C64, got F8_E8M0 in {tmp_path}/m; "
        "cast it where the file was made."
    )


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "m"
    path.write_bytes(one(shape=(9999,), data_offsets=(0, 39996), data=bytes(39996)))
    sound = header.read_header

    def then_cut(file, size):
        found = sound(file, size)
        os.truncate(path, size - 4)
        return found

    monkeypatch.setattr("rnnjax.storage.tensors.read_header", then_cut)
    error, _ = refused(rnnjax.load_arrays, path)
    assert str(error) == (
        "load_arrays: `path` must stay as it is while it is read, got fewer bytes than before "
        f"in {path}; give a sound copy of it."
    )


@pytest.mark.parametrize("hidden", [10**6, 2**31 - 1, 10**12])
def test_a_large_layer_makes_no_array(hidden, tmp_path):
    """Its description is sound, and so is the checksum; only the arrays are small."""
    rnnjax.save(tmp_path / "m", LAYER, PARAMS)
    description = rnnjax.describe(LAYER)
    description["options"]["layers"][0]["options"]["hidden_features"] = hidden
    whole = (tmp_path / "m").read_bytes()
    old, new = (
        json.dumps(json.dumps(d))[1:-1].encode() for d in (rnnjax.describe(LAYER), description)
    )
    start = 8 + int.from_bytes(whole[:8], "little")
    assert old in whole[8:start]
    (tmp_path / "m").write_bytes(framed(whole[8:start].replace(old, new), whole[start:]))
    error, peak = refused(rnnjax.load, tmp_path / "m")
    assert re.match(r"load: `.*` must (have shape|be below) .*, got .* in .*/m; give", str(error))
    assert peak < 5e6


# --- Whatever the bytes are.


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder, and the bytes of a good file."""
    folder = tmp_path_factory.mktemp("files")
    rnnjax.save(folder / "good", LAYER, PARAMS)
    return folder, (folder / "good").read_bytes()


def read_or_refused(folder, data):
    """What each reader makes of a file; None where it refuses it in our words."""
    path, found = folder / "m", {}
    path.write_bytes(data)
    for function, read in READERS.items():
        try:
            found[function] = read(path)
        except (VALUE, TYPE) as error:
            assert str(error).startswith(f"{function}: `") and f" in {path}; " in str(error)
            check_five_parts(str(error))
            found[function] = None
    assert sorted(os.listdir(folder)) == ["good", "m"]
    return found


def agrees_with_safetensors(arrays, data):
    """What we accept, the package of the format does, too."""
    theirs = dict(safetensors.deserialize(data))
    assert sorted(theirs) == sorted(arrays)
    for name, array in arrays.items():
        assert array.tobytes() == bytes(theirs[name]["data"])
        assert list(array.shape) == theirs[name]["shape"]
    return True


EASY = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EASY
@given(st.binary(max_size=100), st.booleans())
def test_any_bytes(sound, data, frame):
    found = read_or_refused(sound[0], framed(data) if frame else data)
    assert found["load"] is None and found["load_weights"] is None


FIELDS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "F4", "BF16", "x", 3]),
        "shape": st.lists(st.integers(0, 3) | st.integers(-(2**70), 2**70), max_size=3),
        "data_offsets": st.lists(st.integers(0, 12) | st.integers(), min_size=2, max_size=2),
    }
)


@EASY
@given(st.dictionaries(st.text(max_size=3), FIELDS | st.just(array()), max_size=3), st.binary())
def test_any_header(sound, tree, data):
    whole = framed(tree, data)
    arrays = read_or_refused(sound[0], whole)["load_arrays"]
    assert arrays is None or agrees_with_safetensors(arrays, whole)


@EASY
@given(st.data())
def test_any_change_of_a_good_file(sound, data):
    """Bytes changed, cut out, put in: an error, or exactly what was written."""
    folder, whole = sound
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    end = data.draw(st.sampled_from([end, min(start + 1, len(whole)), start]))
    changed = whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:]
    found = read_or_refused(folder, changed)
    if found["load"] is not None:
        assert found["load"].layer is LAYER
        for name, leaf in rnnjax.params_to_dict(found["load"].params)["layers_0"].items():
            assert (leaf == PARAMS[0]._asdict()[name]).all()
    for arrays in (found["load_arrays"],) if found["load_arrays"] is not None else ():
        assert agrees_with_safetensors(arrays, changed)


def test_another_word_in_the_description_is_found(tmp_path):
    path, cell = tmp_path / "m", rnnjax.elman(2, activation=jax.nn.relu)
    rnnjax.save(path, cell, random_params(cell, 3))
    path.write_bytes(path.read_bytes().replace(b"jax.nn.relu", b"jax.nn.silu"))
    with pytest.raises(VALUE, match="must hold what was written, got something else, by its"):
        rnnjax.load(path)


def test_the_good_file_is_good(sound):
    found = read_or_refused(*sound)
    assert found["load"].layer is LAYER and agrees_with_safetensors(found["load_arrays"], sound[1])
    assert (found["load_weights"][1].w == PARAMS[1].w).all()
    assert isinstance(found["load"].params[1].w, jnp.ndarray)
    assert isinstance(found["load_arrays"]["layers_1.w"], np.ndarray)

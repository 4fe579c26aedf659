"""Where a file is put: links are followed, modes kept, and what is no file stays as it is."""

import errno
import os
import signal
import stat

import jax.numpy as jnp
import numpy as np
import pytest
from messages import VALUE, check_five_parts

import rnnjax
from rnnjax.storage import files

OLD, NEW = {"a": np.zeros(2)}, {"a": np.ones(3)}
READERS = {
    "load": rnnjax.load,
    "load_weights": lambda path: rnnjax.load_weights(path, NEW),
    "load_arrays": rnnjax.load_arrays,
}


def is_new(path):
    assert rnnjax.load_arrays(path)["a"].tolist() == [1, 1, 1]
    return not [name for name in os.listdir(path.parent) if name.startswith(files.TEMPORARY)]


def refusal(call, *args):
    with pytest.raises(VALUE) as caught:
        call(*args)
    check_five_parts(str(caught.value))
    return str(caught.value)


@pytest.fixture
def impatient():
    """Who waits for a pipe waits for ever."""

    def hangs(*args):
        raise RuntimeError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_link_is_followed(tmp_path):
    for folder in ("data", "names"):
        (tmp_path / folder).mkdir()
    target, link = tmp_path / "data" / "w", tmp_path / "names" / "w"
    link.symlink_to("../data/w")
    rnnjax.save_weights(link, OLD)  # of which the file is not there yet
    rnnjax.save_weights(link, NEW)
    assert link.is_symlink() and not target.is_symlink()
    assert is_new(target) and is_new(link)
    assert os.listdir(link.parent) == ["w"]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_mode_is_kept(mode, tmp_path):
    path = tmp_path / "w"
    rnnjax.save_weights(path, OLD)
    path.chmod(mode)
    before = os.umask(0o022)
    try:
        rnnjax.save_weights(path, NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode and is_new(path)


def test_nobody_reads_a_private_file_before_it_is_in_place(tmp_path, monkeypatch):
    path, seen = tmp_path / "w", []
    rnnjax.save_weights(path, OLD)
    path.chmod(0o600)
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(os.fstat(fd).st_mode))
    rnnjax.save_weights(path, NEW)
    assert stat.S_IMODE(seen[0]) == 0o600


@pytest.mark.usefixtures("impatient")
def test_a_pipe_is_neither_read_nor_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for function, read in READERS.items():
        assert refusal(read, path) == (
            f"{function}: `path` must be a regular file, got a pipe, {path}; "
            "copy what it gives to a file first."
        )
    assert refusal(rnnjax.save_weights, path, NEW) == (
        f"save_weights: `path` must be a regular file, got a pipe, {path}; give the name of a file."
    )
    assert stat.S_ISFIFO(path.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_neither_read_nor_replaced(tmp_path):
    path = tmp_path / "w"
    path.symlink_to("/dev/zero")
    assert refusal(rnnjax.load_arrays, "/dev/zero") == (
        "load_arrays: `path` must be a regular file, got a device, /dev/zero; "
        "copy what it gives to a file first."
    )
    cell = rnnjax.pointwise(jnp.tanh)
    assert refusal(lambda: rnnjax.save(path, cell, (), in_features=3)) == (
        f"save: `path` must be a regular file, got a device, {path}; give the name of a file."
    )
    assert stat.S_ISCHR(path.stat().st_mode) and os.listdir(tmp_path) == ["w"]


def test_no_name():
    for function, call in [
        *READERS.items(),
        ("save_weights", lambda path: rnnjax.save_weights(path, NEW)),
    ]:
        assert refusal(call, "") == (
            f"{function}: `path` must name a file, got an empty text; "
            "give a name such as model.safetensors."
        )


@pytest.mark.parametrize("name", [".", "..", "inner"])
def test_a_folder_stays(name, tmp_path, monkeypatch):
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(IsADirectoryError, match=rf"Is a directory: '{name}'$"):
        rnnjax.save_weights(name, NEW)
    assert os.listdir(tmp_path) == ["here"] and os.listdir() == ["inner"]


def test_the_longest_names(tmp_path):
    for name in ("a" * 255, "é" * 127):
        rnnjax.save_weights(tmp_path / name, NEW)
        assert is_new(tmp_path / name)


def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch):
    """The new file is there by then, and the error says so; where none can be synced is none."""
    path = tmp_path / "w"

    def broken(number):
        def sync(folder):
            raise OSError(number, os.strerror(number))

        return sync

    monkeypatch.setattr(files, "sync", broken(errno.EIO))
    with pytest.raises(OSError) as caught:
        rnnjax.save_weights(path, NEW)
    assert str(caught.value) == (
        f"[Errno {errno.EIO}] the new file is there, but may not outlive a power cut: "
        f"Input/output error: '{path}'"
    )
    assert is_new(path)
    monkeypatch.setattr(files, "sync", broken(errno.EINVAL))
    rnnjax.save_weights(path, OLD)
    assert rnnjax.load_arrays(path)["a"].tolist() == [0, 0]

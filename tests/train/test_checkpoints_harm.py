"""Whatever happens to files, disks and processes: a checkpoint is whole, or it is not used."""

import contextlib
import errno
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax import train
from rnnjax.storage import files
from rnnjax.train import folders, snapshot
from rnnjax.train.manifest import MANIFEST, damage

LIKE = {"a": np.zeros(3000, np.int32), "b": np.float32(0)}


def tree_of(step):
    return {"a": np.arange(3000, dtype=np.int32) * step, "b": np.float32(step)}


def check(folder, step):
    """The checkpoint of this step is read, and its contents are right."""
    restored = train.restore(folder, LIKE)
    assert (restored.step, restored.record) == (step, {"step": step})
    assert (restored.tree["a"] == tree_of(step)["a"]).all() and restored.tree["b"] == step
    return restored.path


def save(folder, step, keep=3):
    return train.save(folder, step, tree_of(step), {"step": step}, keep=keep)


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.name != folders.LOCK)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    for step in (1, 2, 3):
        save(folder, step)
    return folder


@pytest.fixture
def folder(three, tmp_path):
    shutil.copytree(three, tmp_path / "runs")
    return tmp_path / "runs"


# --- Damaged files.


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def newest_files(folder):
    return sorted(path for path in (folder / "step_00000003").rglob("*") if path.is_file())


def test_a_flipped_bit_in_any_file_is_found(folder):
    rng, kinds = random.Random(3), newest_files(folder)
    assert {"manifest.json", "record.json", "_METADATA"} < {path.name for path in kinds}
    for path in kinds:
        size = path.stat().st_size * 8
        for bit in {0, size - 1, *(rng.randrange(size) for _ in range(12))}:
            flip(path, bit)
            assert damage(folder / "step_00000003"), (path, bit)
            flip(path, bit)
            assert damage(folder / "step_00000003") is None


def spoil_data(newest):
    data = max(newest.rglob("d/*"), key=lambda path: path.stat().st_size)
    flip(data, data.stat().st_size * 4)


def fill(name, data):
    return lambda newest: (newest / name).write_bytes(data)


HARM = {
    "flipped bit": (spoil_data, r"arrays/.*/d/\w+ has changed since it was written"),
    "truncated": (
        lambda newest: os.truncate(newest / "arrays/_METADATA", 10),
        r"arrays/_METADATA has 10 bytes, not \d+",
    ),
    "emptied": (fill("record.json", b""), r"record.json has 0 bytes, not \d+"),
    "missing": (
        lambda newest: (newest / "arrays/manifest.ocdbt").unlink(),
        "arrays/manifest.ocdbt is missing",
    ),
    "missing folder": (
        lambda newest: shutil.rmtree(newest / "arrays"),
        "arrays/_CHECKPOINT_METADATA is missing",
    ),
    "extra": (fill("arrays/extra", b"1"), "arrays/extra is not in manifest.json"),
    "no manifest": (
        lambda newest: (newest / MANIFEST).unlink(),
        "manifest.json cannot be read: No such file or directory",
    ),
    "a folder for a manifest": (
        lambda newest: (newest / MANIFEST).unlink() or (newest / MANIFEST).mkdir(),
        "manifest.json cannot be read: Is a directory",
    ),
    "text": (fill(MANIFEST, b"half of it {"), "manifest.json is no manifest"),
    "binary": (fill(MANIFEST, b"\xff\x80\x00"), "manifest.json is no manifest"),
    "other JSON": (fill(MANIFEST, b"[3]"), "manifest.json is no manifest"),
    "no sizes": (fill(MANIFEST, b'{"record.json": 3}'), "manifest.json is no manifest"),
    "empty": (fill(MANIFEST, b"{}"), "manifest.json is no manifest"),
    "deep": (fill(MANIFEST, b"[" * 100_000), "manifest.json is no manifest"),
    "nothing": (
        lambda newest: shutil.rmtree(newest) or newest.mkdir(),
        "manifest.json cannot be read: No such file or directory",
    ),
}


@pytest.mark.parametrize("case", HARM)
def test_a_damaged_checkpoint_is_passed_over(case, folder):
    harm, problem = HARM[case]
    harm(folder / "step_00000003")
    message = f"restore: {folder}/step_00000003 is damaged and was passed over: {problem}."
    with pytest.warns(train.CheckpointWarning, match=f"^{message}$") as caught:
        check(folder, 2)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.raises(train.CheckpointError, match=f"no .* is sound: step_00000003: {problem}.$"):
        train.restore(folder, LIKE, step=3)
    assert train.latest_step(folder) == 3  # by name alone


def test_none_is_sound(folder):
    for path in folder.glob("step_*"):
        (path / "more").touch()
    with pytest.raises(train.CheckpointError) as caught:
        train.restore(folder, LIKE)
    why = "more is not in manifest.json"
    assert str(caught.value) == (
        f"restore: no checkpoint in {folder} is sound: step_00000003: {why}; "
        f"step_00000002: {why}; step_00000001: {why}."
    )


def test_a_sound_one_of_another_model_is_not_passed_over(folder):
    like = LIKE | {"a": np.zeros(4, np.int32)}
    train.save(folder, 4, like, {})
    with pytest.raises(ValueError, match=r"`a` must have shape \(3000,\), got \(4,\) in"):
        train.restore(folder, LIKE)


def test_no_checkpoint(tmp_path, folder):
    for call, message in (
        (lambda: train.restore(tmp_path, LIKE), f"restore: there is no checkpoint in {tmp_path}."),
        (
            lambda: train.restore(folder, LIKE, step=7),
            f"restore: there is no checkpoint of step 7 in {folder}, only of 1, 2, 3.",
        ),
    ):
        with pytest.raises(train.CheckpointError, match=f"^{re.escape(message)}$"):
            call()


def test_a_later_format_is_said(folder):
    path = save(folder, 4)
    record = (path / "record.json").read_bytes()
    (path / "record.json").write_bytes(record.replace(b'"format": 1', b'"format": 2'))
    (path / MANIFEST).unlink()
    snapshot.write_manifest(path)
    with pytest.raises(train.CheckpointError, match="sound, but cannot be read here: its format"):
        train.restore(folder, LIKE)


def test_saved_again_after_damage(folder):
    (folder / "step_00000003" / "record.json").unlink()
    save(folder, 3, keep=2)
    check(folder, 3)
    assert names_in(folder) == ["step_00000002", "step_00000003"]


# --- Disks that are full, and folders that are none.


@pytest.mark.parametrize("limit", [0, 150, 1000, 5000, 30000])
def test_disk_full(limit, folder):
    """No file may grow beyond the limit: what the system answers then is an error of writing."""
    before = names_in(folder)
    size = np.random.default_rng(0).integers(0, 2**31, 20000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(train.CheckpointError) as caught:
            train.save(folder, 4, {"a": size}, {"long": "x" * 500})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"save: step 4 was not written to {folder}: File too large; "
        f"the last good checkpoint is {folder}/step_00000003."
    )
    assert names_in(folder) == before
    check(folder, 3)


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*args, **kwargs):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


STAGES = {
    "folder": (Path, "mkdir"),
    "arrays": (snapshot, "checkpointer"),
    "files": (files, "write_file"),
    "manifest": (snapshot, "write_manifest"),
    "sync": (files, "sync_tree"),
    "rename": (Path, "rename"),
}


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.parametrize("stage", STAGES)
def test_an_error_at_any_stage_changes_nothing(stage, step, folder, monkeypatch):
    before = names_in(folder)
    with monkeypatch.context() as patch:
        patch.setattr(*STAGES[stage], full)
        with pytest.raises(train.CheckpointError) as caught:
            train.save(folder, step, tree_of(-1), {}, keep=1)
    assert str(caught.value) == (
        f"save: step {step} was not written to {folder}: No space left on device; "
        f"the last good checkpoint is {folder}/step_00000003."
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert names_in(folder) == before
    check(folder, 3)


def test_folders_that_are_none(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("not a folder")
    for place in (file, file / "runs", file / "runs" / "deeper"):
        message = f"{file} is a file, and no folder; there is no earlier checkpoint."
        with pytest.raises(train.CheckpointError, match=f"{place}: {message}$"):
            save(place, 1)
    for call in (train.latest_step, lambda folder: train.restore(folder, LIKE)):
        with pytest.raises(train.CheckpointError, match=f"{file} is a file, and no folder"):
            call(file)
    monkeypatch.setattr(os, "mkdir", read_only)
    with pytest.raises(train.CheckpointError, match="runs: Read-only file system; there is no"):
        save(tmp_path / "runs", 1)
    assert file.read_text() == "not a folder"


def test_old_ones_that_cannot_be_removed(folder, monkeypatch):
    monkeypatch.setattr(files, "remove_tree", read_only)
    with pytest.warns(train.CheckpointWarning, match=f"stay in {folder}: Read-only file system"):
        save(folder, 4)
    check(folder, 4)


# --- Processes that die, and two at once.


class Killed(BaseException):
    """Ends everything, and lets nobody clean up, as SIGKILL does."""


def die_at(monkeypatch, call):
    """Die just before a numbered call that changes names on the disk."""
    count = 0
    change = os.rename

    def rename(*args):
        nonlocal count
        count += 1
        if count >= call:
            raise Killed
        return change(*args)

    monkeypatch.setattr(os, "rename", rename)  # Path.rename calls it, too
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    return lambda: count


def test_dying_between_any_two_changes_loses_nothing(folder, tmp_path, monkeypatch):
    """Of step 3 there is the old one or the new one, at every moment; then others are removed."""
    seen = []
    for call in range(1, 20):
        place = tmp_path / str(call)
        shutil.copytree(folder, place)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            die_at(patch, call)
            train.save(place, 3, tree_of(-3), {"step": -3}, keep=1)
            seen.append("alive")
        restored = train.restore(place, LIKE)
        assert train.latest_step(place) == restored.step == 3
        seen.append((restored.path.name, int(restored.tree["b"])))
        save(place, 3, keep=1)
        check(place, 3)
        assert names_in(place) == ["step_00000003"]  # and what was left is cleared
        if "alive" in seen:
            break
    old, aside, new = ("step_00000003", 3), ("step_00000003.old", 3), ("step_00000003", -3)
    assert list(dict.fromkeys(seen)) in ([old, aside, new, "alive"], [old, aside, new])
    assert seen[-2] == "alive"


def test_two_writers_do_not_disturb_each_other(folder, monkeypatch):
    """The second begins and ends while the first is amid its save."""
    first = snapshot.write_manifest

    def interrupted(path):
        monkeypatch.setattr(snapshot, "write_manifest", first)
        save(folder, 5)
        assert path.exists()  # the second took it for no leftover
        first(path)

    monkeypatch.setattr(snapshot, "write_manifest", interrupted)
    save(folder, 4)
    assert names_in(folder) == [f"step_0000000{step}" for step in (2, 3, 4, 5)]
    check(folder, 5)
    shutil.rmtree(folder / "step_00000005")
    check(folder, 4)


CHILD = """
import sys, numpy as np
from rnnjax import train
folder = sys.argv[1]
step = train.latest_step(folder) or 0
while True:
    step += 1
    tree = {"a": np.arange(3000, dtype=np.int32) * step, "b": np.float32(step)}
    train.save(folder, step, tree, {"step": step}, keep=2)
"""


def test_killed_while_saving(tmp_path):
    rng, latest = random.Random(os.getpid()), 0
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)])
        deadline = time.monotonic() + 60
        while (train.latest_step(tmp_path) or 0) <= latest and time.monotonic() < deadline:
            assert child.poll() is None
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        child.kill()
        assert child.wait() == -signal.SIGKILL
        now = train.latest_step(tmp_path)
        assert now > latest
        latest = now
        check(tmp_path, latest)
    save(tmp_path, latest + 1, keep=1)
    assert names_in(tmp_path) == [f"step_{latest + 1:08d}"]


def test_jax_arrays_survive_the_same(folder):
    """The trees above are of NumPy; here is one of JAX, with a bit flipped in its data."""
    for step in (4, 5):
        train.save(folder, step, {"x": jnp.full(3000, step)}, {})
    spoil_data(folder / "step_00000005")
    with pytest.warns(train.CheckpointWarning):
        assert int(train.restore(folder, {"x": jnp.zeros(3000, jnp.int32)}).tree["x"][7]) == 4


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(train.CheckpointError, match="^save: this is one of 2 processes; only one"):
        train.save(tmp_path, 1, np.zeros(2), {})

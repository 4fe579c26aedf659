"""Damage, full disks and other runs: the checkpoint before serves, or the reason is told."""

import errno
import itertools
import os
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from messages import check_five_parts
from resumed import LAYER, C, bits, fit, listed, task
from resumed import settings as settings

import rnnjax
from rnnjax import train
from rnnjax.storage import files


@pytest.fixture(scope="module")
def whole():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return fit()


# --- Harm.


def every_two(folder):
    return train.Checkpoints(folder, every_steps=2, every_seconds=None)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with checkpoints of steps 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("begun")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rnnjax.train.run.TICK", -1.0)
            fit(stop=5, checkpoints=every_two(folder))
    return folder


def flip_a_bit(newest):
    path = max(newest.rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    return f"{path.relative_to(newest)} has changed since it was written"


def truncate(newest):
    content = (newest / "record.json").read_bytes()
    (newest / "record.json").write_bytes(content[:-7])
    return f"record.json has {len(content) - 7} bytes, not {len(content)}"


def remove(newest):
    (newest / "arrays" / "_METADATA").unlink()
    return "arrays/_METADATA is missing"


@pytest.mark.parametrize("harm", [flip_a_bit, truncate, remove])
def test_the_checkpoint_before_a_damaged_one_serves(harm, begun, whole, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(begun, folder)
    problem = harm(folder / "step_00000005")
    message = f"fit: {folder}/step_00000005 is damaged and was passed over: {problem}."
    with pytest.warns(train.CheckpointWarning, match=f"^{re.escape(message)}$"):
        resumed = fit(checkpoints=every_two(folder), resume=True)
    assert bits(resumed) == bits(whole)


def test_none_is_sound(begun, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(begun, folder)
    for path in folder.glob("step_*"):
        (path / "record.json").unlink()
    with pytest.raises(train.CheckpointError, match="^fit: no checkpoint in .* is sound: step_0"):
        fit(checkpoints=folder, resume=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(whole, tmp_path, monkeypatch):
    write, count = files.write_file, itertools.count(1)

    def until_full(path, content):
        if next(count) > 2:  # a record and a manifest
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_file", until_full)
        patch.setattr("rnnjax.train.manifest.write_file", until_full)
        with pytest.raises(train.CheckpointError) as caught:
            fit(checkpoints=every_two(tmp_path))
    assert str(caught.value) == (
        f"save: step 4 was not written to {tmp_path}: No space left on device; "
        f"the last good checkpoint is {tmp_path}/step_00000002."
    )
    assert train.latest_step(tmp_path) == 2
    assert bits(fit(checkpoints=tmp_path, resume=True)) == bits(whole)


def test_a_folder_that_cannot_be_written_is_found_out_before_the_first_step(
    begun, tmp_path, monkeypatch
):
    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    file = tmp_path / "file"
    file.touch()
    new, none = tmp_path / "new", "there is no earlier checkpoint"
    for folder, options, why, end in (
        (new, {}, "Read-only file system", none),
        (
            begun,
            {"resume": True},
            "Read-only file system",
            f"the last good checkpoint is {begun}/step_00000005",
        ),
    ):
        with monkeypatch.context() as patch, pytest.raises(train.CheckpointError) as caught:
            patch.setattr(os, "mkdir", read_only)
            fit(checkpoints=folder, callbacks=[], **options)
        message = f"fit: checkpoints cannot be written to {folder}: {why}; {end}."
        assert str(caught.value) == message
    with pytest.raises(train.CheckpointError, match=f"^fit: {file}: {file} is a file, and"):
        fit(checkpoints=file)


def test_what_else_is_found_out_before_the_first_step(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ImportError) as caught:
        patch.setitem(sys.modules, "orbax", None)
        fit(checkpoints=tmp_path)
    assert str(caught.value) == "fit: orbax-checkpoint is not installed; pip install rnnjax[train]."
    with monkeypatch.context() as patch, pytest.raises(train.CheckpointError) as caught:
        patch.setattr(jax, "process_count", lambda: 2)
        fit(checkpoints=tmp_path)
    assert str(caught.value) == "fit: this is one of 2 processes; only one alone can save."
    assert not list(tmp_path.iterdir())


def test_no_checkpoint_is_made_of_a_run_that_does_not_move(tmp_path, monkeypatch):
    """Else it could not go on from there, with better batches either."""
    monkeypatch.setattr("rnnjax.train.run.TICK", 1e9)
    good = listed()
    bad = good[0]._replace(xs=np.full_like(good[0].xs, np.nan))
    spoilt = [*good, *[bad] * 3]
    with pytest.raises(train.NonFiniteError, match=f"last checkpoint: {tmp_path}/step_00000004"):
        fit(spoilt, max_bad=2, checkpoints=every_two(tmp_path))
    assert train.latest_step(tmp_path) == 4
    resumed = fit([*good, *good], max_bad=2, epochs=1, checkpoints=tmp_path, resume=True)
    assert resumed.history["skipped"] == [1] and int(resumed.state.bad.in_row) == 0


# --- Refusals.


AGAIN = "resume with what the run began with, or give another folder."
OTHER = "this checkpoint is of another model: give another folder."
WIDE = train.from_layer(LAYER, pool=train.last_step, head=rnnjax.dense(C + 1))

REFUSALS = {
    "another key": (
        {"key": jax.random.key(1)},
        "fit: `key` must be [0, 0] as in {path}, got [0, 1]; " + AGAIN,
    ),
    "another batch size": (
        {"batch_size": 5},
        "fit: `batch_size` must be 4 as in {path}, got 5; " + AGAIN,
    ),
    "more batches": (
        {"given": task(rows=13), "batch_size": 4},
        "fit: `steps_per_epoch` must be 3 as in {path}, got 4; " + AGAIN,
    ),
    "more callbacks": (
        {"callbacks": [train.EarlyStopping(3)]},
        "fit: `callbacks` must be ['StopAt'] as in {path}, got ['EarlyStopping', 'StopAt']; "
        + AGAIN,
    ),
    "another width": (
        {"model": WIDE},
        "fit: `state.params.head.w` must have shape (4, 3), got (4, 2) in {path}; " + OTHER,
    ),
    "another optimizer": (
        {"optimizer": optax.sgd(0.1, momentum=0.9)},
        "fit: `state.opt_state.0.trace.layer.0.w_ih` must be there, "
        "got no leaf of this name in {path}; " + OTHER,
    ),
    "an average": (
        {"averaging": train.ema(0.9)},
        "fit: `state.average.params.layer.0.w_ih` must be there, "
        "got no leaf of this name in {path}; " + OTHER,
    ),
    "a folder in use": (
        {"resume": False},
        "fit: `checkpoints` must be a folder without checkpoints, got {folder} with step 5; "
        "give resume=True to go on from there, or another folder.",
    ),
    "nowhere to resume": (
        {"checkpoints": None},
        "fit: `resume` must be False without checkpoints, got True; "
        "say where they are with checkpoints=.",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_resumed_is_refused(case, begun):
    options, message = REFUSALS[case]
    before = sorted(begun.rglob("*"))
    with pytest.raises(ValueError) as caught:
        fit(**{"checkpoints": begun, "resume": True} | options)
    wanted = message.format(path=f"{begun}/step_00000005", folder=begun)
    assert str(caught.value) == wanted
    check_five_parts(wanted)
    assert sorted(begun.rglob("*")) == before


def test_a_checkpoint_that_is_not_of_fit(tmp_path):
    path = train.save(tmp_path, 3, {"w": jnp.ones(2)}, {"epoch": 1})
    with pytest.raises(ValueError) as caught:
        fit(checkpoints=tmp_path, resume=True)
    assert str(caught.value) == (
        f"fit: `checkpoints` must be of runs of fit, got {path} of another; give another folder."
    )

"""Outputs, final carries and gradients that PyTorch and Keras once computed, read from files."""

import functools

import jax
import numpy as np
import pytest
from golden.cases import FOLDER, LAYERS, load
from registry import METHODS

TINY = {"rtol": 1e-12, "atol": 1e-12}
SMALL = {"rtol": 1e-4, "atol": 1e-5}  # of what computes in float32


@pytest.mark.parametrize("method", [m for m in ("scan", "fused", "native") if m in METHODS])
@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_golden_file(x64, name, method):
    case = load(name)
    layer = LAYERS[name]

    @jax.jit
    def run(params, xs, carry):
        apply = functools.partial(layer.apply, **case["valid"], method=METHODS[method])
        (final, ys), pull = jax.vjp(apply, params, xs, carry)
        return {"final": final, "ys": ys, "grads": pull(case["cotangents"])}

    got = run(case["params"], with_nan_in_padding(**case), case["carry"])
    wanted = {key: case[key] for key in got}
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    close = SMALL if method == "native" else TINY
    pairs = zip(jax.tree.leaves_with_path(got), jax.tree.leaves(wanted), strict=True)
    for (path, ours), theirs in pairs:
        np.testing.assert_allclose(ours, theirs, err_msg=jax.tree_util.keystr(path), **close)


def with_nan_in_padding(*, xs, valid, **_):
    """What the peers had to read as numbers, and rnnjax must not read."""
    mask = valid["mask"] if "mask" in valid else np.arange(len(xs))[:, None] < valid["lengths"]
    return np.where(mask[..., None], xs, np.nan)


def test_golden_files_are_small_and_none_is_forgotten():
    files = sorted(FOLDER.glob("*.npz"))
    assert [f.stem for f in files] == sorted(LAYERS)
    assert sum(f.stat().st_size for f in files) < 60_000

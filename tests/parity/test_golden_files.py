"""The golden files are what their script writes today."""

import numpy as np
import pytest
from golden.cases import FOLDER, LAYERS, names
from parity.layouts import TINY

pytestmark = pytest.mark.usefixtures("x64", "any_promotion")

REWRITE = "the golden file is stale; rewrite it: python tests/parity/write_golden.py"


@pytest.mark.parametrize("name", LAYERS)
def test_golden_file_is_fresh(name):
    pytest.importorskip("keras" if name == "gru_reset_before" else "torch")
    from parity.write_golden import golden

    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        committed = dict(file)
    fresh = names(golden(name))
    assert sorted(committed) == sorted(fresh), REWRITE
    for key, array in fresh.items():
        np.testing.assert_allclose(
            committed[key], array, err_msg=f"{name}.npz, {key}: {REWRITE}", **TINY
        )

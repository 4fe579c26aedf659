"""What `import rnnjax` does not do: load more than JAX, start a device, or change a setting."""

import json
import pathlib
import subprocess
import sys

import pytest

import rnnjax

ROOT = pathlib.Path(rnnjax.__file__).parent.parent


def in_fresh_python(code):
    """What the last line of `code` prints, as JSON, in an interpreter that has imported nothing."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


IMPORT = """
import json, sys
import jax
modules, settings = set(sys.modules), dict(jax.config.values)
import rnnjax
after = dict(jax.config.values)
print(json.dumps({
    "new": sorted(set(sys.modules) - modules),
    "all": sorted(sys.modules),
    "changed": [name for name in settings.keys() | after if settings.get(name) != after.get(name)],
    "settings": len(settings),
}))
"""


@pytest.fixture(scope="module")
def imported():
    return in_fresh_python(IMPORT)


def test_import_loads_nothing_beyond_jax(imported):
    """The proxy of import time; `benchmarks/import_time.py` measures it."""
    assert {"rnnjax.sequence.unroll", "rnnjax.cells.lstm"} <= set(imported["new"])
    strangers = {name.partition(".")[0] for name in imported["new"]} - {"rnnjax"}
    assert strangers <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "package",
    ["flax", "optax", "chex", "orbax", "matplotlib", "torch", "keras", "jaxtyping", "onnx"],
)
def test_import_does_not_load(package, imported):
    assert "jax" in imported["all"]
    assert package not in imported["all"]


def test_import_changes_no_setting(imported):
    assert imported["settings"] > 50
    assert imported["changed"] == []


BACKEND = """
import json
import jax
%s
# Only possible while no backend has started; JAX has no public question for it.
try:
    jax.config.update("jax_num_cpu_devices", 3)
    started = False
except RuntimeError:
    started = True
print(json.dumps([started, jax.device_count("cpu")]))
"""


def test_import_starts_no_backend():
    assert in_fresh_python(BACKEND % "import rnnjax") == [False, 3]


def test_making_cells_and_layers_starts_no_backend():
    layer = "rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(4)), rnnjax.gru(4), jax.nn.relu)"
    assert in_fresh_python(BACKEND % f"import rnnjax; {layer}") == [False, 3]


def test_a_started_backend_is_seen():
    assert in_fresh_python(BACKEND % "import jax.numpy as jnp; jnp.zeros(())")[0] is True


def test_import_warns_of_nothing():
    code = """
import jax, json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import rnnjax
print(json.dumps([str(warning.message) for warning in caught]))
"""
    assert in_fresh_python(code) == []


@pytest.mark.parametrize("name", ["nnx", "linen"])
def test_flax_modules_load_on_first_use(name):
    code = f"""
import json, sys, rnnjax
before = [m for m in ("flax", "rnnjax.{name}") if m in sys.modules]
module = rnnjax.{name}
print(json.dumps([before, module is sys.modules["rnnjax.{name}"], "LSTM" in dir(module)]))
"""
    assert in_fresh_python(code) == [[], True, True]


def test_functions_need_no_flax():
    code = """
import json, sys
sys.modules.update(dict.fromkeys(["flax", "optax", "chex"]))  # not to be found
import jax, jax.numpy as jnp, rnnjax
cell = rnnjax.lstm(2)
_, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((4, 3)))
try:
    rnnjax.nnx
except ImportError:
    print(json.dumps(ys.shape))
"""
    assert in_fresh_python(code) == [4, 2]


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'rnnjax' has no attribute 'lstmm'"):
        rnnjax.lstmm  # noqa: B018

"""Settings for every test: strict promotion, eight virtual devices, shapes checked at run time."""

import contextlib
import gc
import os
import pathlib

import jax
import jaxtyping
import pytest

# Small programs are all compile time, which these make shorter. What is set already counts more.
QUICK = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):
    QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*QUICK, os.environ.get("XLA_FLAGS", "")])

# A sixth of the time goes into lines of source in programs, and into looking for garbage.
jax.config.update("jax_include_full_tracebacks_in_locations", False)
jax.config.update("jax_traceback_in_locations_limit", 0)
gc.set_threshold(100_000, 50, 100)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Before anything imports rnnjax: the annotations of cells are checked in every test.
jaxtyping.install_import_hook("rnnjax.cells", "beartype.beartype")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """What files have compiled comes to gigabytes; of use to the next is little of it."""
    yield
    if resident_bytes() > 2e9:
        jax.clear_caches()


def resident_bytes():
    """The memory of this process; without limit where the system does not say."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def key():
    return jax.random.key(20261121)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def any_promotion():
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        yield

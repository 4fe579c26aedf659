"""Settings for every test: strict promotion, eight virtual devices, shapes checked at run time."""

import contextlib
import os

# Small programs are all compile time. Tests that measure programs set their own options.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Before anything imports rnnjax: the annotations of cells are checked in every test.
jaxtyping.install_import_hook("rnnjax.cells", "beartype.beartype")


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

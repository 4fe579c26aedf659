"""The compiled library: where it is, whether it can serve, and its registration with JAX."""

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any

import jax

INTERFACE = 8  # of native/ffi.cc; both are raised together

FOLDER = Path(__file__).parent
FILE = FOLDER / ("librnnjax.dylib" if sys.platform == "darwin" else "librnnjax.so")
REASON = FOLDER / "not_built.txt"  # written by the installation


@functools.cache
def why_not_loaded() -> str | None:
    """Load and register the library; say why it cannot be, or None if it is.

    The CPU backend must have been started: it would not start after a refused registration.
    """
    if os.environ.get("RNNJAX_NATIVE") == "0":
        return "it is switched off by RNNJAX_NATIVE=0"
    if not FILE.exists():
        reason = REASON.read_text().strip() if REASON.exists() else f"there is no {FILE.name}"
        return f"it was not built: {reason}"
    try:
        library = ctypes.CDLL(str(FILE))
        found = library.rnnjax_interface()
    except (OSError, AttributeError) as error:
        return f"its library could not be loaded: {error}"
    if found != INTERFACE:
        versions = f"its interface is {found}, wanted {INTERFACE}"
        return f"its library is of another version ({versions}): reinstall rnnjax"
    try:
        for name in ("rnnjax_forward", "rnnjax_backward", "rnnjax_gradients"):
            capsule = jax.ffi.pycapsule(getattr(library, name))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except Exception as error:  # JAX has no type of its own for a library that is too new for it
        return f"JAX does not take its library ({error}): reinstall rnnjax"
    return None


def library() -> Any:
    """The library, which must be loaded."""
    assert why_not_loaded() is None
    return ctypes.CDLL(str(FILE))


def instruction_set() -> str:
    """The instructions that the loops use: `avx512`, `avx2` or `portable`."""
    name = library().rnnjax_instruction_set
    name.restype = ctypes.c_char_p
    return name().decode()


def select(name: str) -> bool:
    """Use other instructions, for tests; False if this processor has none of that name."""
    return bool(library().rnnjax_select(name.encode()))

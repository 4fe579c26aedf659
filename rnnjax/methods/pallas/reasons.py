"""Why a kernel cannot serve, as far as all kernels share it."""

import jax

from rnnjax.methods import manual
from rnnjax.methods.dtypes import Dtypes


def why_not_placed(backend: str) -> str | None:
    """Meshes that it does not bear, where `backend` is the kernel's own."""
    if jax.sharding.get_abstract_mesh().manual_axes and jax.default_backend() != backend:
        return f"inside shard_map it runs on {backend.upper()} alone"
    return manual.why_not_explicit()


def why_not_typed(found: Dtypes) -> str | None:
    """Weights and outputs that are neither float32 nor bfloat16, or a carry that is not float32."""
    others = {str(dtype) for dtype in found.projected} - {"float32", "bfloat16"}
    others |= {str(dtype) for dtype in found.carry} - {"float32"}
    return f"its gates and carry are float32, and here is {min(others)}" if others else None

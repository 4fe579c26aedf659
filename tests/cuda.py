"""Programs for CUDA, lowered on a machine without a GPU."""

import warnings

import jax
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

KERNEL = "__gpu$xla.gpu.triton"
H100 = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")


def lowered(function, *arguments):
    """The text of a program; newer JAX wants to know for which GPU."""
    kinds = {"axis_types": (AxisType.Auto,), "abstract_device": H100}
    with (
        jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("one",), **kinds)),
        warnings.catch_warnings(),
    ):
        # Newer JAX announces the end of this way to Triton.
        warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
        traced = jax.jit(function).trace(*arguments)
        return traced.lower(lowering_platforms=("cuda",)).as_text()

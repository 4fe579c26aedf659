"""The loops that the kernels for GPU run."""

import functools
from typing import Any

from rnnjax.methods.fused.problem import Loops
from rnnjax.methods.gpu.call import Kernel
from rnnjax.methods.gpu.kernels import Backwards, Forwards, Program
from rnnjax.methods.pallas.loops import Kernels, loops_of
from rnnjax.methods.pallas.steps import KernelCell


@functools.cache
def loops(multiprocessors: int) -> Loops:
    """Those of which so many multiprocessors share a head's units."""

    def run(
        program: type[Program],
        cell: KernelCell,
        reverse: tuple[bool, ...],
        networks: list[Any],
        taken: Any,
        *rest: Any,
    ) -> list[Any]:
        # A cell without heads has one.
        networks = [
            network._replace(w_hh=network.w_hh if network.w_hh.ndim == 3 else network.w_hh[None])
            for network in networks
        ]
        kernel = Kernel(program, cell, reverse, multiprocessors)
        return kernel.call(networks, taken._replace(w_hh="n j k"), *rest)

    return loops_of(Kernels(*(functools.partial(run, way) for way in (Forwards, Backwards))))

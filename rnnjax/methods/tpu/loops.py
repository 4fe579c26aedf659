"""The loops that the kernels for TPU run."""

import functools
from collections.abc import Callable
from typing import Any

from rnnjax.methods.pallas.loops import Kernels, loops_of
from rnnjax.methods.pallas.steps import KernelCell
from rnnjax.methods.tpu.call import Kernel
from rnnjax.methods.tpu.kernels import backward_kernel, forward_kernel


def run(
    function: Callable[..., None],
    cell: KernelCell,
    reverse: tuple[bool, ...],
    networks: list[Any],
    *rest: Any,
) -> list[Any]:
    """Run networks in one of the kernels."""
    return Kernel(function, cell, reverse).call(networks, *rest)


def run_backward(
    cell: KernelCell, reverse: tuple[bool, ...], networks: list[Any], taken: Any, *rest: Any
) -> list[Any]:
    """The same back, with transposed weights."""
    networks = [network._replace(w_hh=network.w_hh.T) for network in networks]
    return run(backward_kernel, cell, reverse, networks, taken._replace(w_hh="g h"), *rest)


LOOPS = loops_of(Kernels(functools.partial(run, forward_kernel), run_backward))

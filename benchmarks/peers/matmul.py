"""What the machine can do at best: one large float32 matmul in JAX."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cases import Case, Data
from peers import Program
from peers.in_jax import device as device


def why_not(case: Case) -> str | None:
    return None


def size() -> int:
    return 2048 if jax.default_backend() == "cpu" else 8192


class Matmul:
    """Its canonical result is the work of one call."""

    temporary_bytes = None

    def __init__(self):
        start = time.perf_counter()
        self.operands = tuple(jax.random.normal(jax.random.key(0), (2, size(), size())))
        matmul = functools.partial(jnp.matmul, precision="highest")  # no TF32 on a GPU
        self.compiled = jax.jit(matmul).lower(*self.operands).compile()
        self.run()
        self.first_call_seconds = time.perf_counter() - start

    def run(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.operands))

    def canonical(self, result: Any) -> dict[str, np.ndarray]:
        return {"flops": np.asarray(2 * result.shape[0] ** 3)}


def build(case: Case, data: Data) -> Program:
    return Matmul()

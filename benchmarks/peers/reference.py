"""What every result is held against: rnnjax by its definition, in float64, on the CPU."""

from typing import Any

import jax
import numpy as np

import rnnjax
from cases import Case, Data
from peers import Program, ours
from peers.in_jax import JaxProgram
from peers.in_jax import device as device

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

LONG = 10_000


def why_not(case: Case) -> str | None:
    return None


def build(case: Case, data: Data, option: str = "after") -> Program:
    """`option` says where a GRU resets."""
    # A plain scan would keep 10 GB for the gradient over 100,000 steps; tests hold the two equal.
    method: Any = rnnjax.Scan() if case.T <= LONG else rnnjax.Chunked(1000)
    wide = jax.tree.map(_widened, data)
    return JaxProgram(case, wide, ours.network(case, wide, method=method, reset=option))


def _widened(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64) if a.dtype == np.float32 else a

"""Calls of the compiled library for arrays of NumPy, with no more care than they need."""

from typing import Any

import jax
import numpy as np

from rnnjax._typing import PyTree
from rnnjax.methods.native.steps import FLOAT32, Network, Plan

KEPT = 32  # shapes of steps, and of chunks, whose calls are prepared
TOKENS = np.dtype(np.int64)


class Direct:
    """A network of the library, and carries of a structure as its leaves.

    `step` and `chunk` look only at what they must: where something is not as expected they return
    None, and the caller looks for the mistake. What was checked goes through `checked`.
    """

    def __init__(self, network: Network, carry: PyTree):
        self.network, self.count = network, network.of_tokens
        self.dtype = FLOAT32 if self.count is None else TOKENS
        self.structure = jax.tree.structure(carry)
        flat = hasattr(carry, "_fields") and jax.tree_util.all_leaves(carry)
        self.type = type(carry) if flat else None
        self.steps: dict[tuple[int, ...], Plan] = {}
        self.chunks: dict[tuple[int, ...], Plan] = {}

    def step(self, carry: PyTree, x: Any) -> tuple[PyTree, np.ndarray] | None:
        """A step of a shape that was met before."""
        if type(x) is not np.ndarray or x.dtype is not self.dtype or not x.flags.c_contiguous:
            x = self.input(x)
            if x is None:
                return None
        plan = self.steps.get(x.shape)
        leaves = carry if type(carry) is self.type else self.leaves(carry)
        if plan is None or leaves is None or not plan.fits(leaves) or not self.known(x):
            return None
        y, *new = plan.step(x, leaves)
        return self.carry(new), y

    def chunk(self, carry: PyTree, xs: Any) -> tuple[PyTree, np.ndarray] | None:
        """The same for a chunk."""
        xs = self.input(xs)
        if xs is None:
            return None
        plan, leaves = self.chunks.get(xs.shape), self.leaves(carry)
        if plan is None or leaves is None or not plan.fits(leaves) or not self.known(xs):
            return None
        ys, *new = plan.chunk(xs, leaves)
        return self.carry(new), ys

    def checked(
        self, carry: PyTree, x: Any, batch: tuple[int, ...], steps: int | None
    ) -> tuple[PyTree, np.ndarray]:
        """A step, or so many, of what the caller has found right; the shape is then known."""
        plans = self.steps if steps is None else self.chunks
        x = host(x, self.dtype)
        leaves = [host(leaf, FLOAT32) for leaf in jax.tree.leaves(carry)]
        if len(plans) >= KEPT:
            plans.clear()
        plan = plans[x.shape] = self.network.plan(1 if steps is None else steps, batch)
        y, *new = plan.step(x, leaves) if steps is None else plan.chunk(x, leaves)
        return self.carry(new), y

    def input(self, x: Any) -> np.ndarray | None:
        """Inputs as the library takes them; None for those that JAX would not take for the same."""
        if isinstance(x, np.generic):
            x = np.asarray(x)
        if type(x) is not np.ndarray:
            return None
        if x.dtype is not self.dtype:
            whole = self.count is not None and x.dtype.kind in "iu"
            alike = self.count is None and jax.dtypes.canonicalize_dtype(x.dtype) == FLOAT32
            if not (whole or alike):
                return None
        return host(x, self.dtype)

    def known(self, x: np.ndarray) -> bool:
        """Whether there is a vector for every token, where these are tokens."""
        if self.count is None or not x.size:
            return True
        if x.size == 1:
            return 0 <= x.item() < self.count
        return bool(0 <= x.min() and x.max() < self.count)

    def leaves(self, carry: PyTree) -> Any:
        """Those of a carry; None for another structure."""
        leaves, structure = jax.tree.flatten(carry)
        return leaves if structure == self.structure else None

    def carry(self, leaves: list[np.ndarray]) -> PyTree:
        """A carry of its leaves."""
        if self.type is not None:
            return tuple.__new__(self.type, leaves)
        return self.structure.unflatten(leaves)


def host(array: Any, dtype: Any) -> np.ndarray:
    """An array as the library takes it; the same one where it is so already."""
    array = np.asarray(array, dtype)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)

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
        ready = type(x) is np.ndarray and x.dtype is FLOAT32 and x.flags.c_contiguous
        if self.count is not None or not ready:
            x = self.input(x)
            if x is None:
                return None
        plan = self.steps.get(x.shape)
        leaves = carry if type(carry) is self.type else self.leaves(carry)
        if plan is None or leaves is None or not plan.fits(leaves) or not self.known(x):
            return None
        y, new = plan.call(x, leaves)
        return self.carry(new), y

    def chunk(self, carry: PyTree, xs: Any) -> tuple[PyTree, np.ndarray] | None:
        """The same for a chunk."""
        xs = self.input(xs)
        if xs is None:
            return None
        plan, leaves = self.chunks.get(xs.shape), self.leaves(carry)
        if plan is None or leaves is None or not plan.fits(leaves) or not self.known(xs):
            return None
        ys, new = plan.call(xs, leaves)
        return self.carry(new), ys

    def checked(self, carry: PyTree, x: Any, *, steps: bool) -> tuple[PyTree, np.ndarray]:
        """A step, or several, of what the caller has found right; the shape is then known.

        Nobody else may write to tokens, or change shapes.
        """
        plans = self.chunks if steps else self.steps
        x = host(x, self.dtype)
        leaves = [host(leaf, FLOAT32) for leaf in jax.tree.leaves(carry)]
        lead = x.shape if self.count is not None else x.shape[:-1]
        if len(plans) >= KEPT:
            plans.clear()
        plan = self.network.plan(lead[0], lead[1:]) if steps else self.network.plan(None, lead)
        plans[x.shape] = plan
        y, new = plan.call(x, leaves)
        return self.carry(new), y

    def input(self, x: Any) -> np.ndarray | None:
        """Inputs as the library takes them; None for those that JAX would not take for the same.

        Tokens are addresses: they are copied before they are looked at, so that another thread
        changes none between.
        """
        if isinstance(x, np.generic):
            x = np.asarray(x)
        if type(x) is not np.ndarray:
            return None
        if x.dtype is not self.dtype:
            whole = self.count is not None and x.dtype.kind in "iu"
            alike = self.count is None and jax.dtypes.canonicalize_dtype(x.dtype) == FLOAT32
            if not (whole or alike):
                return None
        return np.array(x, TOKENS, order="C") if self.count is not None else host(x, FLOAT32)

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
    with np.errstate(over="ignore"):  # as JAX makes infinity of large float64
        array = np.asarray(array, dtype)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)

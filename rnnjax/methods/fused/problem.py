"""What the loops are told and return; whoever runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rnnjax._typing import Array, Bool, PyTree
from rnnjax.methods.fused.equations import Equations
from rnnjax.methods.fused.forms import equations_of

Directions = tuple[tuple[int, bool], ...]
"""Of each network, its place in a stack of weights, and whether time runs backwards."""


class Run(NamedTuple):
    """What a loop takes of one network: weights, arrays over time, and the carry to begin with.

    The weights are params, and with them the stack of `Operands` or None.
    """

    weights: Any
    timed: Any
    begin: Any


class Products(NamedTuple):
    """What the gradients of a network's weights are made of.

    Attributes:
        params: of the network.
        xs: inputs, `(T, B, D)`.
        deltas: what the backward loop returns.
        starts: the carry that each step began from, or where it stands.
        mask: True where a step counts; elsewhere deltas are zero, and inputs may be anything.
    """

    params: PyTree
    xs: Array
    deltas: tuple[Array, ...]
    starts: PyTree
    mask: Bool[Array, "T *rows"] | None


class Loops(NamedTuple):
    """The loops over time; each takes a list of runs, and returns a list of results.

    Attributes:
        infer: `problem, directions, runs, keep_starts= -> [(ys, starts, carry)]`; `timed` is
            `(xs, flags)`, `begin` `(carry, fresh)`.
        forward: `problem, directions, runs -> [(ys, kept, carry)]`, of the same runs.
        backward: `problem, directions, runs -> [(deltas, (dcarry, dfresh))]`; `timed` is
            `(kept, dys, flags)`, `begin` the cotangent of the final carry.
        gradients: `problem, [Products] -> [gradients of params]`, products over all steps.
        one_call: whether they hand all networks and rows to one call, which JAX does not batch;
            then a `vmap` brings more of them, on any platform.
        skip_padding: whether they never read it. Else it is zeroed before they come to it, and
            rows are sorted so that they skip most of it.
    """

    infer: Callable[..., list[Any]]
    forward: Callable[..., list[Any]]
    backward: Callable[..., list[Any]]
    gradients: Callable[..., list[Any]]
    skip_padding: bool
    one_call: bool = False


class Problem(NamedTuple):
    """The static part.

    Attributes:
        form: of the cell, one that is known here.
        dtype: of the products' inputs and of the outputs.
        gate_dtype: in which gates are computed and kept.
        reverse: of each network, whether time runs backwards.
        keep_gates: whether gates are kept for the backward pass, or computed again.
        loops: who runs the steps.
    """

    form: Any
    dtype: Any
    gate_dtype: Any
    reverse: tuple[bool, ...]
    keep_gates: bool
    loops: Loops

    @property
    def equations(self) -> Equations:
        """Those of the cell."""
        equations = equations_of(self.form)
        assert equations is not None
        return equations

    def directions(self, networks: int) -> Directions:
        """Of so many networks: the copies that a `vmap` makes of one stand in its place."""
        copies = networks // len(self.reverse)
        return tuple((i // copies, self.reverse[i // copies]) for i in range(networks))


class Flags(NamedTuple):
    """What every step is told, `(T, B)` or `(T,)`; None where there is none."""

    mask: Bool[Array, "T *rows"] | None
    restarts: Bool[Array, "T *rows"] | None


class Kept(NamedTuple):
    """What the forward pass leaves for the backward pass.

    Attributes:
        columns: the buffers of `Equations`, `(T, B, ...)`; None where they are computed again.
        starts: the carry that each step began from, `(T, B, H)`, or where it stands.
    """

    columns: tuple[Array, ...] | None
    starts: PyTree


def typed(tree: PyTree, like: PyTree) -> PyTree:
    """Every leaf in the dtype of its counterpart."""
    return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, like)

"""The masked steps of a call, all of them side by side or one after the other."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Float, PyTree
from rnnjax.cells.base import Cell
from rnnjax.methods.base import keep, zeros_like
from rnnjax.methods.newton.linear import Blocks
from rnnjax.methods.newton.units import units_of


class Operands(NamedTuple):
    """What the whole sequence is a function of; its cotangents have this form too.

    Attributes:
        params: of the cell.
        xs: inputs, `(T, *batch, D)`.
        carry: where to begin.
        fresh: what a reset restores; None without resets.
        mask: True on valid steps, `(T, *batch)`; None means all.
        resets: True where `fresh` replaces the carry; None means nowhere.
    """

    params: PyTree
    xs: PyTree
    carry: PyTree
    fresh: PyTree
    mask: Bool[Array, "T *batch"] | None
    resets: Bool[Array, "T *batch"] | None

    @property
    def flags(self) -> tuple[Any, Any]:
        """What says which steps count, and which begin afresh."""
        return self.mask, self.resets


def project(cell: Cell, params: PyTree, xs: PyTree, mask: Array | None) -> PyTree:
    """The projected inputs of all steps; what stands in the padding does not reach them."""
    return cell.project(params, xs if mask is None else keep(mask, xs, zeros_like(xs)))


def advance(
    cell: Cell, params: PyTree, before: PyTree, fresh: PyTree, inputs: Any
) -> tuple[PyTree, PyTree]:
    """The carry after a step, and its output; of one step, or of many with a leading axis."""
    z, (valid, reset) = inputs
    after, y = cell.step(params, begin(before, fresh, reset), z)
    if valid is None:
        return after, y
    return keep(valid, after, before), keep(valid, y, zeros_like(y))


def begin(before: PyTree, fresh: PyTree, reset: Array | None) -> PyTree:
    """The carry that a step takes."""
    return before if reset is None else keep(reset, spread(fresh, before), before)


def spread(tree: PyTree, like: PyTree) -> PyTree:
    """The same for every step, where `like` has an axis of them."""
    return jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape), tree, like)


def shift(states: PyTree, first: PyTree, *, reverse: bool) -> PyTree:
    """What stands before every step, from what stands after it and what stands before them all."""

    def leaf(state: Float[Array, "T *batch H"], first: Array) -> Float[Array, "T *batch H"]:
        if reverse:
            return jnp.concatenate([state[1:], first[None]])
        return jnp.concatenate([first[None], state[:-1]])

    return jax.tree.map(leaf, states, first)


def last_valid(
    states: PyTree, first: PyTree, mask: Bool[Array, "T *batch"] | None, *, reverse: bool
) -> PyTree:
    """The state after the last valid step in the order of reading; `first` where there is none."""
    if mask is None:
        return jax.tree.map(lambda state: state[0 if reverse else -1], states)
    far = mask.shape[0] - 1
    steps = jax.lax.broadcasted_iota(jnp.int32, mask.shape, 0)
    place = jnp.where(mask, far - steps if reverse else steps, -1).max(0)  # in order of reading
    at = jnp.expand_dims(jnp.clip(far - place if reverse else place, 0, far), (0, -1))
    picked = jax.tree.map(lambda state: jnp.take_along_axis(state, at, axis=0)[0], states)
    return keep(place >= 0, picked, first)


def linearise(
    cell: Cell, params: PyTree, before: PyTree, fresh: PyTree, inputs: Any
) -> tuple[PyTree, Blocks]:
    """The carry after every step, and how it answers the carry before it, unit by unit.

    After an invalid step that is the identity, and after a reset nothing.
    """
    zs, (valid, reset) = inputs
    units = units_of(cell)
    assert units is not None
    start = begin(before, fresh, reset)
    after, push = jax.linearize(units(params, zs, start), start)
    leaves, structure = jax.tree.flatten(start)
    columns = []
    for moved in range(len(leaves)):
        pairs = enumerate(leaves)
        tangents = [jnp.ones_like(a) if n == moved else jnp.zeros_like(a) for n, a in pairs]
        columns.append(jax.tree.leaves(push(jax.tree.unflatten(structure, tangents))))

    def masked(block: Array, own: bool) -> Array:
        if reset is not None:
            block = keep(~reset, block, jnp.zeros_like(block))
        if valid is not None:
            block = keep(valid, block, jnp.full_like(block, own))
        return block

    size = range(len(leaves))
    blocks = tuple(tuple(masked(columns[j][i], i == j) for j in size) for i in size)
    return after if valid is None else keep(valid, after, before), blocks


def one_by_one(cell: Cell, operands: Operands, *, reverse: bool) -> PyTree:
    """The carry after every step, by a scan."""
    zs = project(cell, operands.params, operands.xs, operands.mask)

    def body(before: PyTree, inputs: Any) -> tuple[PyTree, PyTree]:
        after, _ = advance(cell, operands.params, before, operands.fresh, inputs)
        return after, after

    _, states = jax.lax.scan(body, operands.carry, (zs, operands.flags), reverse=reverse)
    return states


def one_by_one_back(
    cell: Cell, operands: Operands, before: PyTree, cotangents: Any, *, reverse: bool
) -> PyTree:
    """The cotangent of the carry before every step, by a scan with the whole Jacobian of each."""
    zs = project(cell, operands.params, operands.xs, operands.mask)
    dlast, dys = cotangents

    def body(bar: PyTree, inputs: Any) -> tuple[PyTree, PyTree]:
        before, step_inputs, dy = inputs

        def step(before: PyTree) -> Any:
            return advance(cell, operands.params, before, operands.fresh, step_inputs)

        (bar,) = jax.vjp(step, before)[1]((bar, dy))
        return bar, bar

    inputs = before, (zs, operands.flags), dys
    return jax.lax.scan(body, dlast, inputs, reverse=not reverse)[1]

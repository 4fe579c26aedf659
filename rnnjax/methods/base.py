"""What a method is asked, and the masked loop that defines what every method must equal."""

import abc
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Bool, Int, PyTree
from rnnjax.cells.base import Cell


class Call(NamedTuple):
    """One sequence to be run, with arguments already checked.

    Attributes:
        cell: what to run.
        params: its parameters, with the noise of this sequence where there is some.
        xs: inputs, `(T, *batch, D)`, whatever stands in the padding.
        carry: where to begin.
        fresh: what a reset restores; None where there are no resets.
        mask: True on valid steps, `(T, *batch)`; None means all of them.
        resets: True where `fresh` replaces the carry before the step; None means nowhere.
        reverse: whether to read from the last step to the first.
        lengths: valid steps of each row, `(*batch,)`, where the mask says no more than they do;
            None where there is no mask, or only it knows.
    """

    cell: Cell
    params: PyTree
    xs: PyTree
    carry: PyTree
    fresh: PyTree
    mask: Bool[Array, "T *batch"] | None
    resets: Bool[Array, "T *batch"] | None
    reverse: bool
    lengths: Int[Array, "*batch"] | None = None

    @property
    def num_steps(self) -> int:
        """T."""
        return jax.tree.leaves(self.xs)[0].shape[0]


class Method(Protocol):
    """How a sequence is run: a small frozen value that carries its own options.

    One that also has `run_together(calls, stack)`, and `runs_together(call)` to say whether that
    pays, is given both directions at once, as calls of the same sequence that differ in params,
    carry and direction alone. `stack` are the params of them all with a leading axis.

    One that has `run_stack(levels)`, and `runs_stack(levels)` to say whether it can, is given a
    stack of layers at once: a level has a call for each direction, forwards first. Inputs are
    those of the lowest level; those of the others stand for shapes alone. It returns the final
    carries in the form of `levels`, and the outputs of the top, both directions side by side.
    """

    def why_not(self, call: Call) -> str | None:
        """Say why this method cannot serve, or None if it can; arrays may be abstract."""
        ...

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Return the final carry and the outputs, `ys[t]` answering `xs[t]`; T is 1 at least."""
        ...


class TogetherMethod(abc.ABC):
    """What methods share that run all calls of a layer at once, and one call as such a layer."""

    @abc.abstractmethod
    def run_together(
        self, calls: tuple[Call, ...], stack: PyTree = None
    ) -> list[tuple[PyTree, PyTree]]:
        """Run calls that differ in params, carry and direction alone.

        `stack` has params of them all, for methods that read them so.
        """

    def run(self, call: Call) -> tuple[PyTree, PyTree]:
        """Run one call."""
        return self.run_together((call,))[0]

    def runs_together(self, call: Call) -> bool:
        """Always: it costs nothing."""
        return True


def keep(valid: Bool[Array, "..."], new: PyTree, old: PyTree) -> PyTree:
    """`new` where `valid`, else `old`, leaf by leaf; `valid` lacks the trailing feature axes."""

    def leaf(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(valid, range(valid.ndim, new.ndim)), new, old)

    return jax.tree.map(leaf, new, old)


def zeros_like(tree: PyTree) -> PyTree:
    """Zeros of the same shapes, dtypes and shardings."""
    return jax.tree.map(jnp.zeros_like, tree)


def typed_as(tree: PyTree, like: PyTree) -> PyTree:
    """Give every leaf, on a mesh with explicit axes, the sharding of its counterpart in `like`.

    There it is part of a type, and a loop must return the carry in the type that it took.
    """
    if not jax.sharding.get_abstract_mesh().explicit_axes:
        return tree

    def leaf(a: Array, b: Array) -> Array:
        wanted = jax.typeof(b).sharding
        return a if jax.typeof(a).sharding == wanted else jax.reshard(a, wanted)

    return jax.tree.map(leaf, tree, like)


def scan_steps(call: Call, *, unroll: int = 1) -> tuple[PyTree, PyTree]:
    """Run every step in one `lax.scan`, the input projection hoisted out of it.

    The input is selected as well as the carry: NaN times a zero cotangent is NaN, so what
    stands in the padding must not reach the projection.
    """
    cell, params, mask, resets = call.cell, call.params, call.mask, call.resets
    xs = call.xs if mask is None else keep(mask, call.xs, zeros_like(call.xs))

    def body(carry: PyTree, inputs: Any) -> tuple[PyTree, PyTree]:
        z, valid, reset = inputs
        start = carry if reset is None else keep(reset, call.fresh, carry)
        new_carry, y = cell.step(params, start, z)
        new_carry = typed_as(new_carry, carry)
        if valid is None:
            return new_carry, y
        return keep(valid, new_carry, carry), keep(valid, y, zeros_like(y))

    inputs = (cell.project(params, xs), mask, resets)
    return jax.lax.scan(body, call.carry, inputs, reverse=call.reverse, unroll=unroll)

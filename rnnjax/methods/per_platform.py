"""One method on this machine's platform, others where a program is lowered for another one."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._typing import PyTree
from rnnjax.methods.base import Call, Method, TogetherMethod
from rnnjax.methods.lowering import by_platform
from rnnjax.methods.manual import vary, varying_axes
from rnnjax.methods.reverse_only import first_order, reverse_mode

Results = list[tuple[PyTree, PyTree]]


@dataclasses.dataclass(frozen=True)
class PerPlatform(TogetherMethod):
    """What `None` stands for, where another platform has a better method than this machine's.

    A gradient that is lowered for another platform writes its method's forward pass twice, since
    what this machine's method keeps for the way back is of no use there; in one program the
    compiler keeps one of them.

    Attributes:
        here: the method on this machine's backend.
        elsewhere: platforms, and what serves there.
        otherwise: what serves on any other platform.
    """

    here: Method
    elsewhere: tuple[tuple[str, Method], ...]
    otherwise: Method

    def why_not(self, call: Call) -> str | None:
        """All of them were found to be able to serve."""
        return self.here.why_not(call)

    def runs_together(self, call: Call) -> bool:
        """As the method of this machine."""
        method: Any = self.here
        return hasattr(method, "runs_together") and method.runs_together(call)

    def run_together(self, calls: tuple[Call, ...], stack: PyTree = None) -> Results:
        """Run calls that differ in arrays and direction alone; `stack` has params of them all."""
        statics = tuple((call.cell, call.reverse) for call in calls)
        arrays = tuple(call._replace(cell=None, reverse=None) for call in calls)
        arrays, rest = split(arrays)
        rest = (rest, jax.lax.stop_gradient(stack))
        arrays = reverse_mode(vary(arrays, varying_axes((arrays, rest))))
        return run(self, statics, arrays, rest)

    def function(
        self, of: Callable[[Method, bool], Callable[..., PyTree]]
    ) -> Callable[..., PyTree]:
        """The function of a method that is known when a program is lowered.

        `of` is told whether it is for this machine: the same method, traced for another platform,
        may keep other things.
        """
        elsewhere = {platform: of(method, False) for platform, method in self.elsewhere}
        return by_platform(of(self.here, True), elsewhere, of(self.otherwise, False))


def split(tree: PyTree) -> tuple[PyTree, PyTree]:
    """What has a gradient, and what has none; None in the place of the others."""
    real = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    return (
        jax.tree.map(lambda x: x if real(x) else None, tree),
        jax.tree.map(lambda x: None if real(x) else x, tree),
    )


def run_with(method: Method, statics: Any, arrays: PyTree, rest: PyTree) -> Results:
    """Run calls with one method."""
    others, stack = rest
    join = lambda x, other: other if x is None else x
    joined = jax.tree.map(join, arrays, others, is_leaf=lambda x: x is None)
    calls = tuple(
        call._replace(cell=cell, reverse=reverse)
        for call, (cell, reverse) in zip(joined, statics, strict=True)
    )
    if hasattr(method, "run_together"):
        return method.run_together(calls, stack)  # pyright: ignore[reportAttributeAccessIssue]
    return [method.run(call) for call in calls]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(method: PerPlatform, statics: Any, arrays: PyTree, rest: PyTree) -> Results:
    """Run calls with the method of the platform."""
    of = lambda one, here: functools.partial(run_with, one, statics)
    return method.function(of)(arrays, rest)


def run_forward(method: PerPlatform, statics: Any, arrays: PyTree, rest: PyTree) -> Any:
    """The same, and what this machine's method keeps; elsewhere nothing is kept."""

    def of(one: Method, here: bool) -> Callable[..., PyTree]:
        pulled = functools.partial(pulled_back, one, statics)
        if here:
            return pulled
        return lambda arrays, rest: (pulled(arrays, rest)[0], ())

    arrays = first_order(arrays)
    out, kept = method.function(of)(arrays, rest)
    return out, (arrays, rest, kept)


def pulled_back(one: Method, statics: Any, arrays: PyTree, rest: PyTree) -> tuple[Results, Any]:
    """Results, and the function that pulls cotangents back to `arrays`."""
    return jax.vjp(lambda arrays: run_with(one, statics, arrays, rest), arrays)


def run_backward(method: PerPlatform, statics: Any, residuals: Any, cotangents: Results) -> Any:
    """Cotangents of what has a gradient."""

    def of(one: Method, here: bool) -> Callable[..., PyTree]:
        def pull(arrays: PyTree, rest: PyTree, kept: Any, cotangents: Results) -> PyTree:
            if not here:
                _, kept = pulled_back(one, statics, arrays, rest)
            return kept(cotangents)[0]

        return pull

    return method.function(of)(*residuals, first_order(cotangents)), None


run.defvjp(run_forward, run_backward)

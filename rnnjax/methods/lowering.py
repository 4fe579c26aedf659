"""Functions of which one runs: the one for the platform that a program is lowered for.

JAX's `platform_dependent` traces all of them at once, and differentiates them as branches. Here
those for other platforms are traced if, and when, a program is lowered for them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import batching, mlir

from rnnjax._typing import PyTree
from rnnjax.methods import manual

# Of `jax.default_backend()`, what programs are lowered for.
PLATFORMS = {"cpu": ("cpu",), "tpu": ("tpu",), "gpu": ("cuda", "rocm")}
Flat = Callable[..., list[Any]]


class Choice(NamedTuple):
    """Functions of arrays to lists of arrays.

    Attributes:
        here: that of this machine's backend, traced.
        backend: which that is.
        elsewhere: platforms, and the function of each.
        otherwise: that of any other platform.
    """

    here: Any
    backend: str
    elsewhere: tuple[tuple[str, Flat], ...]
    otherwise: Flat

    def run(self, platform: str, *arrays: Any) -> list[Any]:
        """Run the one for a platform; what it does not return is zero."""
        if platform in PLATFORMS.get(self.backend, (self.backend,)):
            return self.own(*arrays)
        with manual.elsewhere(platform):
            out = dict(self.elsewhere).get(platform, self.otherwise)(*arrays)
        return out + [jnp.zeros(a.shape, a.dtype) for a in self.here.out_avals[len(out) :]]

    def own(self, *arrays: Any) -> list[Any]:
        """That of this machine's backend."""
        from jax.extend.core import jaxpr_as_fun  # brings much that `import rnnjax` does not need

        return jaxpr_as_fun(self.here)(*arrays)

    def change(self, change: Callable[[Flat], Flat], arrays: Any) -> "Choice":
        """The same of functions that take such arrays."""
        elsewhere = tuple((platform, change(function)) for platform, function in self.elsewhere)
        here = jax.make_jaxpr(change(self.own))(*arrays)
        return Choice(here, self.backend, elsewhere, change(self.otherwise))


def by_platform(
    here: Callable[..., PyTree],
    elsewhere: dict[str, Callable[..., PyTree]],
    otherwise: Callable[..., PyTree],
) -> Callable[..., PyTree]:
    """A function that is `here` on this machine's backend, and others where it is lowered for them.

    `elsewhere` names platforms as lowering does (cpu, tpu, cuda, rocm). All return arrays of the
    same shapes; where the others return fewer, the last ones are zeros. It has no derivatives.
    Within a function that is being traced for another platform it is the one for that platform.
    """

    from jax.extend.core import Var

    def run(*trees: PyTree) -> PyTree:
        if told := manual.platform_elsewhere():
            return elsewhere.get(told, otherwise)(*trees)
        arrays, taken = jax.tree.flatten(trees)
        traced, made = jax.make_jaxpr(here, return_shape=True)(*trees)
        flat = lambda function: functools.partial(flattened, function, taken)
        others = tuple((platform, flat(function)) for platform, function in elsewhere.items())
        choice = Choice(traced, jax.default_backend(), others, flat(otherwise))
        out = primitive().bind(*arrays, choice=choice)
        # JAX does not keep twice, for the way back, what is known to be an argument.
        same = dict(zip(traced.jaxpr.invars, arrays, strict=True))
        pairs = zip(traced.jaxpr.outvars, out, strict=True)
        out = [same.get(var, x) if isinstance(var, Var) else x for var, x in pairs]
        return jax.tree.unflatten(jax.tree.structure(made), out)

    return run


def flattened(function: Callable[..., PyTree], taken: Any, *arrays: Any) -> list[Any]:
    """Call a function of trees with arrays."""
    return jax.tree.leaves(function(*jax.tree.unflatten(taken, arrays)))


@functools.cache
def primitive() -> Any:
    """The primitive that is one of several functions."""
    from jax.extend.core import Primitive  # brings much that `import rnnjax` does not need

    def lower(platform: str, ctx: Any, *arrays: Any, choice: Choice) -> Any:
        function = functools.partial(choice.run, platform)
        return mlir.lower_fun(function, multiple_results=True)(ctx, *arrays)

    def batch(arrays: Any, axes: Any, *, choice: Choice) -> Any:
        change = lambda function: jax.vmap(function, in_axes=axes)
        out = chosen.bind(*arrays, choice=choice.change(change, arrays))
        return out, [0] * len(out)

    chosen = Primitive("by_platform")
    chosen.multiple_results = True
    chosen.def_impl(lambda *arrays, choice: choice.own(*arrays))
    chosen.def_abstract_eval(lambda *arrays, choice: choice.here.out_avals)
    batching.primitive_batchers[chosen] = batch
    for platforms in PLATFORMS.values():
        for platform in platforms:
            rule = functools.partial(lower, platform)
            mlir.register_lowering(chosen, rule, platform=platform)
    return chosen

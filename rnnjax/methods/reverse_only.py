"""Functions with a gradient of their own: who asks for more is told so in the words of a user.

JAX answers forward mode through a `custom_vjp` too, but names neither the method nor a way out.
"""

import functools
from typing import Any, NoReturn

import jax
from jax.interpreters import ad, batching, mlir

from rnnjax._typing import PyTree

REVERSE_ONLY = (
    "rnnjax: the method has first derivatives in reverse mode only; give "
    "method=rnnjax.Scan() for forward mode and for second derivatives."
)


def refuse(*args: Any, **params: Any) -> NoReturn:
    """Raise, wherever JAX gets to."""
    raise TypeError(REVERSE_ONLY)


@functools.cache
def transposable() -> Any:
    """The primitive `primal, tangent -> tangent`, which may be transposed, and nothing else."""
    from jax.extend.core import Primitive  # brings much that `import rnnjax` does not need

    def batch(args: tuple[Any, Any], axes: tuple[Any, Any]) -> tuple[Any, Any]:
        if axes[0] is None:
            refuse()  # a tangent that is mapped where its primal is not comes from `jacfwd`
        return primitive.bind(*args), axes[1]

    primitive = Primitive("reverse_mode_only")
    primitive.def_impl(refuse)
    primitive.def_abstract_eval(lambda primal, tangent: tangent)
    ad.primitive_jvps[primitive] = refuse
    ad.primitive_transposes[primitive] = lambda cotangent, primal, tangent: (None, cotangent)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, refuse)
    return primitive


@jax.custom_jvp
def reverse_mode(tree: PyTree) -> PyTree:
    """The same; to be differentiated in reverse mode alone."""
    return tree


def _reverse_mode_rule(primals: tuple[PyTree], tangents: tuple[PyTree]) -> tuple[PyTree, PyTree]:
    def leaf(primal: Any, tangent: Any) -> Any:
        if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
            return tangent  # what nobody differentiates by is no forward mode
        return transposable().bind(primal, tangent)

    return primals[0], jax.tree.map(leaf, primals[0], tangents[0])


reverse_mode.defjvp(_reverse_mode_rule, symbolic_zeros=True)


@jax.custom_jvp
def first_order(tree: PyTree) -> PyTree:
    """The same; not to be differentiated."""
    return tree


first_order.defjvp(refuse)

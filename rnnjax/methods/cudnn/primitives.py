"""cuDNN's two functions as JAX's own kind of function: batched, and differentiated once.

A `custom_vjp` would do without `vmap`. Under it, cuDNN wants sequences that share weights as more
rows of one call, which gives the sum of their gradients; a `custom_vjp` must give each its own. As
primitives, a gradient around `vmap` has the one call, and a gradient inside it has one for each.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching, mlir

from rnnjax._typing import Array
from rnnjax.methods.cudnn import library
from rnnjax.methods.cudnn.library import Network
from rnnjax.methods.lowering import PLATFORMS
from rnnjax.methods.reverse_only import refuse

ROWS = (None, 0, 1, 1, 0)  # which axis of w, xs, h, c and lengths
TARGET = "call_target_name"
Dims = Sequence[int | None]


class Primitives(NamedTuple):
    """One for each way, and one that stands for tangents until they are transposed."""

    forward: Any
    tangents: Any
    backward: Any


@functools.cache
def primitives() -> Primitives:
    """Made once, when a call needs them."""
    from jax.extend.core import Primitive  # brings much that `import rnnjax` does not need

    made = Primitives(*(Primitive(f"cudnn_lstm_{name}") for name in Primitives._fields))
    for primitive in made:
        primitive.multiple_results = True
        ad.primitive_jvps[primitive] = refuse
    plain = library.plain_forward, library.plain_backward
    both = zip((made.forward, made.backward), (run_forward, run_backward), plain, strict=True)
    for primitive, run, other in both:
        primitive.def_impl(run)
        for platform in itertools.chain(*PLATFORMS.values()):
            rule = functools.partial(lowered, platform, run, other)
            mlir.register_lowering(primitive, rule, platform=platform)
    made.forward.def_abstract_eval(forward_types)
    made.tangents.def_abstract_eval(tangents_types)
    made.backward.def_abstract_eval(backward_types)
    batching.primitive_batchers[made.forward] = batched_forward
    batching.primitive_batchers[made.backward] = batched_backward
    ad.primitive_jvps[made.forward] = forward_rule
    ad.primitive_transposes[made.tangents] = transposed
    made.tangents.def_impl(refuse)
    mlir.register_lowering(made.tangents, refuse)
    batching.primitive_batchers[made.tangents] = refuse
    return made


def forward(network: Network, *operands: Array) -> list[Array]:
    """`ys`, `h`, `c`, and what cuDNN leaves for the way back, of `w, xs, h, c, lengths`."""
    return primitives().forward.bind(*operands, network=network)


def backward(network: Network, *operands: Array) -> list[Array]:
    """Cotangents of `w, xs, h, c`, of those of `ys, h, c`, what `forward` took, `ys` and `left`."""
    return primitives().backward.bind(*operands, network=network)


def run_forward(*operands: Array, network: Network) -> list[Array]:
    """Call cuDNN."""
    return list(library.forward(network, *operands))


def run_backward(*operands: Array, network: Network) -> list[Array]:
    """Call cuDNN."""
    return list(library.backward(network, *operands))


def lowered(
    platform: str,
    run: Callable[..., list[Array]],
    other: Callable[..., Any],
    context: Any,
    *operands: Any,
    network: Network,
) -> Any:
    """A call of cuDNN with the order of axes that cuDNN means; on another platform, the plain loop.

    JAX leaves that open, and where XLA finds another order quicker, as before or after a transpose,
    cuDNN would read and write the wrong numbers. Seen in programs compiled for an H100; it may be
    what jax-ml/jax#19177 reports.
    """
    if platform not in library.PLATFORMS:
        wanted = context.avals_out

        def plain(*arrays: Array) -> list[Array]:
            out = list(other(network, *arrays))
            return out + [jnp.zeros(a.shape, a.dtype) for a in wanted[len(out) :]]

        return mlir.lower_fun(plain, multiple_results=True)(context, *operands)
    results = mlir.lower_fun(run, multiple_results=True)(context, *operands, network=network)
    call = results[0].owner
    if call.name == "stablehlo.custom_call" and "dnn_rnn" in str(call.attributes[TARGET]):
        call.attributes["operand_layouts"] = row_major(call.operands)
        call.attributes["result_layouts"] = row_major(call.results)
    return results


def row_major(values: Any) -> Any:
    """Axes from the last one, which is the nearest in memory, to the first."""
    ranks = [mlir.ir.RankedTensorType(value.type).rank for value in values]
    orders = [np.arange(rank)[::-1] for rank in ranks]
    array: Any = mlir.ir.DenseIntElementsAttr
    kind = mlir.ir.IndexType.get()
    made = [array.get(np.ascontiguousarray(order), type=kind) for order in orders]
    return mlir.ir.ArrayAttr.get(made)


def forward_types(*avals: Any, network: Network) -> list[Any]:
    """Shapes from JAX; inside `shard_map` all vary as the operands do."""
    out = shapes_of(network, *avals)
    w, xs, h, c, _ = avals
    pairs = zip((xs, h, c, w), out, strict=True)  # each with one of as many axes
    return [aval.update(shape=shape.shape, dtype=shape.dtype) for aval, shape in pairs]


def shapes_of(network: Network, *operands: Any) -> tuple[Any, ...]:
    """Those of what `forward` returns."""
    like = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands]
    return jax.eval_shape(functools.partial(library.forward, network), *like)


def tangents_types(*avals: Any, network: Network, given: tuple[bool, ...]) -> list[Any]:
    """Those of `ys`, `h` and `c`."""
    _, _, h, c, _, ys, _ = avals[sum(given) :]
    return [ys, h, c]


def backward_types(*avals: Any, network: Network) -> list[Any]:
    """Those of `w`, `xs`, `h` and `c`."""
    return list(avals[3:7])


def forward_rule(
    primals: Sequence[Array], tangents: Sequence[Any], *, network: Network
) -> tuple[list[Array], list[Any]]:
    """What comes out, and tangents that wait to be transposed."""
    ys, h, c, left = forward(network, *primals)
    given = tuple(type(t) is not ad.Zero for t in tangents[:4])
    own = [t for t, is_given in zip(tangents, given, strict=False) if is_given]
    out = primitives().tangents.bind(*own, *primals, ys, left, network=network, given=given)
    return [ys, h, c, left], [*out, ad.Zero(jax.typeof(left))]


def transposed(
    cotangents: Sequence[Any], *operands: Any, network: Network, given: tuple[bool, ...]
) -> list[Any]:
    """The way back, for the tangents that were given."""
    own, residuals = operands[: sum(given)], operands[sum(given) :]
    out = backward(network, *map(ad.instantiate_zeros, cotangents), *residuals)
    wanted = [cotangent for cotangent, is_given in zip(out, given, strict=True) if is_given]
    pairs = zip(wanted, own, strict=True)
    found = [cotangent if ad.is_undefined_primal(x) else None for cotangent, x in pairs]
    return [*found, *[None] * len(residuals)]


def batched_forward(
    operands: Sequence[Array], dims: Dims, *, network: Network
) -> tuple[Sequence[Array], Dims]:
    """Sequences become rows of one call; networks run one after the other."""
    if dims[0] is not None:
        return one_by_one(functools.partial(forward, network), operands, dims), (0, 0, 0, 0)
    size = size_of(operands, dims)
    folded = [
        a if axis is None else fold(a, dim, axis, size)
        for a, dim, axis in zip(operands, dims, ROWS, strict=True)
    ]
    ys, h, c, left = forward(network, *folded)
    return [unfold(ys, 0, size), unfold(h, 1, size), unfold(c, 1, size), left], (0, 1, 1, None)


def batched_backward(
    operands: Sequence[Array], dims: Dims, *, network: Network
) -> tuple[Sequence[Array], Dims]:
    """One after the other: each is to have a gradient of its own.

    What was left by a call with the rows of all is of no use to one: it runs forwards once more.
    """
    taken = slice(3, 8)
    whole = dims[-1] is None and dims[-2] is not None

    def one(*own: Array) -> list[Array]:
        *known, left = own
        (size,) = shapes_of(network, *own[taken])[-1].shape
        if whole or left.shape != (size,):
            left = forward(network, *own[taken])[-1]
        return backward(network, *known, left)

    return one_by_one(one, operands, dims), (0, 0, 0, 0)


def size_of(operands: Sequence[Array], dims: Dims) -> int:
    """Of the axis that is mapped."""
    pairs = zip(operands, dims, strict=True)
    return next(a.shape[dim] for a, dim in pairs if dim is not None)


def one_by_one(
    function: Callable[..., list[Array]], operands: Sequence[Array], dims: Dims
) -> list[Array]:
    """`function` for each along the axis that is mapped, which comes out in front."""
    mapped = [
        jnp.moveaxis(a, dim, 0) for a, dim in zip(operands, dims, strict=True) if dim is not None
    ]

    def one(own: list[Array]) -> list[Array]:
        rest = iter(own)
        return function(
            *(a if dim is None else next(rest) for a, dim in zip(operands, dims, strict=True))
        )

    return jax.lax.map(one, mapped)


def fold(a: Array, dim: int | None, axis: int, size: int) -> Array:
    """The mapped axis into that of rows; what is not mapped is repeated."""
    if dim is None:
        shape = (*a.shape[:axis], size, *a.shape[axis:])
        a = jnp.broadcast_to(jnp.expand_dims(a, axis), shape)
    else:
        a = jnp.moveaxis(a, dim, axis)
    return a.reshape(*a.shape[:axis], -1, *a.shape[axis + 2 :])


def unfold(a: Array, axis: int, size: int) -> Array:
    """The axis of rows cut in two, the mapped one first."""
    return a.reshape(*a.shape[:axis], size, -1, *a.shape[axis + 1 :])

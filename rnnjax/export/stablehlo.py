"""Networks as StableHLO, which runs where JAX runs and needs nothing of ours."""

from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell, InputSpec
from rnnjax.export import refusals
from rnnjax.methods.base import Method
from rnnjax.methods.choice import check_method, named
from rnnjax.methods.native import Native
from rnnjax.methods.reverse_only import REVERSE_ONLY
from rnnjax.methods.scan import Scan
from rnnjax.sequence.arguments import check_params
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.params import params_from_dict, params_to_dict

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class Sizes(NamedTuple):
    """What the program is written for.

    Attributes:
        num_steps: T; None means any.
        batch: B; None means any.
        in_shape: the axes of one step's input; None means what params fix.
    """

    num_steps: int | None
    batch: int | None
    in_shape: tuple[int, ...] | None


def to_stablehlo(
    layer: Cell | Layer,
    params: PyTree,
    *,
    platform: str = "cpu",
    lengths: bool = True,
    carry: bool = False,
    bake: bool = True,
    time_major: bool = True,
    num_steps: int | None = None,
    batch: int | None = None,
    in_shape: tuple[int, ...] | None = None,
    dtype: Any = jnp.float32,
    method: Method | None = None,
    vjp_order: int = 0,
) -> bytes:
    """Write a network as a program of StableHLO, for one platform and any T and B.

    Where it shall run, JAX is needed, and rnnjax is not:
    `jax.export.deserialize(data).call(xs, lengths)` returns `(carry, ys)`. The carry is
    what `params_to_dict` makes of ours, `carry["layers_0"]["h"]`. Arguments that the options have
    asked for stand in the order `params, xs, lengths, carry`. Lengths outside 0..T are clipped;
    where T or B is left open, it is 1 at least.

    Args:
        layer: a cell or layer, of any kind.
        params: of `layer`.
        platform: `cpu`, `cuda`, `rocm` or `tpu`; it need not be here.
        lengths: whether the program takes lengths, `(B,)` of int32; without them every row has T
            steps.
        carry: whether it takes the carry to begin with, as the dicts that it returns.
        bake: whether params are constants of the program; False makes them its first argument,
            as `params_to_dict` gives them.
        time_major: False for inputs and outputs with the batch first.
        num_steps: T; None leaves it open.
        batch: B; None leaves it open.
        in_shape: the axes of one step's input, such as `(28, 28, 1)` for images; None means what
            params fix.
        dtype: of inputs that are no tokens.
        method: how cells are run; None means `Scan()` where T or B is left open and for cpu, and
            elsewhere what is best on that platform, as the kernels for TPU. Others than `Scan`
            want to know T and B, and `Native` is refused: it would call our library.
        vjp_order: how often the program can be differentiated.

    Returns:
        The program, as `jax.export` serialises it.

    Raises:
        ImportError: if flatbuffers, which JAX wants for this, is not installed.
        TypeError: for an argument of the wrong kind.
        ValueError: for params of another network, a method that cannot serve, or sizes that must
            be given and are not.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> cell = rnnjax.gru(5)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> program = jax.export.deserialize(rnnjax.export.to_stablehlo(cell, params))
        >>> carry, ys = program.call(jnp.ones((7, 2, 3)), jnp.array([7, 4]))
        >>> ys.shape, carry["h"].shape
        ((7, 2, 5), (2, 5))
    """
    function = "to_stablehlo"
    _checks.choice(function, "platform", platform, PLATFORMS)
    flags = {"lengths": lengths, "carry": carry, "bake": bake, "time_major": time_major}
    for name, flag in flags.items():
        _checks.flag(function, name, flag)
    order = _checks.size(function, "vjp_order", vjp_order, least=0)
    method = _check_method(function, method, platform, None in (num_steps, batch))
    layer = as_layer(function, layer, argument="layer")
    check_params(function, layer, params)
    refusals.check_concrete(function, params)
    params = jax.tree.map(np.asarray, params)  # off all devices, and out of all shardings
    spec = refusals.check_one_input(function, layer, params)
    xs = _inputs(function, spec, Sizes(num_steps, batch, in_shape), dtype)
    like = jax.eval_shape(lambda p, x: layer.init_carry(p, x[0]), params, xs)
    arguments = {
        "params": None if bake else abstract(params_to_dict(params)),
        "xs": xs if time_major else jax.eval_shape(_swap, xs),
        "lengths": jax.ShapeDtypeStruct(xs.shape[1:2], jnp.int32) if lengths else None,
        "carry": params_to_dict(like) if carry else None,
    }
    taken = {name: value for name, value in arguments.items() if value is not None}

    def rnnjax(*given: Any) -> tuple[PyTree, PyTree]:
        found = dict(zip(taken, given, strict=True))
        own = params_from_dict(params, found["params"]) if "params" in found else params
        start = params_from_dict(like, found["carry"]) if "carry" in found else None
        inputs = found["xs"] if time_major else _swap(found["xs"])
        own = jax.tree.map(jnp.asarray, own)
        counts = found.get("lengths")
        last, ys = layer.apply(own, inputs, start, lengths=counts, method=method)
        return params_to_dict(last), (ys if time_major else jax.tree.map(_swap, ys))

    with named(function):
        exported = jax.export.export(jax.jit(rnnjax), platforms=(platform,))(*taken.values())
    try:
        return bytes(exported.serialize(vjp_order=order))
    except ImportError as error:
        message = f"{function}: flatbuffers is not installed; pip install rnnjax[export]."
        raise ImportError(message) from error
    except TypeError as error:
        if str(error) != REVERSE_ONLY:
            raise
        wanted, way_out = f"be at most 1 with method={method}", "give method=rnnjax.Scan()"
        _checks.refuse(function, "vjp_order", wanted, order, way_out)


def _check_method(function: str, method: Any, platform: str, any_size: bool) -> Method | None:
    """The method to run with; None for the best one of the platform."""
    if method is None:
        return Scan() if any_size or platform == "cpu" else None
    check_method(function, method)
    if isinstance(method, Native):
        way_out = "leave it out, or give rnnjax.Fused() with num_steps and batch"
        wanted = "run without the library of rnnjax"
        _checks.refuse(function, "method", wanted, method, way_out)
    if any_size and not isinstance(method, Scan):
        way_out = "give num_steps and batch, or leave the method out"
        _checks.refuse(function, "method", "serve any T and B", method, way_out)
    return method


def _inputs(function: str, spec: InputSpec, sizes: Sizes, dtype: Any) -> jax.ShapeDtypeStruct:
    """What the program reads, time-major: sizes that are not given are left open."""
    num_steps, batch, in_shape = sizes
    for name, number in (("num_steps", num_steps), ("batch", batch)):
        if number is not None:
            _checks.size(function, name, number)
    if in_shape is not None:
        way_out = "give the sizes of the axes behind time and batch, such as (28, 28, 1)"
        if not isinstance(in_shape, tuple | list):
            got = _checks.kind(in_shape)
            _checks.refuse(function, "in_shape", "be a tuple", got, way_out, error=TypeError)
        in_shape = tuple(_checks.size(function, "in_shape", number) for number in in_shape)
        pairs = zip(spec.shape, in_shape, strict=False)
        if len(in_shape) != len(spec.shape) or any(w not in (None, g) for w, g in pairs):
            wanted = f"fit the params, {_axes(spec)}"
            _checks.refuse(function, "in_shape", wanted, in_shape, way_out)
    elif None in spec.shape:
        way_out = "give one such as (28, 28, 1)" if len(spec.shape) > 1 else "give one such as (3,)"
        wanted = f"be given where params leave it open, {_axes(spec)}"
        _checks.refuse(function, "in_shape", wanted, None, way_out)
    features = spec.shape if in_shape is None else in_shape
    kind: Any = jnp.int32
    if spec.kind is not jnp.integer:
        kind = _checks.float_dtype(function, "dtype", dtype)
        _checks.usable_dtype(function, "dtype", kind)
    open_ones = dict(zip("TB", jax.export.symbolic_shape("T, B"), strict=True))
    lead = (num_steps or open_ones["T"], batch or open_ones["B"])
    return jax.ShapeDtypeStruct((*lead, *features), kind)


def _axes(spec: InputSpec) -> str:
    """The axes of one step's input, as far as they are fixed."""
    return f"({', '.join('any' if n is None else str(n) for n in spec.shape)})"


def abstract(tree: PyTree) -> PyTree:
    """Shapes and dtypes alone."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def _swap(x: Any) -> Any:
    """Time and batch in each other's place."""
    return jnp.swapaxes(x, 0, 1)

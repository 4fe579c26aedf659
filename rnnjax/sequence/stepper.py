"""Streams: a network one step, or one chunk, at a time."""

from typing import Any, NoReturn

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks
from rnnjax._typing import Lengths, PyTree, Steps
from rnnjax.cells.base import ANY_INPUT, Cell, InputSpec, program
from rnnjax.methods.base import Method
from rnnjax.methods.choice import check_method, named
from rnnjax.methods.native import Native
from rnnjax.methods.native.steps import Network
from rnnjax.sequence.arguments import (
    Sequence,
    abstract_params,
    check_carry,
    check_params,
    check_sequence,
    check_step,
)
from rnnjax.sequence.direct import Direct
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.served import served

KEPT = 32  # kinds of inputs whose carry is remembered


def stepper(
    cell_or_layer: Cell | Layer, params: PyTree, *, method: Method | None = None
) -> "Stepper":
    """Make what runs a network one step, or one chunk, at a time, with an explicit carry.

    Any chunking of a sequence gives the outputs and the carry of the whole run. Nothing is drawn:
    dropout and other noise are off.

    Params are prepared here, once. Where the compiled library knows the whole network, and arrays
    are NumPy's, a step is one call of it, without JAX. It knows plain LSTM, GRU and Elman cells,
    dense layers, activations, and an embedding at the bottom, tied or not, in float32, with weights
    in float32, or as `quantize` makes them.

    Args:
        cell_or_layer: any cell or layer that reads forwards, a stack of them, too.
        params: from its `init`.
        method: how it is run; None picks one. `Native()` raises here where the library cannot run
            NumPy arrays by itself. Any other runs by JAX.

    Returns:
        The stepper: `carry, y = step(carry, x)`.

    Raises:
        TypeError: for what is neither cell nor layer, params that its `init` did not make, or what
            is no method.
        ValueError: for a layer that reads backwards, and where `Native()` cannot serve.

    Example:
        >>> import jax, numpy as np, rnnjax
        >>> layer = rnnjax.stack(rnnjax.lstm(8), rnnjax.dense(2))
        >>> step = rnnjax.stepper(layer, layer.init(jax.random.key(0), in_features=3))
        >>> carry = step.init_carry()
        >>> for x in np.ones((4, 3), np.float32):
        ...     carry, y = step(carry, x)
        >>> y.shape
        (2,)
    """
    layer = as_layer("stepper", cell_or_layer, argument="cell_or_layer")
    refuse_backwards("stepper", "cell_or_layer", layer)
    check_params("stepper", layer, params)
    if getattr(layer.in_spec(params), "below", None) is not None:  # of tokens nothing was compared
        way_out = "give what init made for this very cell or layer"
        template = abstract_params(layer, None)
        _checks.same_structure("stepper", "params", params, template, way_out)
    params = jax.tree.map(jnp.asarray, params)
    if method is not None:
        check_method("stepper", method)
    if method is not None and not isinstance(method, Native):
        return Stepper(layer, params, method=method, network=None, reason="asked for by name")
    found = served(layer, params)
    if isinstance(found, Network):
        reason = "the compiled library runs all of it, on arrays of NumPy"
        return Stepper(layer, params, method=method, network=found, reason=reason)
    if method is not None:
        wanted, got = "serve this network", f"{method}, which cannot: {found}"
        way_out = "use another method, or None to have one picked"
        _checks.refuse("stepper", "method", wanted, got, way_out)
    return Stepper(layer, params, method=None, network=None, reason=f"JAX runs it, since {found}")


def refuse_backwards(function: str, argument: str, thing: Any, *, name: str = "") -> None:
    """Refuse a layer that reads from the end, wherever it stands, also with other fields."""
    recipe = getattr(thing, "recipe", None)
    if recipe is None:
        return
    if recipe.factory == "quantized":
        refuse_backwards(function, argument, recipe.options["layer"], name=name)
    if recipe.factory == "tied_embedding":
        inner = f"{name}.body" if name else "body"
        refuse_backwards(function, argument, recipe.options["body"], name=inner)
    if recipe.factory == "stack":
        for i, layer in enumerate(recipe.options["layers"]):
            inner = f"{name}.layers_{i}" if name else f"layers_{i}"
            refuse_backwards(function, argument, layer, name=inner)
    reverse = recipe.factory == "recurrent" and recipe.options["reverse"]
    if reverse or recipe.factory == "bidirectional":
        got = "a layer with reverse=True" if reverse else "a bidirectional layer"
        got += f" at {name}" if name else ""
        way_out = "its first output needs the last input: run whole sequences with apply, or take "
        way_out += "a network that reads one way"
        _checks.refuse(function, argument, "read forwards alone", got, way_out)


class Stepper:
    """A network that goes on from a carry, by one step or one chunk; made by `stepper`.

    NumPy in, NumPy out: where every array of a call is NumPy's, so is what comes back. Where one is
    JAX's, a tracer too, so is what comes back; so it works in `jit`, `vmap`, `grad` and `scan`. A
    call is pure: the carry that is given is not changed and may be used again, by other threads at
    the same time, too.

    Attributes:
        layer: what is run.
        params: its params.
        method: what runs arrays of NumPy: `Native()` for the library by itself, what was asked for,
            or None where each cell's method is picked as by `unroll`.
        reason: why.
    """

    def __init__(
        self,
        layer: Layer,
        params: PyTree,
        *,
        method: Method | None,
        network: Network | None,
        reason: str,
    ):
        self.layer, self.params, self.reason = layer, params, reason
        self.method = method if network is None else Native()
        self._spec = layer.in_spec(params)
        self._one, self._many = _programs(layer, method)
        self._carries: dict[Any, PyTree] = {}  # abstract ones, by the inputs of a step
        self._traced = any(map(_is_traced, jax.tree.leaves(params)))
        self._direct = None
        if network is not None:
            width = network.layers[0].inputs
            x = np.zeros(width, np.float32) if network.of_tokens is None else np.zeros((), np.int32)
            self._direct = Direct(network, self._carry_like(x))

    def __repr__(self) -> str:
        return f"Stepper({self.layer.name}, method={self.method}: {self.reason})"

    def __copy__(self) -> "Stepper":
        return self  # which never changes

    def __deepcopy__(self, memo: Any) -> "Stepper":
        return self

    def __reduce__(self) -> NoReturn:
        way_out = "hand on its layer and params by save and load, and make a stepper of them there"
        got = "a request for its bytes"
        wanted = "stay in its process"
        _checks.refuse("Stepper.__reduce__", "self", wanted, got, way_out, error=TypeError)

    def __call__(self, carry: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        """Take one step.

        Args:
            carry: from `init_carry`, or of an earlier call.
            x: one step's input, `(*batch, D)`.

        Returns:
            The new carry, and the output `(*batch, H)`.

        Raises:
            TypeError: for an argument of the wrong kind, structure or dtype.
            ValueError: for a wrong shape, and tokens without a vector.
        """
        if self._direct is not None:
            done = self._direct.step(carry, x)
            if done is not None:
                return done
        x = self._own("Stepper", "x", x)
        arrays, _ = check_step("Stepper", self._spec, x)
        checked = check_carry("Stepper", carry, self._carry_like(arrays))
        if not self._on_host(carry, x):
            return self._one(self.params, checked, arrays)
        if self._direct is not None and _served(arrays):
            return self._direct.checked(checked, arrays, steps=False)
        return _to_numpy(self._one(self.params, checked, arrays))

    def chunk(
        self,
        carry: PyTree,
        xs: PyTree,
        *,
        lengths: Lengths | None = None,
        mask: Steps | None = None,
        resets: Steps | None = None,
    ) -> tuple[PyTree, PyTree]:
        """Take several steps, as many as `xs` has.

        With lengths, mask or resets, or for no steps, JAX runs it, as it does for JAX's arrays: it
        is then compiled for each shape.

        Args:
            carry: from `init_carry`, or of an earlier call.
            xs: inputs, `(T, *batch, D)`, time first.
            lengths: valid steps of each row, `(*batch,)`; None means T.
            mask: True on valid steps, `(T, *batch)`; None means all of them.
            resets: fresh starts, `(T, *batch)`; None means nowhere.

        Returns:
            The new carry, and the outputs `(T, *batch, H)`, zero at padding.

        Raises:
            TypeError: for an argument of the wrong kind, structure or dtype.
            ValueError: for a wrong shape, concrete lengths outside 0..T, and tokens without a
                vector.
        """
        plain = lengths is None and mask is None and resets is None
        if plain and self._direct is not None:
            done = self._direct.chunk(carry, xs)
            if done is not None:
                return done
        function = "Stepper.chunk"
        xs = self._own(function, "xs", xs)
        options: Any = {"lengths": lengths, "mask": mask, "resets": resets}
        sequence = check_sequence(function, self._spec, xs, **options)
        like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), sequence.xs)
        checked = check_carry(function, carry, self._carry_like(like))
        if not self._on_host(carry, xs, options):
            return self._many(self.params, checked, sequence)
        if self._direct is not None and plain and _served(sequence.xs) and len(sequence.xs):
            return self._direct.checked(checked, sequence.xs, steps=True)
        return _to_numpy(self._many(self.params, checked, sequence))

    def init_carry(self, batch: tuple[int, ...] = (), *, like: PyTree = None) -> PyTree:
        """The carry before the first step; learned ones, where a cell has one.

        Args:
            batch: batch axes, such as `(8,)`; `()` for a single stream.
            like: one step's input, `(*batch, D)`, in the place of `batch`; where it is JAX's, so is
                the carry. None reads `batch`.

        Returns:
            The carry, with these batch axes.

        Raises:
            TypeError: if `batch` holds no whole numbers, or `like` is of the wrong kind.
            ValueError: if both are given, for a wrong shape, and for layers that take inputs of any
                shape, which need `like`.
        """
        function = "Stepper.init_carry"
        if like is None:
            like = _like(function, self._spec, batch)
        elif batch != ():
            way_out = "like has batch axes of its own"
            _checks.refuse(function, "batch", "be left out where like is given", batch, way_out)
        like = self._own(function, "like", like)
        arrays, _ = check_step(function, self._spec, like, argument="like")
        carry = self.layer.init_carry(self.params, arrays)
        return _to_numpy(carry) if self._on_host(like) else carry

    def _carry_like(self, x: PyTree) -> PyTree:
        """The abstract carry for one step's inputs, which may be abstract."""
        leaves, structure = jax.tree.flatten(x)
        key = (structure, *((leaf.shape, leaf.dtype) for leaf in leaves))
        carry = self._carries.get(key)  # which another thread may empty
        if carry is None:
            struct = [jax.ShapeDtypeStruct(*shape_and_dtype) for shape_and_dtype in key[1:]]
            if len(self._carries) >= KEPT:
                self._carries.clear()
            like = jax.tree.unflatten(structure, struct)
            carry = self._carries[key] = jax.eval_shape(self._fresh, self.params, like)
        return carry

    def _fresh(self, params: PyTree, x: PyTree) -> PyTree:
        no_steps = jax.tree.map(lambda a: jnp.zeros((0, *a.shape), a.dtype), x)
        return self.layer.run(params, Sequence(no_steps, None, None), None, key=None, method=None)[
            0
        ]

    def _own(self, function: str, argument: str, x: PyTree) -> PyTree:
        """Inputs of NumPy that no other thread changes while they are looked at.

        Numbers alone are refused here: the advice of others, jnp.asarray, leads past the library.
        """
        one = isinstance(self._spec, InputSpec) and self._spec is not ANY_INPUT
        if one and not hasattr(x, "shape"):
            got, way_out = _checks.describe(x), "wrap numbers in np.asarray, or stack the arrays"
            _checks.refuse(function, argument, "be one array", got, way_out, error=TypeError)
        if self._direct is None or not isinstance(x, (np.ndarray, np.generic)):
            return x
        if self._direct.count is not None:
            return np.array(x)
        own = self._direct.input(x)
        return x if own is None else own

    def _on_host(self, *trees: PyTree) -> bool:
        """Whether no array is JAX's, and no param is traced."""
        given = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(trees))
        return not given and not self._traced


@program
def _programs(layer: Layer, method: Method | None) -> tuple[Any, Any]:
    """One step, and a sequence, compiled for each shape."""

    def many(params, carry, sequence):
        with named("Stepper.chunk"):
            return layer.run(params, sequence, carry, key=None, method=method)

    def one(params, carry, x):
        xs = jax.tree.map(lambda a: a[None], x)
        with named("Stepper"):
            carry, ys = many(params, carry, Sequence(xs, None, None))
        return carry, jax.tree.map(lambda a: a[0], ys)

    return jax.jit(one), jax.jit(many)


def _like(function: str, spec: PyTree, batch: Any) -> PyTree:
    """Zeros as one step's input, with these batch axes."""
    if not isinstance(batch, tuple):
        got, way_out = _checks.kind(batch), "write (8,) for eight rows"
        _checks.refuse(function, "batch", "be a tuple", got, way_out, error=TypeError)
    sizes = tuple(_checks.size(function, "batch", n, least=0) for n in batch)

    def leaf(spec: InputSpec) -> np.ndarray:
        if None in spec.shape:
            way_out = "params do not say what inputs look like: show one step of them"
            _checks.refuse(function, "like", "be given for this layer", "None", way_out)
        dtype = np.int32 if spec.kind is jnp.integer else np.float32
        return np.zeros(sizes + spec.shape, dtype)  # type: ignore[arg-type]

    return jax.tree.map(leaf, spec, is_leaf=lambda node: isinstance(node, InputSpec))


def _served(x: Any) -> bool:
    """Whether checked inputs are such as the library computes with."""
    return x.dtype == jnp.float32 or jnp.issubdtype(x.dtype, jnp.integer)


def _to_numpy(tree: PyTree) -> PyTree:
    """Arrays of NumPy that may be written to; inside a program there are none."""
    return jax.tree.map(lambda leaf: leaf if _is_traced(leaf) else np.array(leaf), tree)


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, jax.core.Tracer)

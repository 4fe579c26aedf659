"""Layers: what takes whole sequences, and how cells and plain functions become one."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax._typing import Lengths, PyTree, Steps
from rnnjax.cells.base import Cell, any_input, value
from rnnjax.cells.recipe import Recipe
from rnnjax.cells.wrappers import check_cell
from rnnjax.methods.base import Method, keep, zeros_like
from rnnjax.methods.choice import check_method, named
from rnnjax.sequence.arguments import Sequence, check_carry, check_params, check_sequence
from rnnjax.sequence.unroll import unroll_both_ways, unroll_checked


class Run(Protocol):
    """What a layer does with arguments that are already checked."""

    def __call__(
        self, params: PyTree, sequence: Sequence, carry: PyTree, *, key: Any, method: Any
    ) -> tuple[PyTree, PyTree]:
        """Return the final carry and the outputs; a carry of None means a fresh one."""
        ...


class Layer(NamedTuple):
    """What takes whole sequences, where a `Cell` takes one step.

    Made by `recurrent`, `bidirectional`, `stack`, `dense` and `pointwise`.

    Attributes:
        name: what messages call it.
        init: `key, in_features -> params`.
        run: how checked arguments are run; `apply` checks them.
        out_features: `in_features -> width` of the outputs; a tree where the output is a tree.
        in_spec: `params -> InputSpec`, what `xs` must look like.
        noisy: whether a key changes anything.
        run_both_ways: `run` for two networks, the second the other way: params, carry and keys
            lead with an axis of 2, and the outputs are a pair. None turns the sequence around.
        recipe: the factory that made the layer, and its options; None where it is unknown.
    """

    name: str
    init: Callable[[Any, Any], Any]
    run: Run
    out_features: Callable[[Any], Any]
    in_spec: Callable[[Any], Any] = any_input
    noisy: bool = False
    run_both_ways: Run | None = None
    recipe: Recipe | None = None

    def apply(
        self,
        params: PyTree,
        xs: PyTree,
        carry: PyTree = None,
        *,
        lengths: Lengths | None = None,
        mask: Steps | None = None,
        resets: Steps | None = None,
        key: Any = None,
        method: Method | None = None,
    ) -> tuple[PyTree, PyTree]:
        """Run the layer; lengths, mask and resets mean what they mean to `unroll`.

        Args:
            params: from `init`.
            xs: inputs, `(T, *batch, D)`, time first.
            carry: where to begin; None means `init_carry`.
            lengths: valid steps of each row, `(*batch,)`; None means T.
            mask: True on valid steps, `(T, *batch)`; None means all of them.
            resets: fresh starts, `(T, *batch)`; None means nowhere.
            key: switches dropout and other noise on; None means no noise.
            method: how cells are run; None picks one.

        Returns:
            The final carry, and the outputs `(T, *batch, H)`, zero at padding.

        Raises:
            TypeError: for an argument of the wrong kind, structure or dtype.
            ValueError: for a wrong shape, or concrete lengths outside 0..T.
        """
        function = f"{self.name}.apply"
        check_params(function, self, params)
        sequence = check_sequence(
            function, self.in_spec(params), xs, lengths=lengths, mask=mask, resets=resets
        )
        return self.run_sequence(function, params, sequence, carry, key=key, method=method)

    def run_sequence(
        self,
        function: str,
        params: PyTree,
        sequence: Sequence,
        carry: PyTree,
        *,
        key: Any,
        method: Method | None,
    ) -> tuple[PyTree, PyTree]:
        """Check the key and the carry, and run; `function` is what messages name."""
        if key is not None:
            _checks.prng_key(function, key)
        if method is not None:
            check_method(function, method)
        with named(function):
            if carry is not None:
                like, _ = jax.eval_shape(
                    lambda p, s: self.run(p, s, None, key=None, method=method), params, sequence
                )
                carry = check_carry(function, carry, like)
            return self.run(params, sequence, carry, key=key, method=method)

    def init_carry(self, params: PyTree, like: PyTree) -> PyTree:
        """The carry before the first step, for the batch axes of one step's input `like`."""
        check_params(f"{self.name}.init_carry", self, params)
        no_steps = jax.tree.map(lambda x: x[None][:0], like)
        return self.run(params, Sequence(no_steps, None, None), None, key=None, method=None)[0]


@value
def recurrent(cell: Cell, *, reverse: bool = False) -> Layer:
    """Make a layer that runs `cell` over time.

    Args:
        cell: any cell.
        reverse: whether to read from the last step to the first.

    Returns:
        A layer with the cell's params and carry.

    Raises:
        TypeError: if `cell` is no cell.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> layer = rnnjax.recurrent(rnnjax.lstm(5), reverse=True)
        >>> params = layer.init(jax.random.key(0), in_features=3)
        >>> carry, ys = layer.apply(params, jnp.ones((7, 2, 3)))
        >>> ys.shape
        (7, 2, 5)
    """
    check_cell("recurrent", cell)
    _checks.flag("recurrent", "reverse", reverse)

    def run(params, sequence, carry, *, key, method):
        return unroll_checked(
            "recurrent", cell, params, sequence, carry, reverse=reverse, key=key, method=method
        )

    def run_both_ways(params, sequence, carry, *, key, method):
        return unroll_both_ways(
            "recurrent", cell, params, sequence, carry, reverse=reverse, key=key, method=method
        )

    return Layer(
        name="recurrent",
        init=cell.init,
        run=run,
        out_features=lambda in_features: cell.out_features,
        in_spec=cell.in_spec,
        noisy=cell.prepare is not None,
        run_both_ways=run_both_ways,
    )


@value
def pointwise(function: Callable[[Any], Any]) -> Layer:
    """Make a layer without weights of a function of the features, such as `jax.nn.relu`.

    Args:
        function: maps `(T, *batch, D)` to `(T, *batch, ...)`, each step by itself.

    Returns:
        A layer whose params and carry are empty tuples.

    Raises:
        TypeError: if `function` cannot be called, or not with one array.
    """
    _checks.activation("pointwise", "function", function)

    def run(params, sequence, carry, *, key, method):
        return (), blank(function(blank(sequence.xs, sequence.mask)), sequence.mask)

    def out_features(in_features):
        # As many axes as a sequence of volumes has, so that a mean over space finds its own.
        struct = lambda n: jax.ShapeDtypeStruct((1, 1, 1, 1, n), jnp.float32)
        like = jax.tree.map(struct, in_features)
        return jax.tree.map(lambda leaf: leaf.shape[-1], jax.eval_shape(function, like))

    return Layer("pointwise", lambda key, in_features: (), run, out_features)


def blank(tree: PyTree, mask: Any) -> PyTree:
    """Zero what stands at padding, before it can reach a product."""
    return tree if mask is None else keep(mask, tree, zeros_like(tree))


def as_layer(function: str, thing: Any, *, argument: str = "layers") -> Layer:
    """A layer as it is, and a cell or a plain function as a layer."""
    if isinstance(thing, Layer):
        return thing
    if isinstance(thing, Cell):
        return recurrent(thing)
    way_out = "build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like"
    got = _checks.kind(thing)
    if callable(thing) and not isinstance(thing, type):
        weighty = has_weights(thing)
        if not weighty and _checks.accepts(thing, ("xs",), {}):
            return pointwise(thing)
        got = f"{got}, a module with weights of its own" if weighty else _checks.signature(thing)
        if hasattr(thing, "functional_params"):
            way_out = "give module.layer, and module.functional_params() as the params"
    wanted = "be cells, layers or functions of the features"
    _checks.refuse(function, argument, wanted, got, way_out, error=TypeError)


def has_weights(function: Any) -> bool:
    """Whether it is a module of Flax or Equinox, whose weights would never be among the params."""
    leaves = jax.tree.leaves(function)
    return hasattr(function, "init_with_output") or any(hasattr(leaf, "dtype") for leaf in leaves)

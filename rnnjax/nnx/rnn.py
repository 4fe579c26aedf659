"""NNX modules that run whole sequences."""

from typing import Any

import jax
from flax import nnx

from rnnjax import _checks
from rnnjax._typing import Lengths, PyTree, Steps
from rnnjax.cells.base import Cell
from rnnjax.methods.base import Method
from rnnjax.sequence.arguments import abstract_params
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.modules import Partitioning, apply_module, partition_axes
from rnnjax.sequence.params import params_from_dict, params_to_dict


class RNN(nnx.Module):
    """Any cell or layer as an NNX module that holds its parameters.

    Batch-major unless `time_major`: inputs are `(*batch, T, D)`, outputs `(*batch, T, H)`.
    Returns `(carry, ys)`, always both. Dropout is on until `.eval()`, as in all of NNX.

    Args:
        layer: a cell, or a layer made by `bidirectional`, `stack` and the like.
        in_features: D.
        time_major: whether time comes first, in inputs, mask, resets and outputs.
        method: how cells are run; None picks.
        partitioning: sharding names for parameters, such as `{"w_hh": (None, "model")}`; None
            means no metadata. As in Flax, annotated parameters are made under a mesh.
        deterministic: whether dropout and other noise is off; `.train()` and `.eval()` set it.
        rngs: `params` draws the parameters, and `dropout` the noise where there is some.

    Raises:
        TypeError: if `layer` is neither cell nor layer.
        ValueError: if `partitioning` names what is no parameter.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> from flax import nnx
        >>> layer = rnnjax.stack(rnnjax.bidirectional(rnnjax.lstm(5)), rnnjax.gru(4))
        >>> rnn = rnnjax.nnx.RNN(layer, 3, rngs=nnx.Rngs(0))
        >>> carry, ys = rnn(jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4]))
        >>> ys.shape
        (2, 7, 4)
    """

    def __init__(
        self,
        layer: Cell | Layer,
        in_features: Any,
        *,
        time_major: bool = False,
        method: Method | None = None,
        partitioning: Partitioning | None = None,
        deterministic: bool = False,
        rngs: nnx.Rngs,
    ):
        name = type(self).__name__
        self.layer = nnx.static(as_layer(name, layer))
        self.in_features = in_features
        self.time_major = _checks.flag(name, "time_major", time_major)
        self.method = nnx.static(method)
        self.deterministic = deterministic
        tree = params_to_dict(self.layer.init(rngs.params(), in_features))
        self.params = nnx.data(as_variables(name, tree, partitioning))
        self.rngs = rngs.dropout.fork() if self.layer.noisy else nnx.data(None)

    def __call__(
        self,
        xs: PyTree,
        carry: PyTree = None,
        *,
        lengths: Lengths | None = None,
        mask: Steps | None = None,
        resets: Steps | None = None,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | jax.Array | None = None,
    ) -> tuple[PyTree, PyTree]:
        """Run the layer over time; arguments mean what they mean to `rnnjax.unroll`.

        Args:
            xs: inputs, `(*batch, T, D)`.
            carry: where to begin; None means the initial carry.
            lengths: valid steps of each row, `(*batch,)`; None means T.
            mask: True on valid steps, `(*batch, T)`; None means all of them.
            resets: fresh starts, `(*batch, T)`; None means nowhere.
            deterministic: overrides the module's own for this call; None leaves it.
            rngs: where noise comes from in this call; None takes the module's own stream.

        Returns:
            The final carry, whose arrays have no time axis, and the outputs `(*batch, T, H)`.

        Raises:
            TypeError: for an argument of the wrong kind, structure or dtype.
            ValueError: for a wrong shape, or concrete lengths outside 0..T.
        """
        quiet = self.deterministic if deterministic is None else deterministic
        key = self._noise_key(rngs) if self.layer.noisy and not quiet else None
        return apply_module(
            type(self).__name__,
            self.layer,
            self.functional_params(),
            xs,
            carry,
            lengths=lengths,
            mask=mask,
            resets=resets,
            key=key,
            method=self.method,
            time_major=self.time_major,
        )

    def functional_params(self) -> PyTree:
        """The parameters as `layer.apply` takes them."""
        return from_variables(self.layer, self.in_features, self.params)

    def init_carry(self, like: PyTree) -> PyTree:
        """The carry before the first step, for the batch axes of one step's input `like`."""
        return self.layer.init_carry(self.functional_params(), like)

    def _noise_key(self, rngs: Any) -> jax.Array:
        source = self.rngs if rngs is None else rngs
        if source is None:
            way_out = "pass rngs=nnx.Rngs(dropout=0), or call .eval() first"
            _checks.refuse(type(self).__name__, "rngs", "be given for noise", None, way_out)
        if isinstance(source, nnx.Rngs):
            return source.dropout()
        return source() if isinstance(source, nnx.RngStream) else source


def as_variables(function: str, tree: PyTree, partitioning: Partitioning | None) -> PyTree:
    """Each array as an `nnx.Param`, with its sharding names where there are some."""
    axes = partition_axes(function, tree, partitioning)

    def leaf(array: jax.Array, names: Any) -> nnx.Param:
        return nnx.Param(array, **({} if names is None else {"out_sharding": names}))

    return jax.tree.map(leaf, tree, axes, is_leaf=lambda node: node is None)


def from_variables(cell_or_layer: Any, in_features: Any, variables: PyTree) -> PyTree:
    """The params that variables hold."""
    is_variable = lambda node: isinstance(node, nnx.Variable)
    tree = jax.tree.map(lambda v: v[...], variables, is_leaf=is_variable)
    return params_from_dict(abstract_params(cell_or_layer, in_features), tree)

"""Linen modules that run whole sequences."""

from typing import Any

import jax
from flax import linen as nn

from rnnjax import _checks
from rnnjax._typing import Lengths, PyTree, Steps
from rnnjax.cells.base import Cell
from rnnjax.methods.base import Method
from rnnjax.sequence.arguments import abstract_params
from rnnjax.sequence.layer import Layer, as_layer
from rnnjax.sequence.modules import Partitioning, apply_module, partition_axes
from rnnjax.sequence.params import params_from_dict, params_to_dict


class SequenceModule(nn.Module, kw_only=True):
    """What all modules here share: one call that runs the layer of `network()`.

    Batch-major unless `time_major`: inputs are `(*batch, T, D)`, outputs `(*batch, T, H)`.
    Returns `(carry, ys)`, always both. With dropout, say `deterministic` here or in the call,
    and give a `dropout` key to `apply`, as in all of Linen.

    Attributes:
        time_major: whether time comes first, in inputs, mask, resets and outputs.
        method: how cells are run; None picks.
        partitioning: sharding names for parameters, such as `{"w_hh": (None, "model")}`; they
            come out boxed in `nn.Partitioned`. None means no metadata.
        deterministic: whether dropout and other noise is off.
    """

    time_major: bool = False
    method: Method | None = None
    partitioning: Partitioning | None = None
    deterministic: bool | None = None

    @nn.nowrap
    def network(self) -> Layer:
        """The layer that this module runs."""
        raise TypeError("SequenceModule: `network` must be defined by the subclass.")

    @nn.compact
    def __call__(
        self,
        xs: PyTree,
        carry: PyTree = None,
        *,
        lengths: Lengths | None = None,
        mask: Steps | None = None,
        resets: Steps | None = None,
        deterministic: bool | None = None,
    ) -> tuple[PyTree, PyTree]:
        """Run the layer over time; arguments mean what they mean to `rnnjax.unroll`.

        Args:
            xs: inputs, `(*batch, T, D)`.
            carry: where to begin; None means the initial carry.
            lengths: valid steps of each row, `(*batch,)`; None means T.
            mask: True on valid steps, `(*batch, T)`; None means all of them.
            resets: fresh starts, `(*batch, T)`; None means nowhere.
            deterministic: whether noise is off; asked only of layers that have some.

        Returns:
            The final carry, whose arrays have no time axis, and the outputs `(*batch, T, H)`.

        Raises:
            TypeError: for an argument of the wrong kind, structure or dtype.
            ValueError: for a wrong shape, concrete lengths outside 0..T, or missing or doubled
                `deterministic` where there is noise.
        """
        name, layer = type(self).__name__, self.network()
        key = None
        if layer.noisy:
            quiet = nn.merge_param("deterministic", self.deterministic, deterministic)
            key = None if quiet else self._noise_key(name)
        return apply_module(
            name,
            layer,
            draw_params(self, layer, xs, self.partitioning),
            xs,
            carry,
            lengths=lengths,
            mask=mask,
            resets=resets,
            key=key,
            method=self.method,
            time_major=self.time_major,
        )

    def _noise_key(self, name: str) -> jax.Array:
        if not self.has_rng("dropout"):
            way_out = 'give rngs={"dropout": key} to apply, or deterministic=True'
            _checks.refuse(name, "rngs", "hold a key for noise", "none", way_out)
        return self.make_rng("dropout")


class RNN(SequenceModule):
    """Any cell or layer as a Linen module; the width of the input is read off the input.

    Attributes:
        layer: a cell, or a layer made by `bidirectional`, `stack` and the like.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> rnn = rnnjax.linen.RNN(rnnjax.bidirectional(rnnjax.lstm(5)))
        >>> xs = jnp.ones((2, 7, 3))
        >>> variables = rnn.init(jax.random.key(0), xs)
        >>> carry, ys = rnn.apply(variables, xs, lengths=jnp.array([7, 4]))
        >>> ys.shape
        (2, 7, 10)
    """

    layer: Cell | Layer

    @nn.nowrap
    def network(self) -> Layer:
        """The layer that this module runs."""
        return as_layer(type(self).__name__, self.layer)


def draw_params(
    module: nn.Module, cell_or_layer: Any, xs: PyTree, partitioning: Partitioning | None
) -> PyTree:
    """Make or read the parameters in the scope of `module`, under their own names."""
    name = type(module).__name__
    for leaf in jax.tree.leaves(xs):
        if not getattr(leaf, "shape", ()):
            way_out = "the features come last"
            _checks.refuse(name, "xs", "be arrays with axes", _checks.kind(leaf), way_out)
    in_features = jax.tree.map(lambda x: x.shape[-1], xs)
    like = abstract_params(cell_or_layer, in_features)
    axes = partition_axes(name, params_to_dict(like), partitioning)

    def draw(key: jax.Array, child: str) -> PyTree:
        tree = params_to_dict(cell_or_layer.init(key, in_features))[child]
        return jax.tree.map(box, tree, axes[child], is_leaf=lambda node: node is None)

    def read(child: str) -> PyTree:
        # Read by itself where it exists: Linen would answer a wrong input width in its own words.
        if module.has_variable("params", child):
            return nn.unbox(module.get_variable("params", child))
        return module.param(child, draw, child)

    tree = {child: read(child) for child in axes}
    return params_from_dict(like, tree)


def box(array: jax.Array, names: tuple[str | None, ...] | None) -> Any:
    """An array with its sharding names, where there are some."""
    return array if names is None else nn.Partitioned(array, names)

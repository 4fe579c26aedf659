"""Our cells inside `flax.nnx.RNN`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.cells.wrappers import check_cell
from rnnjax.nnx.rnn import as_variables, from_variables
from rnnjax.sequence.arguments import abstract_params, num_feature_axes
from rnnjax.sequence.modules import Partitioning
from rnnjax.sequence.params import params_to_dict


class RNNCell(nnx.RNNCellBase):
    """A cell that `flax.nnx.RNN` can run; `rnnjax.nnx.RNN` runs it faster and masks it rightly.

    Args:
        cell: any cell without noise, whose input is one array.
        in_features: D.
        partitioning: sharding names for parameters, see `rnnjax.nnx.RNN`.
        rngs: `params` draws the parameters.

    Raises:
        TypeError: if `cell` is no cell.
        ValueError: for a cell with noise, which `flax.nnx.RNN` cannot draw once a sequence.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> from flax import nnx
        >>> cell = rnnjax.nnx.RNNCell(rnnjax.gru(5), 3, rngs=nnx.Rngs(0))
        >>> nnx.RNN(cell)(jnp.ones((2, 7, 3))).shape
        (2, 7, 5)
    """

    def __init__(
        self,
        cell: Cell,
        in_features: int,
        *,
        partitioning: Partitioning | None = None,
        rngs: nnx.Rngs,
    ):
        check_cell("RNNCell", cell)
        if cell.prepare is not None:
            way_out = "run it with rnnjax.nnx.RNN"
            _checks.refuse("RNNCell", "cell", "have no noise", "a cell with noise", way_out)
        self.cell = nnx.static(cell)
        self.in_features = in_features
        tree = params_to_dict(cell.init(rngs.params(), in_features))
        self.params = nnx.data(as_variables("RNNCell", tree, partitioning))

    def __call__(self, carry: PyTree, inputs: jax.Array) -> tuple[PyTree, PyTree]:
        """Advance by one step: project the input, then step."""
        params = from_variables(self.cell, self.in_features, self.params)
        return self.cell.step(params, carry, self.cell.project(params, inputs))

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> PyTree:
        """The initial carry for inputs of `input_shape`, `(*batch, D)`; nothing is drawn."""
        if carry_init is not None:
            way_out = "build the cell with learned_carry=True, or give initial_carry"
            _checks.refuse("RNNCell", "carry_init", "be None", carry_init, way_out)
        params = from_variables(self.cell, self.in_features, self.params)
        dtype = jax.tree.leaves(params)[0].dtype
        return self.cell.init_carry(params, jnp.zeros(input_shape, dtype))

    @property
    def num_feature_axes(self) -> int:
        """How many trailing axes of an input are features."""
        return num_feature_axes(self.cell.in_spec(abstract_params(self.cell, self.in_features)))

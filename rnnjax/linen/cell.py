"""Our cells inside `flax.linen.RNN`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnjax import _checks
from rnnjax._typing import PyTree
from rnnjax.cells.base import Cell
from rnnjax.linen.rnn import draw_params
from rnnjax.sequence.arguments import abstract_params, num_feature_axes
from rnnjax.sequence.modules import Partitioning


class RNNCell(nn.RNNCellBase):
    """A cell that `flax.linen.RNN` can run; `rnnjax.linen.RNN` runs it faster and masks it rightly.

    Attributes:
        cell: any cell without noise and without a learned carry, whose input is one array.
        partitioning: sharding names for parameters, see `rnnjax.linen.RNN`.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> from flax import linen as nn
        >>> rnn = nn.RNN(rnnjax.linen.RNNCell(rnnjax.gru(5)))
        >>> ys, variables = rnn.init_with_output(jax.random.key(0), jnp.ones((2, 7, 3)))
        >>> ys.shape
        (2, 7, 5)
    """

    cell: Cell
    partitioning: Partitioning | None = None

    @nn.compact
    def __call__(self, carry: PyTree, inputs: jax.Array) -> tuple[PyTree, PyTree]:
        """Advance by one step: project the input, then step."""
        params = draw_params(self, self.cell, inputs, self.partitioning)
        return self.cell.step(params, carry, self.cell.project(params, inputs))

    @nn.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> PyTree:
        """The zero carry for inputs of `input_shape`, `(*batch, D)`; nothing is drawn."""
        way_out = "run it with rnnjax.linen.RNN"
        if self.cell.prepare is not None:
            _checks.refuse("RNNCell", "cell", "have no noise", "a cell with noise", way_out)
        params = abstract_params(self.cell, input_shape[-1])
        like = jnp.zeros(input_shape, jax.tree.leaves(params)[0].dtype)
        if reads_params(self.cell, params, like):
            # Linen asks for the carry where parameters cannot be read.
            _checks.refuse("RNNCell", "cell", "start from zeros", "a learned carry", way_out)
        return self.cell.init_carry(params, like)

    @property
    def num_feature_axes(self) -> int:
        """How many trailing axes of an input are features."""
        # Linen asks before it shows an input. Cells that care want it as wide as their output.
        width = self.cell.out_features if isinstance(self.cell.out_features, int) else 1
        return num_feature_axes(self.cell.in_spec(abstract_params(self.cell, width)))


def reads_params(cell: Cell, params: PyTree, like: jax.Array) -> bool:
    """Whether the fresh carry is made of numbers among the params, wherever they stand."""
    program = jax.make_jaxpr(cell.init_carry)(params, like).jaxpr
    weights = program.invars[: len(jax.tree.leaves(params))]
    read = [*program.outvars, *(v for equation in program.eqns for v in equation.invars)]
    return any(weight is v for weight in weights for v in read)

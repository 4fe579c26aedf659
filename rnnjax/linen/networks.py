"""The networks that most people ask for by name, as Linen modules."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from rnnjax.cells.elman import elman
from rnnjax.cells.gru import gru
from rnnjax.cells.lstm import lstm
from rnnjax.linen.rnn import SequenceModule
from rnnjax.sequence.layer import Layer
from rnnjax.sequence.stack import deep


class Network(SequenceModule, kw_only=True):
    """What the networks share: depth, direction, dropout and dtypes.

    Attributes:
        num_layers: how many layers stand above each other.
        bidirectional: whether each layer reads both ways; outputs are then 2H wide.
        dropout: rate between layers; needs two layers.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
    """

    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.nowrap
    def deep(self, cell: Any) -> Layer:
        """The network of this cell."""
        return deep(
            cell,
            num_layers=self.num_layers,
            both_ways=self.bidirectional,
            dropout=self.dropout,
        )


class LSTM(Network):
    """An LSTM network: layers of `rnnjax.lstm`, maybe in both directions.

    Options of the cell that are not here (initialisers, activations, learned carry) go through
    `RNN(rnnjax.lstm(...))`. A call returns a tuple with the carry of each layer, and the outputs.

    Attributes:
        hidden_features: H, of each direction.
        forget_bias: what the forget gates' bias starts from.

    Example:
        >>> import jax, jax.numpy as jnp, rnnjax
        >>> rnn = rnnjax.linen.LSTM(8, num_layers=2, bidirectional=True)
        >>> (carry, ys), variables = rnn.init_with_output(jax.random.key(0), jnp.ones((2, 7, 12)))
        >>> ys.shape, carry[0].c.shape
        ((2, 7, 16), (2, 2, 8))
    """

    hidden_features: int
    forget_bias: float = 1.0

    @nn.nowrap
    def network(self) -> Layer:
        """Layers of `rnnjax.lstm`."""
        return self.deep(
            lstm(
                self.hidden_features,
                forget_bias=self.forget_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )
        )


class GRU(Network):
    """A GRU network: layers of `rnnjax.gru`, maybe in both directions.

    Options of the cell that are not here go through `RNN(rnnjax.gru(...))`. A call returns a
    tuple with the carry of each layer, and the outputs.

    Attributes:
        hidden_features: H, of each direction.
        reset: whether the reset gate acts after or before the recurrent product.
    """

    hidden_features: int
    reset: Literal["after", "before"] = "after"

    @nn.nowrap
    def network(self) -> Layer:
        """Layers of `rnnjax.gru`."""
        return self.deep(
            gru(
                self.hidden_features,
                reset=self.reset,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )
        )


class Elman(Network):
    """A simple recurrent network: layers of `rnnjax.elman`, maybe in both directions.

    Options of the cell that are not here go through `RNN(rnnjax.elman(...))`. A call returns a
    tuple with the carry of each layer, and the outputs.

    Attributes:
        hidden_features: H, of each direction.
        activation: such as `jnp.tanh` or `jax.nn.relu`.
    """

    hidden_features: int
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh

    @nn.nowrap
    def network(self) -> Layer:
        """Layers of `rnnjax.elman`."""
        return self.deep(
            elman(
                self.hidden_features,
                activation=self.activation,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )
        )

"""The networks that most people ask for by name, as NNX modules."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax.cells.elman import elman
from rnnjax.cells.gru import gru
from rnnjax.cells.lstm import lstm
from rnnjax.methods.base import Method
from rnnjax.nnx.rnn import RNN
from rnnjax.sequence.modules import Partitioning
from rnnjax.sequence.stack import deep


class LSTM(RNN):
    """An LSTM network: layers of `rnnjax.lstm`, maybe in both directions.

    Options of the cell that are not here (initialisers, activations, learned carry) go through
    `RNN(rnnjax.lstm(...), ...)`.

    Args:
        in_features: D.
        hidden_features: H, of each direction.
        num_layers: how many layers stand above each other.
        bidirectional: whether each layer reads both ways; outputs are then 2H wide.
        dropout: rate between layers, on until `.eval()`; needs two layers.
        forget_bias: what the forget gates' bias starts from.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        time_major: whether time comes first.
        method: how cells are run; None picks.
        partitioning: sharding names for parameters, see `RNN`.
        rngs: for parameters and dropout.

    A call returns a tuple with the carry of each layer, and the outputs.

    Example:
        >>> import jax.numpy as jnp, rnnjax
        >>> from flax import nnx
        >>> rnn = rnnjax.nnx.LSTM(12, 8, num_layers=2, bidirectional=True, rngs=nnx.Rngs(0))
        >>> carry, ys = rnn(jnp.ones((2, 7, 12)))
        >>> ys.shape, carry[0].c.shape
        ((2, 7, 16), (2, 2, 8))
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        time_major: bool = False,
        method: Method | None = None,
        partitioning: Partitioning | None = None,
        rngs: nnx.Rngs,
    ):
        cell = lstm(hidden_features, forget_bias=forget_bias, dtype=dtype, param_dtype=param_dtype)
        super().__init__(
            deep(cell, num_layers=num_layers, both_ways=bidirectional, dropout=dropout),
            in_features,
            time_major=time_major,
            method=method,
            partitioning=partitioning,
            rngs=rngs,
        )


class GRU(RNN):
    """A GRU network: layers of `rnnjax.gru`, maybe in both directions.

    Options of the cell that are not here go through `RNN(rnnjax.gru(...), ...)`.

    Args:
        in_features: D.
        hidden_features: H, of each direction.
        num_layers: how many layers stand above each other.
        bidirectional: whether each layer reads both ways; outputs are then 2H wide.
        dropout: rate between layers, on until `.eval()`; needs two layers.
        reset: whether the reset gate acts after or before the recurrent product.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        time_major: whether time comes first.
        method: how cells are run; None picks.
        partitioning: sharding names for parameters, see `RNN`.
        rngs: for parameters and dropout.

    A call returns a tuple with the carry of each layer, and the outputs.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        reset: Literal["after", "before"] = "after",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        time_major: bool = False,
        method: Method | None = None,
        partitioning: Partitioning | None = None,
        rngs: nnx.Rngs,
    ):
        cell = gru(hidden_features, reset=reset, dtype=dtype, param_dtype=param_dtype)
        super().__init__(
            deep(cell, num_layers=num_layers, both_ways=bidirectional, dropout=dropout),
            in_features,
            time_major=time_major,
            method=method,
            partitioning=partitioning,
            rngs=rngs,
        )


class Elman(RNN):
    """A simple recurrent network: layers of `rnnjax.elman`, maybe in both directions.

    Options of the cell that are not here go through `RNN(rnnjax.elman(...), ...)`.

    Args:
        in_features: D.
        hidden_features: H, of each direction.
        num_layers: how many layers stand above each other.
        bidirectional: whether each layer reads both ways; outputs are then 2H wide.
        dropout: rate between layers, on until `.eval()`; needs two layers.
        activation: such as `jnp.tanh` or `jax.nn.relu`.
        dtype: of matmul inputs and outputs; None takes it from inputs and weights.
        param_dtype: of the weights.
        time_major: whether time comes first.
        method: how cells are run; None picks.
        partitioning: sharding names for parameters, see `RNN`.
        rngs: for parameters and dropout.

    A call returns a tuple with the carry of each layer, and the outputs.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        time_major: bool = False,
        method: Method | None = None,
        partitioning: Partitioning | None = None,
        rngs: nnx.Rngs,
    ):
        cell = elman(hidden_features, activation=activation, dtype=dtype, param_dtype=param_dtype)
        super().__init__(
            deep(cell, num_layers=num_layers, both_ways=bidirectional, dropout=dropout),
            in_features,
            time_major=time_major,
            method=method,
            partitioning=partitioning,
            rngs=rngs,
        )

"""Flax NNX modules: they hold parameters and call `rnnjax.sequence`."""

from rnnjax.nnx.cell import RNNCell as RNNCell
from rnnjax.nnx.networks import GRU as GRU
from rnnjax.nnx.networks import LSTM as LSTM
from rnnjax.nnx.networks import Elman as Elman
from rnnjax.nnx.rnn import RNN as RNN

"""Flax Linen modules: they hold parameters and call `rnnjax.sequence`."""

from rnnjax.linen.cell import RNNCell as RNNCell
from rnnjax.linen.networks import GRU as GRU
from rnnjax.linen.networks import LSTM as LSTM
from rnnjax.linen.networks import Elman as Elman
from rnnjax.linen.rnn import RNN as RNN

"""Cells: pure functions of one step. One family a file."""

from rnnjax.cells.base import Cell as Cell
from rnnjax.cells.base import InputSpec as InputSpec
from rnnjax.cells.conv_gru import ConvGRUParams as ConvGRUParams
from rnnjax.cells.conv_gru import conv_gru as conv_gru
from rnnjax.cells.conv_lstm import ConvLSTMParams as ConvLSTMParams
from rnnjax.cells.conv_lstm import conv_lstm as conv_lstm
from rnnjax.cells.elman import ElmanCarry as ElmanCarry
from rnnjax.cells.elman import ElmanParams as ElmanParams
from rnnjax.cells.elman import elman as elman
from rnnjax.cells.gru import GRUCarry as GRUCarry
from rnnjax.cells.gru import GRUParams as GRUParams
from rnnjax.cells.gru import gru as gru
from rnnjax.cells.initializers import chrono as chrono
from rnnjax.cells.initializers import scaled_identity as scaled_identity
from rnnjax.cells.lstm import LSTMCarry as LSTMCarry
from rnnjax.cells.lstm import LSTMParams as LSTMParams
from rnnjax.cells.lstm import lstm as lstm
from rnnjax.cells.peephole import PeepholeLSTMParams as PeepholeLSTMParams
from rnnjax.cells.peephole import peephole_lstm as peephole_lstm
from rnnjax.cells.wrappers import input_dropout as input_dropout
from rnnjax.cells.wrappers import with_carries as with_carries

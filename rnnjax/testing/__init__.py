"""Oracles for tests, yours too: the cells once more, in plain NumPy, from the equations."""

from rnnjax.testing.convolution import conv_gru as conv_gru
from rnnjax.testing.convolution import conv_lstm as conv_lstm
from rnnjax.testing.dense import elman as elman
from rnnjax.testing.dense import gru as gru
from rnnjax.testing.dense import lstm as lstm
from rnnjax.testing.gated import peephole_lstm as peephole_lstm
from rnnjax.testing.loop import Gradients as Gradients
from rnnjax.testing.loop import reference_gradients as reference_gradients
from rnnjax.testing.loop import reference_unroll as reference_unroll
from rnnjax.testing.oracle import Oracle as Oracle
from rnnjax.testing.oracle import relu as relu
from rnnjax.testing.oracle import sigmoid as sigmoid

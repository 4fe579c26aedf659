"""Oracles for tests, yours too: the cells once more, in plain NumPy, from the equations."""

from rnnjax.testing.dense import elman as elman
from rnnjax.testing.dense import gru as gru
from rnnjax.testing.dense import lstm as lstm
from rnnjax.testing.gated import peephole_lstm as peephole_lstm
from rnnjax.testing.linear import hgrn as hgrn
from rnnjax.testing.linear import lru as lru
from rnnjax.testing.linear import min_gru as min_gru
from rnnjax.testing.linear import min_lstm as min_lstm
from rnnjax.testing.linear import qrnn as qrnn
from rnnjax.testing.linear import rg_lru as rg_lru
from rnnjax.testing.linear import sru as sru
from rnnjax.testing.loop import Gradients as Gradients
from rnnjax.testing.loop import reference_gradients as reference_gradients
from rnnjax.testing.loop import reference_unroll as reference_unroll
from rnnjax.testing.oracle import Oracle as Oracle
from rnnjax.testing.oracle import relu as relu
from rnnjax.testing.oracle import sigmoid as sigmoid
from rnnjax.testing.relatives import coupled_lstm as coupled_lstm
from rnnjax.testing.relatives import indrnn as indrnn
from rnnjax.testing.relatives import mgu as mgu
from rnnjax.testing.relatives import mogrifier_lstm as mogrifier_lstm
from rnnjax.testing.relatives import projected_lstm as projected_lstm

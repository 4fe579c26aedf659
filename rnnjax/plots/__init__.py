"""Pictures of training and of what a network does, with matplotlib; each returns its figure."""

from rnnjax.cells.gates import GRUGates as GRUGates
from rnnjax.cells.gates import LSTMGates as LSTMGates
from rnnjax.plots.activity import gates as gates
from rnnjax.plots.activity import saturation as saturation
from rnnjax.plots.gating import SaturatedShares as SaturatedShares
from rnnjax.plots.gating import forgetting_times as forgetting_times
from rnnjax.plots.gating import gate_values as gate_values
from rnnjax.plots.gating import saturated_shares as saturated_shares
from rnnjax.plots.history import curves as curves
from rnnjax.plots.lags import gradient_by_lag as gradient_by_lag
from rnnjax.plots.lags import lag_norms as lag_norms
from rnnjax.plots.matrices import attention as attention
from rnnjax.plots.matrices import confusion as confusion
from rnnjax.plots.memory import time_constants as time_constants

"""Wrappers: each maps a cell to a cell."""

from rnnjax.cells.wrappers.carries import clip_carry as clip_carry
from rnnjax.cells.wrappers.carries import state_noise as state_noise
from rnnjax.cells.wrappers.common import check_cell as check_cell
from rnnjax.cells.wrappers.dropout import drop_connect as drop_connect
from rnnjax.cells.wrappers.dropout import dropout as dropout
from rnnjax.cells.wrappers.dropout import input_dropout as input_dropout
from rnnjax.cells.wrappers.dropout import recurrent_dropout as recurrent_dropout
from rnnjax.cells.wrappers.outputs import LayerNormOutputsParams as LayerNormOutputsParams
from rnnjax.cells.wrappers.outputs import layer_norm_outputs as layer_norm_outputs
from rnnjax.cells.wrappers.outputs import residual as residual
from rnnjax.cells.wrappers.outputs import with_carries as with_carries
from rnnjax.cells.wrappers.zoneout import zoneout as zoneout

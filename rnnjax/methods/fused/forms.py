"""The cells that are known here."""

from typing import Any

from rnnjax.cells.elman import ElmanForm
from rnnjax.cells.gru import GRUForm
from rnnjax.cells.lstm import LSTMForm
from rnnjax.cells.multihead import MultiheadGRUForm, MultiheadLSTMForm
from rnnjax.methods.fused import elman, gru, heads, lstm
from rnnjax.methods.fused.equations import Equations


def equations_of(form: Any) -> Equations | None:
    """The equations of a cell's form; None for those that are not known here."""
    match form:
        case LSTMForm():
            return lstm.EQUATIONS
        case GRUForm(reset="after"):
            return gru.AFTER
        case GRUForm(reset="before"):
            return gru.BEFORE
        case MultiheadLSTMForm():
            return heads.LSTM
        case MultiheadGRUForm():
            return heads.GRU
        case ElmanForm(activation=activation):
            return elman.equations(activation)
    return None

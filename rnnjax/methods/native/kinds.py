"""The cells that the compiled library knows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax.cells.elman import ElmanForm
from rnnjax.cells.gru import GRUForm
from rnnjax.cells.lstm import LSTMForm


class Kind(NamedTuple):
    """A cell as the library knows it."""

    number: int
    gates: int
    has_c: bool = False
    extra: bool = False  # whether it keeps a second buffer
    two_products: bool = False  # a step

    @property
    def reset_after(self) -> bool:
        """Whether the second buffer gets deltas of its own, and the candidate has a bias."""
        return self.extra and not self.two_products


LSTM = Kind(0, 4, has_c=True)
GRU_AFTER = Kind(1, 3, extra=True)
GRU_BEFORE = Kind(2, 3, extra=True, two_products=True)
TANH = Kind(3, 1)
RELU = Kind(4, 1)


def kind_of(form: Any) -> Kind | None:
    """The kind of a cell's form; None for those that are not known there."""
    match form:
        case LSTMForm():
            return LSTM
        case GRUForm(reset="after"):
            return GRU_AFTER
        case GRUForm(reset="before"):
            return GRU_BEFORE
        case ElmanForm(activation=activation):
            known_ones = ((jnp.tanh, TANH), (jax.lax.tanh, TANH), (jax.nn.relu, RELU))
            return next((kind for function, kind in known_ones if function is activation), None)
    return None


def known(form: Any) -> Kind:
    """The same for a form that was found to be known."""
    kind = kind_of(form)
    assert kind is not None
    return kind

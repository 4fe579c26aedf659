"""What the gates of a plain LSTM or GRU do, heard from the cell's own step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._typing import Array, Float
from rnnjax.cells.base import Cell, value
from rnnjax.cells.gru import GRUForm, gru_step, gru_step_reset_before
from rnnjax.cells.lstm import LSTMForm, lstm_step


class LSTMGates(NamedTuple):
    r"""What an LSTM computes at each step: `c[t] = f[t] c[t-1] + i[t] g[t]`, `h = o tanh(c)`.

    Attributes:
        i: input gate, within 0..1.
        f: forget gate, within 0..1.
        g: candidate, within -1..1.
        o: output gate, within 0..1.
        c: the cell state after the step.
        h: the output.
    """

    i: Float[Array, "T *batch H"]
    f: Float[Array, "T *batch H"]
    g: Float[Array, "T *batch H"]
    o: Float[Array, "T *batch H"]
    c: Float[Array, "T *batch H"]
    h: Float[Array, "T *batch H"]


class GRUGates(NamedTuple):
    r"""What a GRU computes at each step: `h[t] = (1 - z[t]) n[t] + z[t] h[t-1]`.

    Attributes:
        r: reset gate, within 0..1.
        z: update gate, within 0..1; it keeps the old state.
        n: candidate, within -1..1.
        h: the output.
    """

    r: Float[Array, "T *batch H"]
    z: Float[Array, "T *batch H"]
    n: Float[Array, "T *batch H"]
    h: Float[Array, "T *batch H"]


@value
def recording(cell: Cell) -> Cell:
    """The same cell, which must be a plain LSTM or GRU, with its gate values for outputs."""
    lstm = isinstance(cell.form, LSTMForm)
    advance: Callable[..., Any] = lstm_step
    if isinstance(cell.form, GRUForm):
        advance = gru_step if cell.form.reset == "after" else gru_step_reset_before

    def step(params: Any, carry: Any, z: Array) -> tuple[Any, LSTMGates | GRUGates]:
        gates, squashed = [], []
        new, _ = advance(
            params,
            carry,
            z,
            gate_activation=heard(jax.nn.sigmoid, gates),
            activation=heard(jnp.tanh, squashed),
        )
        if lstm:  # in the order in which `lstm_gates` asks for them
            f, i, o = gates
            return new, LSTMGates(i, f, squashed[0], o, new.c, new.h)
        r, update = gates
        return new, GRUGates(r, update, squashed[0], new.h)

    return cell._replace(step=step, form=None, output_is_h=False)


def heard(function: Callable[[Array], Array], values: list[Array]) -> Callable[[Array], Array]:
    """The same function, which also puts what it returns into a list."""

    def run(x: Array) -> Array:
        values.append(function(x))
        return values[-1]

    return run

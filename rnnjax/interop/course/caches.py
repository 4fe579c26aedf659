"""What the functions of the course keep of a step, and what the whole model returns."""

from typing import NamedTuple

from rnnjax._typing import Array, Float


class LSTMCache(NamedTuple):
    """What `lstm_cell` has computed with; `candidate` is the course's c-tilde."""

    xt: Float[Array, "n_x m"]
    a_prev: Float[Array, "n_a m"]
    c_prev: Float[Array, "n_a m"]
    a_next: Float[Array, "n_a m"]
    c_next: Float[Array, "n_a m"]
    f: Float[Array, "n_a m"]
    i: Float[Array, "n_a m"]
    o: Float[Array, "n_a m"]
    candidate: Float[Array, "n_a m"]


class GRUCache(NamedTuple):
    """What `gru_cell` has computed with; z takes the new value, as in the course."""

    a_prev: Float[Array, "n_a m"]
    x: Float[Array, "n_x m"]
    r: Float[Array, "n_a m"]
    z: Float[Array, "n_a m"]
    candidate: Float[Array, "n_a m"]
    a_t: Float[Array, "n_a m"]


class ModelOutput(NamedTuple):
    """What `model_forward` returns.

    Attributes:
        prediction: of the last dense layer.
        a: the hidden states of the last LSTM layer, `(n_a, m, T_x)`.
        c: the cell states of each LSTM layer.
        caches: of each LSTM layer, one a step.
        pre_activations: of each dense layer.
    """

    prediction: Float[Array, "n_y m"]
    a: Float[Array, "n_a m T_x"]
    c: list[Float[Array, "n_a m T_x"]]
    caches: list[list[LSTMCache]]
    pre_activations: list[Float[Array, "n m"]]

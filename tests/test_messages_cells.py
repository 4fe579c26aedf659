"""Bad options of the newer cells and methods, and unfit functions, are refused in one sentence."""

import jax
import jax.numpy as jnp
import pytest
from messages import TYPE, VALUE, D, H, check_refused, no_type_checker

import rnnjax

__all__ = ["no_type_checker"]
pytestmark = pytest.mark.usefixtures("no_type_checker")

KEY = jax.random.key(0)
RADII = "choose two radii in that order."
OF_ONE = "pass a function of one array, such as jax.nn.relu."
OF_TWO = "pass a function of two arrays, such as rnnjax.merge.add."

REFUSED = {
    "activation of two arrays": (
        lambda w: rnnjax.dense(3, activation=rnnjax.merge.add),
        TYPE,
        f"dense: `activation` must take x, got add(a, b); {OF_ONE}",
    ),
    "gate of two arrays": (  # whose signature does not tell
        lambda w: rnnjax.lstm(3, gate_activation=jnp.maximum),
        TYPE,
        f"lstm: `gate_activation` must take x, got maximum of 2 arrays; {OF_ONE}",
    ),
    "a layer of two arrays": (
        lambda w: rnnjax.stack(w.lstm, rnnjax.merge.add),
        TYPE,
        "stack: `layers` must be cells, layers or functions of the features, got add(a, b); "
        "build it with rnnjax.lstm(...), rnnjax.bidirectional(...) and the like.",
    ),
    "skip of one array": (
        lambda w: rnnjax.stack(w.lstm, skip=jax.nn.relu),
        TYPE,
        f"stack: `skip` must take a, b, got relu(x); {OF_TWO}",
    ),
    "merge of one array": (
        lambda w: rnnjax.bidirectional(w.lstm, merge=jnp.tanh),
        TYPE,
        f"bidirectional: `merge` must take a, b, got tanh(x); {OF_TWO}",
    ),
    "activation": (
        lambda w: rnnjax.min_gru(H, activation="relu"),
        TYPE,
        "min_gru: `activation` must be a function, got str 'relu'; pass the function itself, such"
        " as jax.nn.relu.",
    ),
    "initialisers": (
        lambda w: rnnjax.min_lstm(H, w_ih_init=(jax.nn.initializers.zeros,) * 2),
        VALUE,
        "min_lstm: `w_ih_init` must name 3 gates, got 2; give one for all gates, or a tuple with"
        " one a gate.",
    ),
    "heads": (
        lambda w: rnnjax.rg_lru(6, num_heads=4),
        VALUE,
        "rg_lru: `num_heads` must divide hidden_features = 6, got 4; every head has as many units.",
    ),
    "radii in the wrong order": (
        lambda w: rnnjax.rg_lru(6, min_radius=0.9, max_radius=0.5),
        VALUE,
        "rg_lru: `min_radius` must satisfy 0 < min_radius < max_radius < 1, got (0.9, 0.5);"
        f" {RADII}",
    ),
    "radius 1": (
        lambda w: rnnjax.lru(6, max_radius=1.0),
        VALUE,
        f"lru: `min_radius` must satisfy 0 < min_radius < max_radius < 1, got (0.4, 1.0); {RADII}",
    ),
    "input width": (
        lambda w: rnnjax.rg_lru(6).init(KEY, D),
        VALUE,
        "rg_lru.init: `in_features` must be 6, got 4; put rnnjax.dense(...) before it, or choose"
        " hidden_features to fit.",
    ),
    "phase": (
        lambda w: rnnjax.lru(6, max_phase=0.0),
        VALUE,
        "lru: `max_phase` must be above zero, got 0.0; 2 pi covers the circle.",
    ),
    "odd width": (
        lambda w: rnnjax.hgrn(5),
        VALUE,
        "hgrn: `hidden_features` must be even, got 5; the output is two numbers of each complex"
        " one.",
    ),
    "bound": (
        lambda w: rnnjax.hgrn(6, lower_bound=1.0),
        VALUE,
        "hgrn: `lower_bound` must lie in 0 <= lower_bound < 1, got 1.0; 0.0 bounds nothing.",
    ),
    "pooling": (
        lambda w: rnnjax.qrnn(H, pooling="max"),
        VALUE,
        "qrnn: `pooling` must be one of ['f', 'fo', 'ifo'], got 'max'; choose one of these.",
    ),
    "kernel": (
        lambda w: rnnjax.qrnn(H, kernel_size=0),
        VALUE,
        "qrnn: `kernel_size` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "gates that read": (
        lambda w: rnnjax.sru(H, gates_read_carry=1),
        TYPE,
        "sru: `gates_read_carry` must be True or False, got int 1; give a bool.",
    ),
    "segment": (
        lambda w: rnnjax.Linear(0),
        VALUE,
        "Linear: `segment` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "chunk": (
        lambda w: rnnjax.Associative(2.5),
        TYPE,
        "Associative: `chunk` must be a whole number, got float 2.5; give an int.",
    ),
    "mlstm, heads that cannot share": (
        lambda w: rnnjax.mlstm(5, num_heads=2),
        VALUE,
        "mlstm: `num_heads` must divide hidden_features = 5, got 2; every head has as many units.",
    ),
    "mlstm, no heads": (
        lambda w: rnnjax.mlstm(5, num_heads=0),
        VALUE,
        "mlstm: `num_heads` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "mlstm, no keys": (
        lambda w: rnnjax.mlstm(5, key_features=0),
        VALUE,
        "mlstm: `key_features` must be at least 1, got 0; give the width or count that is meant.",
    ),
    "mlstm, one forget bias": (
        lambda w: rnnjax.mlstm(5, forget_bias=3.0),
        TYPE,
        "mlstm: `forget_bias` must be the first and the last head's, got float 3.0; "
        "give it as (3.0, 6.0).",
    ),
    "mlstm, three forget biases": (
        lambda w: rnnjax.mlstm(5, forget_bias=(1.0, 2.0, 3.0)),
        VALUE,
        "mlstm: `forget_bias` must be two numbers, got 3 numbers; those between are spread evenly.",
    ),
    "mlstm, five initialisers": (
        lambda w: rnnjax.mlstm(5, w_ih_init=(jax.nn.initializers.ones,) * 5),
        VALUE,
        "mlstm: `w_ih_init` must name 6 gates, got 5; "
        "give one for all gates, or a tuple with one a gate.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

"""What the relatives of the LSTM, the GRU and the Elman cell are; the registry has the rest."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_equal
from messages import no_type_checker
from registry import inputs, random_params

import rnnjax

__all__ = ["no_type_checker"]

T, B, D, H = 6, 3, 4, 5

FACTORIES = {
    "coupled": rnnjax.coupled_lstm,
    "projected": functools.partial(rnnjax.projected_lstm, out_features=2),
    "mgu": rnnjax.mgu,
    "mgu, reset before": functools.partial(rnnjax.mgu, reset="before"),
    "indrnn": rnnjax.indrnn,
    "mogrifier": rnnjax.mogrifier_lstm,
    "mogrifier, low rank": functools.partial(rnnjax.mogrifier_lstm, rank=2),
}
cells = pytest.mark.parametrize("name", FACTORIES)
resets = pytest.mark.parametrize("reset", ["after", "before"])


def made(cell, seed=0):
    """Params with every leaf random."""
    return random_params(cell, D, seed)


def ran(cell, params):
    return rnnjax.unroll(cell, params, inputs(T, B, D))


def gates(*names, order):
    """A function that packs the gates named, of arrays packed in `order`; `-f` is negated."""

    def pack(a):
        blocks = dict(zip(order, jnp.split(a, len(order), axis=-1), strict=True))
        signed = [-blocks[n[1]] if n[0] == "-" else blocks[n] for n in names]
        return jnp.concatenate(signed, axis=-1)

    return lambda params: [pack(params.w_ih), pack(params.w_hh), pack(params.b)]


# The coupled LSTM


def test_coupled_is_an_lstm_whose_input_gate_is_what_f_leaves_over():
    cell = rnnjax.coupled_lstm(H)
    params = made(cell)
    same = rnnjax.LSTMParams(*gates("-f", "f", "g", "o", order="fgo")(params))
    assert_close(ran(cell, params), ran(rnnjax.lstm(H), same))


def test_the_state_of_a_coupled_lstm_is_bounded():
    cell = rnnjax.with_carries(rnnjax.coupled_lstm(H))
    _, (_, carries) = rnnjax.unroll(cell, made(cell), 20 * inputs(50, B, D))
    assert 0.99 < np.abs(carries.c).max() <= 1


def test_the_forget_bias_of_a_coupled_lstm_stands_first():
    for bias, low, high in [(-2.5, -2.5, -2.5), (rnnjax.chrono(50), 0, np.log(49))]:
        b = rnnjax.coupled_lstm(100, forget_bias=bias).init(jax.random.key(0), D).b
        assert low <= b[:100].min() and b[:100].max() <= high
        assert not b[100:].any()


# The projected LSTM


def test_projected_by_the_identity_is_the_lstm():
    cell = rnnjax.projected_lstm(H, out_features=H)
    params = made(cell)._replace(w_hr=jnp.eye(H))
    same = rnnjax.LSTMParams(params.w_ih, params.w_hh, params.b)
    assert_close(ran(cell, params), ran(rnnjax.lstm(H), same))


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("width", [2, 9], ids=["narrower", "wider"])
def test_the_carry_of_a_projected_lstm_has_two_widths(kind, width):
    cell = rnnjax.projected_lstm(H, out_features=width, learned_carry=True, param_dtype=kind)
    params = cell.init(jax.random.key(0), D)
    assert params.w_hh.shape == (width, 4 * H) and params.w_hr.shape == (H, width)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {kind}
    carry, ys = ran(cell, params)
    assert cell.out_features == ys.shape[-1] == width
    for leaves in (carry, params.initial):
        assert (leaves.h.shape[-1], leaves.c.shape[-1]) == (width, H)


def test_layers_over_a_projected_lstm_know_its_width():
    cell = rnnjax.projected_lstm(H, out_features=2)
    layer = rnnjax.stack(rnnjax.bidirectional(cell), rnnjax.gru(3))
    params = layer.init(jax.random.key(0), D)
    assert params[1].w_ih.shape == (4, 9)
    assert layer.apply(params, inputs(T, B, D))[1].shape == (T, B, 3)


# The minimal gated unit


def test_mgu_is_a_gru_whose_gates_are_one():
    """With reset after, f keeps the old state; with reset before it takes the new one."""
    cell = rnnjax.mgu(H)
    params = made(cell)
    same = rnnjax.GRUParams(*gates("f", "f", "n", order="fn")(params), params.b_hn)
    assert_close(ran(cell, params), ran(rnnjax.gru(H), same))

    cell = rnnjax.mgu(H, reset="before")
    params = made(cell)
    same = rnnjax.GRUParams(*gates("f", "-f", "n", order="fn")(params))
    assert_close(ran(cell, params), ran(rnnjax.gru(H, reset="before"), same))


@resets
def test_chrono_makes_an_mgu_remember(reset):
    sign = {"after": 1, "before": -1}[reset]
    cell = rnnjax.mgu(100, reset=reset, forget_bias=rnnjax.chrono(50))
    params = cell.init(jax.random.key(0), D)
    f, n = np.split(np.asarray(params.b), 2)
    assert 0 <= (sign * f).min() and 3 < (sign * f).max() <= np.log(49)
    assert not n.any()
    assert (params.b_hn is None) == (reset == "before")


@resets
def test_the_forget_bias_of_an_mgu_is_stored(reset):
    b = rnnjax.mgu(H, reset=reset, forget_bias=-2.5).init(jax.random.key(0), D).b
    np.testing.assert_array_equal(b, [-2.5] * H + [0] * H)


# The independently recurrent cell


@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh])
def test_indrnn_is_an_elman_cell_with_a_diagonal(activation):
    cell = rnnjax.indrnn(H, activation=activation)
    params = made(cell)
    same = rnnjax.ElmanParams(params.w_ih, jnp.diag(params.u), params.b)
    assert_close(ran(cell, params), ran(rnnjax.elman(H, activation=activation), same))


@pytest.mark.parametrize("max_steps", [None, 1, 10])
def test_recurrent_weights_of_indrnn_start_between_0_and_what_is_safe(max_steps):
    bound = 1.0 if max_steps is None else 2 ** (1 / max_steps)
    u = rnnjax.indrnn(1000, max_steps=max_steps).init(jax.random.key(0), D).u
    assert 0 <= u.min() < 0.01 * bound and 0.99 * bound < u.max() <= bound
    np.testing.assert_allclose(u.mean(), bound / 2, rtol=0.1)


def test_recurrent_weights_of_indrnn_have_an_initialiser():
    ones = jax.nn.initializers.ones
    params = rnnjax.indrnn(H, u_init=ones, bias=False).init(jax.random.key(0), D)
    np.testing.assert_array_equal(params.u, np.ones(H))
    assert params.b is None


def test_an_indrnn_of_ones_sums_its_inputs():
    cell = rnnjax.indrnn(D, u_init=jax.nn.initializers.ones, w_ih_init=rnnjax.scaled_identity())
    xs = abs(inputs(T, B, D))
    _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0), D), xs)
    np.testing.assert_allclose(ys, xs.cumsum(0), rtol=1e-6)


# The mogrifier LSTM


@pytest.mark.parametrize("options", [{"rounds": 0}, {"rounds": 0, "rank": 2}, {}, {"rank": 2}])
def test_a_mogrifier_that_does_not_modulate_is_the_lstm(options):
    """Without rounds, and where all modulate by 1."""
    cell = rnnjax.mogrifier_lstm(H, **options)
    params = made(cell)
    still = jax.tree.map(jnp.zeros_like, (params.q, params.r))
    params = params._replace(q=still[0], r=still[1])
    same = rnnjax.LSTMParams(params.w_ih, params.w_hh, params.b)
    assert_close(ran(cell, params), ran(rnnjax.lstm(H), same))
    assert options.get("rounds") != 0 or still == (None, None)


def test_rounds_take_turns_and_the_input_is_first():
    counts = []
    for rounds in range(6):
        params = rnnjax.mogrifier_lstm(H, rounds=rounds).init(jax.random.key(0), D)
        counts.append([0 if a is None else len(a) for a in (params.q, params.r)])
    assert counts == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [3, 2]]
    assert params.q.shape[1:] == (H, D) and params.r.shape[1:] == (D, H)


def test_modulated_by_hand():
    """x = 2 and h = 1, doubled by turns where the other is large, and so of the order of rounds."""
    params = rnnjax.mogrifier_lstm(1, rounds=3).init(jax.random.key(0), 1)
    q, r = jnp.array([[[100.0]], [[-100.0]]]), jnp.array([[[100.0]]])
    zero, one = jnp.zeros(1), jnp.ones(1)
    weigh = jnp.array([[0.0, 0.0, 0.1, 0.0]])
    params = params._replace(w_ih=weigh, w_hh=weigh, q=q, r=r, b=jnp.array([100, -100, 0, 100.0]))
    for rounds, wanted in [(0, 2 + 1), (1, 4 + 1), (2, 4 + 2), (3, 0 + 2)]:
        kept = {"q": q[: (rounds + 1) // 2], "r": r[: rounds // 2]}
        step = rnnjax.mogrifier_lstm(1, rounds=rounds).step
        carry, y = step(params._replace(**kept), rnnjax.LSTMCarry(one, zero), 2 * one)
        np.testing.assert_allclose(carry.c, [np.tanh(0.1 * wanted)], rtol=1e-6)
        np.testing.assert_allclose(y, np.tanh(carry.c), rtol=1e-6)


def test_low_rank_is_the_full_matrix_of_the_product():
    narrow, full = rnnjax.mogrifier_lstm(H, rank=2), rnnjax.mogrifier_lstm(H)
    params = made(narrow)
    assert [a.shape for a in params.q] == [(3, H, 2), (3, 2, D)]
    assert [a.shape for a in params.r] == [(2, D, 2), (2, 2, H)]
    same = params._replace(q=jnp.matmul(*params.q), r=jnp.matmul(*params.r))
    assert_close(ran(narrow, params), ran(full, same))


def test_the_matrices_of_all_rounds_are_drawn_apart():
    params = rnnjax.mogrifier_lstm(20, rounds=4).init(jax.random.key(0), 20)
    drawn = np.stack([np.ravel(a) for a in (*params.q, *params.r)])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.2


# All of them


@cells
def test_any_batch_axes(name):
    cell = FACTORIES[name](H)
    params, xs = made(cell), inputs(T, 2, B, D)
    carry, ys = rnnjax.unroll(cell, params, xs)
    flat = rnnjax.unroll(cell, params, xs.reshape(T, 2 * B, D))
    assert_close(jax.tree.map(lambda a: a.reshape(2 * B, -1), carry), flat[0])
    assert_close(ys.reshape(flat[1].shape), flat[1])
    alone, y = rnnjax.unroll(cell, params, xs[:, 1, 2])
    assert_close((alone, y), (jax.tree.map(lambda a: a[1, 2], carry), ys[:, 1, 2]))


@cells
def test_params_become_dicts_and_come_back(name):
    params = made(FACTORIES[name](H, learned_carry=True))
    again = rnnjax.params_from_dict(params, rnnjax.params_to_dict(params))
    assert_equal(again, params)


ONES = jax.nn.initializers.ones
OPTIONS = {
    "coupled forget_bias": (rnnjax.coupled_lstm, {"forget_bias": 3.0}),
    "coupled w_hh_init": (rnnjax.coupled_lstm, {"w_hh_init": ONES}),
    "projected w_hr_init": (FACTORIES["projected"], {"w_hr_init": ONES}),
    "projected forget_bias": (FACTORIES["projected"], {"forget_bias": 3.0}),
    "mgu reset": (rnnjax.mgu, {"reset": "before"}),
    "mgu forget_bias": (rnnjax.mgu, {"forget_bias": 3.0}),
    "mgu w_ih_init": (rnnjax.mgu, {"w_ih_init": (ONES, jax.nn.initializers.zeros)}),
    "indrnn activation": (rnnjax.indrnn, {"activation": jnp.tanh}),
    "indrnn max_steps": (rnnjax.indrnn, {"max_steps": 2}),
    "indrnn u_init": (rnnjax.indrnn, {"u_init": ONES}),
    "mogrifier rounds": (rnnjax.mogrifier_lstm, {"rounds": 4}),
    "mogrifier rank": (rnnjax.mogrifier_lstm, {"rank": 1}),
    "mogrifier modulation_init": (rnnjax.mogrifier_lstm, {"modulation_init": ONES}),
    "mogrifier forget_bias": (rnnjax.mogrifier_lstm, {"forget_bias": 3.0}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_option_is_not_ignored(name):
    factory, option = OPTIONS[name]
    usual, other = (
        ran(cell, cell.init(jax.random.key(0), D))[1] for cell in (factory(H), factory(H, **option))
    )
    assert np.abs(usual - other).max() > 1e-4


COUNT = "give the width or count that is meant."
LEAVE_OUT = "leave one of the two out."
PER_GATE = "give one for all gates, or a tuple with one a gate."
REFUSED = {
    "width": (
        lambda: rnnjax.coupled_lstm(0),
        f"coupled_lstm: `hidden_features` must be at least 1, got 0; {COUNT}",
    ),
    "gates": (
        lambda: rnnjax.coupled_lstm(H, w_hh_init=(ONES,) * 4),
        f"coupled_lstm: `w_hh_init` must name 3 gates, got 4; {PER_GATE}",
    ),
    "projected width": (
        lambda: rnnjax.projected_lstm(H, out_features=0),
        f"projected_lstm: `out_features` must be at least 1, got 0; {COUNT}",
    ),
    "projected width float": (
        lambda: rnnjax.projected_lstm(H, out_features=2.0),
        "projected_lstm: `out_features` must be a whole number, got float 2.0; give an int.",
    ),
    "projection": (
        lambda: rnnjax.projected_lstm(H, out_features=2, w_hr_init=(ONES, ONES)),
        f"projected_lstm: `w_hr_init` must name 1 gates, got 2; {PER_GATE}",
    ),
    "reset": (
        lambda: rnnjax.mgu(H, reset="middle"),
        "mgu: `reset` must be one of ['after', 'before'], got 'middle'; choose one of these.",
    ),
    "mgu bias": (
        lambda: rnnjax.mgu(H, forget_bias="large"),
        "mgu: `forget_bias` must be a float, got str 'large'; give a number.",
    ),
    "steps": (
        lambda: rnnjax.indrnn(H, max_steps=0),
        f"indrnn: `max_steps` must be at least 1, got 0; {COUNT}",
    ),
    "two that say where u starts": (
        lambda: rnnjax.indrnn(H, max_steps=7, u_init=ONES),
        f"indrnn: `max_steps` must be None beside a u_init, got 7; {LEAVE_OUT}",
    ),
    "no initialiser": (
        lambda: rnnjax.indrnn(H, u_init=0.5),
        "indrnn: `u_init` must be a function, got float 0.5; "
        "pass the function itself, such as jax.nn.initializers.uniform().",
    ),
    "activation": (
        lambda: rnnjax.indrnn(H, activation="relu"),
        "indrnn: `activation` must be a function, got str 'relu'; "
        "pass the function itself, such as jax.nn.relu.",
    ),
    "rounds": (
        lambda: rnnjax.mogrifier_lstm(H, rounds=-1),
        f"mogrifier_lstm: `rounds` must be at least 0, got -1; {COUNT}",
    ),
    "rounds bool": (
        lambda: rnnjax.mogrifier_lstm(H, rounds=False),
        "mogrifier_lstm: `rounds` must be a whole number, got bool False; give an int.",
    ),
    "rank": (
        lambda: rnnjax.mogrifier_lstm(H, rank=0),
        f"mogrifier_lstm: `rank` must be at least 1, got 0; {COUNT}",
    ),
    "no key": (
        lambda: rnnjax.projected_lstm(H, out_features=2).init(0, D),
        "projected_lstm.init: `key` must be one random key, got int 0; "
        "make one with jax.random.key(seed).",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name, no_type_checker):
    call, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        call()

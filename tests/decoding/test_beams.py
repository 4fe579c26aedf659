"""Beam search, beside all sequences there are and beside a search by lists."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table
from registry import randomise

import rnnjax
from rnnjax import decoding

__all__ = ["no_type_checker"]

V, B, N, END = 3, 2, 4, 1
STATES = 50
TABLE = np.random.default_rng(0).normal(size=(B, STATES, V)).astype(np.float32) * 1.5
FIRST = np.zeros(B, np.int32)
FRESH = (np.arange(B, dtype=np.int32), np.zeros(B, np.int32))


def step_through(table, carry, tokens):
    """Logits depend on all that was read, by a number that stands for it."""
    row, state = carry
    state = (state * V + tokens + 1) % STATES
    return (row, state), table[row, state]


def search(logits=TABLE, first=FIRST, fresh=FRESH, **told):
    step = jax.tree_util.Partial(step_through, jnp.asarray(logits))
    return decoding.beam_search(step, fresh, first, **{"end": END, "num_steps": N} | told)


def log_probs(row, read, logits=TABLE):
    state = 0
    for token in read:
        state = (state * V + token + 1) % STATES
    x = np.float64(logits[row, state])
    return x - np.log(np.exp(x).sum())


def score_of(row, tokens, alpha):
    total = sum(log_probs(row, (0, *tokens[:n]))[token] for n, token in enumerate(tokens))
    return total / ((5 + len(tokens)) / 6) ** alpha


def every_sequence():
    for n in range(1, N + 1):
        for tokens in itertools.product(range(V), repeat=n):
            if END not in tokens[:-1] and (n == N or tokens[-1] == END):
                yield tokens


def by_lists(row, width, alpha):
    """The search once more, with one list of all continuations."""
    beams = [()]
    for _ in range(N):
        more = []
        for beam in beams:
            if beam[-1:] == (END,):
                more.append(beam)
            else:
                more += [(*beam, token) for token in range(V)]
        beams = sorted(more, key=lambda beam: -score_of(row, beam, alpha))[:width]
    return beams


def check(beams, row, wanted, alpha):
    for w, tokens in enumerate(wanted):
        padded = tokens + (END,) * (N - len(tokens))
        assert beams.tokens[w, :, row].tolist() == list(padded)
        assert beams.lengths[w, row] == len(tokens)
        np.testing.assert_allclose(beams.scores[w, row], score_of(row, tokens, alpha), rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_wide_enough_it_finds_all_sequences_in_order(alpha):
    beams = search(width=40, length_penalty=alpha)
    everything = list(every_sequence())
    assert len(everything) == 31
    for row in range(B):
        check(beams, row, sorted(everything, key=lambda y: -score_of(row, y, alpha)), alpha)
    assert np.all(beams.scores[31:] == -np.inf) and not np.any(beams.lengths[31:])
    assert np.all(beams.tokens[31:] == END)


@pytest.mark.parametrize("width", [2, 5])
def test_equals_a_search_by_lists(width):
    beams = search(width=width, length_penalty=0.6)
    for row in range(B):
        check(beams, row, by_lists(row, width, 0.6), 0.6)


def test_width_1_is_greedy_and_lengths_pay():
    layer = rnnjax.stack(rnnjax.embedding(5, 4), rnnjax.lstm(6), rnnjax.dense(5))
    like = jax.eval_shape(lambda: layer.init(jax.random.key(0), None))
    params = randomise(like, 3, 2.0)
    first = jnp.array([1, 2, 3, 4])
    step, carry = decoding.step_of(layer, params), layer.init_carry(params, first)
    told = {"num_steps": 8, "end": 0}
    one = decoding.beam_search(step, carry, first, width=1, **told)
    got = decoding.generate(step, carry, first, **told)
    assert np.array_equal(one.tokens[0], got.values) and np.array_equal(one.lengths[0], got.lengths)
    more = decoding.beam_search(step, carry, first, width=4, **told)
    assert np.all(more.scores[0] >= one.scores[0] - 1e-6) and np.all(
        np.diff(more.scores, axis=0) <= 0
    )
    inputs = jnp.concatenate([first[None], more.tokens[2, :-1]])  # the third best, read again
    logits = jax.nn.log_softmax(layer.apply(params, inputs)[1])
    each = jnp.take_along_axis(logits, more.tokens[2][..., None], axis=-1)[..., 0]
    total = jnp.where(rnnjax.lengths_to_mask(more.lengths[2], 8), each, 0).sum(0)
    np.testing.assert_allclose(more.scores[2], total, rtol=1e-4)


def test_rows_do_not_see_each_other():
    both = search(width=3)
    for row in range(B):
        fresh = tuple(a[row : row + 1] for a in FRESH)
        alone = search(width=3, first=FIRST[:1], fresh=fresh)
        for a, b in zip(alone, both, strict=True):
            np.testing.assert_allclose(a[..., 0], b[..., row], rtol=1e-6)


def test_ties_go_to_the_better_beam_then_to_the_lower_token():
    beams = search(np.zeros_like(TABLE), width=3, num_steps=2)
    assert beams.tokens[..., 0].tolist() == [[1, 1], [0, 0], [0, 1]]
    assert beams.lengths[:, 0].tolist() == [1, 2, 2]


def test_what_is_impossible_is_never_chosen():
    logits = TABLE.copy()
    logits[..., 2] = -np.inf
    beams = search(logits, width=9)
    found = beams.scores > -np.inf
    assert found.sum(0).tolist() == [5, 5]  # END after 0 to 3 others, and four others
    assert not np.any(beams.tokens == 2) and np.array_equal(found, beams.lengths > 0)
    logits[0] = -np.inf
    stuck = search(logits, width=2)
    assert np.all(stuck.scores[:, 0] == -np.inf) and not np.any(stuck.lengths[:, 0])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nan_spoils_its_row_and_no_other(number):
    logits = TABLE.copy()
    logits[1, 4, 0] = number  # met by what begins with 0
    beams, clean = search(logits, width=3), search(width=3)
    assert np.isnan(beams.scores[:, 1]).all() and np.all(beams.tokens[..., 1] == -1)
    assert np.all(beams.lengths[:, 1] == N)
    assert all(np.array_equal(a[..., 0], b[..., 0]) for a, b in zip(beams, clean, strict=True))


def test_what_the_step_holds_is_not_copied_for_each_beam():
    memory = rnnjax.Memory(*[jnp.ones((11, B, 6))] * 2)
    attention = rnnjax.dot_attention()

    def step(carry, tokens):
        context, _ = attention.read((), memory, carry)
        return context, context[:, :V]

    run = functools.partial(decoding.beam_search, step, end=END, num_steps=N, width=5)
    text = str(jax.make_jaxpr(run)(jnp.ones((B, 6)), FIRST))
    assert "11,2,6" in text and "5,2,6" in text and "5,11,2,6" not in text


CARRY = jnp.zeros((B, 2))
RIGHT = lambda carry, tokens: (carry, jnp.zeros((len(tokens), V)))
go = lambda step=RIGHT, carry=CARRY, first=FIRST, num_steps=2, end=END, **told: (
    decoding.beam_search(step, carry, first, num_steps=num_steps, end=end, **told)
)

REFUSED = table(
    beam_search={
        "width": (
            lambda w: go(width=0),
            VALUE,
            "beam_search: `width` must be at least 1, got 0; "
            "give the width or count that is meant.",
        ),
        "penalty": (
            lambda w: go(length_penalty=-1),
            VALUE,
            "beam_search: `length_penalty` must be at least 0, got -1.0; "
            "0.0 compares log-probabilities.",
        ),
        "end": (
            lambda w: go(end=V),
            VALUE,
            "beam_search: `end` must lie in 0..2, got 3; give the token that ends a sequence.",
        ),
        "first": (
            lambda w: go(first=CARRY),
            TYPE,
            "beam_search: `first` must be integers of shape (B,), got an array of shape (2, 2); "
            "give every row the token that begins it.",
        ),
        "rows": (
            lambda w: go(carry=(CARRY, CARRY[:1])),
            VALUE,
            "beam_search: `carry[1]` must lead with B = 2 rows, got shape (1, 2); "
            "rows go ways of their own, and first has as many.",
        ),
        "no logits": (
            lambda w: go(step=lambda carry, tokens: (carry, tokens)),
            VALUE,
            "beam_search: `step` must put out floats of shape (2, V), got an array of shape (2,); "
            "let the network end in rnnjax.dense(V).",
        ),
    },
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

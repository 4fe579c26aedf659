"""Generation: each step reads what was chosen before, rows end, and programs are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from messages import TYPE, VALUE, check_refused, no_type_checker, table
from registry import randomise

import rnnjax
from rnnjax import decoding, train

__all__ = ["no_type_checker"]

V, B, N = 7, 4, 9
LAYER = rnnjax.stack(rnnjax.embedding(V, 6), rnnjax.lstm(8), rnnjax.gru(5), rnnjax.dense(V))
LIKE = jax.eval_shape(lambda: LAYER.init(jax.random.key(0), None))
PARAMS = randomise(LIKE, 3, 2.0)
STEP = decoding.step_of(LAYER, PARAMS)
FIRST = np.array([1, 4, 2, 6])
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def fresh():
    return LAYER.init_carry(PARAMS, jnp.asarray(FIRST))


def read_back(tokens, **told):
    """The carry and the logits of one run over what was read."""
    inputs = np.concatenate([FIRST[None], tokens[:-1]])
    return LAYER.apply(PARAMS, inputs, **told)


def assert_same(got, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, wanted)


def test_each_step_reads_what_was_chosen_before(fresh):
    carry, tokens, lengths = decoding.generate(STEP, fresh, FIRST, num_steps=N)
    assert tokens.shape == (N, B) and len(set(np.ravel(tokens).tolist())) > 2
    after, logits = read_back(np.asarray(tokens))
    assert np.array_equal(tokens, np.argmax(logits, -1)) and lengths.tolist() == [N] * B
    assert_same(carry, after)
    part = decoding.generate(STEP, fresh, FIRST, num_steps=N // 2)
    rest = decoding.generate(STEP, part.carry, part.values[-1], num_steps=N - N // 2)
    assert np.array_equal(np.concatenate([part.values, rest.values]), tokens)


def test_a_row_that_ended_stands_still(fresh):
    free = np.asarray(decoding.generate(STEP, fresh, FIRST, num_steps=N).values)
    end = int(free[3, 0])
    got = decoding.generate(STEP, fresh, FIRST, num_steps=N, end=end)
    hits = free == end
    lengths = np.where(hits.any(0), hits.argmax(0) + 1, N)
    assert got.lengths.tolist() == lengths.tolist() and lengths.min() < N
    assert np.array_equal(got.values, np.where(np.arange(N)[:, None] < lengths, free, end))
    assert_same(got.carry, read_back(free, lengths=lengths)[0])


def test_the_loop_stops_when_all_rows_have_ended():
    seen = []

    def step(carry, tokens):
        jax.debug.callback(lambda: seen.append(1))
        return carry + 1, jax.nn.one_hot(carry, V)

    starts = jnp.array([0, 3, 1])
    got = decoding.generate(step, starts, jnp.zeros(3, int), num_steps=50, end=4)
    jax.block_until_ready(got)
    jax.effects_barrier()
    assert len(seen) == 5 and got.lengths.tolist() == [5, 2, 4]
    assert got.carry.tolist() == [5, 5, 5] and np.all(got.values[5:] == 4)


def test_keys(fresh):
    draw = {"choose": decoding.sampling(temperature=2.0), "key": KEY}
    long = decoding.generate(STEP, fresh, FIRST, num_steps=N, **draw).values
    short = decoding.generate(STEP, fresh, FIRST, num_steps=3, **draw).values
    assert np.array_equal(long[:3], short)
    other = decoding.generate(STEP, fresh, FIRST, num_steps=N, **draw | {"key": jax.random.key(6)})
    assert not np.array_equal(long, other.values)
    logits = read_back(np.asarray(long))[1]
    wanted = [draw["choose"](jax.random.fold_in(KEY, n), logits[n]) for n in range(3)]
    assert np.array_equal(short, wanted)


def test_vectors_of_a_mixture_have_no_tokens():
    mixture = train.mixture_density(2, features=3)
    layer = rnnjax.stack(rnnjax.lstm(4), rnnjax.dense(mixture.out_features))
    params = randomise(jax.eval_shape(lambda: layer.init(KEY, 3)), 1)
    first = jnp.ones((2, 3))
    carry = layer.init_carry(params, first)
    step = decoding.step_of(layer, params, method=rnnjax.Scan())
    got = decoding.generate(step, carry, first, num_steps=4, choose=mixture.sample, key=KEY)
    assert got.values.shape == (4, 2, 3) and got.lengths.tolist() == [4, 4]
    _, outputs = layer.apply(params, jnp.concatenate([first[None], got.values[:-1]]))
    wanted = [mixture.sample(jax.random.fold_in(KEY, n), outputs[n]) for n in range(4)]
    np.testing.assert_allclose(got.values, wanted, rtol=1e-4, atol=1e-4)


def test_other_params_do_not_compile_again(fresh):
    traces = []

    def choose(key, logits):
        traces.append(1)
        return decoding.greedy(key, logits)

    other = randomise(LIKE, 4, 2.0)
    told = {"num_steps": N, "choose": choose}
    first = decoding.generate(STEP, fresh, FIRST, **told)
    count = len(traces)
    second = decoding.generate(decoding.step_of(LAYER, other), fresh, FIRST, **told)
    assert len(traces) == count and not np.array_equal(first.values, second.values)
    stepper = decoding.generate(rnnjax.stepper(LAYER, other), fresh, FIRST, **told)
    assert np.array_equal(stepper.values, second.values)


def test_transforms():
    """A gradient through the loop, and several runs at once, by a step of one's own."""
    told = {"num_steps": 3, "choose": lambda key, outputs: outputs}

    def last(a, x):
        step = lambda carry, x: (carry + x.sum(), a * x)
        return decoding.generate(step, jnp.zeros(()), x, **told).values[-1].sum()

    x = jnp.array([[2.0], [1.0]])
    assert float(jax.grad(last)(3.0, x)) == 3 * 3**2 * 3  # of a^3 (2 + 1)
    assert jax.vmap(last, (0, None))(jnp.array([1.0, 2.0]), x).tolist() == [3, 24]


def test_runs_of_other_lengths_under_vmap():
    def until_four(start):
        step = lambda carry, tokens: (carry + 1, jax.nn.one_hot(carry, V))
        got = decoding.generate(step, start[None], jnp.zeros(1, int), num_steps=6, end=4)
        return got.carry[0], got.lengths[0]

    carry, lengths = jax.jit(jax.vmap(until_four))(jnp.array([0, 3]))
    assert lengths.tolist() == [5, 2] and carry.tolist() == [5, 5]


def test_nan_is_no_token(fresh):
    broken = jax.tree.map(lambda a: a.at[1].set(jnp.nan), fresh)
    for told in ({}, {"choose": decoding.sampling(), "key": KEY}):
        values = decoding.generate(STEP, broken, FIRST, num_steps=3, **told).values
        assert np.all(values[:, 1] == -1) and np.all(np.delete(values, 1, 1) >= 0)


CARRY = jnp.zeros((B, 2))
RIGHT = lambda carry, tokens: (carry, jnp.zeros((len(tokens), V)))
go = lambda step=RIGHT, carry=CARRY, first=FIRST, num_steps=2, **told: decoding.generate(
    step, carry, first, num_steps=num_steps, **told
)
READ = "what is chosen is read by the next step, as first is by the first."
KEEP = "step must return it as it takes it."

REFUSED = table(
    step_of={
        "both ways": (
            lambda w: decoding.step_of(rnnjax.stack(w.both, w.lstm), (w.p_both, w.p)),
            VALUE,
            "step_of: `cell_or_layer` must read forwards alone, got a bidirectional layer at "
            "layers_0; its first output needs the last input: run whole sequences with apply, or "
            "take a network that reads one way.",
        ),
        "params": (
            lambda w: decoding.step_of(w.lstm, w.p_gru),
            TYPE,
            "step_of: `params` must be LSTMParams(w_ih, w_hh, b), got GRUParams(w_ih, w_hh, b, "
            "b_hn); give what init made for this very cell or layer.",
        ),
        "inputs": (
            lambda w: STEP((), jnp.ones(3)),
            TYPE,
            "step_of.step: `inputs` must be integer, got float32; count tokens in whole numbers.",
        ),
    },
    arguments={
        "layer": (
            lambda w: go(step=LAYER),
            TYPE,
            "generate: `step` must be a function, got a Layer; "
            "pass the function itself, such as decoding.step_of(layer, params).",
        ),
        "of three": (
            lambda w: go(step=lambda params, carry, x: x),
            TYPE,
            "generate: `step` must take carry, inputs, got <lambda>(params, carry, x); "
            "make one with decoding.step_of(layer, params).",
        ),
        "maker": (
            lambda w: go(choose=decoding.sampling),
            TYPE,
            "generate: `choose` must take key, outputs, got sampling(temperature, top_k, top_p); "
            "give decoding.greedy, or call decoding.sampling() first, which makes one.",
        ),
        "no rows": (
            lambda w: go(first=3),
            VALUE,
            "generate: `first` must lead with one axis of B rows, got shape (); "
            "give one row for a single sequence.",
        ),
        "nothing": (
            lambda w: go(first=()),
            VALUE,
            "generate: `first` must hold an array, got tuple (); "
            "give what the first step reads, such as one token a row.",
        ),
        "steps": (
            lambda w: go(num_steps=0),
            VALUE,
            "generate: `num_steps` must be at least 1, got 0; "
            "give the width or count that is meant.",
        ),
        "end": (
            lambda w: go(end="."),
            TYPE,
            "generate: `end` must be a whole number, got str '.'; give an int.",
        ),
        "no key": (
            lambda w: go(choose=decoding.sampling()),
            TYPE,
            "sampling.choose: `key` must be one random key, got NoneType None; "
            "make one with jax.random.key(seed).",
        ),
    },
    what_comes_back={
        "outputs alone": (
            lambda w: go(step=lambda carry, x: x),
            TYPE,
            "generate: `step` must return a carry and outputs, got an array of shape (4,); "
            "end it with `return carry, outputs`.",
        ),
        "carry": (
            lambda w: go(step=lambda carry, x: ((carry, carry), x)),
            TYPE,
            "generate: `carry` must be a tuple of 2 (an array of shape (4, 2), an array of shape "
            f"(4, 2)), got an array of shape (4, 2); {KEEP}",
        ),
        "dtype": (
            lambda w: go(step=lambda carry, x: (carry.astype(jnp.bfloat16), x)),
            TYPE,
            f"generate: `carry` must be bfloat16, got float32; {KEEP}",
        ),
        "shape": (
            lambda w: go(choose=lambda key, logits: logits),
            VALUE,
            f"generate: `first` must have shape (4, 7), got (4,); {READ}",
        ),
        "kind": (
            lambda w: go(first=np.ones(B, np.float32)),
            TYPE,
            f"generate: `first` must be int32, as what is chosen, got float32; {READ}",
        ),
    },
    end={
        "of vectors": (
            lambda w: go(first=np.ones((B, V), np.float32), choose=lambda key, y: y, end=0),
            VALUE,
            "generate: `end` must go with integers of shape (B,), got an array of shape (4, 7); "
            "leave it out where values are no tokens.",
        ),
        "rows": (
            lambda w: go(carry=jnp.zeros(()), end=0),
            VALUE,
            "generate: `carry` must lead with B = 4 rows, got shape (); "
            "rows go ways of their own, and first has as many.",
        ),
    },
)


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    check_refused(REFUSED[name])

"""The network that reads stories and answers questions, and what it learns from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import stories

import rnnjax
from rnnjax import train

WORD, HIDDEN, LOOKS = 32, 64, 2


class Reader(NamedTuple):
    """The params of the network."""

    table: Any  # vectors of tokens
    words: Any  # reads a sentence or a question
    story: Any  # reads the sentences
    attention: Any
    look: Any  # takes what was seen
    answer: Any


table = rnnjax.embedding(len(stories.VOCABULARY), WORD)
cell = rnnjax.gru(HIDDEN)
attention = rnnjax.dot_attention(HIDDEN)
answer = rnnjax.dense(WORD)


def init(key):
    keys = jax.random.split(key, 6)
    return Reader(
        table.init(keys[0]),
        cell.init(keys[1], WORD),
        cell.init(keys[2], HIDDEN),
        attention.init(keys[3], query_features=HIDDEN, memory_features=2 * HIDDEN),
        cell.init(keys[4], 2 * HIDDEN),
        answer.init(keys[5], HIDDEN),
    )


def encode(params, texts):
    """A vector for each text, (N, B, H), of its words, (B, N, W)."""
    tokens = texts.transpose(2, 1, 0)
    _, vectors = table.apply(params.table, tokens)
    carry, _ = rnnjax.unroll(cell, params.words, vectors, lengths=(tokens > 0).sum(0))
    return carry.h


def read(params, batch, key):
    """Logits of answers, (B, Q, A), and where each look went, (B, Q, LOOKS, S)."""
    texts, questions = batch.xs
    lengths = (texts[:, :, 0] > 0).sum(1)
    sentences = encode(params, texts)
    _, states = rnnjax.unroll(cell, params.story, sentences, lengths=lengths)
    memory = jnp.concatenate([sentences, states], -1)
    memory = attention.memorise(params.attention, memory, lengths=lengths)
    query, looks = encode(params, questions), []
    for _ in range(LOOKS):
        seen, weights = attention.read(params.attention, memory, query)
        _, query = cell.step(params.look, rnnjax.GRUCarry(query), cell.project(params.look, seen))
        looks.append(weights.swapaxes(0, 1))
    _, said = answer.apply(params.answer, query)
    answers = params.table.w[1 : stories.NOT_TOLD + 2]  # an answer points to a marker
    return (said @ answers.T).swapaxes(0, 1), jnp.stack(looks, 2)


def loss(outputs, targets):
    """The cross-entropy of answers, and half of that of facts."""
    (logits, looks), (answers, facts) = outputs, targets
    told = jnp.take_along_axis(looks, jnp.maximum(facts, 0)[..., None], -1)[..., 0]
    missed = jnp.where(facts < 0, 0.0, -jnp.log(told + 1e-6))
    return optax.softmax_cross_entropy_with_integer_labels(logits, answers) + missed.sum(-1) / 2


model = train.from_functions(init, read)

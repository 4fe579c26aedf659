"""Where is the apple? A GRU reads a story, and attention finds the sentences that tell.

Stories in the manner of bAbI (Weston et al., "Towards AI-complete question answering", 2015), of a
generator of our own, see stories.py: up to 15 sentences about up to 5 people, 4 things and 6
places. Where a person is, one sentence tells; where a thing is, two do: who had it last, and where
that person went or dropped it. A GRU reads each sentence, another the sentences of the story; the
question then looks at the story twice, and a third one takes what it saw. As in bAbI, training is
told which sentences are the facts. It never sees a name, only markers. The test stories are text,
with names, things and places of their own. Baselines do not know the verbs: they go by the places
that are named.

Run: python examples/question_answering.py [--quick | --chat]
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import judging
import numpy as np
import optax
import pictures
import reporting
import stories
import tales

import rnnjax
from rnnjax import data, train

WORD, HIDDEN, LOOKS, BATCH, RATE = 32, 64, 2, 64, 8e-3
EPOCH, EPOCHS = 100, 40  # steps; stories are always new
WEIGHTS = reporting.HERE / "output" / "question_answering.safetensors"
TEST = 1_000_000  # no seed of training


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


class Told:
    """Batches of stories, each of them new."""

    def __init__(self, seed):
        self.seed = seed

    def __len__(self):
        return EPOCH

    def __getitem__(self, index):
        told = stories.tell(BATCH, [self.seed, index])
        return data.Batch((told.sentences, told.questions), (told.answers, told.facts))


def learn(seed, folder=None, epochs=EPOCHS):
    steps = epochs * EPOCH
    return train.fit(
        model,
        Told(seed),
        loss=loss,
        optimizer=train.adamw(train.warmup_cosine(RATE, steps, warmup_steps=steps // 20)),
        key=jax.random.key(seed),
        epochs=epochs,
        checkpoints=folder,
        resume=folder is not None,
    )


def network(trained):
    """Texts and questions in, logits and looks out, in NumPy."""

    def run(texts, questions):
        batch = data.Batch((texts, questions))
        return jax.tree.map(np.asarray, train.predict(trained, batch, batch_size=250))

    return run


def chatter():
    """The reader of the last whole run; one is trained where there was none."""
    if WEIGHTS.exists():
        params = rnnjax.load_weights(WEIGHTS, jax.eval_shape(init, jax.random.key(0)))
        return train.Trained(model, params)
    print("There are no weights of a whole run yet; training comes first, two minutes or so.")
    trained = learn(0)
    if trained.reason:
        sys.exit("question_answering: interrupted.")
    keep(trained)
    return trained


def keep(trained):
    WEIGHTS.parent.mkdir(exist_ok=True)
    rnnjax.save_weights(WEIGHTS, trained.params)


def main():
    told = judging.arguments(__doc__, {"chat": "tell a story and ask questions in the terminal"})
    if told.chat:
        return tales.chat(network(chatter()))
    unseen = list(tales.write(300 if told.quick else 2000, TEST))
    scores = lambda trained: tales.accuracy(tales.answers(network(trained), unseen), unseen)
    task = judging.Judged(
        name="question_answering",
        title="Where is the apple? Questions about stories with names never seen",
        measure="accuracy at the harder task",
        form=".4f",
        baselines={name: tales.by_rule(rule, unseen) for name, rule in tales.RULES.items()},
        trivial="the place named most often",
        goal=0.99,
    )
    epochs = 3 if told.quick else EPOCHS
    entrant = judging.Entrant(
        learn=lambda seed, folder: learn(seed, folder, epochs),
        score=lambda trained: min(scores(trained).values()),
        apart=scores,
    )
    verdicts = judging.judge(task, {"reader": entrant}, told)
    trained = verdicts["reader"].trained[0]
    if told.whole:
        keep(trained)
    figure = tales.picture(network(trained))
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=90))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

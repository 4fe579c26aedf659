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

import answerer
import jax
import judging
import numpy as np
import pictures
import reporting
import stories
import tales

import rnnjax
from rnnjax import data, train

BATCH, RATE = 64, 8e-3
EPOCH, EPOCHS = 100, 40  # steps; stories are always new
WEIGHTS = reporting.HERE / "output" / "question_answering.safetensors"
TEST = 1_000_000  # no seed of training


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
        answerer.model,
        Told(seed),
        loss=answerer.loss,
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
        params = rnnjax.load_weights(WEIGHTS, jax.eval_shape(answerer.init, jax.random.key(0)))
        return train.Trained(answerer.model, params)
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

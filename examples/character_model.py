"""How few bits does a letter of the King James Bible need, if an LSTM has read the rest?

Six books are held out. Everything else is read letter by letter as one long stream, by truncated
backpropagation through time: windows follow each other, and the state is carried on. What the
network says of the next letter is worth the bits that an arithmetic coder would need; gzip and bz2
on the whole text are the baselines, and bz2 on the held-out books when it has seen the others.

Run: python examples/character_model.py [--quick]
"""

import math

import bible
import jax
import judging
import numpy as np
import pictures

import rnnjax
from rnnjax import data, train

HIDDEN, LETTER, BATCH, STEPS, EPOCHS, RATE = 384, 32, 32, 100, 6, 3e-3
SHOWN = "In the day when I cried, the LORD sent "


def network(hidden):
    return rnnjax.stack(
        rnnjax.embedding(len(bible.LETTERS), LETTER),
        rnnjax.lstm(hidden),
        rnnjax.dense(len(bible.LETTERS)),
    )


def entrant(hidden, epochs, steps=None):
    """A model that learns for so many steps an epoch, and is judged by books it has not read."""
    layer = network(hidden)
    stream = data.windows(
        [bible.LETTERS.encode(text) for text in bible.READ], batch_size=BATCH, num_steps=STEPS
    )
    unseen = data.windows(
        [bible.LETTERS.encode(text) for text in bible.UNSEEN],
        batch_size=1,
        num_steps=1000,
        shuffle=False,
    )
    total = epochs * (steps or len(stream))
    rate = train.warmup_cosine(RATE, total, warmup_steps=total // 20)

    def learn(seed, folder):
        return train.fit(
            layer,
            stream,
            loss=train.cross_entropy,
            metrics=[train.bits_per_character],
            optimizer=train.adamw(rate),
            key=jax.random.key(seed),
            epochs=epochs,
            steps_per_epoch=steps,
            checkpoints=folder,
            resume=True,
        )

    def score(trained):
        measured = train.evaluate(trained, unseen, [train.bits_per_character])
        return measured["bits_per_character"]

    return judging.Entrant(learn, score)


def surprise(trained, text):
    """The bits that each letter but the first costs."""
    ids = bible.LETTERS.encode(text)
    logits = train.predict(trained, ids[None, :-1])[0]
    return -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), ids[1:, None], 1)[
        :, 0
    ] / math.log(2)


def main():
    told = judging.arguments(__doc__)
    task = judging.Judged(
        name="character_model",
        title="Bits for a letter of books that were not read",
        measure="bits per character",
        form=".3f",
        baselines=bible.baselines(),
        trivial="how frequent each letter is",
        goal=1.68,
        higher=False,
    )
    size = (128, 3, 120) if told.quick else (HIDDEN, EPOCHS)
    verdicts = judging.judge(task, {"LSTM": entrant(*size)}, told)
    trained = verdicts["LSTM"].trained[0]
    for temperature in (0.5, 0.8, 1.0):
        print(f"\nat temperature {temperature}:")
        said = bible.go_on(trained.model, trained.params, bible.LETTERS, SHOWN, 300, temperature)
        print("".join(said))
    verse = bible.UNSEEN[0].splitlines()[15]
    figure = pictures.letters(verse[1:], surprise(trained, verse), "bits")
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=100))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

"""A pen that writes: LSTMs draw lines of handwriting, and write a text that they are told.

After Graves, "Generating sequences with recurrent neural networks" (2013): the network says where
the pen goes next as a mixture of Gaussians, and whether it is lifted; one of the networks reads the
text through a soft window that walks along with the pen. The lines are phrases of the King James
Bible in the vector fonts of Hershey-Fonts (joined-up writing and print), by synthetic writers who
slant, stretch, bend and shake the letters, see strokes.py: clean vectors, not human handwriting.
Writers and phrases of the test are neither those of training nor those of validation; test phrases
are from six books that were not read. Measured is the log-density of a point, its offsets in
standard deviations, beside one Gaussian for all points, one around a linear function of the last
eight points, and the same LSTMs with one Gaussian in place of the mixture.

Run: python examples/handwriting.py [--quick]
"""

import functools
import sys

import jax
import judging
import numpy as np
import penman
import pictures
import strokes

from rnnjax import train

LINES, EPOCHS, BATCH, RATE, MIXTURES = 12000, 8, 32, 5e-3, 10
GOAL, MARGIN = 2.2, 0.5  # nats: what is reached, and how far above one Gaussian; by validation
SINGLE, MIXTURE, READER = "LSTMs, one Gaussian", "LSTMs, mixture", "LSTMs, mixture, reads the text"
TEXTS = (  # none of them a phrase of training
    "a joyful noise",
    "the quick fox",
    "recurrent nets",
    "jax and flax",
    "we saw the waves",
    "the little foxes",
)
TIDY = 1.0  # bias of what is written as told; without a text it is 0


def learn(network, of, epochs, seed, folder):
    total = epochs * -(-len(of.read.targets) // BATCH)
    return train.fit(
        network.model,
        of.read,
        loss=network.pen.loss,
        optimizer=train.adamw(train.warmup_cosine(RATE, total, warmup_steps=total // 20)),
        key=jax.random.key(seed),
        epochs=epochs,
        batch_size=BATCH,
        checkpoints=folder,
        resume=folder is not None,
    )


def density(network, batch, trained):
    """Log-density of a point, in nats."""
    said = train.evaluate(trained, batch, [network.pen.loss], batch_size=64)
    return -said["handwriting"]


def draw(network, trained, of, *, bias):
    """Lines that a network writes, and what of the text it then reads."""
    options = {"bias": bias, "num_steps": of.unseen.num_steps}
    texts = strokes.encode(TEXTS)
    points, read = network.write(trained.params, texts, jax.random.key(0), **options)
    points = np.asarray(points).swapaxes(0, 1) * of.scale
    return [strokes.written(line) for line in points], read


def drawings(networks, verdicts, of, told, task):
    """What networks write of their own, and what the one that reads writes as it is told."""
    first = {name: verdict.trained[0] for name, verdict in verdicts.items()}
    own = {
        name: draw(network, first[name], of, bias=0.0)[0]
        for name, network in networks.items()
        if not network.reads
    }
    path = judging.picture(task, told)
    print("wrote", pictures.save(pictures.writing(own), path, dpi=80))
    generator = np.random.default_rng(1)
    hands = strokes.writers(len(TEXTS), generator)
    fonts = [strokes.write(*each, generator) for each in zip(TEXTS, hands, strict=True)]
    lines, read = draw(networks[READER], first[READER], of, bias=TIDY)
    shown = TEXTS[0], np.asarray(read)[: len(lines[0]), 0, : len(TEXTS[0])]
    figure = pictures.writing({"the fonts": fonts, "the network": lines}, shown)
    print("wrote", pictures.save(figure, judging.picture(task, told, "told"), dpi=80))


def main():
    told = judging.arguments(__doc__)
    of = strokes.work((384, 64, 64) if told.quick else (LINES, 512, 512))
    size = {"narrow": 32, "hidden": 64} if told.quick else {}
    networks = {
        SINGLE: penman.Network(1, reads=False, **size),
        MIXTURE: penman.Network(MIXTURES, reads=False, **size),
        READER: penman.Network(MIXTURES, reads=True, **size),
    }
    if told.quick:
        del networks[MIXTURE]
    task = judging.Judged(
        name="handwriting",
        title="Handwriting: the next point of the pen, of writers who were not seen",
        measure="log-density of a point, nats",
        form=".3f",
        baselines={
            "one Gaussian for all points": strokes.linear(of.read, of.unseen, 0),
            "linear in the last eight points": strokes.linear(of.read, of.unseen, 8),
        },
        trivial="linear in the last eight points",
        goal=GOAL,
    )
    epochs = 3 if told.quick else EPOCHS
    entrants = {
        name: judging.Entrant(
            functools.partial(learn, network, of, epochs),
            functools.partial(density, network, of.unseen),
            lambda trained, network=network: {"validation": density(network, of.checked, trained)},
        )
        for name, network in networks.items()
    }
    verdicts = judging.judge(task, entrants, told)
    drawings(networks, verdicts, of, told, task)
    judging.check(task, verdicts, told)
    gained = np.mean(verdicts[READER].scores) - np.mean(verdicts[SINGLE].scores)
    if told.whole and gained < MARGIN:
        sys.exit(f"handwriting: {gained:.3f} nats above one Gaussian; {MARGIN} were wanted.")


if __name__ == "__main__":
    main()

"""From the Reina-Valera to the King James: a network that reads Spanish verses and writes English.

Verses of at most 25 words in both Bibles, as word pieces, lower-case; six books are held out for
the test, and every twentieth verse of the others for validation. A bidirectional GRU reads Spanish;
an LSTM that starts from what was read writes English, and each of its states looks at what was read
(Luong, Pham & Manning, "Effective approaches to attention-based neural machine translation", 2015,
without input feeding, so that all steps are learnt at once). Beam search writes the translation;
BLEU and chrF are those of sacrebleu. Baselines: the Spanish as it is, and the English of the verse
that was read whose Spanish is nearest, by tf-idf.

Run: python examples/translation.py [--quick]
"""

from typing import NamedTuple

import datasets
import jax
import judging
import numpy as np
import pictures
import translator
import verses

from rnnjax import data, plots, train

BATCH, EPOCHS, RATE, SMOOTHING, MERGES = 48, 10, 4e-3, 0.1, 2000
GOAL = 20.0  # BLEU; the nearest verse has 5.3
SHOWN = 10  # words of the verse in the picture


class Books(NamedTuple):
    """Pairs of verses: to be read, to look how it goes, and for the test."""

    read: list
    checked: list
    unseen: list


def books(longest: int, most: int | None = None) -> Books:
    """`longest` words a verse at most, and `most` verses to be read."""
    known, unseen = (verses.pairs(part, longest) for part in datasets.books())
    read = [pair for place, pair in enumerate(known) if place % 20]
    return Books(read[:most], known[::20], unseen)


def learn(network, texts, of, seed, folder, *, epochs, shapes):
    bounds = texts.bounds([*of.read, *of.checked], shapes)
    batches = texts.batches(of.read, BATCH, bounds, seed=seed)
    total = epochs * len(batches)
    return train.fit(
        network.model,
        batches,
        loss=train.smoothed_cross_entropy(SMOOTHING),
        metrics=[train.perplexity],
        validation=texts.batches(of.checked, BATCH, bounds, shuffle=False),
        optimizer=train.adamw(train.warmup_cosine(RATE, total, warmup_steps=total // 20)),
        key=jax.random.key(seed),
        epochs=epochs,
        checkpoints=folder,
        resume=folder is not None,
    )


def translate(network, texts, trained, pairs):
    spanish = data.pad_sequences([texts.encode(spanish) for spanish, _ in pairs]).xs
    written = jax.jit(network.write)(trained.params, spanish)
    return list(map(texts.decode, np.asarray(written).T))


def attention(network, texts, trained, pair):
    """A verse in both languages, and what of the one was read while the other was written."""
    (batch,) = texts.batches([pair], 1, texts.bounds([pair], 1))
    weights = np.asarray(jax.jit(network.follow)(trained.params, batch)[1])[:, 0]
    spanish, english = (texts.split(words) for words in pair)
    marks = [[piece.strip() for piece in side] + ["<end>"] for side in (spanish, english)]
    figure = plots.attention(weights[: len(marks[1]), : len(marks[0])], *marks)
    figure.axes[0].set(xlabel="", ylabel="")
    return figure


def main():
    told = judging.arguments(__doc__)
    of = books(16, 2500) if told.quick else books(verses.LONGEST)
    size = {"epochs": 6, "shapes": 1} if told.quick else {"epochs": EPOCHS, "shapes": 3}
    texts = verses.Texts(of.read, 500 if told.quick else MERGES)
    network = translator.Network(texts.vocabulary, *(64, 64) * told.quick)
    true = [" ".join(english) for _, english in of.unseen]
    written = []  # from each seed

    def score(trained):
        written.append(translate(network, texts, trained, of.unseen))
        return verses.bleu(written[-1], true)

    task = judging.Judged(
        name="translation",
        title="Verses of books that were not read, from Spanish to English",
        measure="BLEU",
        form=".1f",
        baselines=verses.baselines(of.read, of.unseen, verses.bleu),
        trivial="the Spanish as it is",
        goal=GOAL,
    )
    entrant = judging.Entrant(
        learn=lambda seed, folder: learn(network, texts, of, seed, folder, **size),
        score=score,
        apart=lambda trained: {"chrF": verses.chrf(written[-1], true)},
    )
    verdicts = judging.judge(task, {"translator": entrant}, told)
    trained = verdicts["translator"].trained[0]
    for (spanish, _), english, verse in list(zip(of.unseen, written[0], true, strict=True))[::40]:
        print(f"\n{' '.join(spanish)}\n  it says  {english}\n  it is    {verse}")
    shown = next(pair for pair in of.unseen if len(pair[0]) == SHOWN)
    figure = attention(network, texts, trained, shown)
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=90))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

"""What is this letter called? A network looks at letters with marks and writes their names.

Pictures are Latin, Greek and Cyrillic letters in six fonts of DejaVu, which come with matplotlib;
captions are their Unicode names, "latin small letter e with circumflex and acute". Combinations of
a letter and its marks are held out, in all fonts, small and capital: eighty for the test, eighty
for validation. Every letter and every mark of them is known from others, so the name must be
composed. Rough pictures that are put together from letters and the ink of marks, with other names
than those held out, teach that (as Andreas, "Good-enough compositional data augmentation", 2020).
Convolutions of Flax see; each cell of their grid hints at words, wherever they stand
(Fang et al., "From captions to visual concepts and back", 2015); an LSTM writes, and attention
looks at cells (Xu et al., "Show, attend and tell", 2015). Baselines: the most frequent caption;
that of the nearest picture, which is never quite right here; and the letter of the nearest picture
with those marks that add most nearly the same ink to a letter of that font. Choices were made on
validation; the test had been read once, with a first version, before they were final.

Run: python examples/captioning.py [--quick]
"""

import collections
import textwrap

import captioner
import glyphs
import jax
import judging
import matplotlib.pyplot as plt
import numpy as np
import pictures

from rnnjax import data, train

BATCH, RATE = 32, 5e-3
WHOLE, QUICK = (14, 5), (6, 2)  # epochs; composed pictures for each that was read
MARGIN = 0.05  # exact match above the best baseline
END = captioner.END
ROWS, COLUMNS = 4, 6  # of the picture


def batch_of(known, shown):
    """Pictures and the words so far; what is learnt is the next word, and the end."""
    names = [[*known.encode(glyph.words), END] for glyph in shown]
    padded = data.pad_sequences(names, num_steps=captioner.LONGEST)
    said = padded.xs
    before = np.pad(said[:, :-1], ((0, 0), (1, 0)), constant_values=END)
    counted = np.arange(captioner.LONGEST) < padded.lengths[:, None]
    return data.Batch((glyphs.stacked(shown), before), said, weights=counted.astype(np.float32))


def learn(network, known, of, seed, folder, *, epochs, composed):
    read = batch_of(known, of.read + glyphs.composed(of, composed * len(of.read)))
    total = epochs * (read.num_rows // BATCH)
    return train.fit(
        network.model,
        read,
        batch_size=BATCH,
        loss=train.cross_entropy,
        metrics=[train.accuracy],
        validation=batch_of(known, of.checked),
        optimizer=train.adamw(train.warmup_cosine(RATE, total, warmup_steps=total // 10)),
        key=jax.random.key(seed),
        epochs=epochs,
        checkpoints=folder,
        resume=folder is not None,
    )


def write(network, known, trained, shown):
    written = jax.jit(network.write)(trained.params, glyphs.stacked(shown))
    names = [[n for n in name if n != END] for name in np.asarray(written).T]
    return [" ".join(known.decode(name)) for name in names]


def exact(said, shown):
    """The share of names that are right."""
    return np.mean([name == glyph.caption for name, glyph in zip(said, shown, strict=True)])


def by_word(said, shown):
    """The share of words that are right in their place, of the longer of the two names."""
    right = counted = 0
    for name, glyph in zip(said, shown, strict=True):
        words = name.split()
        right += sum(a == b for a, b in zip(words, glyph.words, strict=False))
        counted += max(len(words), len(glyph.words))
    return right / counted


def gallery(shown, said):
    """Letters with the names that were written; wrong ones in red, with what was right below."""
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(10, 1.75 * ROWS), layout="constrained")
    for place, glyph, name in zip(axes.flat, shown, said, strict=True):
        place.imshow(1 - glyph.picture, cmap="gray", vmin=0, vmax=1)
        place.set(xticks=[], yticks=[])
        right = name == glyph.caption
        text = name if right else f"{name}\nnot {glyph.caption}"
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, 25)]
        place.set_xlabel("\n".join(lines), fontsize=7, color="black" if right else "tab:red")
    return figure


def main():
    told = judging.arguments(__doc__)
    of = glyphs.split(["Sans"] if told.quick else glyphs.FONTS)
    known = data.vocabulary([glyph.words for glyph in of.read], specials=("<end>",))
    network = captioner.Network(len(known))
    ((most, _),) = collections.Counter(glyph.caption for glyph in of.read).most_common(1)
    baselines = {
        "the most frequent caption": [most] * len(of.unseen),
        "the caption of the nearest picture": glyphs.nearest(of.read, of.unseen),
        "nearest letter and nearest marks": glyphs.nearest_parts(of.read, of.unseen),
    }
    for name, said in baselines.items():
        print(f"{name}: {exact(said, of.unseen):.3f}, by word {by_word(said, of.unseen):.3f}")
    written = []  # from each seed

    def score(trained):
        checked = write(network, known, trained, of.checked)
        print(f"validation: exact match {exact(checked, of.checked):.3f}")
        written.append(write(network, known, trained, of.unseen))
        return exact(written[-1], of.unseen)

    baselines = {name: float(exact(said, of.unseen)) for name, said in baselines.items()}
    task = judging.Judged(
        name="captioning",
        title="Names of letters with marks that were never seen together",
        measure="exact match",
        form=".3f",
        baselines=baselines,
        trivial="the caption of the nearest picture",
        goal=max(baselines.values()) + MARGIN,
    )
    epochs, composed = QUICK if told.quick else WHOLE
    limits = {"epochs": epochs, "composed": composed}
    entrant = judging.Entrant(
        learn=lambda seed, folder: learn(network, known, of, seed, folder, **limits),
        score=score,
        apart=lambda trained: {"by word": by_word(written[-1], of.unseen)},
    )
    verdicts = judging.judge(task, {"captioner": entrant}, told)
    some = np.random.default_rng(1).permutation(len(of.unseen))[: ROWS * COLUMNS]
    figure = gallery(*([side[place] for place in some] for side in (of.unseen, written[0])))
    print("wrote", pictures.save(figure, judging.picture(task, told), dpi=80))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

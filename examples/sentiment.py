"""Does a critic like the film? LSTMs read one sentence of a review, beside naive Bayes.

Sentences of film reviews that people rated clearly, by 0.5 or more either way. The split is by
stretches of 20 neighbouring lines, since neighbours can be of one review: 70 % to train, 10 % to
stop by, 20 % to test; every sentence comes once. Naive Bayes counts words and pairs of words. The
networks know these counts, too: beside a vector of its own, every word brings how much likelier it,
and the pair that it ends, are in positive sentences (in training without the sentence itself), and
their sum is what a network's answer begins with. What an LSTM adds is order. Targets say how clear
a sentence is. Three networks are a committee.

Run: python examples/sentiment.py [--quick]
"""

import functools
from typing import Any, NamedTuple

import film_words
import jax
import jax.numpy as jnp
import judging
import numpy as np
import optax
import pictures

import rnnjax
from rnnjax import data, plots, train

WIDTH, HIDDEN, MEMBERS, EPOCHS, BATCH, RATE, PATIENCE = 32, 32, 3, 8, 64, 3e-3, 3
WORDS, INPUTS, RECURRENT, FEATURES = 0.1, 0.2, 0.2, 0.4  # rates of dropout
SHOWN = "It's tough to watch, but it's a fantastic movie."  # of the test set


class Params(NamedTuple):
    table: Any
    body: Any
    head: Any
    trust: Any  # in the two ratios


def network(count, bidirectional):
    """Words and ratios, LSTMs, the largest output over time, a dense head: init and apply."""
    table = rnnjax.embedding(count, WIDTH, dropout=WORDS)
    cell = rnnjax.input_dropout(rnnjax.recurrent_dropout(rnnjax.lstm(HIDDEN), RECURRENT), INPUTS)
    body = rnnjax.bidirectional(cell) if bidirectional else rnnjax.recurrent(cell)
    head = rnnjax.stack(jnp.asarray, rnnjax.dense(1), dropout=FEATURES)

    def init(key):
        keys, features = jax.random.split(key, 3), HIDDEN * (1 + bidirectional)
        first, second = table.init(keys[0]), body.init(keys[1], WIDTH + 2)
        return Params(first, second, head.init(keys[2], features), jnp.full(2, 0.5))

    def apply(params, batch, key):
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        xs, lengths = batch.xs.swapaxes(0, 1), batch.lengths
        tokens, ratios = xs[..., 0].astype(jnp.int32), xs[..., 1:]
        _, vectors = table.apply(params.table, tokens, lengths=lengths, key=keys[0])
        xs = jnp.concatenate([vectors, ratios], -1)
        _, ys = body.apply(params.body, xs, lengths=lengths, key=keys[1])
        features = train.max_over_time(ys.swapaxes(0, 1), lengths)
        logits = head.apply(params.head, features[None], key=keys[2])[1][0, :, 0]
        return logits + ratios.sum(0) @ params.trust

    return init, apply


def committee(count, bidirectional, members):
    """Networks that learn side by side, each with its own weights and noise: logits (B, M)."""
    init, apply = network(count, bidirectional)

    def apply_all(params, batch, key):
        keys = None if key is None else jax.random.split(key, members)
        one = lambda params, key: apply(params, batch, key)
        return jax.vmap(one, in_axes=(0, None if key is None else 0), out_axes=1)(params, keys)

    init_all = lambda key: jax.vmap(init)(jax.random.split(key, members))
    return train.from_functions(init_all, apply_all)


def cross_entropy(logits, targets):
    return optax.sigmoid_binary_cross_entropy(logits, targets[:, None]).mean(-1)


def right(logits, targets):
    """Whether the mean of the networks has the right sign."""
    return ((logits.mean(-1) > 0) == (targets > 0.5)).astype(jnp.float32)


accuracy = train.mean_of(right, name="accuracy", higher_is_better=True)


def gates(trained: train.Trained, reader: film_words.Reader):
    """What the first network's LSTM does over a sentence."""
    params = jax.tree.map(lambda a: a[0], trained.params)
    words = data.words(SHOWN)
    xs = reader.batch(film_words.Part([words], np.ones(1, np.float32))).xs[0, : len(words)]
    xs = np.concatenate([params.table.w[xs[:, 0].astype(int)], xs[:, 1:]], -1)
    units = np.argsort(params.head[1].w[:, 0])  # from those that speak against the film
    return plots.gates(rnnjax.lstm(HIDDEN), params.body, xs, tokens=words, units=units)


def main():
    told = judging.arguments(__doc__)
    learn, choose, test = film_words.split(0.4 if told.quick else 1.0)
    reader = film_words.Reader(learn)
    batch, validation, unseen = (
        reader.batch(learn, counted=True),
        reader.batch(choose),
        reader.batch(test),
    )
    epochs = 3 if told.quick else EPOCHS
    rate = train.warmup_cosine(RATE, epochs * -(-len(learn.ratings) // BATCH))

    def learned(model, seed, folder):
        return train.fit(
            model,
            batch,
            batch_size=BATCH,
            loss=cross_entropy,
            metrics=[accuracy],
            monitor="val_accuracy",
            optimizer=train.adamw(rate, weight_decay=0.01),
            averaging=train.ema(0.99),
            key=jax.random.key(seed),
            epochs=epochs,
            validation=validation,
            callbacks=[train.EarlyStopping(PATIENCE)],
            checkpoints=folder,
            resume=True,
        )

    score = lambda trained: train.evaluate(trained, unseen, [accuracy])["accuracy"]
    entrants = {}
    for name, both in {"LSTMs": False, "bidirectional LSTMs": True}.items():
        model = committee(len(reader.known), both, 1 if told.quick else MEMBERS)
        entrants[name] = judging.Entrant(functools.partial(learned, model), score)
    more = (learn.ratings > 0).mean() > 0.5
    bayes = reader.naive_bayes(test)
    with_more = film_words.Reader(film_words.joined(learn, choose)).naive_bayes(test)
    task = judging.Judged(
        name="sentiment",
        title="Does a critic like the film? One sentence of a review",
        measure="test accuracy",
        form=".3f",
        baselines={
            "the more frequent answer in training": float(np.mean((test.ratings > 0) == more)),
            "naive Bayes, words and pairs": bayes,
            "naive Bayes that learns the validation part, too": with_more,
        },
        trivial="the more frequent answer in training",
        goal=bayes + 0.01,
    )
    verdicts = judging.judge(task, entrants, told)
    lstm, both = verdicts.values()
    curves = plots.curves(both.trained[0].history)
    print("wrote", pictures.save(curves, judging.picture(task, told, "curves"), dpi=80))
    drawn = gates(lstm.trained[0], reader)
    print("wrote", pictures.save(drawn, judging.picture(task, told), dpi=80))
    judging.check(task, verdicts, told)


if __name__ == "__main__":
    main()

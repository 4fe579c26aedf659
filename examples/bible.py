"""The King James Bible as letters, and what else the examples share that model its language."""

import bz2
import gzip

import datasets
import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import data, decoding


def text_of(book) -> str:
    """A verse a line."""
    return "".join(verse.english + "\n" for verse in book)


READ, UNSEEN = (list(map(text_of, books)) for books in datasets.books())
LETTERS = data.vocabulary("".join([*READ, *UNSEEN]), specials=())


def baselines() -> dict[str, float]:
    """Bits for a letter by other means."""
    rest, whole = "".join(READ).encode(), "".join([*READ, *UNSEEN]).encode()
    shares = np.bincount(LETTERS.encode(whole.decode())) / len(whole)
    behind = len(bz2.compress(whole)) - len(bz2.compress(rest))
    return {
        "how frequent each letter is": float(-(shares * np.log2(shares)).sum()),
        "gzip, the whole text": 8 * len(gzip.compress(whole)) / len(whole),
        "bz2, the whole text": 8 * len(bz2.compress(whole)) / len(whole),
        "bz2, held-out books behind the rest": 8 * behind / (len(whole) - len(rest)),
    }


def go_on(
    layer: rnnjax.Layer, params, vocabulary: data.Vocabulary, beginning, steps: int, temperature=0.8
) -> list[str]:
    """Tokens, and how a model goes on from there."""
    ids = jnp.asarray(vocabulary.encode(beginning))[:, None]
    carry, _ = layer.apply(params, ids[:-1])
    written = decoding.generate(
        decoding.step_of(layer, params),
        carry,
        ids[-1],
        num_steps=steps,
        choose=decoding.sampling(temperature=temperature),
        key=jax.random.key(0),
    )
    return [*beginning, *vocabulary.decode(np.asarray(written.values)[:, 0])]

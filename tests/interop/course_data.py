"""Weights as the NumPy course has them, columns of examples."""

import numpy as np

N_X, M, T = 3, 4, 5


def lstm_weights(n_a, n_x, dtype="float64", seed=0):
    return draw({f"W{g}": (n_a, n_a + n_x) for g in "fioc"}, "fioc", "b", n_a, dtype, seed)


def gru_weights(n_a, n_x, dtype="float64", seed=0):
    return draw({f"W_{g}": (n_a, n_a + n_x) for g in "rza"}, "rza", "b_", n_a, dtype, seed)


def draw(shapes, gates, b, n_a, dtype, seed):
    rng = np.random.default_rng(seed)
    shapes = shapes | {f"{b}{g}": (n_a, 1) for g in gates}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def head_weights(sizes, dtype="float64"):
    rng = np.random.default_rng(9)
    shape = lambda n, below: {"W": (n, below), "b": (n, 1)}
    return [
        {k: rng.normal(size=s).astype(dtype) for k, s in shape(n, below).items()}
        for below, n in zip(sizes, sizes[1:], strict=False)
    ]


def normal(*shape, dtype="float64", seed=5):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)
